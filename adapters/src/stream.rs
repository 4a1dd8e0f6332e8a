//! A watcher as a [`Stream`], for any executor. It needs no runtime and starts no task.
//!
//! ```
//! use futures::StreamExt;
//! use kvwatch::{Builder, Change, Selector, WatcherExt};
//!
//! # futures::executor::block_on(async {
//! let (mut publisher, hub) = Builder::new().spawn()?;
//! let mut events = hub.watch(Selector::prefix("app/"))?.into_stream();
//! publisher.publish(Change::put("app/a", "1"))?;
//! drop(publisher);
//!
//! while let Some(event) = events.next().await {
//!     assert_eq!(event?.key(), "app/a");
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```
//!
//! A stream yields what its [`Watcher`] receives, in the same order. A lag is an `Err` item between
//! the events before and after it, and the stream goes on. An abnormal end, one for which
//! [`EndReason::is_normal`](crate::EndReason::is_normal) is false, is one `Err` item. After that
//! item, and after a shutdown or a close, the stream yields `None` for ever.
//!
//! # Cancel safety
//!
//! Every future of this module, and every `next()`, may be dropped at any time, in `select!` or
//! elsewhere, without losing an event or a lag. An event leaves the watcher in the poll that
//! returns it; neither the future nor the stream buffers one. Only the task that polled last is
//! woken.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::stream::{FusedStream, Stream};

use crate::{Batch, Event, Latest, RecvError, Watcher};

/// A watcher as a stream of single events.
///
/// - *If I am slow:* neither the publisher nor another watcher is delayed. This watcher falls
///   behind and catches up from the history, as [`Watcher`] describes; each poll then reads at
///   most one bounded step of the history.
/// - *If I am dropped:* the watcher is dropped with the stream and unregistered at once.
///   [`into_inner`](Self::into_inner) returns the watcher instead, with all events not yet
///   received.
/// - *If the publisher is dropped:* the stream yields everything published, then `None`.
///
/// ```
/// use futures::StreamExt;
/// use kvwatch::stream::WatchStream;
/// use kvwatch::{Builder, Change};
///
/// # futures::executor::block_on(async {
/// let (mut publisher, hub) = Builder::new().spawn()?;
/// let mut events = WatchStream::new(hub.watch("a")?);
/// publisher.publish_batch([Change::put("a", "1"), Change::put("a", "2")])?;
/// publisher.publish(Change::delete("a"))?;
/// drop(publisher);
///
/// assert_eq!(events.recv().await?.value().unwrap(), "1");
/// assert_eq!(events.next().await.unwrap()?.value().unwrap(), "2");
/// assert_eq!(events.next().await.unwrap()?.value(), None);
/// assert!(events.next().await.is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[must_use = "a stream that is dropped unregisters its watcher"]
pub struct WatchStream {
    watcher: Watcher,
    /// The stream has yielded its last item: an abnormal end, or `None` for a normal one.
    terminated: bool,
}

impl WatchStream {
    /// Wraps a watcher. Nothing is taken from it before the first poll.
    pub fn new(watcher: Watcher) -> Self {
        Self {
            watcher,
            terminated: false,
        }
    }

    /// Waits for the next event, as [`Watcher::recv`] does, without blocking the thread.
    ///
    /// Cancel safe: a dropped future has received nothing, and the next receive gets the event.
    ///
    /// # Errors
    /// As [`Watcher::recv`]. Once the watcher has ended, every call returns
    /// [`RecvError::Closed`], for a normal and for an abnormal end.
    pub async fn recv(&mut self) -> Result<Event, RecvError> {
        poll_fn(|cx| self.watcher.poll_recv(cx)).await
    }

    /// Waits until at least one event is available and receives all available events, by
    /// reference, as [`Watcher::recv_batch`] does, without blocking the thread.
    ///
    /// Cancel safe: a dropped future has received nothing. A batch that was returned counts as
    /// received, whether its events are read or not, so read it before the next `.await` that may
    /// be cancelled.
    ///
    /// ```
    /// # use kvwatch::stream::WatchStream;
    /// # use kvwatch::{Builder, Change, Selector};
    /// # futures::executor::block_on(async {
    /// # let (mut publisher, hub) = Builder::new().spawn()?;
    /// # let mut events = WatchStream::new(hub.watch(Selector::all())?);
    /// publisher.publish_batch([Change::put("a", "1"), Change::put("b", "2")])?;
    /// let batch = events.recv_batch().await?;
    /// assert_eq!(batch.len(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// As [`recv`](Self::recv). A lag is reported between two batches, never inside one.
    pub async fn recv_batch(&mut self) -> Result<Batch<'_>, RecvError> {
        poll_fn(|cx| self.watcher.poll_ready(cx)).await?;
        // Does not block: an event is available, and only this borrow of the watcher can take it.
        self.watcher.recv_batch()
    }

    /// Turns this into a stream of batches.
    ///
    /// ```
    /// use futures::StreamExt;
    /// use kvwatch::{Builder, Change, Selector, WatcherExt};
    ///
    /// # futures::executor::block_on(async {
    /// let (mut publisher, hub) = Builder::new().spawn()?;
    /// let mut batches = hub.watch(Selector::all())?.into_stream().batches();
    /// publisher.publish_batch([Change::put("a", "1"), Change::delete("b")])?;
    /// let batch = batches.next().await.unwrap()?;
    /// assert_eq!([batch[0].key(), batch[1].key()], ["a", "b"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn batches(self) -> BatchStream {
        BatchStream { stream: self }
    }

    /// The watcher, for its progress, its id or a [`Closer`](crate::Closer).
    pub fn get_ref(&self) -> &Watcher {
        &self.watcher
    }

    /// The watcher, for its other ways of receiving. They may be mixed freely with the stream.
    pub fn get_mut(&mut self) -> &mut Watcher {
        &mut self.watcher
    }

    /// Returns the watcher, with all events not yet received, for use on another thread, in
    /// another task or in another runtime.
    ///
    /// ```
    /// use kvwatch::{Builder, Change, WatcherExt};
    ///
    /// # futures::executor::block_on(async {
    /// let (mut publisher, hub) = Builder::new().spawn()?;
    /// let mut events = hub.watch("a")?.into_stream();
    /// publisher.publish_batch([Change::put("a", "1"), Change::put("a", "2")])?;
    /// assert_eq!(events.recv().await?.value().unwrap(), "1");
    ///
    /// let mut watcher = events.into_inner();
    /// assert_eq!(watcher.recv()?.value().unwrap(), "2");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn into_inner(self) -> Watcher {
        self.watcher
    }

    /// Turns the result of a receive into an item of the stream.
    fn stream_item<T>(&mut self, received: Result<T, RecvError>) -> Option<Result<T, RecvError>> {
        if let Err(RecvError::Closed(reason)) = received {
            self.terminated = true;
            if reason.is_normal() {
                return None;
            }
        }
        Some(received)
    }
}

impl From<Watcher> for WatchStream {
    fn from(watcher: Watcher) -> Self {
        Self::new(watcher)
    }
}

impl Stream for WatchStream {
    type Item = Result<Event, RecvError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.terminated {
            return Poll::Ready(None);
        }
        self.watcher
            .poll_recv(cx)
            .map(|received| self.stream_item(received))
    }
}

impl FusedStream for WatchStream {
    fn is_terminated(&self) -> bool {
        self.terminated
    }
}

impl fmt::Debug for WatchStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchStream")
            .field("watcher", &self.watcher)
            .field("terminated", &self.terminated)
            .finish()
    }
}

/// A watcher as a stream of batches: from [`WatchStream::batches`]. A batch is never empty, holds
/// whole revisions and keeps their order.
///
/// A slow consumer, dropping the stream and the end of the watcher have the same effects as for
/// [`WatchStream`]. Each batch is collected into a `Vec` of its own;
/// [`WatchStream::recv_batch`] lends a batch without that allocation.
///
/// ```
/// use futures::StreamExt;
/// use kvwatch::stream::WatchStream;
/// use kvwatch::{Builder, Change, Selector};
///
/// # futures::executor::block_on(async {
/// let (mut publisher, hub) = Builder::new().spawn()?;
/// let mut batches = WatchStream::new(hub.watch(Selector::all())?).batches();
/// publisher.publish_batch([Change::put("a", "1"), Change::put("b", "2")])?;
/// assert_eq!(batches.next().await.unwrap()?.len(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
#[must_use = "a stream that is dropped unregisters its watcher"]
pub struct BatchStream {
    stream: WatchStream,
}

impl BatchStream {
    /// The watcher, for its progress, its id or a [`Closer`](crate::Closer).
    pub fn get_ref(&self) -> &Watcher {
        self.stream.get_ref()
    }

    /// Returns the watcher, with all events not yet received.
    pub fn into_inner(self) -> Watcher {
        self.stream.into_inner()
    }
}

impl Stream for BatchStream {
    type Item = Result<Vec<Event>, RecvError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let stream = &mut self.stream;
        if stream.terminated {
            return Poll::Ready(None);
        }
        let polled = stream.watcher.poll_recv_batch(cx);
        let owned = polled.map_ok(|batch| batch.iter().map(|event| event.to_event()).collect());
        owned.map(|received| stream.stream_item(received))
    }
}

impl FusedStream for BatchStream {
    fn is_terminated(&self) -> bool {
        self.stream.terminated
    }
}

/// Turns a watcher into a stream, or into a [`Latest`].
pub trait WatcherExt {
    /// Turns this watcher into a stream for any executor. In a tokio program use
    /// `kvwatch::tokio::WatchStream` instead, which takes part in tokio's cooperative scheduling.
    ///
    /// ```
    /// use kvwatch::{Builder, WatcherExt};
    ///
    /// let (_publisher, hub) = Builder::new().spawn()?;
    /// let events = hub.watch("app/a")?.into_stream();
    /// assert_eq!(events.get_ref().start_revision(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn into_stream(self) -> WatchStream;

    /// Turns this watcher into one that delivers only the newest event of each key, for consumers
    /// that cannot keep up. It serves blocking code, and async code as a stream.
    ///
    /// ```
    /// use kvwatch::{Builder, Change, WatcherExt};
    ///
    /// let (mut publisher, hub) = Builder::new().spawn()?;
    /// let mut latest = hub.watch("app/a")?.latest();
    /// publisher.publish(Change::put("app/a", "1"))?;
    /// assert_eq!(latest.recv()?.value().unwrap(), "1");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn latest(self) -> Latest;
}

impl WatcherExt for Watcher {
    fn into_stream(self) -> WatchStream {
        WatchStream::new(self)
    }

    fn latest(self) -> Latest {
        Latest::new(self)
    }
}

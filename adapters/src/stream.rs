//! A watcher as a [`Stream`], for any executor: it needs none of them, and starts no task.
//!
//! ```
//! use futures::StreamExt;
//! use kvwatch::stream::WatcherExt;
//! use kvwatch::{Builder, Change, Selector};
//!
//! # futures::executor::block_on(async {
//! let (mut publisher, hub) = Builder::new().spawn()?;
//! let mut events = hub.watch(Selector::prefix("app/"))?.into_stream();
//! publisher.publish(Change::put("app/a", "1"))?;
//! drop(publisher);
//!
//! while let Some(event) = events.next().await {
//!     println!("{:?}", event?);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```
//!
//! What comes out of a stream is what comes out of a [`Watcher`], in the same order. A lag is an
//! `Err` item in its place, and the stream goes on behind it. An end that nobody asked for
//! ([`EndReason::is_normal`](crate::EndReason::is_normal) says which) is an `Err` item too, once;
//! behind it, and behind a shutdown or a close, there is `None` for ever.
//!
//! # Cancel safety
//!
//! Nothing is kept in a future or in the stream: an event leaves the watcher in the very poll
//! that returns it. So every future and every `next()` here may be dropped at any time, in
//! `select!` or elsewhere, and neither an event nor a lag is lost; and whoever polls next is the
//! one that is woken, whatever task polled before.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::stream::{FusedStream, Stream};

use crate::{Batch, Event, Latest, RecvError, Watcher};

/// A watcher as a stream of single events.
///
/// - *If I am slow:* nobody else is delayed; the watcher falls behind and catches up from the
///   history, as [`Watcher`] tells. A poll then reads one bounded step of the history at most.
/// - *If I am dropped:* so is the watcher, and it is out of the registry at once.
///   [`into_inner`](Self::into_inner) hands it back instead, with everything not yet taken.
/// - *If the publisher is gone:* everything published comes first, then `None`.
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
    /// The stream has said its last: an abnormal end was an item, or the end was `None`.
    done: bool,
}

impl WatchStream {
    /// Nothing is taken from the watcher before it is polled.
    pub fn new(watcher: Watcher) -> Self {
        Self {
            watcher,
            done: false,
        }
    }

    /// Waits for the next event: like [`Watcher::recv`], without blocking.
    ///
    /// Cancel safe: a future that is dropped has taken nothing, and leaves a wake-up to whoever
    /// receives next.
    ///
    /// # Errors
    /// As [`Watcher::recv`]: once the watcher has ended, [`RecvError::Closed`] always, whether
    /// the end was normal or not.
    pub async fn recv(&mut self) -> Result<Event, RecvError> {
        poll_fn(|cx| self.watcher.poll_recv(cx)).await
    }

    /// Waits until there is something, and takes all that is at hand, by reference: like
    /// [`Watcher::recv_batch`], without blocking.
    ///
    /// Cancel safe, as [`recv`](Self::recv) is. With the batch everything in it is handed out,
    /// read or not; so read it before the next `.await` that may be cancelled.
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
    /// As [`recv`](Self::recv). A lag never comes with events: it is between two batches.
    pub async fn recv_batch(&mut self) -> Result<Batch<'_>, RecvError> {
        poll_fn(|cx| self.watcher.poll_ready(cx)).await?;
        // Does not block: there is something at hand, and it cannot go away.
        self.watcher.recv_batch()
    }

    /// The same watcher as a stream of batches.
    pub fn batches(self) -> BatchStream {
        BatchStream { stream: self }
    }

    /// The watcher: its progress, its name, a [`Closer`](crate::Closer).
    pub fn get_ref(&self) -> &Watcher {
        &self.watcher
    }

    /// The watcher, to receive from it in another way. It may be mixed freely with this stream.
    pub fn get_mut(&mut self) -> &mut Watcher {
        &mut self.watcher
    }

    /// The watcher, with everything that was not taken yet: it can go on in another thread, task
    /// or runtime.
    pub fn into_inner(self) -> Watcher {
        self.watcher
    }

    /// What a receive returned, as an item of a stream.
    fn item<T>(&mut self, received: Result<T, RecvError>) -> Option<Result<T, RecvError>> {
        if let Err(RecvError::Closed(reason)) = received {
            self.done = true;
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
        if self.done {
            return Poll::Ready(None);
        }
        self.watcher
            .poll_recv(cx)
            .map(|received| self.item(received))
    }
}

impl FusedStream for WatchStream {
    fn is_terminated(&self) -> bool {
        self.done
    }
}

impl fmt::Debug for WatchStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchStream")
            .field("watcher", &self.watcher)
            .field("done", &self.done)
            .finish()
    }
}

/// A watcher as a stream of batches: whole revisions, in order, none of them empty. From
/// [`WatchStream::batches`].
///
/// Everything that [`WatchStream`] says of a slow, dropped or ended watcher holds here too. Each
/// batch is collected into a `Vec`, which its user may keep; [`WatchStream::recv_batch`] lends
/// it without that.
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
    /// The watcher: its progress, its name, a [`Closer`](crate::Closer).
    pub fn get_ref(&self) -> &Watcher {
        self.stream.get_ref()
    }

    /// The watcher, with everything that was not taken yet.
    pub fn into_inner(self) -> Watcher {
        self.stream.into_inner()
    }
}

impl Stream for BatchStream {
    type Item = Result<Vec<Event>, RecvError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let stream = &mut self.stream;
        if stream.done {
            return Poll::Ready(None);
        }
        let polled = stream.watcher.poll_recv_batch(cx);
        let owned = polled.map_ok(|batch| batch.iter().map(|event| event.to_event()).collect());
        owned.map(|received| stream.item(received))
    }
}

impl FusedStream for BatchStream {
    fn is_terminated(&self) -> bool {
        self.stream.done
    }
}

/// Makes a stream of a watcher where it was registered.
pub trait WatcherExt {
    /// This watcher as a stream for any executor. With tokio, take
    /// `kvwatch::tokio::WatchStream` instead: it takes part in tokio's scheduling.
    ///
    /// ```
    /// use kvwatch::Builder;
    /// use kvwatch::stream::WatcherExt;
    ///
    /// let (_publisher, hub) = Builder::new().spawn()?;
    /// let events = hub.watch("app/a")?.into_stream();
    /// assert_eq!(events.get_ref().start_revision(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn into_stream(self) -> WatchStream;

    /// This watcher with only the newest event of each key, for consumers that cannot keep up:
    /// for blocking code, and as a stream.
    ///
    /// ```
    /// use kvwatch::stream::WatcherExt;
    /// use kvwatch::{Builder, Change};
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

//! Watchers as streams within tokio's budget and on its clock.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use ::tokio::time;
use futures_core::stream::{FusedStream, Stream};

use super::budget::poll_in_budget;
use crate::{Batch, Event, RecvError, RecvTimeoutError, Watcher, stream};

/// A watcher as a stream of single events: a [`stream::WatchStream`] that takes part in tokio's
/// cooperative scheduling.
///
/// - *If I am slow:* neither the publisher nor another watcher is delayed. This watcher falls
///   behind and catches up from the history.
/// - *If I am dropped:* the watcher is dropped with the stream and unregistered at once. Dropping
///   a task or a runtime drops its streams. [`into_inner`](Self::into_inner) returns the watcher
///   instead.
/// - *If the publisher is dropped:* the stream yields everything published, then `None`.
///
/// ```
/// use kvwatch::tokio::WatchStream;
/// use kvwatch::{Builder, Change, RecvTimeoutError};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (mut publisher, hub) = Builder::new().spawn()?;
/// let mut events = WatchStream::from(hub.watch("a")?);
/// let nothing = events.recv_timeout(Duration::from_millis(1)).await;
/// assert_eq!(nothing, Err(RecvTimeoutError::Timeout));
///
/// publisher.publish(Change::put("a", "1"))?;
/// tokio::select! {
///     event = events.recv() => assert_eq!(event?.revision(), 1),
///     // If this branch won, the receive would be dropped without losing an event.
///     _ = std::future::pending::<()>() => {}
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a stream that is dropped unregisters its watcher"]
pub struct WatchStream {
    stream: stream::WatchStream,
}

impl WatchStream {
    /// Wraps a watcher. Nothing is taken from it before the first poll.
    pub fn new(watcher: Watcher) -> Self {
        Self {
            stream: watcher.into(),
        }
    }

    /// Waits for the next event, as [`stream::WatchStream::recv`] does.
    ///
    /// Cancel safe: a dropped future has received nothing.
    ///
    /// # Errors
    /// As [`Watcher::recv`].
    pub async fn recv(&mut self) -> Result<Event, RecvError> {
        poll_fn(|cx| poll_in_budget(cx, |cx| self.get_mut().poll_recv(cx))).await
    }

    /// Waits for the next event, for at most `timeout` on tokio's clock. An available event is
    /// returned even if `timeout` is zero.
    ///
    /// Cancel safe: a future that is dropped or times out has received nothing.
    ///
    /// # Errors
    /// [`Timeout`](RecvTimeoutError::Timeout) if no event came in time; otherwise as
    /// [`recv`](Self::recv).
    ///
    /// # Panics
    /// Panics outside of a tokio runtime and in a runtime without time enabled, as every timer of
    /// tokio does.
    pub async fn recv_timeout(&mut self, timeout: Duration) -> Result<Event, RecvTimeoutError> {
        match time::timeout(timeout, self.recv()).await {
            Ok(received) => received.map_err(Into::into),
            Err(_) => Err(RecvTimeoutError::Timeout),
        }
    }

    /// Waits until at least one event is available and receives all available events, by
    /// reference, as [`stream::WatchStream::recv_batch`] does. A batch takes one unit of the
    /// budget.
    ///
    /// Cancel safe: a dropped future has received nothing.
    ///
    /// ```
    /// use kvwatch::tokio::WatchStream;
    /// use kvwatch::{Builder, Change, Selector};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (mut publisher, hub) = Builder::new().spawn()?;
    /// let mut events = WatchStream::new(hub.watch(Selector::all())?);
    /// publisher.publish_batch([Change::put("a", "1"), Change::put("b", "2")])?;
    /// assert_eq!(events.recv_batch().await?.len(), 2);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Watcher::recv_batch`].
    pub async fn recv_batch(&mut self) -> Result<Batch<'_>, RecvError> {
        poll_fn(|cx| poll_in_budget(cx, |cx| self.get_mut().poll_ready(cx))).await?;
        // Does not block: an event is available, and only this borrow of the watcher can take it.
        self.get_mut().recv_batch()
    }

    /// Turns this into a stream of batches.
    pub fn batches(self) -> BatchStream {
        BatchStream {
            stream: self.stream.batches(),
        }
    }

    /// The watcher, for its progress, its id or a [`Closer`](crate::Closer).
    pub fn get_ref(&self) -> &Watcher {
        self.stream.get_ref()
    }

    /// The watcher, for its other ways of receiving. They may be mixed freely with the stream.
    pub fn get_mut(&mut self) -> &mut Watcher {
        self.stream.get_mut()
    }

    /// Returns the watcher, with all events not yet received, for use on another thread, in
    /// another task or in another runtime.
    pub fn into_inner(self) -> Watcher {
        self.stream.into_inner()
    }
}

impl From<Watcher> for WatchStream {
    fn from(watcher: Watcher) -> Self {
        Self::new(watcher)
    }
}

impl From<stream::WatchStream> for WatchStream {
    fn from(stream: stream::WatchStream) -> Self {
        Self { stream }
    }
}

impl Stream for WatchStream {
    type Item = Result<Event, RecvError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        poll_in_budget(cx, |cx| Pin::new(&mut self.stream).poll_next(cx))
    }
}

impl FusedStream for WatchStream {
    fn is_terminated(&self) -> bool {
        self.stream.is_terminated()
    }
}

/// A watcher as a stream of batches: a [`stream::BatchStream`] that takes part in tokio's
/// cooperative scheduling. From [`WatchStream::batches`]. A batch takes one unit of the budget.
///
/// A slow consumer, dropping the stream and the end of the watcher have the same effects as for
/// [`WatchStream`].
///
/// ```
/// use futures::StreamExt;
/// use kvwatch::tokio::WatchStream;
/// use kvwatch::{Builder, Change, Selector};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (mut publisher, hub) = Builder::new().spawn()?;
/// let mut batches = WatchStream::new(hub.watch(Selector::all())?).batches();
/// publisher.publish_batch([Change::put("a", "1"), Change::put("b", "2")])?;
/// assert_eq!(batches.next().await.unwrap()?.len(), 2);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a stream that is dropped unregisters its watcher"]
pub struct BatchStream {
    stream: stream::BatchStream,
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
        poll_in_budget(cx, |cx| Pin::new(&mut self.stream).poll_next(cx))
    }
}

impl FusedStream for BatchStream {
    fn is_terminated(&self) -> bool {
        self.stream.is_terminated()
    }
}

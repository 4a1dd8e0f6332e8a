//! Receiving and publishing in async-std programs, on its timers. Feature `async-std`.
//!
//! async-std is discontinued (RUSTSEC-2025-0052), and its authors recommend smol. This module is
//! for programs that still use async-std. Its `Stream` is the one of [`futures_core`], so
//! [`BatchStream`] and [`AsyncPublisher`] are re-exports of the types for any executor;
//! [`WatchStream`] adds a timeout. Programs on smol use [`stream`] and do not need this module.
//!
//! async-std does not limit how long a task runs between two yields. A task that receives from a
//! watcher that is never empty has to yield by itself.
//!
//! ```
//! use kvwatch::async_std::{AsyncPublisher, WatchStream};
//! use kvwatch::{Builder, Change, Selector};
//!
//! # async_std::task::block_on(async {
//! let (publisher, hub) = Builder::new().spawn()?;
//! let mut publisher = AsyncPublisher::new(publisher);
//! let mut events = WatchStream::new(hub.watch(Selector::prefix("app/"))?);
//!
//! publisher.publish(Change::put("app/a", "1")).await?;
//! let event = events.recv().await?;
//! assert_eq!(event.key(), "app/a");
//! publisher.shutdown().await?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use ::async_std::future;
use futures_core::stream::{FusedStream, Stream};

pub use crate::AsyncPublisher;
pub use crate::stream::BatchStream;
use crate::{Batch, Event, Hub, RecvError, RecvTimeoutError, Revision, WaitError, Watcher, stream};

/// A watcher as a stream of single events: a [`stream::WatchStream`] with a timeout on async-std's
/// timers.
///
/// - *If I am slow:* neither the publisher nor another watcher is delayed. This watcher falls
///   behind and catches up from the history.
/// - *If I am dropped:* the watcher is dropped with the stream and unregistered at once.
///   [`into_inner`](Self::into_inner) returns the watcher instead.
/// - *If the publisher is dropped:* the stream yields everything published, then `None`.
///
/// ```
/// use kvwatch::async_std::WatchStream;
/// use kvwatch::{Builder, RecvTimeoutError};
/// use std::time::Duration;
///
/// # async_std::task::block_on(async {
/// let (_publisher, hub) = Builder::new().spawn()?;
/// let mut events = WatchStream::from(hub.watch("a")?);
/// let nothing = events.recv_timeout(Duration::from_millis(1)).await;
/// assert_eq!(nothing, Err(RecvTimeoutError::Timeout));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
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
        self.stream.recv().await
    }

    /// Waits for the next event, for at most `timeout`. An available event is returned even if
    /// `timeout` is zero.
    ///
    /// Cancel safe: a future that is dropped or times out has received nothing.
    ///
    /// # Errors
    /// [`Timeout`](RecvTimeoutError::Timeout) if no event came in time; otherwise as
    /// [`recv`](Self::recv).
    pub async fn recv_timeout(&mut self, timeout: Duration) -> Result<Event, RecvTimeoutError> {
        match future::timeout(timeout, self.recv()).await {
            Ok(received) => received.map_err(Into::into),
            Err(_) => Err(RecvTimeoutError::Timeout),
        }
    }

    /// Waits until at least one event is available and receives all available events, by
    /// reference, as [`stream::WatchStream::recv_batch`] does.
    ///
    /// Cancel safe: a dropped future has received nothing.
    ///
    /// ```
    /// use kvwatch::async_std::WatchStream;
    /// use kvwatch::{Builder, Change, Selector};
    ///
    /// # async_std::task::block_on(async {
    /// let (mut publisher, hub) = Builder::new().spawn()?;
    /// let mut events = WatchStream::new(hub.watch(Selector::all())?);
    /// publisher.publish_batch([Change::put("a", "1"), Change::put("b", "2")])?;
    /// assert_eq!(events.recv_batch().await?.len(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// As [`Watcher::recv_batch`].
    pub async fn recv_batch(&mut self) -> Result<Batch<'_>, RecvError> {
        self.stream.recv_batch().await
    }

    /// Turns this into a stream of batches.
    pub fn batches(self) -> BatchStream {
        self.stream.batches()
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
        Pin::new(&mut self.stream).poll_next(cx)
    }
}

impl FusedStream for WatchStream {
    fn is_terminated(&self) -> bool {
        self.stream.is_terminated()
    }
}

/// Waits until every event up to `revision` is in the queues of the watchers that match it, for at
/// most `timeout`. The revision need not be published yet.
///
/// Cancel safe: it only waits.
///
/// ```
/// use kvwatch::{Builder, Change};
/// use std::time::Duration;
///
/// # async_std::task::block_on(async {
/// let (mut publisher, hub) = Builder::new().spawn()?;
/// publisher.publish(Change::put("a", "1"))?;
/// kvwatch::async_std::wait_for(&hub, 1, Duration::from_secs(5)).await?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
///
/// # Errors
/// [`Timeout`](WaitError::Timeout) if that takes longer; [`Closed`](WaitError::Closed) if the
/// engine stops before that revision.
pub async fn wait_for(hub: &Hub, revision: Revision, timeout: Duration) -> Result<(), WaitError> {
    future::timeout(timeout, hub.wait_for_async(revision))
        .await
        .unwrap_or(Err(WaitError::Timeout))
}

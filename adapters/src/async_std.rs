//! Receiving and publishing under async-std, on its timers. Feature `async-std`.
//!
//! async-std is discontinued (RUSTSEC-2025-0052) and its authors point to smol. This module is
//! for programs that still run on it, and is as thin as it can be: async-std's `Stream` is that of
//! [`futures_core`], so [`BatchStream`] and [`AsyncPublisher`] are those for any executor, and
//! [`WatchStream`] adds a timeout. Programs on smol use [`stream`], and need
//! nothing of this.
//!
//! async-std has no budget for its tasks. A task that receives from a watcher that is never empty
//! has to yield by itself.
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

/// A watcher as a stream of single events, with a timeout: a [`stream::WatchStream`], where
/// everything is said about lags, ends, slowness and dropping.
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
    /// Nothing is taken from the watcher before it is polled.
    pub fn new(watcher: Watcher) -> Self {
        Self {
            stream: watcher.into(),
        }
    }

    /// Waits for the next event: see [`stream::WatchStream::recv`].
    ///
    /// Cancel safe: a future that is dropped has taken nothing.
    ///
    /// # Errors
    /// As [`Watcher::recv`].
    pub async fn recv(&mut self) -> Result<Event, RecvError> {
        self.stream.recv().await
    }

    /// Waits for the next event this long at most. An event that is at hand is returned however
    /// short the time.
    ///
    /// Cancel safe: a future that is dropped, and one whose time is up, has taken nothing.
    ///
    /// # Errors
    /// [`Timeout`](RecvTimeoutError::Timeout) if nothing came; otherwise as
    /// [`recv`](Self::recv).
    pub async fn recv_timeout(&mut self, timeout: Duration) -> Result<Event, RecvTimeoutError> {
        match future::timeout(timeout, self.recv()).await {
            Ok(received) => received.map_err(Into::into),
            Err(_) => Err(RecvTimeoutError::Timeout),
        }
    }

    /// Waits until there is something, and takes all that is at hand, by reference: see
    /// [`stream::WatchStream::recv_batch`].
    ///
    /// Cancel safe: a future that is dropped has taken nothing.
    ///
    /// # Errors
    /// As [`Watcher::recv_batch`].
    pub async fn recv_batch(&mut self) -> Result<Batch<'_>, RecvError> {
        self.stream.recv_batch().await
    }

    /// The same watcher as a stream of batches.
    pub fn batches(self) -> BatchStream {
        self.stream.batches()
    }

    /// The watcher: its progress, its name, a [`Closer`](crate::Closer).
    pub fn get_ref(&self) -> &Watcher {
        self.stream.get_ref()
    }

    /// The watcher, to receive from it in another way. It may be mixed freely with this stream.
    pub fn get_mut(&mut self) -> &mut Watcher {
        self.stream.get_mut()
    }

    /// The watcher, with everything that was not taken yet: it can go on in another thread, task
    /// or runtime.
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

/// Waits until everything up to `revision`, which may not be published yet, is in the queues of
/// the watchers it concerns; this long at most.
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
/// [`Timeout`](WaitError::Timeout), or [`Closed`](WaitError::Closed) where the engine stopped
/// before that revision.
pub async fn wait_for(hub: &Hub, revision: Revision, timeout: Duration) -> Result<(), WaitError> {
    future::timeout(timeout, hub.reached(revision))
        .await
        .unwrap_or(Err(WaitError::Timeout))
}

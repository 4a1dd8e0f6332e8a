//! Receiving and publishing under tokio: with its cooperative budget and on its clock. Feature
//! `tokio`.
//!
//! [`WatchStream`], [`BatchStream`] and [`AsyncPublisher`] are those of
//! [`stream`] and of the crate's root, and keep the same promises; cancelling is as
//! safe. What tokio adds:
//!
//! - Every receive and every publish takes from the task's budget
//!   ([`tokio::task::coop`]): a task whose watcher is never empty still lets
//!   the others of its thread run.
//! - Timeouts ([`WatchStream::recv_timeout`], [`wait_for`]) run on tokio's clock, so they work
//!   under `tokio::time::pause`, and need a runtime whose time is
//!   enabled. The rest needs no runtime at all.
//!
//! No task is started, and no thread is blocked or joined.
//!
//! ```
//! use kvwatch::tokio::{AsyncPublisher, WatchStream};
//! use kvwatch::{Builder, Change, Selector};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (publisher, hub) = Builder::new().spawn()?;
//! let mut publisher = AsyncPublisher::new(publisher);
//! let mut events = WatchStream::new(hub.watch(Selector::prefix("app/"))?);
//!
//! publisher.publish(Change::put("app/a", "1")).await?;
//! let event = events.recv().await?;
//! assert_eq!(event.key(), "app/a");
//! publisher.shutdown().await?;
//! # Ok(())
//! # }
//! ```

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ::tokio::task::coop;
use ::tokio::time;
use futures_core::stream::{FusedStream, Stream};

use crate::{
    Batch, Change, Entries, Event, Hub, Permit, PublishError, Publisher, RecvError,
    RecvTimeoutError, ReserveError, Revision, WaitError, Watcher, async_publisher, stream,
};

/// One poll that counts against the task's budget if it got anything. With the budget used up it
/// is not made: the task is woken again, after the others have run.
fn in_budget<T>(cx: &mut Context<'_>, poll: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
    let budget = ready!(coop::poll_proceed(cx));
    let polled = poll(cx);
    if polled.is_ready() {
        budget.made_progress();
    }
    polled
}

/// A watcher as a stream of single events that takes part in tokio's scheduling: a
/// [`stream::WatchStream`], where everything is said about lags, ends, slowness and dropping.
///
/// Dropping a task or a runtime drops its streams, and so unregisters their watchers.
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
///     // The receive is dropped here, and loses nothing by it.
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
        poll_fn(|cx| in_budget(cx, |cx| self.get_mut().poll_recv(cx))).await
    }

    /// Waits for the next event this long at most, on tokio's clock. An event that is at hand is
    /// returned however short the time.
    ///
    /// Cancel safe: a future that is dropped, and one whose time is up, has taken nothing.
    ///
    /// # Errors
    /// [`Timeout`](RecvTimeoutError::Timeout) if nothing came; otherwise as
    /// [`recv`](Self::recv).
    ///
    /// # Panics
    /// Outside of a tokio runtime, or in one whose time is not enabled, as every timer of tokio.
    pub async fn recv_timeout(&mut self, timeout: Duration) -> Result<Event, RecvTimeoutError> {
        match time::timeout(timeout, self.recv()).await {
            Ok(received) => received.map_err(Into::into),
            Err(_) => Err(RecvTimeoutError::Timeout),
        }
    }

    /// Waits until there is something, and takes all that is at hand, by reference: see
    /// [`stream::WatchStream::recv_batch`]. A batch counts once against the budget.
    ///
    /// Cancel safe: a future that is dropped has taken nothing.
    ///
    /// # Errors
    /// As [`Watcher::recv_batch`].
    pub async fn recv_batch(&mut self) -> Result<Batch<'_>, RecvError> {
        poll_fn(|cx| in_budget(cx, |cx| self.get_mut().poll_ready(cx))).await?;
        // Does not block: there is something at hand, and it cannot go away.
        self.get_mut().recv_batch()
    }

    /// The same watcher as a stream of batches.
    pub fn batches(self) -> BatchStream {
        BatchStream {
            stream: self.stream.batches(),
        }
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
        in_budget(cx, |cx| Pin::new(&mut self.stream).poll_next(cx))
    }
}

impl FusedStream for WatchStream {
    fn is_terminated(&self) -> bool {
        self.stream.is_terminated()
    }
}

/// A watcher as a stream of batches that takes part in tokio's scheduling: a
/// [`stream::BatchStream`]. A batch counts once against the budget.
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
        in_budget(cx, |cx| Pin::new(&mut self.stream).poll_next(cx))
    }
}

impl FusedStream for BatchStream {
    fn is_terminated(&self) -> bool {
        self.stream.is_terminated()
    }
}

/// The store's end in a tokio program: an [`AsyncPublisher`](async_publisher::AsyncPublisher)
/// whose publishing takes part in tokio's scheduling.
///
/// What happens where it is faster than the dispatcher, is dropped, or the dispatcher is gone,
/// and what cancelling does, is said [there](async_publisher::AsyncPublisher).
///
/// ```
/// use kvwatch::tokio::AsyncPublisher;
/// use kvwatch::{Builder, Change};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (publisher, hub) = Builder::new().spawn()?;
/// let mut publisher = AsyncPublisher::new(publisher);
/// let permit = publisher.reserve().await?;
/// permit.publish(Change::put("a", "1"))?;
/// publisher.flush().await?;
/// assert_eq!(hub.dispatched(), 1);
/// publisher.shutdown().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "dropping the publisher shuts the engine down"]
pub struct AsyncPublisher {
    publisher: async_publisher::AsyncPublisher,
}

impl AsyncPublisher {
    /// The same publisher, for tasks of tokio.
    pub fn new(publisher: Publisher) -> Self {
        Self {
            publisher: publisher.into(),
        }
    }

    /// Waits for room for one message. What is published through the permit does not wait.
    ///
    /// Cancel safe: nothing is taken up by waiting, nor by a permit that is dropped unused.
    ///
    /// # Errors
    /// [`ReserveError`] where the engine has stopped.
    pub async fn reserve(&mut self) -> Result<Permit<'_>, ReserveError> {
        poll_fn(|cx| in_budget(cx, |cx| self.publisher.poll_reserve(cx))).await?;
        Ok(self.publisher.permit())
    }

    /// Publishes one change as a transaction of its own. Waits while the ingress is full.
    ///
    /// Cancelled, it has published nothing and drops the change.
    ///
    /// # Errors
    /// As [`Publisher::publish`], with the change.
    pub async fn publish(&mut self, change: Change) -> Result<Revision, PublishError<Change>> {
        // Where the engine has stopped, publishing says so and gives the change back.
        let _ = self.reserve().await;
        self.publisher.permit().publish(change)
    }

    /// Publishes these changes as one transaction, in this order, under one revision. Waits while
    /// the ingress is full.
    ///
    /// Cancelled, it has published nothing and drops the changes.
    ///
    /// # Errors
    /// As [`Publisher::publish_batch`], with the changes.
    pub async fn publish_batch(
        &mut self,
        changes: impl IntoIterator<Item = Change>,
    ) -> Result<Revision, PublishError<Vec<Change>>> {
        let _ = self.reserve().await;
        self.publisher.permit().publish_batch(changes)
    }

    /// Publishes a chunk of transactions under the store's own revisions, as
    /// [`Publisher::publish_many`] does. Waits while the ingress is full. A chunk counts once
    /// against the budget.
    ///
    /// Cancelled, it has published nothing and drops the entries.
    ///
    /// # Errors
    /// As [`Publisher::publish_many`], with the entries; nothing of the chunk is published then.
    pub async fn publish_many<C>(
        &mut self,
        entries: impl IntoIterator<Item = (Revision, C)>,
    ) -> Result<Revision, PublishError<Entries>>
    where
        C: IntoIterator<Item = Change>,
    {
        let _ = self.reserve().await;
        self.publisher.permit().publish_many(entries)
    }

    /// Waits until everything published so far is in the queues of the watchers it concerns.
    ///
    /// Cancel safe: it only waits.
    ///
    /// # Errors
    /// [`Closed`](WaitError::Closed) where the dispatcher is gone.
    pub async fn flush(&self) -> Result<(), WaitError> {
        self.publisher.flush().await
    }

    /// Dispatches everything published, ends every watcher behind it, and waits until that is
    /// done; no thread is blocked or joined for it. A runtime may be shut down before: the
    /// dispatcher is no task of it.
    ///
    /// Cancelled, or dropped without being polled, it goes on in the background.
    ///
    /// # Errors
    /// [`Closed`](WaitError::Closed) where the dispatcher was gone before.
    pub async fn shutdown(self) -> Result<(), WaitError> {
        self.publisher.shutdown().await
    }

    /// The revision published last.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.publisher.revision()
    }

    /// Another handle to register watchers through.
    #[must_use]
    pub fn hub(&self) -> Hub {
        self.publisher.hub()
    }

    /// The publisher.
    pub fn get_ref(&self) -> &Publisher {
        self.publisher.get_ref()
    }

    /// The publisher, for what never waits: `try_publish`, `publish_lossy`, `compact`. Its
    /// `publish` blocks the worker while the ingress is full.
    pub fn get_mut(&mut self) -> &mut Publisher {
        self.publisher.get_mut()
    }

    /// The publisher, to go on with from a thread or in another runtime.
    pub fn into_inner(self) -> Publisher {
        self.publisher.into_inner()
    }
}

impl From<Publisher> for AsyncPublisher {
    fn from(publisher: Publisher) -> Self {
        Self::new(publisher)
    }
}

/// Waits until everything up to `revision`, which may not be published yet, is in the queues of
/// the watchers it concerns; this long at most, on tokio's clock.
///
/// Cancel safe: it only waits.
///
/// ```
/// use kvwatch::{Builder, Change, WaitError};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (mut publisher, hub) = Builder::new().spawn()?;
/// publisher.publish(Change::put("a", "1"))?;
/// kvwatch::tokio::wait_for(&hub, 1, Duration::from_secs(5)).await?;
/// let late = kvwatch::tokio::wait_for(&hub, 2, Duration::from_millis(1)).await;
/// assert_eq!(late, Err(WaitError::Timeout));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Timeout`](WaitError::Timeout), or [`Closed`](WaitError::Closed) where the engine stopped
/// before that revision.
///
/// # Panics
/// Outside of a tokio runtime, or in one whose time is not enabled, as every timer of tokio.
pub async fn wait_for(hub: &Hub, revision: Revision, timeout: Duration) -> Result<(), WaitError> {
    time::timeout(timeout, hub.reached(revision))
        .await
        .unwrap_or(Err(WaitError::Timeout))
}

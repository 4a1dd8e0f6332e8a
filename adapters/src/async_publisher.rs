//! Publishing from async code, on any executor.

use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::task::{Context, Poll};

use crate::{Change, EndReason, Entries, Hub, PublishError, Publisher, Revision, WaitError};

/// The store's end where the apply path is async: waiting for room in the ingress lets other
/// tasks run instead of blocking a thread of the executor.
///
/// Like the [`Publisher`] that it holds, there is one, it is not `Clone`, and publishing takes
/// `&mut self`, so that the order of events is the order of commits.
///
/// - *If I am faster than the dispatcher:* the ingress fills up, and a publish waits. A slow
///   watcher never makes it wait. To give a change back or to report its loss instead of waiting,
///   use `try_publish` or `publish_lossy` of [`get_mut`](Self::get_mut).
/// - *If I am dropped:* everything published is still dispatched, then every watcher ends with
///   [`EndReason::ShutDown`]. [`shutdown`](Self::shutdown) does the same and can be awaited.
/// - *If the dispatcher is gone:* publishing fails with
///   [`Closed`](crate::PublishErrorKind::Closed), and a publish that waits is woken for that.
///
/// It works on any executor. With tokio, take `kvwatch::tokio::AsyncPublisher`, which takes part
/// in tokio's scheduling.
///
/// # Cancel safety
///
/// Nothing is published before the last poll, and nothing waits behind it: a future that is
/// dropped before it is done has published nothing and used up no revision, but drops what was
/// handed to it. To keep that, [`reserve`](Self::reserve) first: what is not handed over yet
/// cannot be lost.
///
/// ```
/// use kvwatch::{AsyncPublisher, Builder, Change};
///
/// # futures::executor::block_on(async {
/// let (publisher, hub) = Builder::new().spawn()?;
/// let mut publisher = AsyncPublisher::new(publisher);
/// let mut watcher = hub.watch("app/a")?;
///
/// publisher.publish(Change::put("app/a", "1")).await?;
/// publisher.publish_batch([Change::put("app/a", "2"), Change::delete("app/b")]).await?;
/// publisher.flush().await?;
/// publisher.shutdown().await?;
/// assert_eq!(watcher.len(), 2);
/// # let _ = watcher.recv();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
#[must_use = "dropping the publisher shuts the engine down"]
pub struct AsyncPublisher {
    publisher: Publisher,
}

impl AsyncPublisher {
    /// The same publisher, for async code.
    pub fn new(publisher: Publisher) -> Self {
        Self { publisher }
    }

    /// Waits for room for one message. What is published through the permit does not wait.
    ///
    /// Cancel safe: nothing is taken up by waiting, nor by a permit that is dropped unused.
    ///
    /// ```
    /// # use kvwatch::{AsyncPublisher, Builder, Change};
    /// # futures::executor::block_on(async {
    /// # let (publisher, _hub) = Builder::new().spawn()?;
    /// # let mut publisher = AsyncPublisher::new(publisher);
    /// let change = Change::put("app/a", "1");
    /// let permit = publisher.reserve().await?; // cancelled here, the change is still at hand
    /// assert_eq!(permit.publish(change)?, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// [`ReserveError`] where the engine has stopped.
    pub async fn reserve(&mut self) -> Result<Permit<'_>, ReserveError> {
        poll_fn(|cx| self.poll_reserve(cx)).await?;
        Ok(self.permit())
    }

    /// Ready once there is room for a message. The waker of the last call is the one that is
    /// woken.
    ///
    /// Cancel safe: nothing is taken up by it.
    ///
    /// # Errors
    /// [`ReserveError`] where the engine has stopped.
    pub fn poll_reserve(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ReserveError>> {
        let polled = self.publisher.poll_reserve(cx);
        polled.map_err(|reason| ReserveError { reason })
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
        self.permit().publish(change)
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
        self.permit().publish_batch(changes)
    }

    /// Publishes a chunk of transactions under the store's own revisions, as
    /// [`Publisher::publish_many`] does. Waits while the ingress is full.
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
        self.permit().publish_many(entries)
    }

    /// Waits until everything published so far is in the queues of the watchers it concerns.
    ///
    /// Cancel safe: it only waits.
    ///
    /// # Errors
    /// [`Closed`](WaitError::Closed) where the dispatcher is gone.
    pub async fn flush(&self) -> Result<(), WaitError> {
        self.hub().reached(self.publisher.revision()).await
    }

    /// Dispatches everything published, ends every watcher behind it with
    /// [`EndReason::ShutDown`], and waits until that is done. Watchers can still take what they
    /// have not taken yet.
    ///
    /// It joins no thread: when it returns, the one of [`Builder::spawn`](crate::Builder::spawn)
    /// has nothing left to do but to return.
    ///
    /// Cancelled, or dropped without being polled, it goes on in the background: only the news
    /// that it is done are lost.
    ///
    /// # Errors
    /// [`Closed`](WaitError::Closed) where the dispatcher was gone before.
    pub async fn shutdown(self) -> Result<(), WaitError> {
        let hub = self.hub();
        drop(self);
        // No revision is that high: this ends with the engine.
        match hub.reached(Revision::MAX).await {
            Err(WaitError::Closed(EndReason::ShutDown)) => Ok(()),
            other => other,
        }
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
        &self.publisher
    }

    /// The publisher, for what never waits: `try_publish`, `publish_lossy`, `compact`. Its
    /// `publish` blocks the thread while the ingress is full.
    pub fn get_mut(&mut self) -> &mut Publisher {
        &mut self.publisher
    }

    /// The publisher, to go on with from a thread or in another runtime.
    pub fn into_inner(self) -> Publisher {
        self.publisher
    }

    /// To be called once there is room, or the engine has stopped.
    pub(crate) fn permit(&mut self) -> Permit<'_> {
        Permit {
            publisher: &mut self.publisher,
        }
    }
}

impl From<Publisher> for AsyncPublisher {
    fn from(publisher: Publisher) -> Self {
        Self::new(publisher)
    }
}

/// Room for one message: from [`AsyncPublisher::reserve`]. Each way to use it publishes at once.
///
/// Dropped unused, it gives nothing up: the room stays, as only this publisher could take it.
#[derive(Debug)]
#[must_use = "room alone publishes nothing"]
pub struct Permit<'a> {
    publisher: &'a mut Publisher,
}

impl Permit<'_> {
    /// Publishes one change as a transaction of its own, without waiting.
    ///
    /// # Errors
    /// As [`Publisher::publish`]: the engine may have stopped since.
    pub fn publish(self, change: Change) -> Result<Revision, PublishError<Change>> {
        self.publisher.try_publish(change)
    }

    /// Publishes these changes as one transaction, without waiting.
    ///
    /// # Errors
    /// As [`Publisher::publish_batch`].
    pub fn publish_batch(
        self,
        changes: impl IntoIterator<Item = Change>,
    ) -> Result<Revision, PublishError<Vec<Change>>> {
        self.publisher.try_publish_batch(changes)
    }

    /// Publishes a chunk of transactions under the store's own revisions, without waiting.
    ///
    /// # Errors
    /// As [`Publisher::publish_many`]; nothing of the chunk is published then.
    pub fn publish_many<C>(
        self,
        entries: impl IntoIterator<Item = (Revision, C)>,
    ) -> Result<Revision, PublishError<Entries>>
    where
        C: IntoIterator<Item = Change>,
    {
        self.publisher.try_publish_many(entries)
    }
}

/// There will be no room any more: the engine has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReserveError {
    reason: EndReason,
}

impl ReserveError {
    /// Why the engine has stopped.
    #[must_use]
    pub fn reason(&self) -> EndReason {
        self.reason
    }
}

impl fmt::Display for ReserveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "nothing can be published any more: {}", self.reason)
    }
}

impl Error for ReserveError {}

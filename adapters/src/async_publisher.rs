//! Publishing from async code, on any executor.

use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::task::{Context, Poll};

use crate::{Change, EndReason, Entries, Hub, PublishError, Publisher, Revision, WaitError};

/// A [`Publisher`] for an async apply path. A wait for room in the ingress suspends the task; it
/// does not block a thread of the executor.
///
/// There is one publisher per engine. It is not `Clone`, and publishing takes `&mut self`, so the
/// order of events is the order of commits.
///
/// - *If I am faster than the dispatcher:* the ingress fills up, and the next publish waits for
///   room. A slow watcher never makes a publish wait. `try_publish` and `publish_lossy` of
///   [`get_mut`](Self::get_mut) do not wait: the first returns the change, the second reports it
///   as lost.
/// - *If I am dropped:* everything published is dispatched, then every watcher ends with
///   [`EndReason::ShutDown`], or with [`EndReason::PublisherPanicked`] if the thread panics.
///   [`shutdown`](Self::shutdown) does the same and can be awaited.
/// - *If the dispatcher has stopped:* publishing fails with
///   [`Closed`](crate::PublishErrorKind::Closed). A publish that waits is woken and fails too.
///
/// It works on any executor. In a tokio program use `kvwatch::tokio::AsyncPublisher`, which takes
/// part in tokio's cooperative scheduling.
///
/// # Cancel safety
///
/// A publish takes effect in the last poll of its future. If the future is dropped before that,
/// nothing has been published and no revision is used, but the future drops the changes that it
/// was given. To keep them, [`reserve`](Self::reserve) room first and hand the change to the
/// [`Permit`].
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
    /// Wraps a publisher for async code.
    pub fn new(publisher: Publisher) -> Self {
        Self { publisher }
    }

    /// Waits for room for one message in the ingress. Publishing through the permit does not
    /// wait.
    ///
    /// Cancel safe: a wait that is dropped takes no room, and neither does an unused permit.
    ///
    /// ```
    /// # use kvwatch::{AsyncPublisher, Builder, Change};
    /// # futures::executor::block_on(async {
    /// # let (publisher, _hub) = Builder::new().spawn()?;
    /// # let mut publisher = AsyncPublisher::new(publisher);
    /// let change = Change::put("app/a", "1");
    /// // If the task is cancelled here, `change` is not lost.
    /// let permit = publisher.reserve().await?;
    /// assert_eq!(permit.publish(change)?, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// [`ReserveError`] if the engine has stopped.
    pub async fn reserve(&mut self) -> Result<Permit<'_>, ReserveError> {
        poll_fn(|cx| self.poll_reserve(cx)).await?;
        Ok(self.permit())
    }

    /// Polls for room for one message in the ingress. Only the waker of the latest call is woken.
    ///
    /// Cancel safe: it takes no room.
    ///
    /// ```
    /// use kvwatch::{AsyncPublisher, Builder, Change};
    /// use std::future::poll_fn;
    ///
    /// # futures::executor::block_on(async {
    /// let (publisher, _hub) = Builder::new().spawn()?;
    /// let mut publisher = AsyncPublisher::new(publisher);
    /// poll_fn(|cx| publisher.poll_reserve(cx)).await?;
    /// // There is room, so this does not fail with `Full`.
    /// assert_eq!(publisher.get_mut().try_publish(Change::delete("a"))?, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// [`ReserveError`] if the engine has stopped.
    pub fn poll_reserve(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ReserveError>> {
        let polled = self.publisher.poll_reserve(cx);
        polled.map_err(|reason| ReserveError { reason })
    }

    /// Publishes one change as a transaction of its own. Waits while the ingress is full.
    ///
    /// If the future is dropped before it completes, nothing is published and the change is
    /// dropped.
    ///
    /// # Errors
    /// As [`Publisher::publish`]. The error returns the change.
    pub async fn publish(&mut self, change: Change) -> Result<Revision, PublishError<Change>> {
        // If the engine has stopped, the publish below reports it and returns the change.
        let _ = self.reserve().await;
        self.permit().publish(change)
    }

    /// Publishes these changes as one transaction, in this order, under one revision. Waits while
    /// the ingress is full.
    ///
    /// If the future is dropped before it completes, nothing is published and the changes are
    /// dropped.
    ///
    /// # Errors
    /// As [`Publisher::publish_batch`]. The error returns the changes.
    pub async fn publish_batch(
        &mut self,
        changes: impl IntoIterator<Item = Change>,
    ) -> Result<Revision, PublishError<Vec<Change>>> {
        let _ = self.reserve().await;
        self.permit().publish_batch(changes)
    }

    /// Publishes several transactions at once, each under a revision that the store assigned, as
    /// [`Publisher::publish_many`] does. Returns the last revision. Waits while the ingress is
    /// full.
    ///
    /// If the future is dropped before it completes, nothing is published and the entries are
    /// dropped.
    ///
    /// ```
    /// use kvwatch::{AsyncPublisher, Builder, Change};
    ///
    /// # futures::executor::block_on(async {
    /// let (publisher, hub) = Builder::new().spawn()?;
    /// let mut publisher = AsyncPublisher::new(publisher);
    /// let entries = [(7, vec![Change::put("a", "1")]), (9, vec![Change::delete("a")])];
    /// assert_eq!(publisher.publish_many(entries).await?, 9);
    /// # let _ = hub;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// As [`Publisher::publish_many`]. Nothing is published then, and the error returns the
    /// entries.
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

    /// Waits until everything published so far is in the queues of the watchers that match it.
    ///
    /// Cancel safe: it only waits.
    ///
    /// # Errors
    /// [`Closed`](WaitError::Closed) if the dispatcher stops before that.
    pub async fn flush(&self) -> Result<(), WaitError> {
        self.hub().wait_for_async(self.publisher.revision()).await
    }

    /// Shuts the engine down and waits until it is down: everything published is dispatched, then
    /// every watcher ends with [`EndReason::ShutDown`]. Watchers can still receive the events that
    /// they have not received yet.
    ///
    /// No thread is joined. When this returns, the thread that
    /// [`Builder::spawn`](crate::Builder::spawn) started has no work left and is about to exit.
    ///
    /// If the future is dropped, even before its first poll, the shutdown goes on in the
    /// background; only the notice of its completion is lost.
    ///
    /// ```
    /// use kvwatch::{AsyncPublisher, Builder, Change, EndReason, RecvError};
    ///
    /// # futures::executor::block_on(async {
    /// let (publisher, hub) = Builder::new().spawn()?;
    /// let mut watcher = hub.watch("a")?;
    /// let mut publisher = AsyncPublisher::new(publisher);
    /// publisher.publish(Change::put("a", "1")).await?;
    /// publisher.shutdown().await?;
    ///
    /// assert_eq!(watcher.recv()?.revision(), 1);
    /// assert_eq!(watcher.recv(), Err(RecvError::Closed(EndReason::ShutDown)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// [`Closed`](WaitError::Closed) if the dispatcher had stopped for another reason.
    pub async fn shutdown(self) -> Result<(), WaitError> {
        let hub = self.hub();
        drop(self);
        // No event has this revision, so the wait ends when the engine does.
        match hub.wait_for_async(Revision::MAX).await {
            Err(WaitError::Closed(EndReason::ShutDown)) => Ok(()),
            other => other,
        }
    }

    /// The last published revision.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.publisher.revision()
    }

    /// A hub of the same engine, to register watchers with.
    #[must_use]
    pub fn hub(&self) -> Hub {
        self.publisher.hub()
    }

    /// The wrapped publisher.
    pub fn get_ref(&self) -> &Publisher {
        &self.publisher
    }

    /// The wrapped publisher, for the calls that never wait: `try_publish`, `publish_lossy`,
    /// `compact`. Its `publish` blocks the thread while the ingress is full.
    pub fn get_mut(&mut self) -> &mut Publisher {
        &mut self.publisher
    }

    /// Returns the wrapped publisher, for use on a thread or in another runtime. The engine keeps
    /// running.
    pub fn into_inner(self) -> Publisher {
        self.publisher
    }

    /// A permit without a wait. The caller has polled [`poll_reserve`](Self::poll_reserve) until
    /// it was ready; if that failed, publishing through the permit fails too.
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

/// Room for one message in the ingress: from [`AsyncPublisher::reserve`]. Each of its methods
/// publishes at once and uses the permit up.
///
/// An unused permit may be dropped. The room stays free, and only this publisher can take it.
///
/// ```
/// use kvwatch::{AsyncPublisher, Builder, Change};
///
/// # futures::executor::block_on(async {
/// let (publisher, _hub) = Builder::new().spawn()?;
/// let mut publisher = AsyncPublisher::new(publisher);
/// drop(publisher.reserve().await?);
///
/// let permit = publisher.reserve().await?;
/// let revision = permit.publish_batch([Change::put("a", "1"), Change::put("b", "2")])?;
/// assert_eq!(revision, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
#[must_use = "a permit that is not used publishes nothing"]
pub struct Permit<'a> {
    publisher: &'a mut Publisher,
}

impl Permit<'_> {
    /// Publishes one change as a transaction of its own, without waiting.
    ///
    /// # Errors
    /// As [`Publisher::publish`]: the engine may have stopped since the permit was issued.
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

    /// Publishes several transactions under the store's own revisions, without waiting.
    ///
    /// # Errors
    /// As [`Publisher::publish_many`]. Nothing is published then.
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

/// The error of [`AsyncPublisher::reserve`]: the engine has stopped, so there will be no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReserveError {
    reason: EndReason,
}

impl ReserveError {
    /// Why the engine stopped.
    #[must_use]
    pub fn reason(&self) -> EndReason {
        self.reason
    }
}

impl fmt::Display for ReserveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the engine accepts no more changes: {}", self.reason)
    }
}

impl Error for ReserveError {}

//! A publisher within tokio's budget.

use std::future::poll_fn;

use super::budget::poll_in_budget;
use crate::{
    Change, Entries, Hub, Permit, PublishError, Publisher, ReserveError, Revision, WaitError,
    async_publisher,
};

/// A publisher for tokio programs: an [`AsyncPublisher`](async_publisher::AsyncPublisher) that takes
/// part in tokio's cooperative scheduling.
///
/// - *If I am faster than the dispatcher:* the ingress fills up, and the next publish waits for
///   room. A slow watcher never makes a publish wait.
/// - *If I am dropped:* everything published is dispatched, then every watcher ends with
///   [`EndReason::ShutDown`](crate::EndReason::ShutDown), or with
///   [`PublisherPanicked`](crate::EndReason::PublisherPanicked) if the thread panics.
/// - *If the dispatcher has stopped:* publishing fails with
///   [`Closed`](crate::PublishErrorKind::Closed). A publish that waits is woken and fails too.
///
/// Cancel safety is that of [`kvwatch::AsyncPublisher`](async_publisher::AsyncPublisher#cancel-safety).
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
    /// Wraps a publisher for tokio programs.
    pub fn new(publisher: Publisher) -> Self {
        Self {
            publisher: publisher.into(),
        }
    }

    /// Waits for room for one message in the ingress. Publishing through the permit does not
    /// wait.
    ///
    /// Cancel safe: a wait that is dropped takes no room, and neither does an unused permit.
    ///
    /// # Errors
    /// [`ReserveError`] if the engine has stopped.
    pub async fn reserve(&mut self) -> Result<Permit<'_>, ReserveError> {
        poll_fn(|cx| poll_in_budget(cx, |cx| self.publisher.poll_reserve(cx))).await?;
        Ok(self.publisher.permit())
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
        self.publisher.permit().publish(change)
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
        self.publisher.permit().publish_batch(changes)
    }

    /// Publishes several transactions at once, each under a revision that the store assigned, as
    /// [`Publisher::publish_many`] does. Returns the last revision. Waits while the ingress is
    /// full. A call takes one unit of the budget.
    ///
    /// If the future is dropped before it completes, nothing is published and the entries are
    /// dropped.
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
        self.publisher.permit().publish_many(entries)
    }

    /// Waits until everything published so far is in the queues of the watchers that match it.
    ///
    /// Cancel safe: it only waits.
    ///
    /// # Errors
    /// [`Closed`](WaitError::Closed) if the dispatcher stops before that.
    pub async fn flush(&self) -> Result<(), WaitError> {
        self.publisher.flush().await
    }

    /// Shuts the engine down and waits until it is down: everything published is dispatched, then
    /// every watcher ends with [`EndReason::ShutDown`](crate::EndReason::ShutDown). No thread is
    /// blocked or joined.
    ///
    /// If the future is dropped, even before its first poll, the shutdown goes on in the
    /// background. The dispatcher is not a task of the runtime, so the runtime may be shut down
    /// first.
    ///
    /// # Errors
    /// [`Closed`](WaitError::Closed) if the dispatcher had stopped for another reason.
    pub async fn shutdown(self) -> Result<(), WaitError> {
        self.publisher.shutdown().await
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
        self.publisher.get_ref()
    }

    /// The wrapped publisher, for the calls that never wait: `try_publish`, `publish_lossy`,
    /// `compact`. Its `publish` blocks the worker thread while the ingress is full.
    pub fn get_mut(&mut self) -> &mut Publisher {
        self.publisher.get_mut()
    }

    /// Returns the wrapped publisher, for use on a thread or in another runtime. The engine keeps
    /// running.
    pub fn into_inner(self) -> Publisher {
        self.publisher.into_inner()
    }
}

impl From<Publisher> for AsyncPublisher {
    fn from(publisher: Publisher) -> Self {
        Self::new(publisher)
    }
}

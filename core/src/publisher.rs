//! The publisher: the store's end of an engine.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::change::{Change, Revision};
use crate::end::EndReason;
use crate::engine::Engine;
use crate::engine::chunk::Chunk;
use crate::engine::sender::{Sender, WaitPolicy};
use crate::error::{CompactError, Entries, PublishError, WaitError};
use crate::hub::Hub;
use crate::lagged::{LagReason, Lagged};

/// The store's end of an engine: changes published here reach every watcher that wants them.
///
/// An engine has one publisher. It is not `Clone`, and publishing takes `&mut self`: so the compiler
/// checks that the order of events is the order of commits. A store with many writers publishes
/// inside its commit lock, after a change has become readable.
///
/// - *If I am faster than the dispatcher:* the ingress fills up, and a publish waits (`publish`),
///   gives the changes back (`try_publish`, `publish_timeout`) or reports the loss to every
///   watcher (`publish_lossy`). A slow watcher never makes a publish wait.
/// - *If I am dropped:* everything published is still dispatched, then every watcher ends with
///   [`EndReason::ShutDown`], or with [`EndReason::PublisherPanicked`] if the thread that drops me
///   panics. [`shutdown`](Self::shutdown) does the same as a drop and waits for it.
/// - *If the dispatcher is gone:* publishing fails with [`Closed`](crate::PublishErrorKind::Closed).
///
/// ```
/// # use kvwatch_core as kvwatch;
/// use kvwatch::{Builder, Change};
/// use std::time::Duration;
///
/// let (mut publisher, hub) = Builder::new().spawn()?;
/// let mut watcher = hub.watch("app/a")?;
/// publisher.publish(Change::put("app/a", "1"))?;
/// publisher.publish_batch([Change::delete("app/a"), Change::put("app/b", "2")])?;
/// assert_eq!(watcher.recv()?.revision(), 1);
/// assert_eq!(watcher.recv()?.value(), None);
/// publisher.shutdown(Duration::from_secs(5))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// It cannot be cloned, because the events of two publishers would have no order:
///
/// ```compile_fail
/// # use kvwatch_core as kvwatch;
/// let (publisher, _hub) = kvwatch::Builder::new().spawn().unwrap();
/// let second = publisher.clone();
/// ```
#[must_use = "dropping the publisher shuts the engine down"]
pub struct Publisher {
    sender: Sender,
    /// The thread that `Builder::spawn` started.
    thread: Option<JoinHandle<()>>,
}

/// The outcome of a lossy publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lossy {
    /// The changes were published under this revision.
    Queued(Revision),
    /// The ingress was full: every watcher gets a lag at this revision.
    Dropped(Revision),
}

impl Lossy {
    /// The revision that the changes have, or would have had.
    #[must_use]
    pub fn revision(self) -> Revision {
        match self {
            Self::Queued(revision) | Self::Dropped(revision) => revision,
        }
    }
}

impl Publisher {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self {
            sender: Sender::new(engine),
            thread: None,
        }
    }

    /// Adds the thread on which the dispatcher runs.
    pub(crate) fn with_thread(mut self, thread: JoinHandle<()>) -> Self {
        self.thread = Some(thread);
        self
    }

    /// Publishes one change as a transaction of its own. Waits while the ingress is full.
    ///
    /// # Errors
    /// [`Closed`](crate::PublishErrorKind::Closed) if the dispatcher is gone;
    /// [`OnDispatcher`](crate::PublishErrorKind::OnDispatcher) if it would wait within a waker, on the
    /// thread that makes room.
    pub fn publish(&mut self, change: Change) -> Result<Revision, PublishError<Change>> {
        self.sender.publish_one(change, WaitPolicy::Block)
    }

    /// Publishes these changes as one transaction, in this order, under one revision. A transaction
    /// without changes uses up a revision too. Waits while the ingress is full.
    ///
    /// # Errors
    /// Those of [`publish`](Self::publish), and
    /// [`DuplicateKey`](crate::PublishErrorKind::DuplicateKey) if a transaction changes a key twice and the
    /// replay source keeps one change of it.
    pub fn publish_batch(
        &mut self,
        changes: impl IntoIterator<Item = Change>,
    ) -> Result<Revision, PublishError<Vec<Change>>> {
        self.publish_changes(changes, WaitPolicy::Block)
    }

    /// Publishes a chunk of transactions under the store's own revisions, which must grow and may
    /// skip numbers. A transaction may have no changes. Returns the last revision. The chunk is one
    /// message in the ingress, however many transactions it has; watchers receive each transaction
    /// by itself. Waits while the ingress is full.
    ///
    /// ```
    /// # use kvwatch_core::{Builder, Change};
    /// # let (mut publisher, _hub) = Builder::new().start_revision(40).spawn()?;
    /// publisher.publish_many([
    ///     (41, vec![Change::put("a", "1"), Change::put("b", "1")]),
    ///     (44, vec![Change::delete("a")]),
    /// ])?;
    /// assert_eq!(publisher.revision(), 44);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`publish_batch`](Self::publish_batch), and
    /// [`Revision`](crate::PublishErrorKind::Revision) if a revision does not grow. Nothing of the chunk
    /// is published then.
    pub fn publish_many<C>(
        &mut self,
        entries: impl IntoIterator<Item = (Revision, C)>,
    ) -> Result<Revision, PublishError<Entries>>
    where
        C: IntoIterator<Item = Change>,
    {
        self.publish_entries(entries, WaitPolicy::Block)
    }

    /// Like [`publish`](Self::publish) but never waits.
    ///
    /// # Errors
    /// Also [`Full`](crate::PublishErrorKind::Full).
    pub fn try_publish(&mut self, change: Change) -> Result<Revision, PublishError<Change>> {
        self.sender.publish_one(change, WaitPolicy::Try)
    }

    /// Like [`publish_batch`](Self::publish_batch) but never waits.
    ///
    /// # Errors
    /// Also [`Full`](crate::PublishErrorKind::Full).
    pub fn try_publish_batch(
        &mut self,
        changes: impl IntoIterator<Item = Change>,
    ) -> Result<Revision, PublishError<Vec<Change>>> {
        self.publish_changes(changes, WaitPolicy::Try)
    }

    /// Like [`publish_many`](Self::publish_many) but never waits.
    ///
    /// # Errors
    /// Also [`Full`](crate::PublishErrorKind::Full).
    pub fn try_publish_many<C>(
        &mut self,
        entries: impl IntoIterator<Item = (Revision, C)>,
    ) -> Result<Revision, PublishError<Entries>>
    where
        C: IntoIterator<Item = Change>,
    {
        self.publish_entries(entries, WaitPolicy::Try)
    }

    /// Like [`publish`](Self::publish) but waits for `timeout` at most.
    ///
    /// # Errors
    /// Those of [`publish`](Self::publish), and [`Full`](crate::PublishErrorKind::Full) once the time is
    /// over. `OnDispatcher` is returned at once.
    pub fn publish_timeout(
        &mut self,
        change: Change,
        timeout: Duration,
    ) -> Result<Revision, PublishError<Change>> {
        self.sender
            .publish_one(change, WaitPolicy::timeout(timeout))
    }

    /// Like [`publish_batch`](Self::publish_batch) but waits for `timeout` at most.
    ///
    /// # Errors
    /// Those of [`publish_batch`](Self::publish_batch), and [`Full`](crate::PublishErrorKind::Full) once the time is
    /// over. `OnDispatcher` is returned at once.
    pub fn publish_batch_timeout(
        &mut self,
        changes: impl IntoIterator<Item = Change>,
        timeout: Duration,
    ) -> Result<Revision, PublishError<Vec<Change>>> {
        self.publish_changes(changes, WaitPolicy::timeout(timeout))
    }

    /// Like [`publish_many`](Self::publish_many) but waits for `timeout` at most.
    ///
    /// # Errors
    /// Those of [`publish_many`](Self::publish_many), and [`Full`](crate::PublishErrorKind::Full) once the time is
    /// over. `OnDispatcher` is returned at once.
    pub fn publish_many_timeout<C>(
        &mut self,
        entries: impl IntoIterator<Item = (Revision, C)>,
        timeout: Duration,
    ) -> Result<Revision, PublishError<Entries>>
    where
        C: IntoIterator<Item = Change>,
    {
        self.publish_entries(entries, WaitPolicy::timeout(timeout))
    }

    /// Like [`publish`](Self::publish) but never waits: while the ingress is full, the change is
    /// dropped, and every watcher gets a [`Lagged`] with the change's revision in its place, whether
    /// the change would have matched or not.
    ///
    /// # Errors
    /// [`Closed`](crate::PublishErrorKind::Closed) if the dispatcher is gone.
    pub fn publish_lossy(&mut self, change: Change) -> Result<Lossy, PublishError<Change>> {
        match self.sender.publish_one(change, WaitPolicy::Try) {
            Ok(revision) => Ok(Lossy::Queued(revision)),
            Err(refused) => self.drop_refused(refused, 1),
        }
    }

    /// Like [`publish_batch`](Self::publish_batch) but never waits: see
    /// [`publish_lossy`](Self::publish_lossy).
    ///
    /// # Errors
    /// [`Closed`](crate::PublishErrorKind::Closed) if the dispatcher is gone, and
    /// [`DuplicateKey`](crate::PublishErrorKind::DuplicateKey) if a transaction changes a key twice and the
    /// replay source keeps one change of it.
    pub fn publish_batch_lossy(
        &mut self,
        changes: impl IntoIterator<Item = Change>,
    ) -> Result<Lossy, PublishError<Vec<Change>>> {
        match self.publish_changes(changes, WaitPolicy::Try) {
            Ok(revision) => Ok(Lossy::Queued(revision)),
            Err(refused) => {
                let events = refused.input().len();
                self.drop_refused(refused, events)
            }
        }
    }

    /// Like [`publish_many`](Self::publish_many) but never waits: see
    /// [`publish_lossy`](Self::publish_lossy).
    ///
    /// # Errors
    /// Those of [`publish_batch_lossy`](Self::publish_batch_lossy), and
    /// [`Revision`](crate::PublishErrorKind::Revision) if a revision does not grow.
    pub fn publish_many_lossy<C>(
        &mut self,
        entries: impl IntoIterator<Item = (Revision, C)>,
    ) -> Result<Lossy, PublishError<Entries>>
    where
        C: IntoIterator<Item = Change>,
    {
        match self.publish_entries(entries, WaitPolicy::Try) {
            Ok(revision) => Ok(Lossy::Queued(revision)),
            Err(refused) => {
                let entries = refused.input();
                let revision = |entry: Option<&(Revision, _)>| {
                    entry.map_or(self.sender.last(), |entry| entry.0)
                };
                let gap = Lagged {
                    first: revision(entries.first()),
                    last: revision(entries.last()),
                    reason: LagReason::Dropped,
                };
                let events = entries.iter().map(|entry| entry.1.len()).sum();
                let transactions = entries.len();
                self.sender
                    .record_gap(refused, gap, events, transactions)
                    .map(Lossy::Dropped)
            }
        }
    }

    /// Ready once there is room for a message: the next publish then does not wait. It is for async
    /// adapters. The waker of the last call is the one that is woken.
    ///
    /// Cancel safe: it reserves nothing.
    ///
    /// # Errors
    /// The reason for which the engine has stopped, if it has.
    pub fn poll_reserve(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), EndReason>> {
        self.sender.poll_room(cx)
    }

    /// The revision published last, or
    /// [`Builder::start_revision`](crate::Builder::start_revision) before the first publish.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.sender.last()
    }

    /// A handle for registering watchers.
    #[must_use]
    pub fn hub(&self) -> Hub {
        Hub::new(Arc::clone(self.sender.engine()))
    }

    /// Waits until everything published is in the queues of the watchers it concerns.
    ///
    /// # Errors
    /// [`Timeout`](WaitError::Timeout), or [`Closed`](WaitError::Closed) if the dispatcher is gone.
    pub fn flush(&mut self, timeout: Duration) -> Result<(), WaitError> {
        self.hub().wait_for(self.sender.last(), timeout)
    }

    /// Removes everything below `revision` from the history: it is then the oldest revision that a
    /// watch can start from. A watcher that is behind and has not read that far gets a lag. Live
    /// watchers notice nothing.
    ///
    /// # Errors
    /// [`Future`](CompactError::Future) above the revision that will be published next.
    pub fn compact(&mut self, revision: Revision) -> Result<(), CompactError> {
        let largest = self.sender.last() + 1;
        if revision > largest {
            return Err(CompactError::Future {
                requested: revision,
                largest,
            });
        }
        let mut retired = Vec::new();
        self.sender
            .engine()
            .history
            .write()
            .compact(revision, &mut retired);
        Ok(())
    }

    /// Dispatches everything published, ends every watcher behind it with
    /// [`EndReason::ShutDown`], and waits until that is done and the thread of
    /// [`Builder::spawn`](crate::Builder::spawn) has ended. Watchers can still receive everything that
    /// was published.
    ///
    /// # Errors
    /// [`Timeout`](WaitError::Timeout): the shutdown goes on in the background.
    /// [`Closed`](WaitError::Closed): the dispatcher was gone before.
    pub fn shutdown(mut self, timeout: Duration) -> Result<(), WaitError> {
        self.announce_close(EndReason::ShutDown);
        // No revision is that high: the wait ends with the engine.
        let waited = self.hub().wait_for(Revision::MAX, timeout);
        match waited {
            Err(WaitError::Closed(EndReason::ShutDown)) => {
                if let Some(thread) = self.thread.take() {
                    // Nothing is left for the thread to do.
                    drop(thread.join());
                }
                Ok(())
            }
            other => other,
        }
    }

    /// Drops the changes of one transaction that found no room, and records a gap for them.
    fn drop_refused<T>(
        &mut self,
        refused: PublishError<T>,
        events: usize,
    ) -> Result<Lossy, PublishError<T>> {
        let revision = self.sender.last() + 1;
        let gap = Lagged {
            first: revision,
            last: revision,
            reason: LagReason::Dropped,
        };
        self.sender
            .record_gap(refused, gap, events, 1)
            .map(Lossy::Dropped)
    }

    /// Announces that nothing more is published: the thread that dispatches then ends the engine.
    fn announce_close(&self, reason: EndReason) {
        let engine = self.sender.engine();
        engine.close_soon(reason);
        if engine.parker.is_absent() && engine.config.inline_dispatch {
            engine.finish(reason);
        }
        engine.parker.notify();
    }

    fn publish_changes(
        &mut self,
        changes: impl IntoIterator<Item = Change>,
        wait: WaitPolicy,
    ) -> Result<Revision, PublishError<Vec<Change>>> {
        let next = self.sender.last() + 1;
        let chunk = self.sender.empty_chunk().collect([(next, changes)]);
        self.sender
            .publish_chunk(chunk, wait)
            .map_err(|refused| refused.map(Chunk::into_changes))
    }

    fn publish_entries<C>(
        &mut self,
        entries: impl IntoIterator<Item = (Revision, C)>,
        wait: WaitPolicy,
    ) -> Result<Revision, PublishError<Entries>>
    where
        C: IntoIterator<Item = Change>,
    {
        let chunk = self.sender.empty_chunk().collect(entries);
        self.sender
            .publish_chunk(chunk, wait)
            .map_err(|refused| refused.map(Chunk::into_entries))
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        if self.sender.engine().ended().is_none() {
            self.announce_close(if thread::panicking() {
                EndReason::PublisherPanicked
            } else {
                EndReason::ShutDown
            });
        }
    }
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher")
            .field("revision", &self.sender.last())
            .finish_non_exhaustive()
    }
}

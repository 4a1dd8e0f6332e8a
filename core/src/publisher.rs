//! The way in for the store.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::chunk::Chunk;
use crate::engine::Engine;
use crate::error::{CompactError, EndReason, Entries, Lagged, PublishError, WaitError};
use crate::event::{Change, Revision};
use crate::hub::Hub;
use crate::sender::{Patience, Sender};

/// The store's end: whatever is published here reaches every watcher that wants it.
///
/// There is one, it is not `Clone`, and publishing takes `&mut self`: so the order of events is
/// the order of commits, checked by the compiler. A store with many writers publishes inside its
/// commit lock, after a change has become readable.
///
/// - *If I am faster than the dispatcher:* the ingress fills up, and a publish waits (`publish`),
///   gives the changes back (`try_publish`, `publish_timeout`) or reports the loss to every
///   watcher (`publish_lossy`). A slow watcher never makes it wait.
/// - *If I am dropped:* everything published is still dispatched, then every watcher ends with
///   [`EndReason::ShutDown`]. [`shutdown`](Self::shutdown) does the same and waits for it.
/// - *If the dispatcher is gone:* publishing fails with [`Closed`](crate::PublishErrorKind::Closed).
///
/// ```
/// use kvwatch_core::{Builder, Change};
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
/// It cannot be cloned, as two of them would have no order:
///
/// ```compile_fail
/// let (publisher, _hub) = kvwatch_core::Builder::new().spawn().unwrap();
/// let second = publisher.clone();
/// ```
#[must_use = "dropping the publisher shuts the engine down"]
pub struct Publisher {
    sender: Sender,
    /// The thread that `Builder::spawn` started.
    thread: Option<JoinHandle<()>>,
}

/// What became of a lossy publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lossy {
    /// It was published under this revision.
    Queued(Revision),
    /// The ingress was full: every watcher is told that it lagged here.
    Dropped(Revision),
}

impl Lossy {
    /// The revision that it has, or would have had.
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

    /// The dispatcher runs on this thread.
    pub(crate) fn with_thread(mut self, thread: JoinHandle<()>) -> Self {
        self.thread = Some(thread);
        self
    }

    /// Publishes one change as a transaction of its own. Waits while the ingress is full.
    ///
    /// # Errors
    /// [`Closed`](crate::PublishErrorKind::Closed) where the dispatcher is gone.
    pub fn publish(&mut self, change: Change) -> Result<Revision, PublishError<Change>> {
        self.sender.one(change, Patience::Endless)
    }

    /// Publishes these changes as one transaction, in this order, under one revision. Without
    /// changes it uses up a revision all the same. Waits while the ingress is full.
    ///
    /// # Errors
    /// [`Closed`](crate::PublishErrorKind::Closed) where the dispatcher is gone.
    pub fn publish_batch(
        &mut self,
        changes: impl IntoIterator<Item = Change>,
    ) -> Result<Revision, PublishError<Vec<Change>>> {
        self.batch(changes, Patience::Endless)
    }

    /// Publishes a chunk of transactions under the store's own revisions, which must grow and may
    /// skip; a transaction may be without changes. Returns the last revision. It is one message
    /// in the ingress however many they are, and each still arrives as a transaction of its own.
    /// Waits while the ingress is full.
    ///
    /// ```
    /// # use kvwatch_core::{Builder, Change};
    /// # let (mut publisher, _hub) = Builder::new().revision(40).spawn()?;
    /// publisher.publish_many([
    ///     (41, vec![Change::put("a", "1"), Change::put("b", "1")]),
    ///     (44, vec![Change::delete("a")]),
    /// ])?;
    /// assert_eq!(publisher.revision(), 44);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Revision`](crate::PublishErrorKind::Revision) where one does not grow,
    /// [`Closed`](crate::PublishErrorKind::Closed) where the dispatcher is gone. Nothing of the chunk is
    /// published then.
    pub fn publish_many<C>(
        &mut self,
        entries: impl IntoIterator<Item = (Revision, C)>,
    ) -> Result<Revision, PublishError<Entries>>
    where
        C: IntoIterator<Item = Change>,
    {
        self.many(entries, Patience::Endless)
    }

    /// Like [`publish`](Self::publish), without waiting.
    ///
    /// # Errors
    /// [`Full`](crate::PublishErrorKind::Full) too.
    pub fn try_publish(&mut self, change: Change) -> Result<Revision, PublishError<Change>> {
        self.sender.one(change, Patience::None)
    }

    /// Like [`publish_batch`](Self::publish_batch), without waiting.
    ///
    /// # Errors
    /// [`Full`](crate::PublishErrorKind::Full) too.
    pub fn try_publish_batch(
        &mut self,
        changes: impl IntoIterator<Item = Change>,
    ) -> Result<Revision, PublishError<Vec<Change>>> {
        self.batch(changes, Patience::None)
    }

    /// Like [`publish_many`](Self::publish_many), without waiting.
    ///
    /// # Errors
    /// [`Full`](crate::PublishErrorKind::Full) too.
    pub fn try_publish_many<C>(
        &mut self,
        entries: impl IntoIterator<Item = (Revision, C)>,
    ) -> Result<Revision, PublishError<Entries>>
    where
        C: IntoIterator<Item = Change>,
    {
        self.many(entries, Patience::None)
    }

    /// Like [`publish`](Self::publish), waiting this long at most.
    ///
    /// # Errors
    /// [`Full`](crate::PublishErrorKind::Full) too.
    pub fn publish_timeout(
        &mut self,
        change: Change,
        timeout: Duration,
    ) -> Result<Revision, PublishError<Change>> {
        self.sender.one(change, Patience::of(timeout))
    }

    /// Like [`publish_batch`](Self::publish_batch), waiting this long at most.
    ///
    /// # Errors
    /// [`Full`](crate::PublishErrorKind::Full) too.
    pub fn publish_batch_timeout(
        &mut self,
        changes: impl IntoIterator<Item = Change>,
        timeout: Duration,
    ) -> Result<Revision, PublishError<Vec<Change>>> {
        self.batch(changes, Patience::of(timeout))
    }

    /// Like [`publish_many`](Self::publish_many), waiting this long at most.
    ///
    /// # Errors
    /// [`Full`](crate::PublishErrorKind::Full) too.
    pub fn publish_many_timeout<C>(
        &mut self,
        entries: impl IntoIterator<Item = (Revision, C)>,
        timeout: Duration,
    ) -> Result<Revision, PublishError<Entries>>
    where
        C: IntoIterator<Item = Change>,
    {
        self.many(entries, Patience::of(timeout))
    }

    /// Like [`publish`](Self::publish), never waiting: while the ingress is full, the change is
    /// dropped, and every watcher gets a [`Lagged`] with its revision in its place,
    /// whether it would have matched or not.
    ///
    /// # Errors
    /// [`Closed`](crate::PublishErrorKind::Closed) where the dispatcher is gone.
    pub fn publish_lossy(&mut self, change: Change) -> Result<Lossy, PublishError<Change>> {
        self.sender
            .one(change, Patience::None)
            .map(Lossy::Queued)
            .or_else(|refused| {
                let revision = self.sender.last() + 1;
                self.sender.dig(
                    refused,
                    Lagged {
                        from: revision,
                        to: revision,
                    },
                    1,
                    1,
                )
            })
    }

    /// Like [`publish_batch`](Self::publish_batch), never waiting: see
    /// [`publish_lossy`](Self::publish_lossy).
    ///
    /// # Errors
    /// [`Closed`](crate::PublishErrorKind::Closed) where the dispatcher is gone.
    pub fn publish_batch_lossy(
        &mut self,
        changes: impl IntoIterator<Item = Change>,
    ) -> Result<Lossy, PublishError<Vec<Change>>> {
        self.batch(changes, Patience::None)
            .map(Lossy::Queued)
            .or_else(|refused| {
                let revision = self.sender.last() + 1;
                let events = refused.input().len();
                self.sender.dig(
                    refused,
                    Lagged {
                        from: revision,
                        to: revision,
                    },
                    events,
                    1,
                )
            })
    }

    /// Like [`publish_many`](Self::publish_many), never waiting: see
    /// [`publish_lossy`](Self::publish_lossy).
    ///
    /// # Errors
    /// [`Revision`](crate::PublishErrorKind::Revision) where one does not grow,
    /// [`Closed`](crate::PublishErrorKind::Closed) where the dispatcher is gone.
    pub fn publish_many_lossy<C>(
        &mut self,
        entries: impl IntoIterator<Item = (Revision, C)>,
    ) -> Result<Lossy, PublishError<Entries>>
    where
        C: IntoIterator<Item = Change>,
    {
        self.many(entries, Patience::None)
            .map(Lossy::Queued)
            .or_else(|refused| {
                let from = refused
                    .input()
                    .first()
                    .map_or(self.sender.last(), |entry| entry.0);
                let to = refused
                    .input()
                    .last()
                    .map_or(self.sender.last(), |entry| entry.0);
                let events = refused.input().iter().map(|entry| entry.1.len()).sum();
                let transactions = refused.input().len();
                self.sender
                    .dig(refused, Lagged { from, to }, events, transactions)
            })
    }

    /// Ready once there is room for a message: the next publish will not wait then. For async
    /// adapters; the waker of the last call is the one that is woken.
    ///
    /// Cancel safe: nothing is taken up by it.
    ///
    /// # Errors
    /// Why the engine has stopped, if it has.
    pub fn poll_reserve(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), EndReason>> {
        self.sender.poll_room(cx)
    }

    /// The revision published last, or what [`Builder::revision`](crate::Builder::revision) said.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.sender.last()
    }

    /// Another handle to register watchers through.
    #[must_use]
    pub fn hub(&self) -> Hub {
        Hub::new(Arc::clone(self.sender.engine()))
    }

    /// Waits until everything published is in the queues of the watchers it concerns.
    ///
    /// # Errors
    /// [`Timeout`](WaitError::Timeout), or [`Closed`](WaitError::Closed) where the dispatcher is
    /// gone.
    pub fn flush(&mut self, timeout: Duration) -> Result<(), WaitError> {
        self.hub().wait_for(self.sender.last(), timeout)
    }

    /// Forgets what the history holds below `revision`: it is then the oldest that a watch can
    /// start from. A watcher that is behind and has not read that far gets a lag. Live watchers
    /// notice nothing.
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
        let mut trash = Vec::new();
        self.sender
            .engine()
            .history
            .write()
            .compact(revision, &mut trash);
        Ok(())
    }

    /// Dispatches everything published, ends every watcher behind it with
    /// [`EndReason::ShutDown`], and waits until that is done and the thread of
    /// [`Builder::spawn`](crate::Builder::spawn) is gone. Watchers can still take what they have
    /// not taken yet.
    ///
    /// # Errors
    /// [`Timeout`](WaitError::Timeout): it goes on in the background.
    /// [`Closed`](WaitError::Closed): the dispatcher was gone before.
    pub fn shutdown(mut self, timeout: Duration) -> Result<(), WaitError> {
        self.leave();
        // No revision is that high: this ends with the engine.
        let waited = self.hub().wait_for(Revision::MAX, timeout);
        match waited {
            Err(WaitError::Closed(EndReason::ShutDown)) => {
                if let Some(thread) = self.thread.take() {
                    // It has nothing left to do but return.
                    drop(thread.join());
                }
                Ok(())
            }
            other => other,
        }
    }

    /// From now on nothing is published; whoever dispatches ends the engine.
    fn leave(&mut self) {
        self.sender.engine().close_soon();
        if self.sender.engine().parker.is_absent() && self.sender.engine().config.inline {
            self.sender.engine().finish();
        }
        self.sender.engine().parker.notify();
    }

    fn batch(
        &mut self,
        changes: impl IntoIterator<Item = Change>,
        patience: Patience,
    ) -> Result<Revision, PublishError<Vec<Change>>> {
        let next = self.sender.last() + 1;
        let chunk = self.sender.empty_chunk().collect([(next, changes)]);
        self.sender
            .chunk(chunk, patience)
            .map_err(|refused| refused.map(Chunk::give_back_one))
    }

    fn many<C>(
        &mut self,
        entries: impl IntoIterator<Item = (Revision, C)>,
        patience: Patience,
    ) -> Result<Revision, PublishError<Entries>>
    where
        C: IntoIterator<Item = Change>,
    {
        let chunk = self.sender.empty_chunk().collect(entries);
        self.sender
            .chunk(chunk, patience)
            .map_err(|refused| refused.map(Chunk::give_back))
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        if self.sender.engine().ended().is_none() {
            self.leave();
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

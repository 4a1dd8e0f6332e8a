//! The threads and tasks that wait until a revision is dispatched.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::SeqCst;

use crate::change::Revision;
use crate::sync::wait::{Waiter, Wakes};
use crate::sync::{AtomicU64, Mutex};

/// No revision is as high as this.
const NEVER: Revision = Revision::MAX;

/// The revisions that are waited for, with their waiters.
///
/// The publisher reads `lowest` after it has published a revision, and the dispatching thread after
/// it has dispatched one. A thread that starts to wait stores `lowest`, has the dispatcher look for
/// work, and then reads the dispatched revision. So one of the two sees the other: the dispatching
/// thread by SeqCst, and the publisher by the open batch's lock if it has sent a message, or else
/// by `Engine::wait_for_claimed`.
#[derive(Debug)]
pub(crate) struct RevisionWaiters {
    /// The lowest revision that is waited for.
    lowest: AtomicU64,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// By revision and ticket. An entry without a waiter only requests the dispatch (ticket 0).
    by_revision: BTreeMap<(Revision, u64), Option<Waiter>>,
    tickets: u64,
}

impl Waiting {
    fn lowest(&self) -> Revision {
        self.by_revision.keys().next().map_or(NEVER, |key| key.0)
    }
}

impl RevisionWaiters {
    pub(crate) fn new() -> Self {
        Self {
            lowest: AtomicU64::new(NEVER),
            waiting: Mutex::default(),
        }
    }

    /// Whether this revision or a lower one is waited for.
    pub(crate) fn any_up_to(&self, revision: Revision) -> bool {
        self.lowest.load(SeqCst) <= revision
    }

    /// Requests that a revision is dispatched soon, without a waiter.
    pub(crate) fn request(&self, revision: Revision) {
        let mut waiting = self.waiting.lock();
        waiting.by_revision.entry((revision, 0)).or_insert(None);
        self.lowest.store(waiting.lowest(), SeqCst);
    }

    /// A ticket with which to [`wait`](Self::wait).
    pub(crate) fn ticket(&self) -> u64 {
        let mut waiting = self.waiting.lock();
        waiting.tickets += 1;
        waiting.tickets
    }

    /// Registers a waiter in place of the one that the same ticket registered before.
    pub(crate) fn wait(&self, revision: Revision, ticket: u64, waiter: Waiter) {
        let mut waiting = self.waiting.lock();
        let old = waiting.by_revision.insert((revision, ticket), Some(waiter));
        self.lowest.store(waiting.lowest(), SeqCst);
        drop(waiting);
        drop(old);
    }

    pub(crate) fn forget(&self, revision: Revision, ticket: u64) {
        let mut waiting = self.waiting.lock();
        let old = waiting.by_revision.remove(&(revision, ticket));
        self.lowest.store(waiting.lowest(), SeqCst);
        drop(waiting);
        drop(old);
    }

    /// Moves the waiters for this revision and for lower ones into `wakes`.
    pub(crate) fn reached(&self, revision: Revision, wakes: &mut Wakes) {
        if !self.any_up_to(revision) {
            return;
        }
        let mut waiting = self.waiting.lock();
        while let Some(first) = waiting.by_revision.first_entry()
            && first.key().0 <= revision
        {
            wakes.push(first.remove());
        }
        self.lowest.store(waiting.lowest(), SeqCst);
    }
}

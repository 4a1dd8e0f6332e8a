//! Waiting until everything up to a revision has been dispatched.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::task::{Context, Poll};
use std::time::Instant;

use crate::engine::Engine;
use crate::error::WaitError;
use crate::event::Revision;
use crate::sync::{AtomicU64, Mutex};
use crate::wait::{Waiter, Wakes, park_until};

/// No revision is as high as this.
const NEVER: Revision = Revision::MAX;

/// The revisions that somebody wants dispatched.
///
/// The publisher looks at `lowest` after it has settled a revision, the dispatcher after it has
/// dispatched one; whoever comes to wait sets it, notifies the dispatcher, who looks what there is
/// to dispatch, and looks then at what has been dispatched. So one of them sees the other: who
/// dispatches by SeqCst, and the publisher by the open batch's lock, where it has sent something,
/// or else by [`Engine::awaits_settling`].
#[derive(Debug)]
pub(crate) struct Milestones {
    /// The lowest revision waited for.
    lowest: AtomicU64,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// By revision and ticket. Without a waiter: it only is to be dispatched soon (ticket 0).
    by_revision: BTreeMap<(Revision, u64), Option<Waiter>>,
    tickets: u64,
}

impl Waiting {
    fn lowest(&self) -> Revision {
        self.by_revision.keys().next().map_or(NEVER, |key| key.0)
    }
}

impl Milestones {
    pub(crate) fn new() -> Self {
        Self {
            lowest: AtomicU64::new(NEVER),
            waiting: Mutex::default(),
        }
    }

    /// Whether anybody waits for this revision or one below it.
    pub(crate) fn wanted_by(&self, revision: Revision) -> bool {
        self.lowest.load(SeqCst) <= revision
    }

    /// Wants a revision dispatched, without waiting for it.
    pub(crate) fn want(&self, revision: Revision) {
        let mut waiting = self.waiting.lock();
        waiting.by_revision.entry((revision, 0)).or_insert(None);
        self.lowest.store(waiting.lowest(), SeqCst);
    }

    /// A ticket with which to [`wait`](Self::wait).
    fn ticket(&self) -> u64 {
        let mut waiting = self.waiting.lock();
        waiting.tickets += 1;
        waiting.tickets
    }

    /// Leaves a waiter, in place of what the same ticket left before.
    fn wait(&self, revision: Revision, ticket: u64, waiter: Waiter) {
        let mut waiting = self.waiting.lock();
        let old = waiting.by_revision.insert((revision, ticket), Some(waiter));
        self.lowest.store(waiting.lowest(), SeqCst);
        drop(waiting);
        drop(old);
    }

    fn forget(&self, revision: Revision, ticket: u64) {
        let mut waiting = self.waiting.lock();
        let old = waiting.by_revision.remove(&(revision, ticket));
        self.lowest.store(waiting.lowest(), SeqCst);
        drop(waiting);
        drop(old);
    }

    /// Takes out whoever waits for this revision or one below it.
    pub(crate) fn reached(&self, revision: Revision, wakes: &mut Wakes) {
        if !self.wanted_by(revision) {
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

/// Completes when everything up to a revision has been dispatched: from
/// [`Hub::reached`](crate::Hub::reached).
///
/// Cancel safe: dropping it forgets the wait and nothing else.
#[must_use = "a future does nothing until it is polled"]
#[derive(Debug)]
pub struct Reached {
    engine: Arc<Engine>,
    revision: Revision,
    ticket: u64,
}

impl Reached {
    pub(crate) fn new(engine: Arc<Engine>, revision: Revision) -> Self {
        Self {
            ticket: engine.milestones.ticket(),
            engine,
            revision,
        }
    }

    fn outcome(&self) -> Option<Result<(), WaitError>> {
        // What has ended is read first: what was dispatched before is dispatched for good.
        let ended = self.engine.ended();
        if self.engine.dispatched() >= self.revision {
            Some(Ok(()))
        } else {
            ended.map(|reason| Err(WaitError::Closed(reason)))
        }
    }

    /// Looks, leaves word, looks again.
    fn look(&self, waiter: impl FnOnce() -> Waiter) -> Option<Result<(), WaitError>> {
        if let Some(outcome) = self.outcome() {
            return Some(outcome);
        }
        self.engine
            .milestones
            .wait(self.revision, self.ticket, waiter());
        self.engine.rouse();
        self.outcome()
    }

    /// The same for a thread.
    pub(crate) fn block(self, deadline: Instant) -> Result<(), WaitError> {
        loop {
            if let Some(outcome) = self.look(Waiter::this_thread) {
                return outcome;
            }
            if !park_until(Some(deadline)) {
                return self.outcome().unwrap_or(Err(WaitError::Timeout));
            }
        }
    }
}

impl Future for Reached {
    type Output = Result<(), WaitError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.look(|| Waiter::Task(cx.waker().clone())) {
            Some(outcome) => Poll::Ready(outcome),
            None => Poll::Pending,
        }
    }
}

impl Drop for Reached {
    fn drop(&mut self) {
        self.engine.milestones.forget(self.revision, self.ticket);
    }
}

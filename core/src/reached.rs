//! Waiting until everything up to a revision has been dispatched.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use crate::change::Revision;
use crate::engine::Engine;
use crate::error::WaitError;
use crate::sync::wait::{Waiter, park_until};

/// Completes when everything up to a revision has been dispatched: from
/// [`Hub::wait_for_async`](crate::Hub::wait_for_async).
///
/// Cancel safe: dropping it ends the wait and nothing else. It may be polled on any executor.
///
/// - *If the engine stops before the revision:* it completes with
///   [`WaitError::Closed`].
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
            ticket: engine.waiters.ticket(),
            engine,
            revision,
        }
    }

    fn outcome(&self) -> Option<Result<(), WaitError>> {
        // The end is read first: a revision that was dispatched before the end stays dispatched.
        let ended = self.engine.ended();
        if self.engine.revisions.dispatched() >= self.revision {
            Some(Ok(()))
        } else {
            ended.map(|reason| Err(WaitError::Closed(reason)))
        }
    }

    /// Checks the outcome, registers a waiter, and checks again.
    fn check(&self, waiter: impl FnOnce() -> Waiter) -> Option<Result<(), WaitError>> {
        if let Some(outcome) = self.outcome() {
            return Some(outcome);
        }
        self.engine
            .waiters
            .wait(self.revision, self.ticket, waiter());
        self.engine.wake_dispatcher();
        self.outcome()
    }

    /// Waits on this thread.
    pub(crate) fn block(self, deadline: Instant) -> Result<(), WaitError> {
        loop {
            if let Some(outcome) = self.check(Waiter::this_thread) {
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
        match self.check(|| Waiter::Task(cx.waker().clone())) {
            Some(outcome) => Poll::Ready(outcome),
            None => Poll::Pending,
        }
    }
}

impl Drop for Reached {
    fn drop(&mut self) {
        self.engine.waiters.forget(self.revision, self.ticket);
    }
}

//! Waiting and waking, alike for threads and tasks.
//!
//! A [`Waiter`] is a parked thread or a task's waker. It is stored under the lock of the condition
//! that it waits for, taken out under that lock, and woken only after every guard was dropped
//! ([`Wakes`]): a waker is user code and may do anything.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;
use std::time::Instant;

use crate::sync::{self, Mutex, Thread};

/// A thread or a task that waits. Each condition has at most one.
#[derive(Debug)]
pub(crate) enum Waiter {
    Thread(Thread),
    Task(Waker),
}

impl Waiter {
    pub(crate) fn this_thread() -> Self {
        Self::Thread(sync::current())
    }

    /// Wakes it. A panic of a waker is caught: it must not affect other watchers.
    pub(crate) fn wake(self) {
        match self {
            Self::Thread(thread) => thread.unpark(),
            Self::Task(waker) => {
                if catch_unwind(AssertUnwindSafe(|| waker.wake())).is_err() {
                    tracing::error!("a waker panicked; the watcher it belongs to may not be woken");
                }
            }
        }
    }

    /// Whether waking `self` wakes the task of this waker.
    pub(crate) fn will_wake(&self, waker: &Waker) -> bool {
        matches!(self, Self::Task(own) if own.will_wake(waker))
    }
}

/// Parks this thread until it is woken or the deadline has passed; may return early without a
/// reason. Returns whether time is left.
pub(crate) fn park_until(deadline: Option<Instant>) -> bool {
    let Some(deadline) = deadline else {
        sync::park();
        return true;
    };
    match deadline.checked_duration_since(Instant::now()) {
        Some(left) if !left.is_zero() => {
            sync::park_timeout(left);
            true
        }
        _ => false,
    }
}

/// Waiters to be woken once every guard was dropped.
#[derive(Debug, Default)]
pub(crate) struct Wakes(Vec<Waiter>);

impl Wakes {
    pub(crate) fn push(&mut self, waiter: Option<Waiter>) {
        // Not `extend`: copying an `Option` that was just written in parts, and mostly is `None`,
        // stalls the dispatcher.
        if let Some(waiter) = waiter {
            self.0.push(waiter);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn append(&mut self, other: &mut Self) {
        self.0.append(&mut other.0);
    }

    pub(crate) fn wake_all(&mut self) {
        for waiter in self.0.drain(..) {
            waiter.wake();
        }
    }
}

/// One waiter at a time, under a lock of its own.
#[derive(Debug, Default)]
pub(crate) struct WaitCell(Mutex<Option<Waiter>>);

impl WaitCell {
    /// Registers a waiter. Check the condition again afterwards, and park only then.
    pub(crate) fn register(&self, waiter: Waiter) {
        let old = self.0.lock().replace(waiter);
        drop(old);
    }

    pub(crate) fn take(&self) -> Option<Waiter> {
        self.0.lock().take()
    }
}

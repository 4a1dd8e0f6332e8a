//! The state that the handles of a mirror share with its driver.
//!
//! One mutex guards it. It is held to clone or swap a view, never while a view is built, dropped
//! or read. No waker is called or dropped under it.

use std::collections::BTreeMap;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use super::error::{MirrorEnd, MirrorWaitError};
use super::view::View;
use crate::Revision;

#[derive(Debug, Default)]
pub(super) struct Shared {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The state that readers see. `None` before the first read of the store.
    view: Option<View>,
    /// Set once, by the driver.
    end: Option<MirrorEnd>,
    /// A [`MirrorCloser`](super::MirrorCloser) has asked the driver to end.
    closing: bool,
    /// The readers that wait, by revision and ticket.
    readers: BTreeMap<(Revision, u64), Waker>,
    /// The last ticket that was issued.
    last_ticket: u64,
    /// The driver, while it waits.
    driver: Option<Waker>,
}

impl State {
    fn lowest_wanted(&self) -> Option<Revision> {
        self.readers.keys().next().map(|key| key.0)
    }

    /// The outcome of a wait for `wanted`. `None` if the reader has to wait.
    fn outcome(&self, wanted: Revision) -> Option<Result<View, MirrorWaitError>> {
        let applied = self.view.as_ref().map(View::revision);
        if let Some(view) = &self.view
            && view.revision >= wanted
        {
            return Some(Ok(view.clone()));
        }
        self.end.map(|end| {
            Err(MirrorWaitError::Closed {
                wanted,
                applied,
                end,
            })
        })
    }
}

/// For handles.
impl Shared {
    pub(super) fn view(&self) -> Option<View> {
        self.state.lock().view.clone()
    }

    pub(super) fn end_reason(&self) -> Option<MirrorEnd> {
        self.state.lock().end
    }

    /// Asks the driver to end.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.closing = true;
        let driver = state.driver.take();
        drop(state);
        if let Some(driver) = driver {
            wake(driver);
        }
    }

    /// A ticket for [`poll_wait`](Self::poll_wait). It distinguishes readers that wait for the same
    /// revision.
    pub(super) fn next_ticket(&self) -> u64 {
        let mut state = self.state.lock();
        state.last_ticket += 1;
        state.last_ticket
    }

    /// Polls for a state at `wanted` or later. The waker replaces the one that the same ticket
    /// registered before.
    pub(super) fn poll_wait(
        &self,
        wanted: Revision,
        ticket: u64,
        cx: &Context<'_>,
    ) -> Poll<Result<View, MirrorWaitError>> {
        let waker = cx.waker().clone();
        let mut state = self.state.lock();
        if let Some(outcome) = state.outcome(wanted) {
            drop(state);
            return Poll::Ready(outcome);
        }
        let lowest = state.lowest_wanted();
        let old = state.readers.insert((wanted, ticket), waker);
        // The driver waits for the lowest revision only, and proceeds to the next by itself. So it
        // is woken only if this revision is the new lowest.
        let driver = if lowest.is_none_or(|lowest| wanted < lowest) {
            state.driver.take()
        } else {
            None
        };
        drop(state);
        drop(old);
        if let Some(driver) = driver {
            wake(driver);
        }
        Poll::Pending
    }

    /// Forgets the wait of this ticket.
    pub(super) fn cancel_wait(&self, wanted: Revision, ticket: u64) {
        let old = self.state.lock().readers.remove(&(wanted, ticket));
        drop(old);
    }
}

/// For the driver.
impl Shared {
    /// Shows a new view to readers, and wakes those that waited for its revision.
    pub(super) fn set_view(&self, view: View) {
        let mut state = self.state.lock();
        // The readers that wait for a later revision stay.
        let later = state
            .readers
            .split_off(&(view.revision.saturating_add(1), 0));
        let ready = mem::replace(&mut state.readers, later);
        let old = state.view.replace(view);
        drop(state);
        drop(old);
        ready.into_values().for_each(wake);
    }

    /// Records the end, unless one is recorded, and wakes every reader that waits.
    pub(super) fn end(&self, end: MirrorEnd) {
        let mut state = self.state.lock();
        state.end.get_or_insert(end);
        let readers = mem::take(&mut state.readers);
        let driver = state.driver.take();
        drop(state);
        drop(driver);
        readers.into_values().for_each(wake);
    }

    /// Registers the waker of the driver and returns whether the driver was asked to end. The waker
    /// is woken when that happens later, and when a reader waits for a revision lower than all
    /// others.
    pub(super) fn register_driver(&self, waker: &Waker) -> bool {
        let waker = waker.clone();
        let mut state = self.state.lock();
        let old = state.driver.replace(waker);
        let closing = state.closing;
        drop(state);
        drop(old);
        closing
    }

    /// The lowest revision that a reader waits for.
    pub(super) fn lowest_wanted(&self) -> Option<Revision> {
        self.state.lock().lowest_wanted()
    }
}

/// Wakes a task. A panic in the waker is a bug of that task and must not affect other tasks.
fn wake(waker: Waker) {
    if catch_unwind(AssertUnwindSafe(|| waker.wake())).is_err() {
        tracing::error!("a waker panicked; its task may not be woken");
    }
}

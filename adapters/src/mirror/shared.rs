//! What a mirror's handles and its driver share.
//!
//! One mutex, which is held to clone or swap a view and never while one is built, dropped or
//! read; and no waker is called or dropped under it.

use std::collections::BTreeMap;
use std::mem;
use std::task::Waker;

use parking_lot::Mutex;

use super::error::{MirrorEnd, MirrorWaitError};
use super::view::View;
use crate::Revision;
use crate::park::wake;

#[derive(Debug, Default)]
pub(super) struct Shared {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What readers see: nothing before the first read.
    view: Option<View>,
    /// Set once.
    end: Option<MirrorEnd>,
    /// Somebody asked the driver to end.
    closing: bool,
    /// Who waits, by revision and ticket.
    waits: BTreeMap<(Revision, u64), Waker>,
    tickets: u64,
    /// The driver's, while it waits.
    driver: Option<Waker>,
}

/// What the driver is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) closing: bool,
    /// The lowest revision that somebody waits for and does not have.
    pub(super) wanted: Option<Revision>,
}

impl State {
    fn asked(&self) -> Asked {
        Asked {
            closing: self.closing,
            wanted: self.waits.keys().next().map(|key| key.0),
        }
    }

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

impl Shared {
    pub(super) fn view(&self) -> Option<View> {
        self.state.lock().view.clone()
    }

    pub(super) fn ended(&self) -> Option<MirrorEnd> {
        self.state.lock().end
    }

    /// From the driver: readers see this from now on, and whoever waited for it is woken.
    pub(super) fn publish(&self, view: View) {
        let mut state = self.state.lock();
        // Those above stay: a wait for revision r is kept under r.
        let above = state.waits.split_off(&(view.revision.saturating_add(1), 0));
        let reached = mem::replace(&mut state.waits, above);
        let old = state.view.replace(view);
        drop(state);
        drop(old);
        reached.into_values().for_each(wake);
    }

    /// From the driver: nothing more will come, unless that has been said.
    pub(super) fn end(&self, end: MirrorEnd) {
        let mut state = self.state.lock();
        state.end.get_or_insert(end);
        let waits = mem::take(&mut state.waits);
        let driver = state.driver.take();
        drop(state);
        drop(driver);
        waits.into_values().for_each(wake);
    }

    /// From the driver: whoever asks for something from here on wakes this. What was asked before
    /// is returned.
    pub(super) fn attend(&self, waker: &Waker) -> Asked {
        let waker = waker.clone();
        let mut state = self.state.lock();
        let old = state.driver.replace(waker);
        let asked = state.asked();
        drop(state);
        drop(old);
        asked
    }

    pub(super) fn asked(&self) -> Asked {
        self.state.lock().asked()
    }

    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.closing = true;
        let driver = state.driver.take();
        drop(state);
        if let Some(driver) = driver {
            wake(driver);
        }
    }

    /// A ticket with which to [`wait`](Self::wait).
    pub(super) fn ticket(&self) -> u64 {
        let mut state = self.state.lock();
        state.tickets += 1;
        state.tickets
    }

    /// The outcome, or none yet: then the waker is woken when there is one. It takes the place of
    /// what the same ticket left before.
    pub(super) fn wait(
        &self,
        wanted: Revision,
        ticket: u64,
        waker: &Waker,
    ) -> Option<Result<View, MirrorWaitError>> {
        let waker = waker.clone();
        let mut state = self.state.lock();
        if let Some(outcome) = state.outcome(wanted) {
            drop(state);
            return Some(outcome);
        }
        let lowest = state.asked().wanted;
        let old = state.waits.insert((wanted, ticket), waker);
        // The driver waits for the lowest by itself, and goes on to the next.
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
        None
    }

    pub(super) fn forget(&self, wanted: Revision, ticket: u64) {
        let old = self.state.lock().waits.remove(&(wanted, ticket));
        drop(old);
    }
}

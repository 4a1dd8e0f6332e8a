//! The state that all clients of one run share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use kvwatch::Revision;
use tokio::sync::watch::{self, Sender};

use super::write::Write;
use crate::HANG;

/// One run.
pub(super) struct World {
    pub(super) address: String,
    state: Sender<State>,
    /// The requested compactions, added before each request.
    compactions: Mutex<BTreeSet<Revision>>,
    pub(super) writes: Mutex<Writes>,
}

#[derive(Debug, Default)]
struct State {
    /// The number of answered writes.
    answered: u64,
    /// The last revision that the witness received.
    written: Revision,
    stopping: bool,
    /// The last revision, once there are no more writes, and when that was.
    last: Option<(Revision, Instant)>,
}

/// The writes of a run.
#[derive(Debug, Default)]
pub(super) struct Writes {
    /// Answered writes, by revision.
    pub(super) answered: BTreeMap<Revision, Write>,
    /// Writes without an answer.
    pub(super) unanswered: Vec<Write>,
    /// Writes whose answer has another write's revision.
    pub(super) twice: Vec<(Revision, Write)>,
}

impl World {
    pub(super) fn new(address: String) -> Self {
        Self {
            address,
            state: watch::channel(State::default()).0,
            compactions: Mutex::default(),
            writes: Mutex::default(),
        }
    }

    async fn wait(&self, condition: impl FnMut(&State) -> bool) {
        let mut states = self.state.subscribe();
        let waited = states.wait_for(condition).await;
        drop(waited.expect("the world holds the sender"));
    }

    /// Waits until `more` further writes are answered.
    pub(super) async fn wait_for_answers(&self, more: u64) {
        let due = self.state.borrow().answered + more;
        let answers = self.wait(|state| state.answered >= due);
        let waited = tokio::time::timeout(HANG, answers).await;
        waited.expect("writes are answered");
    }

    /// Waits for `more` further revisions, or the end of the writes.
    pub(super) async fn wait_for_more(&self, more: u64) {
        let due = self.written() + more;
        self.wait(|state| state.written >= due || state.stopping)
            .await;
    }

    pub(super) fn stop(&self) {
        self.state.send_modify(|state| state.stopping = true);
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.state.borrow().stopping
    }

    /// Ends the writes. `last` is the last revision.
    pub(super) fn end(&self, last: Revision) {
        self.state
            .send_modify(|state| state.last = Some((last, Instant::now())));
    }

    pub(super) fn last(&self) -> Option<Revision> {
        self.state.borrow().last.map(|last| last.0)
    }

    pub(super) fn ended(&self) -> Option<Instant> {
        self.state.borrow().last.map(|last| last.1)
    }

    pub(super) fn written(&self) -> Revision {
        self.state.borrow().written
    }

    pub(super) fn witness(&self, revision: Revision) {
        self.state.send_modify(|state| state.written = revision);
    }

    /// Adds an answered write, with its revision if it changed anything.
    pub(super) fn answered(&self, write: Write, revision: Option<i64>) {
        if let Some(revision) = revision {
            let mut writes = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
            let revision = revision.cast_unsigned();
            if let Some(other) = writes.answered.insert(revision, write) {
                writes.twice.push((revision, other));
            }
        }
        self.state.send_modify(|state| state.answered += 1);
    }

    /// Adds a write without an answer, which may have happened or not.
    pub(super) fn unanswered(&self, write: Write) {
        let mut writes = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        writes.unanswered.push(write);
    }

    pub(super) fn compacting(&self, revision: Revision) {
        let compactions = self.compactions.lock();
        compactions
            .unwrap_or_else(PoisonError::into_inner)
            .insert(revision);
    }

    pub(super) fn compactions(&self) -> BTreeSet<Revision> {
        let compactions = self.compactions.lock();
        compactions.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

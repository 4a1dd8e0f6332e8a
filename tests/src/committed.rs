//! A store that knows its state at each revision, for the comparison with mirrors.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use kvwatch::mirror::{Snapshot, View};
use kvwatch::{Change, Revision, Selector};

/// The store. Clones share it.
#[derive(Clone, Debug)]
pub struct Committed {
    selector: Selector,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    all: BTreeMap<Bytes, Bytes>,
    /// The digest of the matching entries at each revision.
    digests: Vec<u64>,
}

/// The digest of one entry. The digest of a state is the exclusive or of its entries, so that it
/// does not depend on their order.
fn digest_of(key: &Bytes, value: &Bytes) -> u64 {
    let mut hasher = DefaultHasher::new();
    (key, value).hash(&mut hasher);
    hasher.finish()
}

/// The digest of a view.
#[must_use]
pub fn digest(view: &View) -> u64 {
    view.iter()
        .fold(0, |sum, (key, value)| sum ^ digest_of(key, value))
}

impl Committed {
    /// An empty store at revision 0. Comparisons consider the keys that the selector matches.
    #[must_use]
    pub fn new(selector: Selector) -> Self {
        Self {
            selector,
            state: Arc::new(Mutex::new(State {
                all: BTreeMap::new(),
                digests: vec![0],
            })),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while it is locked")
    }

    /// Commits one transaction and returns its revision. The caller publishes it next.
    #[must_use]
    pub fn commit(&self, changes: &[Change]) -> Revision {
        let mut state = self.state();
        let mut digest = state.digests[state.digests.len() - 1];
        for change in changes {
            let key = change.key();
            let old = match change.value() {
                Some(value) => state.all.insert(key.clone(), value.clone()),
                None => state.all.remove(key),
            };
            if self.selector.matches(key) {
                let change = [old.as_ref(), change.value()];
                for value in change.into_iter().flatten() {
                    digest ^= digest_of(key, value);
                }
            }
        }
        state.digests.push(digest);
        state.digests.len() as Revision - 1
    }

    /// The last committed revision.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.state().digests.len() as Revision - 1
    }

    /// A snapshot of all entries, including those that the selector does not match.
    pub fn snapshot(&self) -> Snapshot {
        let state = self.state();
        let mut snapshot = Snapshot::at(state.digests.len() as Revision - 1);
        let entries = state.all.iter();
        snapshot.extend(entries.map(|(key, value)| (key.clone(), value.clone())));
        snapshot
    }

    /// Checks that a view is the state at the view's revision.
    ///
    /// # Panics
    /// If it is not.
    pub fn assert_was(&self, view: &View) {
        let expected = self.state().digests[view.revision() as usize];
        assert_eq!(digest(view), expected, "{view:?} is no state of the store");
    }

    /// Checks, key by key, that a view is the current state.
    ///
    /// # Panics
    /// If it is not.
    pub fn assert_is(&self, view: &View) {
        let state = self.state();
        assert_eq!(view.revision(), state.digests.len() as Revision - 1);
        let matching = state
            .all
            .iter()
            .filter(|(key, _)| self.selector.matches(key));
        assert!(matching.eq(view.iter()), "{view:?} is not the store");
        assert_eq!(view.iter().rev().count(), view.len());
    }
}

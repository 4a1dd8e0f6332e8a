//! A store that remembers what each of its revisions looked like: what mirrors are held against.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use kvwatch::mirror::{Snapshot, View};
use kvwatch::{Change, Revision, Selector};

/// The store, shared by who writes and who reads.
#[derive(Clone, Debug)]
pub struct Committed {
    selector: Selector,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    all: BTreeMap<Bytes, Bytes>,
    /// Of what the selector matches, at each revision.
    digests: Vec<u64>,
}

/// The same for the same keys and values, in any order.
fn digest_of(key: &Bytes, value: &Bytes) -> u64 {
    let mut hasher = DefaultHasher::new();
    (key, value).hash(&mut hasher);
    hasher.finish()
}

/// The digest of all that a view has.
#[must_use]
pub fn digest(view: &View) -> u64 {
    view.iter()
        .fold(0, |sum, (key, value)| sum ^ digest_of(key, value))
}

impl Committed {
    /// An empty store at revision 0, to be compared in what this selector matches.
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
        self.state.lock().expect("nobody panics with it")
    }

    /// Commits one transaction; returns its revision. To be published then.
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

    /// The last revision.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.state().digests.len() as Revision - 1
    }

    /// All of it, with what the selector does not match, too.
    pub fn snapshot(&self) -> Snapshot {
        let state = self.state();
        let mut snapshot = Snapshot::at(state.digests.len() as Revision - 1);
        let entries = state.all.iter();
        snapshot.extend(entries.map(|(key, value)| (key.clone(), value.clone())));
        snapshot
    }

    /// Whether a view is what the selector matched at the view's revision.
    ///
    /// # Panics
    /// If it is not.
    pub fn assert_was(&self, view: &View) {
        let expected = self.state().digests[view.revision() as usize];
        assert_eq!(digest(view), expected, "{view:?} is no state of the store");
    }

    /// Whether a view is what the selector matches now, key by key.
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

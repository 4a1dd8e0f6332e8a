//! The state of a mirror at one revision.

use std::fmt;
use std::iter::FusedIterator;
use std::ops::Bound;

use bytes::Bytes;
use rpds::RedBlackTreeMapSync;

use crate::{EventRef, Revision};

/// A persistent map: a clone shares its nodes with the original, and a change copies only the nodes
/// on the path to its key. The driver clones the map for every batch that it applies; cloning a
/// `BTreeMap` would copy every key each time.
pub(super) type Map = RedBlackTreeMapSync<Bytes, Bytes>;

/// The state of a mirror at one revision: from [`Mirror::view`](super::Mirror::view). Its keys are
/// ordered by their bytes.
///
/// A view never changes, so all reads from one view are consistent with each other. A clone costs a
/// reference count. A view that is kept holds the values that the mirror has overwritten since.
///
/// ```
/// use kvwatch::mirror::Snapshot;
///
/// let mut snapshot = Snapshot::at(7);
/// snapshot.extend([("app/b", "2"), ("app/a", "1"), ("zoo", "3")]);
/// let view = snapshot.into_view();
/// assert_eq!((view.revision(), view.len()), (7, 3));
/// assert_eq!(view.get("app/a").unwrap(), "1");
/// let values: Vec<_> = view.prefix("app/").map(|(_, value)| value).collect();
/// assert_eq!(values, ["1", "2"]);
/// ```
#[derive(Clone)]
pub struct View {
    pub(super) map: Map,
    pub(super) revision: Revision,
}

impl View {
    pub(super) fn empty(revision: Revision) -> Self {
        Self {
            map: Map::new_sync(),
            revision,
        }
    }

    /// Applies an event to the map. Does not change the revision.
    pub(super) fn apply(&mut self, event: EventRef<'_>) {
        match event.value_bytes() {
            Some(value) => self.map.insert_mut(event.key_bytes(), value),
            None => _ = self.map.remove_mut::<[u8]>(event.key()),
        }
    }

    /// The revision of this state. The view contains every event up to that revision and no later
    /// one.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.map.size()
    }

    /// Whether the view has no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// The value of a key. `None` if the key does not exist.
    #[must_use]
    pub fn get(&self, key: impl AsRef<[u8]>) -> Option<&Bytes> {
        self.map.get(key.as_ref())
    }

    /// Whether a key exists.
    #[must_use]
    pub fn contains_key(&self, key: impl AsRef<[u8]>) -> bool {
        self.map.contains_key(key.as_ref())
    }

    /// All keys and values, ordered by key.
    pub fn iter(&self) -> ViewIter<'_> {
        ViewIter {
            entries: self.map.iter(),
        }
    }

    /// The keys that start with `prefix`, with their values, ordered by key. Finding the first one
    /// takes logarithmic time.
    pub fn prefix<'a>(
        &'a self,
        prefix: &'a (impl AsRef<[u8]> + ?Sized),
    ) -> impl Iterator<Item = (&'a Bytes, &'a Bytes)> {
        let prefix = prefix.as_ref();
        let from = (Bound::Included(prefix), Bound::Unbounded);
        let entries = self.map.range::<[u8], _>(from);
        entries.take_while(move |(key, _)| key.starts_with(prefix))
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View")
            .field("revision", &self.revision)
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

impl<'a> IntoIterator for &'a View {
    type Item = (&'a Bytes, &'a Bytes);
    type IntoIter = ViewIter<'a>;

    fn into_iter(self) -> ViewIter<'a> {
        self.iter()
    }
}

/// An iterator over all keys and values, ordered by key: from [`View::iter`].
///
/// ```
/// use kvwatch::mirror::Snapshot;
///
/// let mut snapshot = Snapshot::at(1);
/// snapshot.extend([("b", "2"), ("a", "1")]);
/// let view = snapshot.into_view();
/// let keys: Vec<_> = view.iter().map(|(key, _)| key).collect();
/// assert_eq!(keys, ["a", "b"]);
/// ```
#[must_use = "iterators do nothing until they are used"]
pub struct ViewIter<'a> {
    entries: <&'a Map as IntoIterator>::IntoIter,
}

impl<'a> Iterator for ViewIter<'a> {
    type Item = (&'a Bytes, &'a Bytes);

    fn next(&mut self) -> Option<Self::Item> {
        self.entries.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.entries.size_hint()
    }
}

impl DoubleEndedIterator for ViewIter<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.entries.next_back()
    }
}

impl ExactSizeIterator for ViewIter<'_> {}
impl FusedIterator for ViewIter<'_> {}

impl fmt::Debug for ViewIter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ViewIter")
            .field("remaining", &self.len())
            .finish_non_exhaustive()
    }
}

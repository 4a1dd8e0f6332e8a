//! What readers of a mirror look at.

use std::fmt;
use std::iter::FusedIterator;
use std::ops::Bound;

use bytes::Bytes;
use rpds::RedBlackTreeMapSync;

use crate::{EventRef, Revision};

/// A persistent map: a clone shares everything with its original, and a change copies the way
/// from the root to its key. Measured with 100,000 keys and a clone every four changes: 3 µs a
/// change, where copying a `BTreeMap` took 13 ms a clone.
pub(super) type Map = RedBlackTreeMapSync<Bytes, Bytes>;

/// The state of a mirror's keys at one revision: from [`Mirror::view`](super::Mirror::view).
///
/// It never changes, whatever happens to the mirror: keys read from one view belong together. To
/// clone it costs a reference count; to keep one costs what has been overwritten since. Its order
/// is that of the keys' bytes.
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

    /// Does to the map what an event says; the revision stays.
    pub(super) fn apply(&mut self, event: EventRef<'_>) {
        match event.value_bytes() {
            Some(value) => self.map.insert_mut(event.key_bytes(), value),
            None => _ = self.map.remove_mut::<[u8]>(event.key()),
        }
    }

    /// The revision that this is the state at: everything up to it is in, and nothing above it.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.map.size()
    }

    /// Whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// The value of a key, if it exists.
    #[must_use]
    pub fn get(&self, key: impl AsRef<[u8]>) -> Option<&Bytes> {
        self.map.get(key.as_ref())
    }

    /// Whether a key exists.
    #[must_use]
    pub fn contains_key(&self, key: impl AsRef<[u8]>) -> bool {
        self.map.contains_key(key.as_ref())
    }

    /// Keys and values, in the keys' order.
    pub fn iter(&self) -> ViewIter<'_> {
        ViewIter {
            entries: self.map.iter(),
        }
    }

    /// Keys that start with these bytes, with their values, in the keys' order. Finds the first
    /// of them without looking at those before.
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

/// Keys and values in the keys' order: from [`View::iter`].
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
            .field("left", &self.len())
            .finish_non_exhaustive()
    }
}

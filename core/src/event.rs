//! What the store hands in, and what a watcher hands out.
//!
//! ```text
//!   Change ── publish ──▶ Record (a change with its revision, inside a segment)
//!                            ▲            ▲
//!                  EventRef ─┘            └─ Event (keeps the segment alive)
//! ```

use std::fmt;
use std::hash::{Hash, Hasher};
use std::mem;
use std::ops::{Deref, Range};
use std::sync::Arc;

use bytes::Bytes;

/// The number of a transaction: it grows with every one, and 0 is "before anything".
///
/// Revisions are assigned by the publisher, one after the other, or given by the store
/// (a Raft index, say): then they must grow, and may skip.
/// [`MAX_REVISION`] is the largest that can be published.
pub type Revision = u64;

/// The largest revision that can be published; the number above it means "never".
pub const MAX_REVISION: Revision = u64::MAX - 1;

/// What a change does to its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// The key has a new value.
    Put,
    /// The key is gone.
    Delete,
}

/// What the key held before a change, as far as the store said.
///
/// The engine never looks it up: the store hands it in with the change, if it has it at hand.
/// [`Hub::wants_prev_value`](crate::Hub::wants_prev_value) tells whether any watcher asked for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum PrevValue {
    /// The key did not exist.
    Absent,
    /// The key held this value.
    Value(Bytes),
    /// The store did not hand it in, or the watcher did not ask for it.
    #[default]
    Unavailable,
}

/// A put or a delete of one key, as the store hands it in.
///
/// ```
/// use kvwatch_core::{Change, EventKind, PrevValue};
///
/// let change = Change::put("app/a", "1").with_prev_value(PrevValue::Absent);
/// assert_eq!(change.kind(), EventKind::Put);
/// assert_eq!(change.value().unwrap(), "1");
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Change {
    pub(crate) key: Bytes,
    /// `None` is a delete.
    pub(crate) value: Option<Bytes>,
    pub(crate) prev: PrevValue,
}

impl Change {
    /// The key now holds `value`, which may be empty. No copy is made of either.
    #[must_use]
    pub fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self {
            key: key.into(),
            value: Some(value.into()),
            prev: PrevValue::Unavailable,
        }
    }

    /// The key is gone.
    #[must_use]
    pub fn delete(key: impl Into<Bytes>) -> Self {
        Self {
            key: key.into(),
            value: None,
            prev: PrevValue::Unavailable,
        }
    }

    /// Says what the key held before. Without it, that is [`PrevValue::Unavailable`].
    #[must_use]
    pub fn with_prev_value(mut self, prev: PrevValue) -> Self {
        self.prev = prev;
        self
    }

    /// Whether this is a put or a delete.
    #[must_use]
    pub fn kind(&self) -> EventKind {
        match self.value {
            Some(_) => EventKind::Put,
            None => EventKind::Delete,
        }
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &Bytes {
        &self.key
    }

    /// The new value; `None` for a delete.
    #[must_use]
    pub fn value(&self) -> Option<&Bytes> {
        self.value.as_ref()
    }

    /// What the key held before.
    #[must_use]
    pub fn prev_value(&self) -> &PrevValue {
        &self.prev
    }
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct(match self.kind() {
            EventKind::Put => "Put",
            EventKind::Delete => "Delete",
        });
        out.field("key", &self.key);
        if let Some(value) = &self.value {
            out.field("value", value);
        }
        if self.prev != PrevValue::Unavailable {
            out.field("prev_value", &self.prev);
        }
        out.finish()
    }
}

/// A change with its revision: what segments are made of.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) revision: Revision,
    pub(crate) change: Change,
}

impl Record {
    /// The bytes that this record holds in memory, its own fields included.
    pub(crate) fn cost(&self) -> usize {
        let prev = match &self.change.prev {
            PrevValue::Value(value) => value.len(),
            PrevValue::Absent | PrevValue::Unavailable => 0,
        };
        size_of::<Self>()
            + self.change.key.len()
            + self.change.value.as_ref().map_or(0, Bytes::len)
            + prev
    }

    /// Whether whoever is concerned by one of the two is by the other.
    fn concerns_the_same_as(&self, other: &Self) -> bool {
        self.change.kind() == other.change.kind() && self.change.key == other.change.key
    }

    /// Another record of the same bytes.
    pub(crate) fn share(&self) -> Self {
        Self {
            revision: self.revision,
            change: self.change.clone(),
        }
    }
}

/// The records of a segment, and which neighbours are alike.
#[derive(Debug)]
pub(crate) struct Records {
    list: Vec<Record>,
    /// Where a record has another key or kind than the one before it. Whoever asks what matches
    /// asks once for each span between these: of a key that is changed all the time, once a
    /// segment. 1000 watchers of one key that catch up take 5 ns a delivery by it instead of 25.
    turns: Vec<u32>,
}

impl Records {
    pub(crate) fn new(list: Vec<Record>) -> Self {
        let turns = list
            .windows(2)
            .zip(1..)
            .filter(|(pair, _)| !pair[0].concerns_the_same_as(&pair[1]))
            .map(|(_, at)| at)
            .collect();
        Self { list, turns }
    }

    pub(crate) fn into_list(self) -> Vec<Record> {
        self.list
    }

    /// The spans of like records from `skip` on, in order.
    pub(crate) fn spans(&self, skip: usize) -> impl Iterator<Item = Range<u32>> {
        let mut start = skip as u32;
        let passed = self.turns.partition_point(|&turn| turn <= start);
        let end = self.list.len() as u32;
        self.turns[passed..]
            .iter()
            .copied()
            .chain(std::iter::once(end))
            .map(move |turn| mem::replace(&mut start, turn)..turn)
    }
}

impl Deref for Records {
    type Target = [Record];

    fn deref(&self) -> &[Record] {
        &self.list
    }
}

/// One change with its revision, as a watcher hands it out.
///
/// 16 bytes, and one reference count to clone: it points into the segment in which the
/// dispatcher gathered it, together with up to 255 neighbours, and keeps those alive: a quarter of
/// its watcher's capacity in bytes at most, unless the watcher matched an eighth of them or more.
/// To keep one for long, keep its [`key`](Self::key) and [`value`](Self::value) (both cheap to
/// clone) or [`to_change`](Self::to_change), and drop the event.
///
/// It stays valid after its watcher, its hub and the engine are gone.
#[derive(Clone)]
pub struct Event {
    records: Arc<Records>,
    index: u32,
    with_prev: bool,
}

/// A change with its revision, by reference: what a [`Batch`](crate::Batch) yields.
#[derive(Clone, Copy)]
pub struct EventRef<'a> {
    records: &'a Arc<Records>,
    record: &'a Record,
    with_prev: bool,
}

static UNAVAILABLE: PrevValue = PrevValue::Unavailable;

impl Event {
    pub(crate) fn new(records: Arc<Records>, index: u32, with_prev: bool) -> Self {
        debug_assert!((index as usize) < records.len());
        Self {
            records,
            index,
            with_prev,
        }
    }

    /// The same event by reference.
    #[must_use]
    pub fn as_ref(&self) -> EventRef<'_> {
        EventRef {
            records: &self.records,
            record: &self.records[self.index as usize],
            with_prev: self.with_prev,
        }
    }

    /// The revision of the transaction that this event is part of.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.as_ref().revision()
    }

    /// Whether this is a put or a delete.
    #[must_use]
    pub fn kind(&self) -> EventKind {
        self.as_ref().kind()
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &Bytes {
        self.as_ref().key()
    }

    /// The new value; `None` for a delete.
    #[must_use]
    pub fn value(&self) -> Option<&Bytes> {
        self.as_ref().value()
    }

    /// What the key held before, if the watcher asked
    /// ([`WatchOptions::prev_value`](crate::WatchOptions::prev_value)) and the store said.
    #[must_use]
    pub fn prev_value(&self) -> &PrevValue {
        self.as_ref().prev_value()
    }

    /// The change on its own, which keeps nothing else alive.
    #[must_use]
    pub fn to_change(&self) -> Change {
        self.as_ref().to_change()
    }
}

impl<'a> EventRef<'a> {
    pub(crate) fn new(records: &'a Arc<Records>, record: &'a Record, with_prev: bool) -> Self {
        Self {
            records,
            record,
            with_prev,
        }
    }

    /// The revision of the transaction that this event is part of.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.record.revision
    }

    /// Whether this is a put or a delete.
    #[must_use]
    pub fn kind(&self) -> EventKind {
        self.record.change.kind()
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &'a Bytes {
        &self.record.change.key
    }

    /// The new value; `None` for a delete.
    #[must_use]
    pub fn value(&self) -> Option<&'a Bytes> {
        self.record.change.value.as_ref()
    }

    /// What the key held before, if the watcher asked
    /// ([`WatchOptions::prev_value`](crate::WatchOptions::prev_value)) and the store said.
    #[must_use]
    pub fn prev_value(&self) -> &'a PrevValue {
        if self.with_prev {
            &self.record.change.prev
        } else {
            &UNAVAILABLE
        }
    }

    /// The change on its own, which keeps nothing else alive.
    #[must_use]
    pub fn to_change(&self) -> Change {
        Change {
            key: self.record.change.key.clone(),
            value: self.record.change.value.clone(),
            prev: self.prev_value().clone(),
        }
    }

    /// The event by value: see [`Event`] for what it keeps alive.
    #[must_use]
    pub fn to_event(&self) -> Event {
        // The record's place is found again from its address, so that iterating by reference
        // need not carry an index beside it.
        let start = self.records.as_ptr() as usize;
        let offset = std::ptr::from_ref(self.record) as usize - start;
        let index = u32::try_from(offset / size_of::<Record>()).expect("segments index with u32");
        Event::new(Arc::clone(self.records), index, self.with_prev)
    }

    fn parts(&self) -> (Revision, &'a Bytes, Option<&'a Bytes>, &'a PrevValue) {
        (self.revision(), self.key(), self.value(), self.prev_value())
    }
}

impl PartialEq for EventRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for EventRef<'_> {}

impl Hash for EventRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

impl fmt::Debug for EventRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct(match self.kind() {
            EventKind::Put => "Put",
            EventKind::Delete => "Delete",
        });
        out.field("revision", &self.revision());
        out.field("key", &self.key());
        if let Some(value) = self.value() {
            out.field("value", value);
        }
        if *self.prev_value() != PrevValue::Unavailable {
            out.field("prev_value", self.prev_value());
        }
        out.finish()
    }
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        self.as_ref() == other.as_ref()
    }
}

impl Eq for Event {}

impl Hash for Event {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_ref().hash(state);
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_ref().fmt(f)
    }
}

//! What the store hands in, and what a watcher hands out.
//!
//! ```text
//!   Change ── publish ──▶ Record (a change with its revision, inside a segment's Records)
//!                            ▲            ▲
//!                  EventRef ─┘            └─ Event (keeps the segment alive)
//! ```

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use bstr::BStr;
use bytes::Bytes;

use crate::records::{Record, Records};

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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PrevValue<B = Bytes> {
    /// The key did not exist.
    Absent,
    /// The key held this value.
    Value(B),
    /// The store did not hand it in, or the watcher did not ask for it.
    #[default]
    Unavailable,
}

impl<B> PrevValue<B> {
    /// The same with the value, if there is one, turned into something else.
    pub fn map<T>(self, turn: impl FnOnce(B) -> T) -> PrevValue<T> {
        match self {
            Self::Absent => PrevValue::Absent,
            Self::Value(value) => PrevValue::Value(turn(value)),
            Self::Unavailable => PrevValue::Unavailable,
        }
    }
}

impl PrevValue {
    /// The same by reference, as [`Event::prev_value`] has it.
    #[must_use]
    pub fn as_ref(&self) -> PrevValue<&BStr> {
        match self {
            Self::Absent => PrevValue::Absent,
            Self::Value(value) => PrevValue::Value(BStr::new(value)),
            Self::Unavailable => PrevValue::Unavailable,
        }
    }
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
    /// The key now holds `value`, which may be empty.
    ///
    /// Publishing copies a key or value of up to 512 bytes to where its watchers read it, and
    /// frees it; what is longer is shared, never copied.
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
        out.field("key", &BStr::new(&self.key));
        if let Some(value) = &self.value {
            out.field("value", &BStr::new(value));
        }
        if self.prev != PrevValue::Unavailable {
            out.field("prev_value", &self.prev.as_ref());
        }
        out.finish()
    }
}

/// One change with its revision, as a watcher hands it out.
///
/// 16 bytes, and one reference count to clone: it points into the segment in which the
/// dispatcher gathered it, together with up to 255 neighbours, and keeps those alive: a quarter of
/// its watcher's capacity in bytes at most, unless the watcher matched an eighth of them or more.
/// To keep one for long, keep its [`key_bytes`](Self::key_bytes) and
/// [`value_bytes`](Self::value_bytes) or [`to_change`](Self::to_change), and drop the event.
///
/// Keys and values are [`BStr`]s: bytes that need not be UTF-8, which compare with and print like
/// strings and dereference to `[u8]`.
///
/// It stays valid after its watcher, its hub and the engine are gone.
#[derive(Clone)]
pub struct Event {
    records: Arc<Records>,
    at: At,
}

/// Which of the records, and whether the previous value is shown: in one number, so that an event
/// is two words that travel in registers. Of three fields, each move of one stalled for 5 ns.
#[derive(Clone, Copy)]
struct At(u64);

impl At {
    fn new(index: u32, with_prev: bool) -> Self {
        Self(u64::from(index) << 1 | u64::from(with_prev))
    }

    fn index(self) -> usize {
        (self.0 >> 1) as usize
    }

    fn with_prev(self) -> bool {
        self.0 & 1 == 1
    }
}

/// A change with its revision, by reference: what a [`Batch`](crate::Batch) yields.
#[derive(Clone, Copy)]
pub struct EventRef<'a> {
    records: &'a Arc<Records>,
    record: &'a Record,
    with_prev: bool,
}

impl Event {
    pub(crate) fn new(records: Arc<Records>, index: u32, with_prev: bool) -> Self {
        debug_assert!((index as usize) < records.len());
        let at = At::new(index, with_prev);
        Self { records, at }
    }

    /// The same event by reference.
    #[must_use]
    pub fn as_ref(&self) -> EventRef<'_> {
        EventRef {
            records: &self.records,
            record: &self.records[self.at.index()],
            with_prev: self.at.with_prev(),
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
    pub fn key(&self) -> &BStr {
        self.as_ref().key()
    }

    /// The key on its own, which keeps nothing else alive: a copy of up to 512 bytes, or a
    /// reference count.
    #[must_use]
    pub fn key_bytes(&self) -> Bytes {
        self.as_ref().key_bytes()
    }

    /// The new value; `None` for a delete.
    #[must_use]
    pub fn value(&self) -> Option<&BStr> {
        self.as_ref().value()
    }

    /// The new value on its own, which keeps nothing else alive: a copy of up to 512 bytes, or a
    /// reference count. `None` for a delete.
    #[must_use]
    pub fn value_bytes(&self) -> Option<Bytes> {
        self.as_ref().value_bytes()
    }

    /// What the key held before, if the watcher asked
    /// ([`WatchOptions::prev_value`](crate::WatchOptions::prev_value)) and the store said.
    #[must_use]
    pub fn prev_value(&self) -> PrevValue<&BStr> {
        self.as_ref().prev_value()
    }

    /// The same on its own: see [`value_bytes`](Self::value_bytes).
    #[must_use]
    pub fn prev_value_bytes(&self) -> PrevValue {
        self.as_ref().prev_value_bytes()
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
        self.record.kind()
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &'a BStr {
        BStr::new(self.records.key(self.record))
    }

    /// The key on its own: see [`Event::key_bytes`].
    #[must_use]
    pub fn key_bytes(&self) -> Bytes {
        self.records.key_bytes(self.record)
    }

    /// The new value; `None` for a delete.
    #[must_use]
    pub fn value(&self) -> Option<&'a BStr> {
        self.records.value(self.record).map(BStr::new)
    }

    /// The new value on its own: see [`Event::value_bytes`].
    #[must_use]
    pub fn value_bytes(&self) -> Option<Bytes> {
        self.records.value_bytes(self.record)
    }

    /// What the key held before, if the watcher asked
    /// ([`WatchOptions::prev_value`](crate::WatchOptions::prev_value)) and the store said.
    #[must_use]
    pub fn prev_value(&self) -> PrevValue<&'a BStr> {
        if self.with_prev {
            self.records.prev_value(self.record).map(BStr::new)
        } else {
            PrevValue::Unavailable
        }
    }

    /// The same on its own: see [`Event::prev_value_bytes`].
    #[must_use]
    pub fn prev_value_bytes(&self) -> PrevValue {
        if self.with_prev {
            self.records.prev_value_bytes(self.record)
        } else {
            PrevValue::Unavailable
        }
    }

    /// The change on its own, which keeps nothing else alive.
    #[must_use]
    pub fn to_change(&self) -> Change {
        Change {
            key: self.key_bytes(),
            value: self.value_bytes(),
            prev: self.prev_value_bytes(),
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

    fn parts(&self) -> (Revision, &'a BStr, Option<&'a BStr>, PrevValue<&'a BStr>) {
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
            out.field("value", &value);
        }
        if self.prev_value() != PrevValue::Unavailable {
            out.field("prev_value", &self.prev_value());
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

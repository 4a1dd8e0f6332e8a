//! Events: what a watcher delivers.
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

use crate::change::{Change, EventKind, PrevValue, Revision};
use crate::log::records::{Record, Records};
use crate::log::segment::Run;

/// One change with its revision, as a watcher delivers it.
///
/// An event is 16 bytes, and cloning it raises one reference count. It points into the segment that
/// it was dispatched with and keeps the segment in memory: up to 255 other events, limited to a
/// quarter of its watcher's capacity in bytes unless the watcher matched an eighth of them or more.
/// To keep an event for long, keep its [`key_bytes`](Self::key_bytes) and
/// [`value_bytes`](Self::value_bytes), or [`to_change`](Self::to_change), and drop the event.
///
/// Keys and values are [`BStr`]s: bytes that need not be UTF-8, compare with and print like
/// strings, and dereference to `[u8]`.
///
/// An event stays valid after its watcher, its hub and the engine are gone.
///
/// ```
/// # use kvwatch_core as kvwatch;
/// use kvwatch::{Builder, Change, EventKind};
///
/// let (mut publisher, hub) = Builder::new().spawn()?;
/// let mut watcher = hub.watch("app/port")?;
/// publisher.publish(Change::put("app/port", "80"))?;
/// let event = watcher.recv()?;
/// assert_eq!((event.revision(), event.kind()), (1, EventKind::Put));
/// assert_eq!((event.key(), event.value().unwrap()), ("app/port".into(), "80".into()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Event {
    records: Arc<Records>,
    position: Position,
}

/// The index of the event's record, and whether the previous value is shown: in one number, so that
/// an event is two words that travel in registers.
#[derive(Clone, Copy)]
struct Position(u64);

impl Position {
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

/// A change with its revision, by reference: an item of a [`Batch`](crate::Batch).
#[derive(Clone, Copy)]
pub struct EventRef<'a> {
    records: &'a Arc<Records>,
    record: &'a Record,
    with_prev: bool,
}

impl Event {
    fn new(records: Arc<Records>, index: usize, with_prev: bool) -> Self {
        debug_assert!(index < records.len());
        let position = Position::new(index as u32, with_prev);
        Self { records, position }
    }

    /// The nth event of a run.
    pub(crate) fn of_run(run: &Run, nth: usize, with_prev: bool) -> Self {
        let index = run.position(nth);
        Self::new(Arc::clone(run.records()), index, with_prev)
    }

    /// The last event of a run, without changing a reference count.
    pub(crate) fn last_of_run(run: Run, with_prev: bool) -> Self {
        let index = run.position(run.len() - 1);
        Self::new(run.into_records(), index, with_prev)
    }

    /// This event by reference.
    #[must_use]
    pub fn as_ref(&self) -> EventRef<'_> {
        EventRef {
            records: &self.records,
            record: &self.records[self.position.index()],
            with_prev: self.position.with_prev(),
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

    /// The key as an owned value that keeps nothing else in memory: a copy of up to 512 bytes, or a
    /// reference count of a longer one.
    #[must_use]
    pub fn key_bytes(&self) -> Bytes {
        self.as_ref().key_bytes()
    }

    /// The new value; `None` for a delete.
    #[must_use]
    pub fn value(&self) -> Option<&BStr> {
        self.as_ref().value()
    }

    /// The new value as an owned value that keeps nothing else in memory: a copy of up to 512 bytes,
    /// or a reference count of a longer one. `None` for a delete.
    #[must_use]
    pub fn value_bytes(&self) -> Option<Bytes> {
        self.as_ref().value_bytes()
    }

    /// The value that the key held before, if the watcher asked for it
    /// ([`WatchOptions::prev_value`](crate::WatchOptions::prev_value)) and the store handed it in.
    #[must_use]
    pub fn prev_value(&self) -> PrevValue<&BStr> {
        self.as_ref().prev_value()
    }

    /// The previous value as an owned value: see [`value_bytes`](Self::value_bytes).
    #[must_use]
    pub fn prev_value_bytes(&self) -> PrevValue {
        self.as_ref().prev_value_bytes()
    }

    /// The change as an owned value that keeps nothing else in memory.
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

    /// The key as an owned value: see [`Event::key_bytes`].
    #[must_use]
    pub fn key_bytes(&self) -> Bytes {
        self.records.key_bytes(self.record)
    }

    /// The new value; `None` for a delete.
    #[must_use]
    pub fn value(&self) -> Option<&'a BStr> {
        self.records.value(self.record).map(BStr::new)
    }

    /// The new value as an owned value: see [`Event::value_bytes`].
    #[must_use]
    pub fn value_bytes(&self) -> Option<Bytes> {
        self.records.value_bytes(self.record)
    }

    /// The value that the key held before, if the watcher asked for it
    /// ([`WatchOptions::prev_value`](crate::WatchOptions::prev_value)) and the store handed it in.
    #[must_use]
    pub fn prev_value(&self) -> PrevValue<&'a BStr> {
        if self.with_prev {
            self.records.prev_value(self.record).map(BStr::new)
        } else {
            PrevValue::Unavailable
        }
    }

    /// The previous value as an owned value: see [`Event::prev_value_bytes`].
    #[must_use]
    pub fn prev_value_bytes(&self) -> PrevValue {
        if self.with_prev {
            self.records.prev_value_bytes(self.record)
        } else {
            PrevValue::Unavailable
        }
    }

    /// The change as an owned value that keeps nothing else in memory.
    #[must_use]
    pub fn to_change(&self) -> Change {
        Change {
            key: self.key_bytes(),
            value: self.value_bytes(),
            prev: self.prev_value_bytes(),
        }
    }

    /// This event by value. [`Event`] says what it keeps in memory.
    #[must_use]
    pub fn to_event(&self) -> Event {
        // The index is computed from the record's address, so that iterating by reference need not
        // carry it.
        let start = self.records.as_ptr() as usize;
        let offset = std::ptr::from_ref(self.record) as usize - start;
        let index = offset / size_of::<Record>();
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

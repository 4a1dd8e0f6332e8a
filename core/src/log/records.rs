//! The events of a segment, packed into three vectors.
//!
//! ```text
//!   list     r7 key value prev │ r8 key value prev │ ...    32 bytes an event
//!                │    │             │    │
//!   bytes        app/port 80        app/host ...            up to 512 bytes: copied, back to back
//!   shared       Bytes, Bytes, ...                          longer: the caller's own `Bytes`
//! ```
//!
//! The publisher copies short keys and values and frees the originals while they are still in its
//! cache. Keeping the caller's `Bytes` would cost two cross-thread frees per event, long after the
//! event left the cache.

use std::mem;
use std::ops::{Deref, Range};
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;

use crate::change::{Change, EventKind, PrevValue, Revision};

/// Keys and values up to this many bytes are copied. Copying a longer one takes more time than it
/// saves, and handing it out as `Bytes` would copy it once more.
const MAX_COPIED: usize = 512;

/// Where the bytes of a key or a value are stored.
#[derive(Clone, Copy, Debug)]
struct Slice {
    /// The offset in `bytes`, or the index in `shared`.
    start: u32,
    /// The number of bytes, or one of the marks below, all of which are above [`MAX_COPIED`].
    length: u32,
}

/// The bytes are in `shared`.
const SHARED: u32 = u32::MAX;
/// There is no value: a delete, or a key that did not exist.
const ABSENT: u32 = u32::MAX - 1;
/// The store did not hand in the previous value.
const UNAVAILABLE: u32 = u32::MAX - 2;

impl Slice {
    /// A slice without bytes, for the reason that `mark` names.
    fn without_bytes(mark: u32) -> Self {
        Self {
            start: 0,
            length: mark,
        }
    }

    /// This slice as a previous value. `bytes` are the slice's own, if it has any.
    fn to_prev_value<B>(self, bytes: Option<B>) -> PrevValue<B> {
        match bytes {
            Some(value) => PrevValue::Value(value),
            None if self.length == ABSENT => PrevValue::Absent,
            None => PrevValue::Unavailable,
        }
    }
}

/// One event: its revision and the slices of its key and values.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    pub(crate) revision: Revision,
    key: Slice,
    value: Slice,
    prev: Slice,
}

impl Record {
    pub(crate) fn kind(&self) -> EventKind {
        if self.value.length == ABSENT {
            EventKind::Delete
        } else {
            EventKind::Put
        }
    }
}

/// The caller's own `Bytes`.
///
/// Their drop may run user code, on any thread that drops the last reference to a segment. A panic
/// of that code is caught: it must not unwind out of another watcher's receive.
#[derive(Debug, Default)]
struct SharedBytes(Vec<Bytes>);

impl SharedBytes {
    #[inline]
    fn clear(&mut self) {
        // Mostly there are none: short keys and values are copied.
        if !self.0.is_empty() {
            self.drop_each();
        }
    }

    fn drop_each(&mut self) {
        for bytes in self.0.drain(..) {
            if catch_unwind(AssertUnwindSafe(|| drop(bytes))).is_err() {
                tracing::error!("the drop of a published key or value panicked");
            }
        }
    }
}

impl Drop for SharedBytes {
    fn drop(&mut self) {
        self.clear();
    }
}

/// The events of a segment, in order. They are gathered first, then sealed and shared.
#[derive(Debug, Default)]
pub(crate) struct Records {
    list: Vec<Record>,
    bytes: Vec<u8>,
    shared: SharedBytes,
    /// The sum of the lengths in `shared`.
    shared_bytes: usize,
    /// The indexes of records whose key or kind differs from the record before. Matching asks once
    /// for each span between two boundaries: a key that changes all the time is matched once a
    /// segment instead of once an event.
    boundaries: Vec<u32>,
}

/// Gives memory back if more than a quarter of it is unused.
fn trim<T>(vector: &mut Vec<T>) {
    if vector.len() < vector.capacity() * 3 / 4 {
        vector.shrink_to_fit();
    }
}

impl Records {
    /// Allocates room for this many events and bytes.
    pub(crate) fn with_capacity(events: usize, bytes: usize) -> Self {
        Self {
            list: Vec::with_capacity(events),
            bytes: Vec::with_capacity(bytes),
            ..Self::default()
        }
    }

    /// Appends a change. Long keys and values are shared with it, short ones are copied.
    // Inlined for the reason given at `Sender::publish_one`.
    #[inline(always)]
    pub(crate) fn push(&mut self, revision: Revision, change: &Change) {
        let key = self.store(&change.key);
        let value = match &change.value {
            Some(value) => self.store(value),
            None => Slice::without_bytes(ABSENT),
        };
        let prev = match &change.prev {
            PrevValue::Value(value) => self.store(value),
            PrevValue::Absent => Slice::without_bytes(ABSENT),
            PrevValue::Unavailable => Slice::without_bytes(UNAVAILABLE),
        };
        self.list.push(Record {
            revision,
            key,
            value,
            prev,
        });
    }

    fn store(&mut self, bytes: &Bytes) -> Slice {
        match self.push_bytes(bytes) {
            Some(slice) => slice,
            None => self.push_shared(bytes.clone()),
        }
    }

    /// Copies short bytes. Returns `None` for long ones, and once the offset exceeds a `u32`.
    fn push_bytes(&mut self, bytes: &[u8]) -> Option<Slice> {
        if bytes.len() > MAX_COPIED {
            return None;
        }
        let start = u32::try_from(self.bytes.len()).ok()?;
        self.bytes.extend_from_slice(bytes);
        Some(Slice {
            start,
            length: bytes.len() as u32,
        })
    }

    fn push_shared(&mut self, bytes: Bytes) -> Slice {
        let start = u32::try_from(self.shared.0.len()).expect("segments count with u32");
        self.shared_bytes += bytes.len();
        self.shared.0.push(bytes);
        Slice {
            start,
            length: SHARED,
        }
    }

    /// Appends a record of `other`.
    pub(crate) fn push_from(&mut self, other: &Self, record: &Record) {
        let record = Record {
            revision: record.revision,
            key: self.store_from(other, record.key),
            value: self.store_from(other, record.value),
            prev: self.store_from(other, record.prev),
        };
        self.list.push(record);
    }

    fn store_from(&mut self, other: &Self, slice: Slice) -> Slice {
        match slice.length {
            SHARED => self.push_shared(other.shared.0[slice.start as usize].clone()),
            _ => match other.get(slice) {
                Some(bytes) => match self.push_bytes(bytes) {
                    Some(slice) => slice,
                    None => self.push_shared(Bytes::copy_from_slice(bytes)),
                },
                None => slice,
            },
        }
    }

    /// Moves all records of `other` to the end of these.
    pub(crate) fn append(&mut self, other: &mut Self) {
        let fits = |own: usize, more: usize| u32::try_from(own + more).is_ok();
        if !fits(self.bytes.len(), other.bytes.len()) {
            for record in &other.list {
                self.push_from(other, record);
            }
            return;
        }
        let (bytes, shared) = (self.bytes.len() as u32, self.shared.0.len() as u32);
        let moved = |slice: Slice| Slice {
            start: slice.start
                + if slice.length == SHARED {
                    shared
                } else {
                    bytes
                },
            ..slice
        };
        let list = other.list.iter().map(|record| Record {
            revision: record.revision,
            key: moved(record.key),
            value: moved(record.value),
            prev: moved(record.prev),
        });
        self.list.extend(list);
        self.bytes.extend_from_slice(&other.bytes);
        self.shared.0.append(&mut other.shared.0);
        self.shared_bytes += mem::take(&mut other.shared_bytes);
    }

    /// All records as the changes that the store handed in.
    pub(crate) fn changes(&self) -> impl Iterator<Item = Change> {
        self.list.iter().map(|record| Change {
            key: self.key_bytes(record),
            value: self.value_bytes(record),
            prev: self.prev_value_bytes(record),
        })
    }

    /// Computes the boundaries. Call it after the last record and before [`spans`](Self::spans).
    pub(crate) fn seal(mut self) -> Self {
        let mut boundaries = mem::take(&mut self.boundaries);
        let pairs = self.list.windows(2).zip(1..).filter(|(pair, _)| {
            pair[0].kind() != pair[1].kind() || self.key(&pair[0]) != self.key(&pair[1])
        });
        boundaries.extend(pairs.map(|(_, index)| index));
        self.boundaries = boundaries;
        self
    }

    /// Moves all records out, in at most a third more memory than they need. `events` is the usual
    /// number of events. Few records are copied. Many leave in their own memory, and `spare`, which
    /// gets their number of bytes, makes its replacement.
    pub(crate) fn take(&mut self, events: usize, spare: impl FnOnce(usize) -> Self) -> Self {
        if self.list.len() < events * 3 / 4 && self.list.capacity() <= events {
            return Self {
                list: self.list.drain(..).collect(),
                bytes: self.bytes.drain(..).collect(),
                shared: mem::take(&mut self.shared),
                shared_bytes: mem::take(&mut self.shared_bytes),
                boundaries: Vec::new(),
            };
        }
        let spare = spare(self.bytes.len());
        let mut taken = mem::replace(self, spare);
        trim(&mut taken.list);
        trim(&mut taken.bytes);
        taken
    }

    /// Removes all records and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.list.clear();
        self.bytes.clear();
        self.shared.clear();
        self.shared_bytes = 0;
        self.boundaries.clear();
    }

    /// The number of events that fit into the allocated memory.
    pub(crate) fn capacity(&self) -> usize {
        self.list.capacity()
    }

    /// The bytes that all records hold in memory, their own fields included.
    pub(crate) fn total_bytes(&self) -> usize {
        self.list.len() * size_of::<Record>() + self.bytes.len() + self.shared_bytes
    }

    /// The bytes that one record holds in memory, its own fields included.
    pub(crate) fn bytes_of(&self, record: &Record) -> usize {
        let slices = [record.key, record.value, record.prev];
        let bytes = slices.map(|slice| self.get(slice).map_or(0, <[u8]>::len));
        size_of::<Record>() + bytes.iter().sum::<usize>()
    }

    fn get(&self, slice: Slice) -> Option<&[u8]> {
        match slice.length {
            SHARED => Some(&self.shared.0[slice.start as usize]),
            ABSENT | UNAVAILABLE => None,
            length => {
                let start = slice.start as usize;
                Some(&self.bytes[start..start + length as usize])
            }
        }
    }

    fn get_bytes(&self, slice: Slice) -> Option<Bytes> {
        match slice.length {
            SHARED => Some(self.shared.0[slice.start as usize].clone()),
            _ => self.get(slice).map(Bytes::copy_from_slice),
        }
    }

    pub(crate) fn key(&self, record: &Record) -> &[u8] {
        self.get(record.key).expect("every record has a key")
    }

    pub(crate) fn key_bytes(&self, record: &Record) -> Bytes {
        self.get_bytes(record.key).expect("every record has a key")
    }

    pub(crate) fn value(&self, record: &Record) -> Option<&[u8]> {
        self.get(record.value)
    }

    pub(crate) fn value_bytes(&self, record: &Record) -> Option<Bytes> {
        self.get_bytes(record.value)
    }

    pub(crate) fn prev_value(&self, record: &Record) -> PrevValue<&[u8]> {
        record.prev.to_prev_value(self.get(record.prev))
    }

    pub(crate) fn prev_value_bytes(&self, record: &Record) -> PrevValue {
        record.prev.to_prev_value(self.get_bytes(record.prev))
    }

    /// The spans of records of one key and kind from index `skip` on, in order.
    pub(crate) fn spans(&self, skip: usize) -> impl Iterator<Item = Range<u32>> {
        let mut start = skip as u32;
        let passed = self
            .boundaries
            .partition_point(|&boundary| boundary <= start);
        let end = self.list.len() as u32;
        self.boundaries[passed..]
            .iter()
            .copied()
            .chain(std::iter::once(end))
            .map(move |boundary| mem::replace(&mut start, boundary)..boundary)
    }
}

impl Deref for Records {
    type Target = [Record];

    fn deref(&self) -> &[Record] {
        &self.list
    }
}

impl FromIterator<(Revision, Change)> for Records {
    fn from_iter<I: IntoIterator<Item = (Revision, Change)>>(changes: I) -> Self {
        let mut records = Self::default();
        for (revision, change) in changes {
            records.push(revision, &change);
        }
        records
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes() -> Vec<(Revision, Change)> {
        let short = |byte: u8| Bytes::from(vec![byte; MAX_COPIED]);
        let long = |byte: u8| Bytes::from(vec![byte; MAX_COPIED + 1]);
        let prev = |value| PrevValue::Value(value);
        vec![
            (1, Change::put("", "")),
            (2, Change::put("k", short(1)).with_prev_value(prev(long(2)))),
            (
                2,
                Change::delete(long(3)).with_prev_value(PrevValue::Absent),
            ),
            (
                5,
                Change::put(short(4), long(5)).with_prev_value(prev(short(6))),
            ),
        ]
    }

    fn read(records: &Records) -> Vec<(Revision, Change)> {
        let read = |(record, change): (&Record, Change)| {
            assert_eq!(change.kind(), record.kind());
            assert_eq!(change.key, records.key(record));
            assert_eq!(change.value.as_deref(), records.value(record));
            (record.revision, change)
        };
        records.iter().zip(records.changes()).map(read).collect()
    }

    #[test]
    fn changes_read_back_as_pushed_whether_copied_or_shared() {
        let records: Records = changes().into_iter().collect();
        assert_eq!(read(&records), changes());
        let mut copies = Records::default();
        for record in records.iter() {
            copies.push_from(&records, record);
        }
        assert_eq!(read(&copies), changes());
        let costs: usize = copies.iter().map(|record| copies.bytes_of(record)).sum();
        assert_eq!(costs, copies.total_bytes());
        assert_eq!(costs, 4 * 32 + 1 + 3 * MAX_COPIED + 3 * (MAX_COPIED + 1));
    }

    #[test]
    fn taken_records_hold_at_most_a_third_more_memory_than_they_need() {
        let mut records = Records::with_capacity(4, 0);
        for count in [1, 4, 9, 1, 4] {
            let changes: Vec<_> = changes().into_iter().cycle().take(count).collect();
            for (revision, change) in &changes {
                records.push(*revision, change);
            }
            let taken = records.take(4, |bytes| Records::with_capacity(4, bytes));
            assert_eq!(read(&taken), changes);
            assert!(taken.list.len() * 4 >= taken.list.capacity() * 3);
            assert!(taken.bytes.len() * 4 >= taken.bytes.capacity() * 3);
            assert!(records.is_empty() && records.total_bytes() == 0 && records.capacity() == 4);
        }
    }

    #[test]
    fn cleared_records_count_no_events_and_no_bytes() {
        let mut records: Records = changes().into_iter().collect();
        records.clear();
        assert_eq!((records.len(), records.total_bytes()), (0, 0));
    }

    #[test]
    fn appended_records_follow_the_others_and_read_as_before() {
        let all = changes();
        for split in 0..=all.len() {
            let (first, rest) = all.split_at(split);
            let mut records: Records = first.iter().cloned().collect();
            let mut behind: Records = rest.iter().cloned().collect();
            records.append(&mut behind);
            assert_eq!(read(&records), all);
            let whole: Records = all.iter().cloned().collect();
            assert_eq!(records.total_bytes(), whole.total_bytes());
        }
    }

    #[test]
    fn spans_end_where_the_key_or_the_kind_changes() {
        let changes = [
            Change::put("k", "1"),
            Change::put("k", "2"),
            Change::delete("k"),
            Change::put("j", "1"),
        ];
        let records: Records = (1..).zip(changes).collect();
        let records = records.seal();
        let spans = |skip| records.spans(skip).collect::<Vec<_>>();
        assert_eq!(spans(0), [0..2, 2..3, 3..4]);
        assert_eq!(spans(1), [1..2, 2..3, 3..4]);
        assert_eq!(spans(2), [2..3, 3..4]);
    }
}

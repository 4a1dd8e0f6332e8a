//! How the events of a segment lie in memory.
//!
//! ```text
//!   list    r7 key value prev │ r8 key value prev │ ...    32 bytes an event
//!               │    │             │    │
//!   bytes       app/port 80        app/host ...            what is short, one behind the other
//!   long        Bytes, Bytes, ...                          what is longer, as the store handed it in
//! ```
//!
//! The publisher copies what is short, and frees it while it is still in its caches. Handed on and
//! kept as they are, key and value cost two frees on another thread, once the history has let the
//! event go cold: one watcher took 8 M events/s by that.

use std::mem;
use std::ops::{Deref, Range};

use bytes::Bytes;

use crate::event::{Change, EventKind, PrevValue, Revision};

/// Keys and values of up to so many bytes are copied. Copying more takes longer than it saves, and
/// who hands out a value again would have to copy it back.
const SHORT: usize = 512;

/// Where the bytes of a key or of a value lie.
#[derive(Clone, Copy, Debug)]
struct Piece {
    /// Where it starts in `bytes`; or its place in `long`.
    at: u32,
    /// How many bytes; or one of the numbers below, which are above [`SHORT`].
    length: u32,
}

/// It is in `long`.
const LONG: u32 = u32::MAX;
/// There is no value: a delete, or a key that was not there before.
const ABSENT: u32 = u32::MAX - 1;
/// Nobody said what the value was.
const UNAVAILABLE: u32 = u32::MAX - 2;

impl Piece {
    /// Stands for no bytes at all.
    fn none(why: u32) -> Self {
        Self { at: 0, length: why }
    }

    /// The previous value that this is, where its bytes are these.
    fn as_prev<B>(self, bytes: Option<B>) -> PrevValue<B> {
        match bytes {
            Some(value) => PrevValue::Value(value),
            None if self.length == ABSENT => PrevValue::Absent,
            None => PrevValue::Unavailable,
        }
    }
}

/// One event: its revision, and where its bytes are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    pub(crate) revision: Revision,
    key: Piece,
    value: Piece,
    prev: Piece,
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

/// The events of a segment, in order. Gathered first, then sealed and shared.
#[derive(Debug, Default)]
pub(crate) struct Records {
    list: Vec<Record>,
    bytes: Vec<u8>,
    long: Vec<Bytes>,
    /// How many bytes the long ones are.
    long_bytes: usize,
    /// Where a record has another key or kind than the one before it. Whoever asks what matches
    /// asks once for each span between these: of a key that is changed all the time, once a
    /// segment. 1000 watchers of one key that catch up take 5 ns a delivery by it instead of 25.
    turns: Vec<u32>,
}

/// Gives memory back where more than a quarter is not used.
fn trim<T>(vector: &mut Vec<T>) {
    if vector.len() < vector.capacity() * 3 / 4 {
        vector.shrink_to_fit();
    }
}

impl Records {
    /// With room for so many.
    pub(crate) fn with_capacity(events: usize, bytes: usize) -> Self {
        Self {
            list: Vec::with_capacity(events),
            bytes: Vec::with_capacity(bytes),
            ..Self::default()
        }
    }

    /// Adds a change behind the others. What is long is shared with it, the rest is copied.
    // See `Sender::one`.
    #[inline(always)]
    pub(crate) fn push(&mut self, revision: Revision, change: &Change) {
        let key = self.keep(&change.key);
        let value = match &change.value {
            Some(value) => self.keep(value),
            None => Piece::none(ABSENT),
        };
        let prev = match &change.prev {
            PrevValue::Value(value) => self.keep(value),
            PrevValue::Absent => Piece::none(ABSENT),
            PrevValue::Unavailable => Piece::none(UNAVAILABLE),
        };
        self.list.push(Record {
            revision,
            key,
            value,
            prev,
        });
    }

    fn keep(&mut self, bytes: &Bytes) -> Piece {
        match self.copy(bytes) {
            Some(piece) => piece,
            None => self.share(bytes.clone()),
        }
    }

    /// Copies what is short, as long as numbers reach.
    fn copy(&mut self, bytes: &[u8]) -> Option<Piece> {
        if bytes.len() > SHORT {
            return None;
        }
        let at = u32::try_from(self.bytes.len()).ok()?;
        self.bytes.extend_from_slice(bytes);
        Some(Piece {
            at,
            length: bytes.len() as u32,
        })
    }

    fn share(&mut self, bytes: Bytes) -> Piece {
        let at = u32::try_from(self.long.len()).expect("segments count with u32");
        self.long_bytes += bytes.len();
        self.long.push(bytes);
        Piece { at, length: LONG }
    }

    /// Adds a record of others behind these.
    pub(crate) fn push_from(&mut self, other: &Self, record: &Record) {
        let record = Record {
            revision: record.revision,
            key: self.keep_from(other, record.key),
            value: self.keep_from(other, record.value),
            prev: self.keep_from(other, record.prev),
        };
        self.list.push(record);
    }

    fn keep_from(&mut self, other: &Self, piece: Piece) -> Piece {
        match piece.length {
            LONG => self.share(other.long[piece.at as usize].clone()),
            _ => match other.get(piece) {
                Some(bytes) => match self.copy(bytes) {
                    Some(piece) => piece,
                    None => self.share(Bytes::copy_from_slice(bytes)),
                },
                None => piece,
            },
        }
    }

    /// Moves all of others' behind these.
    pub(crate) fn append(&mut self, others: &mut Self) {
        let reaches = |own: usize, more: usize| u32::try_from(own + more).is_ok();
        if !reaches(self.bytes.len(), others.bytes.len()) {
            for record in &others.list {
                self.push_from(others, record);
            }
            return;
        }
        let (bytes, long) = (self.bytes.len() as u32, self.long.len() as u32);
        let behind = |piece: Piece| Piece {
            at: piece.at + if piece.length == LONG { long } else { bytes },
            ..piece
        };
        let list = others.list.iter().map(|record| Record {
            revision: record.revision,
            key: behind(record.key),
            value: behind(record.value),
            prev: behind(record.prev),
        });
        self.list.extend(list);
        self.bytes.extend_from_slice(&others.bytes);
        self.long.append(&mut others.long);
        self.long_bytes += mem::take(&mut others.long_bytes);
    }

    /// All of them as the store handed them in.
    pub(crate) fn changes(&self) -> impl Iterator<Item = Change> {
        self.list.iter().map(|record| Change {
            key: self.key_bytes(record),
            value: self.value_bytes(record),
            prev: self.prev_value_bytes(record),
        })
    }

    /// To be called once all are in, before anybody asks for [`spans`](Self::spans).
    pub(crate) fn seal(mut self) -> Self {
        let mut turns = mem::take(&mut self.turns);
        let pairs = self.list.windows(2).zip(1..).filter(|(pair, _)| {
            pair[0].kind() != pair[1].kind() || self.key(&pair[0]) != self.key(&pair[1])
        });
        turns.extend(pairs.map(|(_, at)| at));
        self.turns = turns;
        self
    }

    /// All of them, out of `self`, without more memory than they need by a third: so many `events`
    /// are usual. Few are copied; many go along as they are, and `spare`, which is told how many
    /// bytes these have, takes their place.
    pub(crate) fn take(&mut self, events: usize, spare: impl FnOnce(usize) -> Self) -> Self {
        if self.list.len() < events * 3 / 4 && self.list.capacity() <= events {
            return Self {
                list: self.list.drain(..).collect(),
                bytes: self.bytes.drain(..).collect(),
                long: mem::take(&mut self.long),
                long_bytes: mem::take(&mut self.long_bytes),
                turns: Vec::new(),
            };
        }
        let spare = spare(self.bytes.len());
        let mut taken = mem::replace(self, spare);
        trim(&mut taken.list);
        trim(&mut taken.bytes);
        taken
    }

    /// Empties it and keeps its memory.
    pub(crate) fn clear(&mut self) {
        self.list.clear();
        self.bytes.clear();
        self.long.clear();
        self.long_bytes = 0;
        self.turns.clear();
    }

    /// For how many events there is memory.
    pub(crate) fn capacity(&self) -> usize {
        self.list.capacity()
    }

    /// The bytes that all of them hold in memory, their own fields included.
    pub(crate) fn total_cost(&self) -> usize {
        self.list.len() * size_of::<Record>() + self.bytes.len() + self.long_bytes
    }

    /// The bytes that one of them holds in memory, its own fields included.
    pub(crate) fn cost(&self, record: &Record) -> usize {
        let pieces = [record.key, record.value, record.prev];
        let bytes = pieces.map(|piece| self.get(piece).map_or(0, <[u8]>::len));
        size_of::<Record>() + bytes.iter().sum::<usize>()
    }

    fn get(&self, piece: Piece) -> Option<&[u8]> {
        match piece.length {
            LONG => Some(&self.long[piece.at as usize]),
            ABSENT | UNAVAILABLE => None,
            length => {
                let start = piece.at as usize;
                Some(&self.bytes[start..start + length as usize])
            }
        }
    }

    fn get_bytes(&self, piece: Piece) -> Option<Bytes> {
        match piece.length {
            LONG => Some(self.long[piece.at as usize].clone()),
            _ => self.get(piece).map(Bytes::copy_from_slice),
        }
    }

    pub(crate) fn key(&self, record: &Record) -> &[u8] {
        self.get(record.key).expect("there always is a key")
    }

    pub(crate) fn key_bytes(&self, record: &Record) -> Bytes {
        self.get_bytes(record.key).expect("there always is a key")
    }

    pub(crate) fn value(&self, record: &Record) -> Option<&[u8]> {
        self.get(record.value)
    }

    pub(crate) fn value_bytes(&self, record: &Record) -> Option<Bytes> {
        self.get_bytes(record.value)
    }

    pub(crate) fn prev_value(&self, record: &Record) -> PrevValue<&[u8]> {
        record.prev.as_prev(self.get(record.prev))
    }

    pub(crate) fn prev_value_bytes(&self, record: &Record) -> PrevValue {
        record.prev.as_prev(self.get_bytes(record.prev))
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
        let short = |byte: u8| Bytes::from(vec![byte; SHORT]);
        let long = |byte: u8| Bytes::from(vec![byte; SHORT + 1]);
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
    fn what_goes_in_comes_out_be_it_short_or_long() {
        let records: Records = changes().into_iter().collect();
        assert_eq!(read(&records), changes());
        let mut copies = Records::default();
        for record in records.iter() {
            copies.push_from(&records, record);
        }
        assert_eq!(read(&copies), changes());
        let costs: usize = copies.iter().map(|record| copies.cost(record)).sum();
        assert_eq!(costs, copies.total_cost());
        assert_eq!(costs, 4 * 32 + 1 + 3 * SHORT + 3 * (SHORT + 1));
    }

    #[test]
    fn what_is_taken_holds_little_more_memory_than_it_needs() {
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
            assert!(records.is_empty() && records.total_cost() == 0 && records.capacity() == 4);
        }
    }

    #[test]
    fn what_is_emptied_holds_nothing_be_it_short_or_long() {
        let mut records: Records = changes().into_iter().collect();
        records.clear();
        assert_eq!((records.len(), records.total_cost()), (0, 0));
    }

    #[test]
    fn what_is_appended_lies_behind_the_others_and_reads_as_before() {
        let all = changes();
        for split in 0..=all.len() {
            let (first, rest) = all.split_at(split);
            let mut records: Records = first.iter().cloned().collect();
            let mut behind: Records = rest.iter().cloned().collect();
            records.append(&mut behind);
            assert_eq!(read(&records), all);
            let whole: Records = all.iter().cloned().collect();
            assert_eq!(records.total_cost(), whole.total_cost());
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

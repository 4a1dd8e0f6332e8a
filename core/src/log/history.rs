//! The bounded log of what was dispatched. A watcher that is behind reads on from here.
//!
//! ```text
//!   floor                                              head
//!     ▼                                                  ▼
//!   · ·│r5 r6 r7│r8 r9│ gap 10..=14 │r15│r16 r17 r18│  r19 (a commit without changes)
//!     ▲
//!     └ transactions are removed from here, one by one; a segment's memory with its last one
//! ```

use std::collections::VecDeque;

use crate::change::Revision;
use crate::lagged::{LagReason, Lagged};
use crate::log::records::{Record, Records};
use crate::log::segment::{SEGMENT_EVENTS, Segment};

/// One step through the history ends at this many bytes, however few events that is.
pub(crate) const STEP_BYTES: usize = 256 * 1024;

#[derive(Debug)]
enum HistoryEntry {
    Segment(Segment),
    /// Revisions that never came in.
    Gap(Lagged),
}

impl HistoryEntry {
    fn last(&self) -> Revision {
        match self {
            Self::Segment(segment) => segment.last(),
            Self::Gap(gap) => gap.last,
        }
    }
}

/// What the history holds at a revision.
#[derive(Debug)]
pub(crate) enum Step {
    /// All records of these segments, less the given number at the start of the first one. Nothing
    /// is missing between the segments.
    Segments(Vec<Segment>, usize),
    /// These revisions were removed, or never came in.
    Lagged(Lagged),
    /// Nothing up to this revision, the newest one.
    Head(Revision),
}

/// The number of these records and the bytes that they hold in memory.
fn count_and_bytes<'a>(
    records: &'a Records,
    some: impl Iterator<Item = &'a Record>,
) -> (usize, usize) {
    some.fold((0, 0), |(count, bytes), record| {
        (count + 1, bytes + records.bytes_of(record))
    })
}

/// The log itself.
///
/// Every method is called under its lock, so none drops a segment: removed segments go to the
/// caller's `retired`.
#[derive(Debug)]
pub(crate) struct History {
    /// With 0 the history keeps nothing but the head's number.
    max_events: usize,
    max_bytes: usize,
    entries: VecDeque<HistoryEntry>,
    /// The number of entries removed so far. It numbers the first entry, so that a cursor stays
    /// valid while entries are removed.
    removed_entries: u64,
    /// The number of records removed from the first entry.
    removed_records: usize,
    /// The number and bytes of the records that were not removed.
    events: usize,
    bytes: usize,
    /// The oldest revision from which on nothing is missing except in gaps.
    floor: Revision,
    /// With `max_events` of 0, the newest gap, so that its reason is known.
    unheld_gap: Option<Lagged>,
    /// Everything up to here was appended.
    head: Revision,
}

impl History {
    pub(crate) fn new(max_events: usize, max_bytes: usize, revision: Revision) -> Self {
        Self {
            max_events,
            max_bytes,
            entries: VecDeque::new(),
            removed_entries: 0,
            removed_records: 0,
            events: 0,
            bytes: 0,
            floor: revision + 1,
            unheld_gap: None,
            head: revision,
        }
    }

    pub(crate) fn floor(&self) -> Revision {
        self.floor
    }

    pub(crate) fn head(&self) -> Revision {
        self.head
    }

    pub(crate) fn events(&self) -> usize {
        self.events
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends a segment, if there is one, and moves the head to `upto`.
    pub(crate) fn append(
        &mut self,
        segment: Option<&Segment>,
        upto: Revision,
        retired: &mut Vec<Segment>,
    ) {
        self.head = upto;
        if self.max_events == 0 {
            self.floor = self.floor.max(upto + 1);
            return;
        }
        let Some(segment) = segment else { return };
        if segment.last() < self.floor {
            return;
        }
        self.events += segment.records.len();
        self.bytes += segment.bytes();
        self.entries
            .push_back(HistoryEntry::Segment(segment.clone()));
        if segment.first() < self.floor {
            self.remove_below(self.floor, retired);
        }
        self.shrink(retired);
    }

    /// Appends revisions that never came in.
    pub(crate) fn append_gap(&mut self, gap: Lagged) {
        self.head = gap.last;
        if self.max_events == 0 {
            self.floor = self.floor.max(gap.last + 1);
            self.unheld_gap = Some(gap);
        } else if gap.last < self.floor {
            // Compacted before it was appended.
        } else if let Some(HistoryEntry::Gap(last)) = self.entries.back_mut() {
            last.last = gap.last;
        } else {
            self.entries.push_back(HistoryEntry::Gap(gap));
        }
    }

    /// Removes everything below `revision`.
    pub(crate) fn compact(&mut self, revision: Revision, retired: &mut Vec<Segment>) {
        if revision > self.floor {
            self.floor = revision;
            self.remove_below(revision, retired);
        }
    }

    fn remove_below(&mut self, revision: Revision, retired: &mut Vec<Segment>) {
        while let Some(entry) = self.entries.front() {
            if entry.last() < revision {
                self.pop_front(retired);
                continue;
            }
            if let HistoryEntry::Segment(segment) = entry {
                let live = &segment.records[self.removed_records..];
                let below = live.iter().take_while(|record| record.revision < revision);
                let (count, bytes) = count_and_bytes(&segment.records, below);
                self.remove_records(count, bytes);
            }
            break;
        }
    }

    /// Removes transactions until the history is within its bounds, or only the newest is left.
    fn shrink(&mut self, retired: &mut Vec<Segment>) {
        while self.events > self.max_events || self.bytes > self.max_bytes {
            let only = self.entries.len() == 1;
            let segment = match self.entries.front() {
                None => return,
                Some(HistoryEntry::Gap(gap)) => {
                    self.floor = gap.last + 1;
                    self.pop_front(retired);
                    continue;
                }
                Some(HistoryEntry::Segment(segment)) => segment,
            };
            let live = &segment.records[self.removed_records..];
            if !only && self.events - live.len() >= self.max_events {
                self.floor = segment.last() + 1;
                self.pop_front(retired);
                continue;
            }
            // One transaction at a time from the front: the records further on are long out of the
            // caches.
            let oldest = live[0].revision;
            let transaction = live.iter().take_while(|record| record.revision == oldest);
            let (count, bytes) = count_and_bytes(&segment.records, transaction);
            if count < live.len() {
                self.floor = oldest + 1;
                self.remove_records(count, bytes);
            } else if only {
                return;
            } else {
                self.floor = oldest + 1;
                self.pop_front(retired);
            }
        }
    }

    /// Removes this many records from the first entry.
    fn remove_records(&mut self, count: usize, bytes: usize) {
        self.events -= count;
        self.bytes -= bytes;
        self.removed_records += count;
    }

    fn pop_front(&mut self, retired: &mut Vec<Segment>) {
        if let Some(HistoryEntry::Segment(segment)) = self.entries.pop_front() {
            let live = &segment.records[self.removed_records..];
            self.events -= live.len();
            self.bytes -= if self.removed_records == 0 {
                segment.bytes()
            } else {
                count_and_bytes(&segment.records, live.iter()).1
            };
            retired.push(segment);
        }
        self.removed_records = 0;
        self.removed_entries += 1;
    }

    /// Reads one step at `next`. `cursor` remembers the position between steps; it may start with
    /// any value.
    pub(crate) fn read(&self, next: Revision, cursor: &mut u64) -> Step {
        if next < self.floor {
            return Step::Lagged(self.missing(next));
        }
        let index = self.find(next, *cursor);
        match self.entries.get(index) {
            None => Step::Head(self.head),
            Some(HistoryEntry::Gap(gap)) => {
                *cursor = self.removed_entries + index as u64 + 1;
                Step::Lagged(Lagged {
                    first: gap.first.max(next),
                    ..*gap
                })
            }
            Some(HistoryEntry::Segment(first)) => {
                let skip = first.records.partition_point(|r| r.revision < next);
                let mut segments = vec![first.clone()];
                let (mut events, mut bytes) = (first.records.len(), first.bytes());
                // Single publishes leave many small segments: one step takes several of them.
                for entry in self.entries.range(index + 1..) {
                    let HistoryEntry::Segment(segment) = entry else {
                        break;
                    };
                    events += segment.records.len();
                    bytes += segment.bytes();
                    if events > SEGMENT_EVENTS || bytes > STEP_BYTES {
                        break;
                    }
                    segments.push(segment.clone());
                }
                *cursor = self.removed_entries + (index + segments.len()) as u64;
                Step::Segments(segments, skip)
            }
        }
    }

    /// The revisions from `next` on, which is below the floor, that are missing for one reason.
    fn missing(&self, next: Revision) -> Lagged {
        let removed = Lagged {
            first: next,
            last: self.floor - 1,
            reason: LagReason::Removed,
        };
        match self.unheld_gap {
            Some(gap) if next < gap.first => Lagged {
                last: gap.first - 1,
                ..removed
            },
            Some(gap) if next <= gap.last => Lagged { first: next, ..gap },
            _ => removed,
        }
    }

    /// The index of the first entry that reaches `next`.
    fn find(&self, next: Revision, cursor: u64) -> usize {
        let guess = cursor
            .checked_sub(self.removed_entries)
            .and_then(|index| usize::try_from(index).ok());
        if let Some(index) = guess
            && self.entries.get(index).is_some_and(|e| e.last() >= next)
            && (index == 0 || self.entries[index - 1].last() < next)
        {
            return index;
        }
        self.entries.partition_point(|entry| entry.last() < next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::Change;

    fn segment(revisions: &[Revision]) -> Segment {
        let changes = revisions
            .iter()
            .map(|&revision| (revision, Change::put("k", "v")));
        Segment::new(changes.collect())
    }

    fn removed(first: Revision, last: Revision) -> Lagged {
        let reason = LagReason::Removed;
        Lagged {
            first,
            last,
            reason,
        }
    }

    fn dropped(first: Revision, last: Revision) -> Lagged {
        let reason = LagReason::Dropped;
        Lagged {
            first,
            last,
            reason,
        }
    }

    /// Revisions that can be read from `next` on, lags as their ends.
    fn read_all(history: &History, mut next: Revision) -> Vec<Result<Revision, Lagged>> {
        let mut cursor = 0;
        let mut seen = Vec::new();
        loop {
            match history.read(next, &mut cursor) {
                Step::Head(_) => return seen,
                Step::Lagged(lagged) => {
                    seen.push(Err(lagged));
                    next = lagged.last + 1;
                }
                Step::Segments(segments, skip) => {
                    next = segments[segments.len() - 1].last() + 1;
                    let records = segments.iter().flat_map(|s| s.records.iter());
                    seen.extend(records.skip(skip).map(|r| Ok(r.revision)));
                }
            }
        }
    }

    #[test]
    fn history_is_bounded_exactly_and_by_whole_transactions() {
        let mut history = History::new(4, usize::MAX, 0);
        let mut retired = Vec::new();
        history.append(Some(&segment(&[1, 2, 2, 3])), 3, &mut retired);
        assert_eq!((history.events(), history.floor()), (4, 1));
        history.append(Some(&segment(&[4])), 4, &mut retired);
        assert_eq!((history.events(), history.floor()), (4, 2));
        history.append(Some(&segment(&[5])), 5, &mut retired);
        assert_eq!((history.events(), history.floor()), (3, 3));
        assert_eq!(read_all(&history, 3), [Ok(3), Ok(4), Ok(5)]);
        assert_eq!(
            read_all(&history, 1)[0],
            Err(removed(1, 2)),
            "the removed revisions are named"
        );
        assert!(
            retired.is_empty(),
            "a segment is retired with its last record"
        );
        history.append(Some(&segment(&[6, 7])), 7, &mut retired);
        assert_eq!((history.events(), history.floor()), (4, 4));
        assert_eq!(retired.len(), 1);
    }

    #[test]
    fn newest_transaction_is_kept_however_large() {
        let mut history = History::new(2, 1, 0);
        let mut retired = Vec::new();
        history.append(Some(&segment(&[1])), 1, &mut retired);
        history.append(Some(&segment(&[2, 3, 3, 3])), 3, &mut retired);
        assert_eq!(read_all(&history, 3), [Ok(3), Ok(3), Ok(3)]);
        assert_eq!((history.events(), history.floor()), (3, 3));
    }

    #[test]
    fn history_of_zero_events_keeps_only_the_head() {
        let mut history = History::new(0, usize::MAX, 7);
        history.append(Some(&segment(&[8, 9])), 9, &mut Vec::new());
        assert_eq!(read_all(&history, 8), [Err(removed(8, 9))]);
        assert_eq!((history.head(), history.floor()), (9, 10));
        history.append_gap(dropped(10, 12));
        history.append(None, 13, &mut Vec::new());
        let missing = [removed(8, 9), dropped(10, 12), removed(13, 13)];
        assert_eq!(read_all(&history, 8), missing.map(Err));
    }

    #[test]
    fn reliable_gaps_are_merged_and_reported_to_every_reader_that_crosses_them() {
        let mut history = History::new(3, usize::MAX, 0);
        let mut retired = Vec::new();
        history.append(Some(&segment(&[1])), 1, &mut retired);
        history.append_gap(dropped(2, 3));
        history.append_gap(dropped(4, 6));
        history.append(Some(&segment(&[7])), 7, &mut retired);
        let gap = |first| Err(dropped(first, 6));
        assert_eq!(read_all(&history, 1), [Ok(1), gap(2), Ok(7)]);
        assert_eq!(read_all(&history, 5), [gap(5), Ok(7)]);
        assert_eq!(read_all(&history, 7), [Ok(7)]);
        history.append(Some(&segment(&[8, 9, 10])), 10, &mut retired);
        assert_eq!((history.events(), history.floor()), (3, 8));
    }

    #[test]
    fn compaction_cuts_inside_a_segment_and_below_a_future_floor() {
        let mut history = History::new(100, usize::MAX, 0);
        let mut retired = Vec::new();
        history.append(Some(&segment(&[1, 2, 3])), 3, &mut retired);
        history.compact(3, &mut retired);
        assert_eq!((history.events(), history.floor()), (1, 3));
        history.compact(6, &mut retired);
        history.append(Some(&segment(&[4, 5, 6, 7])), 7, &mut retired);
        assert_eq!((history.events(), history.floor()), (2, 6));
        assert_eq!(read_all(&history, 6), [Ok(6), Ok(7)]);
    }
}

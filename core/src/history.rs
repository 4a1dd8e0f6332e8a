//! The bounded log of what was dispatched: what a watcher that is behind reads on from.
//!
//! ```text
//!   floor                                              head
//!     ▼                                                  ▼
//!   · ·│r5 r6 r7│r8 r9│ hole 10..=14 │r15│r16 r17 r18│  r19 (a commit without changes)
//!     ▲
//!     └ transactions leave from here, one by one; a segment's memory goes with its last one
//! ```

use std::collections::VecDeque;

use crate::error::Lagged;
use crate::event::Revision;
use crate::records::{Record, Records};
use crate::segment::{SEGMENT_EVENTS, Segment};

/// A step through the history ends at this many bytes, however few events that is.
pub(crate) const STEP_BYTES: usize = 256 * 1024;

#[derive(Debug)]
enum Entry {
    Segment(Segment),
    /// Revisions that were dropped on their way in.
    Hole(Lagged),
}

impl Entry {
    fn last(&self) -> Revision {
        match self {
            Self::Segment(segment) => segment.last(),
            Self::Hole(hole) => hole.to,
        }
    }
}

/// What a watcher that is behind finds at its next revision.
#[derive(Debug)]
pub(crate) enum Step {
    /// The records from this one on in the first of these segments, and all in the others.
    /// Between them nothing is missing.
    Segments(Vec<Segment>, usize),
    /// These revisions are gone, or never came in.
    Lagged(Lagged),
    /// There is nothing more up to this revision.
    Head(Revision),
}

/// How many records these are, and what they hold in memory.
fn weigh<'a>(records: &'a Records, some: impl Iterator<Item = &'a Record>) -> (usize, usize) {
    some.fold((0, 0), |(size, bytes), record| {
        (size + 1, bytes + records.cost(record))
    })
}

/// The log itself. Every method is called under its lock, so none drops an event: what leaves
/// goes to the caller's `trash`.
#[derive(Debug)]
pub(crate) struct History {
    /// 0 means that nothing is kept but the head's number.
    max_events: usize,
    max_bytes: usize,
    entries: VecDeque<Entry>,
    /// How many entries have left: names the first one, so that readers can remember their place.
    departed: u64,
    /// How many records of the first entry have left.
    skipped: usize,
    /// Of the records that have not left.
    events: usize,
    bytes: usize,
    /// The oldest revision from which nothing is missing but what a hole says.
    floor: Revision,
    /// Everything up to here has been appended.
    head: Revision,
}

impl History {
    pub(crate) fn new(max_events: usize, max_bytes: usize, revision: Revision) -> Self {
        Self {
            max_events,
            max_bytes,
            entries: VecDeque::new(),
            departed: 0,
            skipped: 0,
            events: 0,
            bytes: 0,
            floor: revision + 1,
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

    /// Appends a segment, if there is one; everything up to `upto` is then known.
    pub(crate) fn append(
        &mut self,
        segment: Option<&Segment>,
        upto: Revision,
        trash: &mut Vec<Segment>,
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
        self.entries.push_back(Entry::Segment(segment.clone()));
        if segment.first() < self.floor {
            self.forget_below(self.floor, trash);
        }
        self.shrink(trash);
    }

    /// Appends revisions that never came in.
    pub(crate) fn append_hole(&mut self, hole: Lagged) {
        self.head = hole.to;
        if self.max_events == 0 {
            self.floor = self.floor.max(hole.to + 1);
        } else if hole.to < self.floor {
            // Forgotten before it came.
        } else if let Some(Entry::Hole(last)) = self.entries.back_mut() {
            last.to = hole.to;
        } else {
            self.entries.push_back(Entry::Hole(hole));
        }
    }

    /// Forgets what lies below `revision`.
    pub(crate) fn compact(&mut self, revision: Revision, trash: &mut Vec<Segment>) {
        if revision > self.floor {
            self.floor = revision;
            self.forget_below(revision, trash);
        }
    }

    fn forget_below(&mut self, revision: Revision, trash: &mut Vec<Segment>) {
        while let Some(entry) = self.entries.front() {
            if entry.last() < revision {
                self.pop_front(trash);
                continue;
            }
            if let Entry::Segment(segment) = entry {
                let live = &segment.records[self.skipped..];
                let leaving = live.iter().take_while(|record| record.revision < revision);
                let (size, bytes) = weigh(&segment.records, leaving);
                self.skip(size, bytes);
            }
            break;
        }
    }

    /// Back within the bounds, as far as the newest transaction allows.
    fn shrink(&mut self, trash: &mut Vec<Segment>) {
        while self.events > self.max_events || self.bytes > self.max_bytes {
            let only = self.entries.len() == 1;
            let segment = match self.entries.front() {
                None => return,
                Some(Entry::Hole(hole)) => {
                    self.floor = hole.to + 1;
                    self.pop_front(trash);
                    continue;
                }
                Some(Entry::Segment(segment)) => segment,
            };
            let live = &segment.records[self.skipped..];
            if !only && self.events - live.len() >= self.max_events {
                self.floor = segment.last() + 1;
                self.pop_front(trash);
                continue;
            }
            // Looked at one by one from the front: what lies behind has long left the caches.
            let oldest = live[0].revision;
            let transaction = live.iter().take_while(|record| record.revision == oldest);
            let (size, bytes) = weigh(&segment.records, transaction);
            if size < live.len() {
                self.floor = oldest + 1;
                self.skip(size, bytes);
            } else if only {
                return;
            } else {
                self.floor = oldest + 1;
                self.pop_front(trash);
            }
        }
    }

    /// So many records of the first entry leave.
    fn skip(&mut self, size: usize, bytes: usize) {
        self.events -= size;
        self.bytes -= bytes;
        self.skipped += size;
    }

    fn pop_front(&mut self, trash: &mut Vec<Segment>) {
        if let Some(Entry::Segment(segment)) = self.entries.pop_front() {
            let live = &segment.records[self.skipped..];
            self.events -= live.len();
            self.bytes -= if self.skipped == 0 {
                segment.bytes()
            } else {
                weigh(&segment.records, live.iter()).1
            };
            trash.push(segment);
        }
        self.skipped = 0;
        self.departed += 1;
    }

    /// What lies at `next` and behind it. `cursor` remembers the place between steps; any value
    /// will do for the first.
    pub(crate) fn read(&self, next: Revision, cursor: &mut u64) -> Step {
        if next < self.floor {
            return Step::Lagged(Lagged {
                from: next,
                to: self.floor - 1,
            });
        }
        let at = self.find(next, *cursor);
        match self.entries.get(at) {
            None => Step::Head(self.head),
            Some(Entry::Hole(hole)) => {
                *cursor = self.departed + at as u64 + 1;
                Step::Lagged(Lagged {
                    from: hole.from.max(next),
                    to: hole.to,
                })
            }
            Some(Entry::Segment(first)) => {
                let skip = first.records.partition_point(|r| r.revision < next);
                let mut segments = vec![first.clone()];
                let (mut events, mut bytes) = (first.records.len(), first.bytes());
                // Many small segments, as single publishes leave them, are taken together.
                for entry in self.entries.range(at + 1..) {
                    let Entry::Segment(segment) = entry else {
                        break;
                    };
                    events += segment.records.len();
                    bytes += segment.bytes();
                    if events > SEGMENT_EVENTS || bytes > STEP_BYTES {
                        break;
                    }
                    segments.push(segment.clone());
                }
                *cursor = self.departed + (at + segments.len()) as u64;
                Step::Segments(segments, skip)
            }
        }
    }

    /// The first entry that reaches `next`.
    fn find(&self, next: Revision, cursor: u64) -> usize {
        let guess = cursor
            .checked_sub(self.departed)
            .and_then(|at| usize::try_from(at).ok());
        if let Some(at) = guess
            && self.entries.get(at).is_some_and(|e| e.last() >= next)
            && (at == 0 || self.entries[at - 1].last() < next)
        {
            return at;
        }
        self.entries.partition_point(|entry| entry.last() < next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Change;

    fn segment(revisions: &[Revision]) -> Segment {
        let changes = revisions
            .iter()
            .map(|&revision| (revision, Change::put("k", "v")));
        Segment::new(changes.collect())
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
                    next = lagged.to + 1;
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
    fn is_bounded_exactly_and_by_whole_transactions() {
        let mut history = History::new(4, usize::MAX, 0);
        let mut trash = Vec::new();
        history.append(Some(&segment(&[1, 2, 2, 3])), 3, &mut trash);
        assert_eq!((history.events(), history.floor()), (4, 1));
        history.append(Some(&segment(&[4])), 4, &mut trash);
        assert_eq!((history.events(), history.floor()), (4, 2));
        history.append(Some(&segment(&[5])), 5, &mut trash);
        assert_eq!((history.events(), history.floor()), (3, 3));
        assert_eq!(read_all(&history, 3), [Ok(3), Ok(4), Ok(5)]);
        assert_eq!(
            read_all(&history, 1)[0],
            Err(Lagged { from: 1, to: 2 }),
            "what has left is named"
        );
        assert!(trash.is_empty(), "a segment leaves with its last record");
        history.append(Some(&segment(&[6, 7])), 7, &mut trash);
        assert_eq!((history.events(), history.floor()), (4, 4));
        assert_eq!(trash.len(), 1);
    }

    #[test]
    fn keeps_its_newest_transaction_however_large() {
        let mut history = History::new(2, 1, 0);
        let mut trash = Vec::new();
        history.append(Some(&segment(&[1])), 1, &mut trash);
        history.append(Some(&segment(&[2, 3, 3, 3])), 3, &mut trash);
        assert_eq!(read_all(&history, 3), [Ok(3), Ok(3), Ok(3)]);
        assert_eq!((history.events(), history.floor()), (3, 3));
    }

    #[test]
    fn of_no_length_keeps_only_the_number() {
        let mut history = History::new(0, usize::MAX, 7);
        history.append(Some(&segment(&[8, 9])), 9, &mut Vec::new());
        assert_eq!(read_all(&history, 8), [Err(Lagged { from: 8, to: 9 })]);
        assert_eq!((history.head(), history.floor()), (9, 10));
    }

    #[test]
    fn holes_are_merged_and_reported_to_whoever_crosses_them() {
        let mut history = History::new(3, usize::MAX, 0);
        let mut trash = Vec::new();
        history.append(Some(&segment(&[1])), 1, &mut trash);
        history.append_hole(Lagged { from: 2, to: 3 });
        history.append_hole(Lagged { from: 4, to: 6 });
        history.append(Some(&segment(&[7])), 7, &mut trash);
        let hole = |from| Err(Lagged { from, to: 6 });
        assert_eq!(read_all(&history, 1), [Ok(1), hole(2), Ok(7)]);
        assert_eq!(read_all(&history, 5), [hole(5), Ok(7)]);
        assert_eq!(read_all(&history, 7), [Ok(7)]);
        history.append(Some(&segment(&[8, 9, 10])), 10, &mut trash);
        assert_eq!((history.events(), history.floor()), (3, 8));
    }

    #[test]
    fn compaction_cuts_inside_a_segment_and_what_comes_later() {
        let mut history = History::new(100, usize::MAX, 0);
        let mut trash = Vec::new();
        history.append(Some(&segment(&[1, 2, 3])), 3, &mut trash);
        history.compact(3, &mut trash);
        assert_eq!((history.events(), history.floor()), (1, 3));
        history.compact(6, &mut trash);
        history.append(Some(&segment(&[4, 5, 6, 7])), 7, &mut trash);
        assert_eq!((history.events(), history.floor()), (2, 6));
        assert_eq!(read_all(&history, 6), [Ok(6), Ok(7)]);
    }
}

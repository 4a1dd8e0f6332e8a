//! Segments, the unit of the log, and runs, the unit of delivery.
//!
//! ```text
//!   Segment   Arc<Records>   r7 a │ r8 b │ r8 c │ r9 a      immutable while it is shared
//!   Run       Arc + picks      ·      r8 b   r8 c             the records that one watcher matched
//! ```
//!
//! A segment holds whole transactions, so a run holds everything that its watcher matched of each
//! of its revisions: a revision never spans two runs.
//!
//! The records are in vectors rather than in the shared allocation itself. So the vectors of a
//! segment that nobody holds any longer are filled again ([`Segment::into_spare`]) instead of
//! being freed and allocated anew.

use std::ops::Range;
use std::sync::Arc;

use crate::change::Revision;
use crate::log::records::{Record, Records};

/// The number of events gathered into one segment, unless one transaction is larger.
pub(crate) const SEGMENT_EVENTS: usize = 256;

/// An immutable sequence of records with growing revisions.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) records: Arc<Records>,
}

impl Segment {
    /// # Panics
    /// If `records` is empty: an empty segment has no revision.
    pub(crate) fn new(records: Records) -> Self {
        assert!(!records.is_empty());
        Self {
            records: Arc::new(records.seal()),
        }
    }

    /// The bytes that the records hold in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.records.total_bytes()
    }

    /// The emptied memory of the segment, unless the segment is still shared. Drops the store's
    /// `Bytes`, so no guard may be held.
    pub(crate) fn into_spare(self) -> Option<Records> {
        let mut records = Arc::into_inner(self.records)?;
        records.clear();
        Some(records)
    }

    pub(crate) fn first(&self) -> Revision {
        self.records[0].revision
    }

    pub(crate) fn last(&self) -> Revision {
        self.records[self.records.len() - 1].revision
    }
}

/// The records of a segment that a run holds. They are nearly always adjacent, and then need no
/// allocation.
#[derive(Clone, Debug)]
pub(crate) enum Picks {
    Span { start: u32, end: u32 },
    List(Box<[u32]>),
}

/// Collects picks in growing order.
#[derive(Debug)]
pub(crate) enum Picking {
    Span { start: u32, end: u32 },
    List(Vec<u32>),
}

impl Picking {
    pub(crate) fn new(span: Range<u32>) -> Self {
        Self::Span {
            start: span.start,
            end: span.end,
        }
    }

    /// Adds the records of `span`, which must not start before the span added last. Records that
    /// are picked already are not added again.
    pub(crate) fn add(&mut self, span: Range<u32>) {
        match self {
            Self::Span { end, .. } if span.end <= *end => {}
            Self::Span { end, .. } if span.start <= *end => *end = span.end,
            Self::Span { start, end } => {
                *self = Self::List((*start..*end).chain(span).collect());
            }
            Self::List(list) => {
                let next = list.last().map_or(0, |last| last + 1);
                list.extend(span.start.max(next)..span.end);
            }
        }
    }

    fn finish(self) -> Picks {
        match self {
            Self::Span { start, end } => Picks::Span { start, end },
            Self::List(list) => Picks::List(list.into()),
        }
    }
}

/// The records of one segment that one watcher matched. Never empty.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    records: Arc<Records>,
    picks: Picks,
}

/// A run is sparse if its segment is at least this many times larger.
const SPARSE_FACTOR: usize = 8;
/// Segments below this size are not worth detaching from.
const MIN_DETACH_BYTES: usize = 16 * 1024;

impl Run {
    pub(crate) fn new(segment: &Segment, picking: Picking) -> Self {
        Self {
            records: Arc::clone(&segment.records),
            picks: picking.finish(),
        }
    }

    /// Copies a sparse run out of its segment, so that it does not keep the whole segment in
    /// memory.
    pub(crate) fn detach_if_sparse(self) -> Self {
        if self.bytes() < MIN_DETACH_BYTES || self.len() * SPARSE_FACTOR > self.records.len() {
            return self;
        }
        let own: usize = (0..self.len()).map(|nth| self.bytes_of(nth)).sum();
        if own * SPARSE_FACTOR > self.bytes() {
            return self;
        }
        self.detach()
    }

    /// Copies the run into a segment of its own, unless its records are half of the segment or more.
    /// A large transaction that many watchers match is so shared by all of them.
    pub(crate) fn detach_unless_dense(self) -> Self {
        if self.len() == self.records.len() {
            return self;
        }
        let own: usize = (0..self.len()).map(|nth| self.bytes_of(nth)).sum();
        if own >= self.bytes() / 2 {
            return self;
        }
        self.detach()
    }

    /// Copies the run into a segment of its own.
    pub(crate) fn detach(self) -> Self {
        let count = self.len();
        let mut own = Records::default();
        for nth in 0..count {
            own.push_from(&self.records, self.record(nth));
        }
        Self {
            records: Arc::new(own.seal()),
            picks: Picks::Span {
                start: 0,
                end: count as u32,
            },
        }
    }

    /// The bytes that the nth record holds in memory by itself.
    pub(crate) fn bytes_of(&self, nth: usize) -> usize {
        self.records.bytes_of(self.record(nth))
    }

    /// The index in the segment of the nth record.
    pub(crate) fn position(&self, nth: usize) -> usize {
        match &self.picks {
            Picks::Span { start, .. } => *start as usize + nth,
            Picks::List(list) => list[nth] as usize,
        }
    }

    fn record(&self, nth: usize) -> &Record {
        &self.records[self.position(nth)]
    }

    /// The segment's records.
    pub(crate) fn records(&self) -> &Arc<Records> {
        &self.records
    }

    /// The segment's records, without changing their reference count.
    pub(crate) fn into_records(self) -> Arc<Records> {
        self.records
    }

    /// The number of records.
    pub(crate) fn len(&self) -> usize {
        match &self.picks {
            Picks::Span { start, end } => (end - start) as usize,
            Picks::List(list) => list.len(),
        }
    }

    /// The bytes that this run keeps in memory: its own records if it is detached, otherwise the
    /// whole segment.
    pub(crate) fn bytes(&self) -> usize {
        self.records.total_bytes()
    }

    /// The revision of the nth record.
    pub(crate) fn revision(&self, nth: usize) -> Revision {
        self.record(nth).revision
    }

    pub(crate) fn first(&self) -> Revision {
        self.revision(0)
    }

    pub(crate) fn last(&self) -> Revision {
        self.revision(self.len() - 1)
    }

    /// The records from the nth on, by reference.
    pub(crate) fn iter(&self, nth: usize) -> RunIter<'_> {
        let picks = match &self.picks {
            Picks::Span { start, end } => {
                PicksIter::Span(self.records[*start as usize + nth..*end as usize].iter())
            }
            Picks::List(list) => PicksIter::List(list[nth..].iter()),
        };
        RunIter {
            records: &self.records,
            picks,
        }
    }

    /// The number of records below `revision`: mostly 0.
    pub(crate) fn count_before(&self, revision: Revision) -> usize {
        if self.first() >= revision {
            return 0;
        }
        match &self.picks {
            Picks::Span { start, end } => self.records[*start as usize..*end as usize]
                .partition_point(|record| record.revision < revision),
            Picks::List(list) => {
                list.partition_point(|&index| self.records[index as usize].revision < revision)
            }
        }
    }

    /// The end of the revision of the nth record: the number of the first record above it.
    pub(crate) fn revision_end(&self, nth: usize) -> usize {
        let revision = self.revision(nth);
        let is_same = |nth: usize| nth < self.len() && self.revision(nth) == revision;
        // Mostly a revision has few records, so the steps start small.
        let (mut low, mut step) = (nth, 1);
        while is_same(low + step) {
            low += step;
            step *= 2;
        }
        let mut high = (low + step).min(self.len());
        while low + 1 < high {
            let middle = low.midpoint(high);
            if is_same(middle) {
                low = middle;
            } else {
                high = middle;
            }
        }
        high
    }

    /// Only the records in `range`; `None` if it is empty.
    pub(crate) fn slice(mut self, range: Range<usize>) -> Option<Self> {
        if range.is_empty() {
            return None;
        }
        if range.len() < self.len() {
            self.picks = match self.picks {
                Picks::Span { start, .. } => Picks::Span {
                    start: start + range.start as u32,
                    end: start + range.end as u32,
                },
                Picks::List(list) => Picks::List(list[range].into()),
            };
        }
        Some(self)
    }
}

/// The records of a run, each with the segment's records that hold its bytes.
#[derive(Clone, Debug)]
pub(crate) struct RunIter<'a> {
    records: &'a Arc<Records>,
    picks: PicksIter<'a>,
}

#[derive(Clone, Debug)]
enum PicksIter<'a> {
    Span(std::slice::Iter<'a, Record>),
    List(std::slice::Iter<'a, u32>),
}

impl<'a> Iterator for RunIter<'a> {
    type Item = (&'a Arc<Records>, &'a Record);

    fn next(&mut self) -> Option<Self::Item> {
        let record = match &mut self.picks {
            PicksIter::Span(records) => records.next()?,
            PicksIter::List(list) => &self.records[*list.next()? as usize],
        };
        Some((self.records, record))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::Change;

    fn segment(revisions: &[Revision], value: usize) -> Segment {
        let change = || Change::put("k", vec![0; value]);
        let changes = revisions.iter().map(|&revision| (revision, change()));
        Segment::new(changes.collect())
    }

    fn revisions(run: &Run) -> Vec<Revision> {
        (0..run.len()).map(|nth| run.revision(nth)).collect()
    }

    #[test]
    fn picks_stay_a_span_while_adjacent_and_hold_nothing_twice() {
        let mut picking = Picking::new(1..2);
        picking.add(2..3);
        picking.add(2..3);
        assert!(matches!(picking, Picking::Span { start: 1, end: 3 }));
        picking.add(4..5);
        picking.add(4..6);
        let run = Run::new(&segment(&[1, 2, 3, 4, 5, 6, 7], 0), picking);
        assert_eq!(revisions(&run), [2, 3, 5, 6]);
    }

    #[test]
    fn slice_keeps_the_order_and_count_before_counts_lower_revisions() {
        let segment = segment(&[1, 2, 2, 3, 5], 0);
        let run = Run::new(&segment, Picking::new(0..5));
        assert_eq!(
            [0, 1, 2, 3, 9].map(|revision| run.count_before(revision)),
            [0, 0, 1, 3, 5]
        );
        assert_eq!(revisions(&run.clone().slice(1..4).unwrap()), [2, 2, 3]);
        assert!(run.slice(2..2).is_none());
    }

    #[test]
    fn sparse_run_of_a_large_segment_is_detached() {
        let segment = segment(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10], 8 * 1024);
        let few = Run::new(&segment, Picking::new(3..4)).detach_if_sparse();
        assert!(!Arc::ptr_eq(&few.records, &segment.records));
        assert_eq!(revisions(&few), [4]);
        assert!(few.bytes() < segment.bytes() / 8);
        let many = Run::new(&segment, Picking::new(3..6)).detach_if_sparse();
        assert!(Arc::ptr_eq(&many.records, &segment.records));
        assert_eq!(many.bytes(), segment.bytes());
    }

    #[test]
    fn revision_ends_at_the_first_record_above_it() {
        for counts in [&[1, 1, 3, 9, 1][..], &[40], &[2, 17, 2]] {
            let revisions: Vec<Revision> = (1..)
                .zip(counts)
                .flat_map(|(revision, &count)| vec![revision; count])
                .collect();
            let run = Run::new(
                &segment(&revisions, 0),
                Picking::new(0..revisions.len() as u32),
            );
            for nth in 0..revisions.len() {
                let end = (nth..revisions.len()).find(|&next| revisions[next] > revisions[nth]);
                assert_eq!(run.revision_end(nth), end.unwrap_or(revisions.len()));
            }
        }
    }

    #[test]
    fn run_of_half_its_segment_or_more_is_shared_and_a_smaller_one_detached() {
        let segment = segment(&[1, 1, 1, 1, 1, 1, 1, 1], 1024);
        for (count, shared) in [(8, true), (4, true), (3, false)] {
            let run = Run::new(&segment, Picking::new(0..count)).detach_unless_dense();
            assert_eq!(
                Arc::ptr_eq(&run.records, &segment.records),
                shared,
                "{count}"
            );
            assert_eq!(run.len(), count as usize);
        }
    }
}

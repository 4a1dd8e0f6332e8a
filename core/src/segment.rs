//! Segments, the unit of the log, and runs, the unit of delivery.
//!
//! ```text
//!   Segment   Arc<Records>   r7 a │ r8 b │ r8 c │ r9 a      never changed while it is shared
//!   Run       Arc ▲ + which    ·      r8 b   r8 c             what one watcher matched of it
//! ```
//!
//! A segment holds whole transactions, so a run holds whatever of a revision its watcher matched:
//! a revision never spans two runs.
//!
//! The records lie in vectors, and not in the shared allocation itself, so that those of a segment
//! that nobody holds any more are filled again ([`Segment::into_spare`]): they are of a size that
//! the system's allocator takes trouble to merge with what lies beside it.

use std::ops::Range;
use std::sync::Arc;

use crate::event::{Event, EventRef, Revision};
use crate::records::{Record, Records};

/// Events gathered into one segment, unless one transaction is larger.
pub(crate) const SEGMENT_EVENTS: usize = 256;

/// An immutable run of records with growing revisions.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) records: Arc<Records>,
}

impl Segment {
    /// # Panics
    /// Without records: an empty segment has no revision.
    pub(crate) fn new(records: Records) -> Self {
        assert!(!records.is_empty());
        Self {
            records: Arc::new(records.seal()),
        }
    }

    /// What the records hold in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.records.total_cost()
    }

    /// The emptied memory of the segment, if nobody else holds it. Drops what the store handed in:
    /// to be called without any guard.
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

/// Which records of a segment: nearly always neighbours, and then no allocation is needed.
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

    /// Adds records at or behind those already there. What is there already is not added again.
    pub(crate) fn add(&mut self, span: Range<u32>) {
        match self {
            Self::Span { end, .. } if span.end <= *end => {}
            Self::Span { end, .. } if span.start <= *end => *end = span.end,
            Self::Span { start, end } => {
                *self = Self::List((*start..*end).chain(span).collect());
            }
            Self::List(list) => {
                let last = list.last().map_or(0, |last| last + 1);
                list.extend(span.start.max(last)..span.end);
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

/// What one watcher matched of a segment. Never empty.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    records: Arc<Records>,
    picks: Picks,
}

/// A run that is this many times smaller than its segment holds few of its events.
const FEW: usize = 8;
/// Below this a segment is not worth copying out of.
const COPY_OUT_FLOOR: usize = 16 * 1024;

impl Run {
    pub(crate) fn new(segment: &Segment, picking: Picking) -> Self {
        Self {
            records: Arc::clone(&segment.records),
            picks: picking.finish(),
        }
    }

    /// Few events are copied out of their segment, so that they do not keep everybody's in memory.
    pub(crate) fn lean(self) -> Self {
        if self.bytes() < COPY_OUT_FLOOR || self.len() * FEW > self.records.len() {
            return self;
        }
        let own: usize = (0..self.len()).map(|nth| self.cost(nth)).sum();
        if own * FEW > self.bytes() {
            return self;
        }
        self.copy_out()
    }

    /// The same events in a segment of their own.
    pub(crate) fn copy_out(self) -> Self {
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

    /// What the nth event holds in memory by itself.
    pub(crate) fn cost(&self, nth: usize) -> usize {
        self.records.cost(self.record(nth))
    }

    /// The place in the segment of the nth event.
    fn at(&self, nth: usize) -> usize {
        match &self.picks {
            Picks::Span { start, .. } => *start as usize + nth,
            Picks::List(list) => list[nth] as usize,
        }
    }

    fn record(&self, nth: usize) -> &Record {
        &self.records[self.at(nth)]
    }

    /// How many events.
    pub(crate) fn len(&self) -> usize {
        match &self.picks {
            Picks::Span { start, end } => (end - start) as usize,
            Picks::List(list) => list.len(),
        }
    }

    /// What this run keeps in memory: its own records where they were copied out, else the whole
    /// segment.
    pub(crate) fn bytes(&self) -> usize {
        self.records.total_cost()
    }

    /// The revision of the nth event.
    pub(crate) fn revision(&self, nth: usize) -> Revision {
        self.record(nth).revision
    }

    pub(crate) fn first(&self) -> Revision {
        self.revision(0)
    }

    pub(crate) fn last(&self) -> Revision {
        self.revision(self.len() - 1)
    }

    pub(crate) fn event(&self, nth: usize, with_prev: bool) -> Event {
        let at = self.at(nth) as u32;
        Event::new(Arc::clone(&self.records), at, with_prev)
    }

    /// The last event, for the price of no reference count.
    pub(crate) fn into_last(self, with_prev: bool) -> Event {
        let at = self.at(self.len() - 1) as u32;
        Event::new(self.records, at, with_prev)
    }

    /// The events from the nth on, by reference.
    pub(crate) fn iter(&self, nth: usize, with_prev: bool) -> RunIter<'_> {
        let picks = match &self.picks {
            Picks::Span { start, end } => {
                PicksIter::Span(self.records[*start as usize + nth..*end as usize].iter())
            }
            Picks::List(list) => PicksIter::List(list[nth..].iter()),
        };
        RunIter {
            records: &self.records,
            picks,
            with_prev,
        }
    }

    /// How many events lie below this revision: mostly none.
    pub(crate) fn below(&self, revision: Revision) -> usize {
        if self.first() >= revision {
            return 0;
        }
        match &self.picks {
            Picks::Span { start, end } => self.records[*start as usize..*end as usize]
                .partition_point(|record| record.revision < revision),
            Picks::List(list) => {
                list.partition_point(|&at| self.records[at as usize].revision < revision)
            }
        }
    }

    /// Only the events `range` of this run; `None` if that is empty.
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

/// The events of a run, by reference.
#[derive(Clone, Debug)]
pub(crate) struct RunIter<'a> {
    records: &'a Arc<Records>,
    picks: PicksIter<'a>,
    with_prev: bool,
}

#[derive(Clone, Debug)]
enum PicksIter<'a> {
    Span(std::slice::Iter<'a, Record>),
    List(std::slice::Iter<'a, u32>),
}

impl<'a> Iterator for RunIter<'a> {
    type Item = EventRef<'a>;

    fn next(&mut self) -> Option<EventRef<'a>> {
        let record = match &mut self.picks {
            PicksIter::Span(records) => records.next()?,
            PicksIter::List(list) => &self.records[*list.next()? as usize],
        };
        Some(EventRef::new(self.records, record, self.with_prev))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Change;

    fn segment(revisions: &[Revision], value: usize) -> Segment {
        let change = || Change::put("k", vec![0; value]);
        let changes = revisions.iter().map(|&revision| (revision, change()));
        Segment::new(changes.collect())
    }

    fn revisions(run: &Run) -> Vec<Revision> {
        (0..run.len()).map(|nth| run.revision(nth)).collect()
    }

    #[test]
    fn picks_stay_a_span_while_they_are_neighbours_and_hold_nothing_twice() {
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
    fn a_slice_keeps_the_order_and_counts_what_lies_below() {
        let segment = segment(&[1, 2, 2, 3, 5], 0);
        let run = Run::new(&segment, Picking::new(0..5));
        assert_eq!(
            [0, 1, 2, 3, 9].map(|revision| run.below(revision)),
            [0, 0, 1, 3, 5]
        );
        assert_eq!(revisions(&run.clone().slice(1..4).unwrap()), [2, 2, 3]);
        assert!(run.slice(2..2).is_none());
    }

    #[test]
    fn few_events_of_a_large_segment_are_copied_out() {
        let segment = segment(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10], 8 * 1024);
        let few = Run::new(&segment, Picking::new(3..4)).lean();
        assert!(!Arc::ptr_eq(&few.records, &segment.records));
        assert_eq!(revisions(&few), [4]);
        assert!(few.bytes() < segment.bytes() / 8);
        let many = Run::new(&segment, Picking::new(3..6)).lean();
        assert!(Arc::ptr_eq(&many.records, &segment.records));
        assert_eq!(many.bytes(), segment.bytes());
    }
}

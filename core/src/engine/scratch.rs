//! What the thread that dispatches works with, under the dispatch lock.

use std::mem;
use std::ops::Range;

use crate::change::Revision;
use crate::log::history::STEP_BYTES;
use crate::log::records::Records;
use crate::log::segment::{Picking, Segment};
use crate::registry::LookupBuffers;
use crate::registry::slab::Slot;

/// Guarded by the dispatch lock. Everything but the remainder is scratch, which carries nothing
/// from one step to the next.
#[derive(Debug)]
pub(crate) struct DispatchState {
    /// The number of events in a segment, unless one transaction is larger.
    pub(crate) segment_events: usize,
    /// What was received but not dispatched yet.
    pub(crate) remainder: Option<Remainder>,
    /// By slot: 1 + the index in `matched` of the watcher, or 0.
    pub(crate) slot_marks: Vec<u32>,
    pub(crate) lookup: LookupBuffers,
    /// Spans of records with one key and kind, looked up together.
    pub(crate) spans: Vec<Range<u32>>,
    /// The watchers that the segment concerns, with the records that they match.
    pub(crate) matched: Vec<(Slot, Picking)>,
}

/// Scratch is kept for four times the number of slots in use, or this number if that is larger.
const MIN_SLOTS: usize = 64;

impl DispatchState {
    pub(crate) fn new(segment_events: usize) -> Self {
        Self {
            segment_events,
            remainder: None,
            slot_marks: Vec::new(),
            lookup: LookupBuffers::default(),
            spans: Vec::new(),
            matched: Vec::new(),
        }
    }

    /// Sizes the scratch for this many slots, and gives back the memory of a crowd that has left.
    pub(crate) fn resize(&mut self, slots: usize) {
        self.slot_marks.resize(slots, 0);
        let most = 4 * slots.max(MIN_SLOTS);
        self.slot_marks.shrink_to(most);
        self.matched.shrink_to(most);
    }

    /// Records that a watcher matches the records of the span `nth`.
    pub(crate) fn mark(
        slot_marks: &mut [u32],
        matched: &mut Vec<(Slot, Picking)>,
        span: &Range<u32>,
        watcher: Slot,
    ) {
        let mark = &mut slot_marks[watcher as usize];
        if *mark == 0 {
            matched.push((watcher, Picking::new(span.clone())));
            *mark = matched.len() as u32;
        } else {
            matched[*mark as usize - 1].1.add(span.clone());
        }
    }
}

/// The rest of a batch that is larger than a segment, or that follows a gap.
#[derive(Debug)]
pub(crate) struct Remainder {
    pub(crate) records: Records,
    /// The number of records that were dispatched.
    dispatched: usize,
    /// The last revision, which may have no records.
    last: Revision,
    /// Whether a watcher was interested in any record when it was published.
    pub(crate) wanted: bool,
}

impl Remainder {
    pub(crate) fn new(records: Records, last: Revision, wanted: bool) -> Self {
        Self {
            records,
            dispatched: 0,
            last,
            wanted,
        }
    }

    /// Cuts off the next segment, of whole transactions. Returns it, if there are records, with the
    /// revision that it reaches up to.
    pub(crate) fn cut(&mut self, limit: usize) -> (Option<Segment>, Revision) {
        let left = &self.records[self.dispatched..];
        let (mut count, mut bytes, mut before) = (0, 0, None);
        for record in left {
            let starts_transaction = before != Some(record.revision);
            if starts_transaction && (count >= limit || bytes >= STEP_BYTES) {
                break;
            }
            count += 1;
            bytes += self.records.bytes_of(record);
            before = Some(record.revision);
        }
        let upto = match before {
            Some(revision) if count < left.len() => revision,
            _ => self.last,
        };
        let records = if count == self.records.len() {
            mem::take(&mut self.records)
        } else {
            let mut records = Records::with_capacity(count, 0);
            for record in &left[..count] {
                records.push_from(&self.records, record);
            }
            self.dispatched += count;
            records
        };
        let segment = (!records.is_empty()).then(|| Segment::new(records));
        (segment, upto)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.dispatched == self.records.len()
    }
}

//! One step of dispatching: from the ingress into history and queues.
//!
//! It is a function ([`Engine::step`]) that works under the dispatch lock, whoever calls it: the
//! publisher when nothing else is going on, which saves one of two thread wakes (5 to 10 µs each);
//! one of those in [`dispatcher`](crate::dispatcher); or, where nobody runs the dispatcher, whoever
//! waits for what it would do ([`Engine::rouse`]).

use std::mem;
use std::ops::Range;

use crate::engine::{Aftermath, Engine, Note};
use crate::error::{EndReason, Lagged};
use crate::event::Revision;
use crate::history::STEP_BYTES;
use crate::options::Overflow;
use crate::records::Records;
use crate::registry::Scratch;
use crate::segment::{Picking, Run, SEGMENT_EVENTS, Segment};
use crate::slots::Slot;

/// What whoever holds the dispatch lock works with: all of it scratch but `carry`.
#[derive(Debug)]
pub(crate) struct Dispatching {
    /// How many events make a segment, unless one transaction is larger.
    segment_events: usize,
    /// What was received but is not dispatched yet.
    carry: Option<Carry>,
    /// By slot: 1 + the watcher's place in `matched`, or 0.
    marks: Vec<u32>,
    scratch: Scratch,
    /// Spans of like events, looked up at once.
    spans: Vec<Range<u32>>,
    /// The watchers that the segment concerns.
    matched: Vec<(Slot, Picking)>,
}

/// The rest of a batch that is larger than a segment, or that came behind a hole.
#[derive(Debug)]
struct Carry {
    records: Records,
    /// How many of them are dispatched.
    done: usize,
    /// The last revision, which may have no records.
    last: Revision,
    /// Whether anybody watched any of it when it was published.
    wanted: bool,
}

/// Scratch for four times as many watchers is kept.
const FEW: usize = 64;

/// What one step did.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Did {
    /// There was nothing to do.
    Nothing,
    /// As much as makes a segment; more is likely to wait.
    Part,
    /// Less than that.
    Little,
}

/// What one step is about.
enum Gathered {
    Hole(Lagged),
    /// Everything up to this revision, which may have brought nothing; and whether anybody watched
    /// any of it when it was published.
    Segment(Option<Segment>, Revision, bool),
}

impl Carry {
    /// Its next segment, of whole transactions, and up to where that reaches. Then it is empty, or
    /// has records.
    fn cut(&mut self, limit: usize) -> (Option<Segment>, Revision) {
        let left = &self.records[self.done..];
        let (mut count, mut bytes, mut before) = (0, 0, None);
        for record in left {
            let starts = before != Some(record.revision);
            if starts && (count >= limit || bytes >= STEP_BYTES) {
                break;
            }
            count += 1;
            bytes += self.records.cost(record);
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
            self.done += count;
            records
        };
        let segment = (!records.is_empty()).then(|| Segment::new(records));
        (segment, upto)
    }

    fn is_empty(&self) -> bool {
        self.done == self.records.len()
    }
}

impl Dispatching {
    pub(crate) fn new(segment_events: usize) -> Self {
        Self {
            segment_events,
            carry: None,
            marks: Vec::new(),
            scratch: Scratch::default(),
            spans: Vec::new(),
            matched: Vec::new(),
        }
    }

    /// Takes what waits, up to one segment. `None` if nothing waits.
    fn gather(&mut self, engine: &Engine) -> Option<Gathered> {
        if let Some(mut carry) = self.carry.take() {
            let (segment, upto) = carry.cut(self.segment_events);
            let wanted = carry.wanted;
            self.carry = (!carry.is_empty()).then_some(carry);
            return Some(Gathered::Segment(segment, upto, wanted));
        }
        // Read before the ingress is found empty: what was settled then has been received.
        let settled = engine.settled();
        let Some(batch) = engine.ingress.receive() else {
            if settled > engine.dispatched() {
                return Some(Gathered::Segment(None, settled, false));
            }
            return if engine.awaits_settling() {
                self.gather(engine)
            } else {
                None
            };
        };
        let (last, wanted) = (batch.last, batch.wanted);
        let records = batch.records;
        let is_large = records.len() > self.segment_events || records.total_cost() > STEP_BYTES;
        if batch.hole.is_none() && !is_large {
            let segment = (!records.is_empty()).then(|| Segment::new(records));
            return Some(Gathered::Segment(segment, last, wanted));
        }
        if batch.messages > 0 {
            self.carry = Some(Carry {
                records,
                done: 0,
                last,
                wanted,
            });
        }
        match batch.hole {
            // The hole is a step of its own, before the rest.
            Some(hole) => Some(Gathered::Hole(hole)),
            None => self.gather(engine),
        }
    }

    /// Which watchers a segment concerns, and with which of its events.
    fn matching(&mut self, engine: &Engine, segment: &Segment, after: &mut Aftermath) {
        let registry = engine.registry.read();
        self.marks.resize(registry.slots(), 0);
        // What a crowd needed is given back.
        let most = 4 * registry.slots().max(FEW);
        self.marks.shrink_to(most);
        self.matched.shrink_to(most);
        let records = &segment.records;
        let mut left = records.spans(0);
        loop {
            // A transaction may be larger than what the caches hold warm, and scratch be kept for.
            self.spans.clear();
            self.spans.extend(left.by_ref().take(SEGMENT_EVENTS));
            let spans = &self.spans;
            if spans.is_empty() {
                break;
            }
            let keys = spans.iter().map(|span| {
                let first = &records[span.start as usize];
                (records.key(first), first.kind())
            });
            registry.matching(keys, &engine.hasher, &mut self.scratch, |nth, watcher| {
                let span = &spans[nth];
                let mark = &mut self.marks[watcher as usize];
                if *mark == 0 {
                    self.matched.push((watcher, Picking::new(span.clone())));
                    *mark = self.matched.len() as u32;
                } else {
                    self.matched[*mark as usize - 1].1.add(span.clone());
                }
            });
        }
        let mut queued = 0;
        let mut cancelled = Vec::new();
        for (watcher, picking) in self.matched.drain(..) {
            self.marks[watcher as usize] = 0;
            let queue = registry.queue(watcher);
            let offered = queue.offer(Run::new(segment, picking));
            queued += offered.queued;
            after.wakes.push(offered.waiter);
            if let Some(revision) = offered.overflowed {
                if queue.overflow == Overflow::Cancel {
                    after.notes.push(Note::Cancelled(queue.id, revision));
                    cancelled.push((watcher, queue.id));
                } else {
                    engine.counters.fell_behind.add_alone(1);
                    after.notes.push(Note::Behind(queue.id, revision));
                }
            }
        }
        drop(registry);
        engine.counters.queued_events.add_alone(queued);
        engine.counters.cancelled.add_alone(cancelled.len());
        for (watcher, id) in cancelled {
            after.gone.extend(engine.unregister(watcher, id));
        }
    }
}

impl Engine {
    /// One segment, or one hole, from the ingress into history and queues.
    fn step(&self, work: &mut Dispatching, after: &mut Aftermath) -> Did {
        #[cfg(test)]
        tests::fault();
        if self.ended().is_some() {
            return Did::Nothing;
        }
        match work.gather(self) {
            None => Did::Nothing,
            Some(Gathered::Hole(hole)) => {
                self.dispatch_hole(hole, after);
                Did::Part
            }
            Some(Gathered::Segment(segment, upto, wanted)) => {
                let events = segment.as_ref().map_or(0, |segment| segment.records.len());
                let full = work.carry.is_some() || events >= work.segment_events;
                after.wakes.push(self.ingress.room_made());
                self.history
                    .write()
                    .append(segment.as_ref(), upto, &mut after.trash);
                self.set_appended(upto);
                if let Some(segment) = segment {
                    self.counters.dispatched_events.add_alone(events);
                    if wanted || self.is_doubted(segment.first()) {
                        work.matching(self, &segment, after);
                    }
                    // Without a history this may be all that is left of it.
                    after.trash.push(segment);
                }
                self.set_dispatched(upto);
                self.milestones.reached(upto, &mut after.wakes);
                if full { Did::Part } else { Did::Little }
            }
        }
    }

    /// Every live watcher falls behind where revisions never came in, and finds the lag in the
    /// history: one way to report it, whether a watcher is there or comes later.
    fn dispatch_hole(&self, hole: Lagged, after: &mut Aftermath) {
        self.history.write().append_hole(hole);
        self.set_appended(hole.to);
        for (_, queue) in self.registry.read().watchers() {
            after.wakes.push(queue.fall_behind(hole));
        }
        self.set_dispatched(hole.to);
        self.milestones.reached(hole.to, &mut after.wakes);
        after.notes.push(Note::Dropped(hole.from, hole.to));
    }

    /// One step under the dispatch lock. What is left to do without guards is left in `after`.
    pub(crate) fn locked_step(&self, after: &mut Aftermath) -> Did {
        let failing = Failing(self);
        let did = self.step(&mut self.dispatch.lock(), after);
        mem::forget(failing);
        did
    }

    /// The same if the lock is free; `None` if somebody else is dispatching.
    pub(crate) fn try_step(&self, after: &mut Aftermath) -> Option<Did> {
        let failing = Failing(self);
        let did = self
            .dispatch
            .try_lock()
            .map(|mut work| self.step(&mut work, after));
        mem::forget(failing);
        did
    }

    /// Dispatches what waits, on this thread.
    pub(crate) fn drain(&self) {
        let mut after = Aftermath::default();
        while self.locked_step(&mut after) != Did::Nothing {
            after.settle(&self.ingress);
        }
    }

    /// Dispatches all that was published, then ends the engine: the publisher is gone.
    pub(crate) fn finish(&self) {
        let mut after = Aftermath::default();
        loop {
            let failing = Failing(self);
            let mut work = self.dispatch.lock();
            let more = self.step(&mut work, &mut after) != Did::Nothing;
            if !more {
                self.end(EndReason::ShutDown, &mut after);
            }
            drop(work);
            mem::forget(failing);
            after.settle(&self.ingress);
            if !more {
                return;
            }
        }
    }

    /// Ends the engine because dispatching cannot go on.
    pub(crate) fn fail(&self) {
        let mut after = Aftermath::default();
        self.end(EndReason::Failed, &mut after);
        after.settle(&self.ingress);
    }
}

/// Dropped only by a panic while dispatching, after every guard: a bug of ours must not leave
/// anybody waiting for ever.
struct Failing<'a>(&'a Engine);

impl Drop for Failing<'_> {
    fn drop(&mut self) {
        tracing::error!("dispatching panicked; every watcher ends");
        self.0.fail();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use crate::{Builder, Change, EndReason, PublishErrorKind, RecvError};

    thread_local! {
        static FAULT: Cell<bool> = const { Cell::new(false) };
    }

    /// Stands in for a bug of ours.
    pub(super) fn fault() {
        assert!(!FAULT.get(), "a fault on purpose");
    }

    #[test]
    fn clean_a_dispatcher_that_panics_ends_every_watcher() {
        let (mut publisher, hub, dispatcher) = Builder::new().inline(false).build().unwrap();
        let mut watcher = hub.watch("k").unwrap();
        publisher.publish(Change::put("k", "1")).unwrap();
        let thread = std::thread::spawn(move || {
            FAULT.set(true);
            dispatcher.run();
        });
        assert_eq!(watcher.recv(), Err(RecvError::Closed(EndReason::Failed)));
        assert!(thread.join().is_err());
        assert!(hub.wait_for(1, Duration::from_secs(60)).is_err());
        let refused = publisher.publish(Change::put("k", "2")).unwrap_err();
        assert_eq!(refused.kind(), PublishErrorKind::Closed(EndReason::Failed));
        assert!(hub.watch("k").is_err());
        assert_eq!(hub.stats().watchers.total, 0);
    }
}

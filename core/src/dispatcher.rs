//! From the ingress into history and queues.
//!
//! Dispatching is a function ([`Engine::step`]) that works under the dispatch lock: the
//! dispatcher's thread calls it, and the publisher when nothing else is going on, which saves one
//! of two thread wakes (5 to 10 µs each).

use std::fmt;
use std::mem;
use std::sync::Arc;

use crate::engine::{Aftermath, Engine, Note};
use crate::error::{EndReason, Lagged};
use crate::event::{Record, Revision};
use crate::history::STEP_BYTES;
use crate::index::Slot;
use crate::ingress::{Message, Rest};
use crate::options::Overflow;
use crate::segment::{Picking, Run, SEGMENT_EVENTS, Segment};

/// What whoever holds the dispatch lock works with: all of it scratch but `carry`.
#[derive(Debug)]
pub(crate) struct Dispatching {
    /// How many events are gathered into one segment: few enough that a small history does not
    /// consist of one.
    segment_events: usize,
    /// A message that was received but not taken in, or not all of it.
    carry: Option<Message>,
    batch: Vec<Record>,
    /// By slot: 1 + the watcher's place in `matched`, or 0.
    marks: Vec<u32>,
    /// The watchers that the segment concerns.
    matched: Vec<(Slot, Picking)>,
}

/// Where so many events were dispatched, by whomever, since the dispatcher looked last, more are
/// likely to come, and it lingers.
const BUSY: u64 = 16;

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
    /// Everything up to this revision; the batch may be empty.
    Batch(Revision),
}

/// A message's transactions are taken in one by one: they may be too many for one segment.
fn take_transactions(
    records: &mut std::vec::IntoIter<Record>,
    batch: &mut Vec<Record>,
    limit: usize,
    bytes: &mut usize,
) -> bool {
    while let Some(next) = records.as_slice().first() {
        let revision = next.revision;
        let starts = batch.last().is_none_or(|last| last.revision != revision);
        if starts && (batch.len() >= limit || *bytes >= STEP_BYTES) {
            return false;
        }
        *bytes += next.cost();
        batch.extend(records.next());
    }
    true
}

impl Dispatching {
    pub(crate) fn new(history: usize) -> Self {
        let share = if history == 0 {
            SEGMENT_EVENTS
        } else {
            (history / 4).max(1)
        };
        Self {
            segment_events: share.min(SEGMENT_EVENTS),
            carry: None,
            batch: Vec::new(),
            marks: Vec::new(),
            matched: Vec::new(),
        }
    }

    /// Takes what waits, up to one segment, into the batch. `None` if nothing waits.
    fn gather(&mut self, engine: &Engine) -> Option<Gathered> {
        debug_assert!(self.batch.is_empty());
        // Read before the ingress is found empty: what was settled then has been received.
        let settled = engine.settled();
        let mut upto = None;
        let mut bytes = 0;
        while self.batch.len() < self.segment_events && bytes < STEP_BYTES {
            let Some(message) = self.carry.take().or_else(|| engine.ingress.receive()) else {
                break;
            };
            match message {
                Message::One(record) => {
                    upto = Some(record.revision);
                    bytes += record.cost();
                    self.batch.push(record);
                }
                Message::Many {
                    hole: Some(hole),
                    records,
                    last,
                } => {
                    // The hole is a step of its own, behind what is gathered already.
                    let rest = upto.is_some().then_some(hole);
                    self.carry = Some(Message::Many {
                        hole: rest,
                        records,
                        last,
                    });
                    if rest.is_none() {
                        return Some(Gathered::Hole(hole));
                    }
                    break;
                }
                Message::Many {
                    hole: None,
                    mut records,
                    last,
                } => {
                    let limit = self.segment_events;
                    if take_transactions(&mut records, &mut self.batch, limit, &mut bytes) {
                        upto = Some(last);
                        continue;
                    }
                    upto = self.batch.last().map(|record| record.revision);
                    self.carry = Some(Message::Many {
                        hole: None,
                        records,
                        last,
                    });
                    break;
                }
            }
        }
        if let Some(upto) = upto {
            return Some(Gathered::Batch(upto));
        }
        match engine.ingress.rest() {
            Rest::Hole(hole) => Some(Gathered::Hole(hole)),
            Rest::Nothing => (settled > engine.dispatched()).then_some(Gathered::Batch(settled)),
            // It comes first. Now there is one to take, so this is not done more than once.
            Rest::Message => self.gather(engine),
        }
    }

    /// What was gathered. A batch that nearly fills its vector is handed on with it; otherwise
    /// the history would hold more memory than it counts.
    fn segment(&mut self, after: &mut Aftermath) -> Option<Segment> {
        if self.batch.is_empty() {
            return None;
        }
        let records = if self.batch.len() < self.batch.capacity() * 3 / 4 {
            self.batch.drain(..).collect()
        } else {
            mem::replace(&mut self.batch, after.spare_records())
        };
        Some(Segment::new(records))
    }

    /// Which watchers a segment concerns, and with which of its events.
    fn matching(&mut self, engine: &Engine, segment: &Segment, after: &mut Aftermath) {
        let registry = engine.registry.read();
        self.marks.resize(registry.slots(), 0);
        let records = &segment.records;
        let mut start = 0;
        while start < records.len() {
            // Neighbours of one key and kind concern the same watchers.
            let change = &records[start].change;
            let same = records[start..]
                .iter()
                .take_while(|r| r.change.key == change.key && r.change.kind() == change.kind())
                .count();
            let span = start as u32..(start + same) as u32;
            start += same;
            registry.matching(&change.key, change.kind(), &engine.hasher, |watcher| {
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
            Some(Gathered::Batch(upto)) => {
                let full = work.carry.is_some() || work.batch.len() >= work.segment_events;
                after.wakes.push(self.ingress.room_made());
                let segment = work.segment(after);
                self.history
                    .write()
                    .append(segment.as_ref(), upto, &mut after.trash);
                self.set_appended(upto);
                if let Some(segment) = segment {
                    self.counters
                        .dispatched_events
                        .add_alone(segment.records.len());
                    work.matching(self, &segment, after);
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
    fn locked_step(&self, after: &mut Aftermath) -> Did {
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
            after.settle();
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
            after.settle();
            if !more {
                return;
            }
        }
    }

    /// Ends the engine because dispatching cannot go on.
    fn fail(&self) {
        let mut after = Aftermath::default();
        self.end(EndReason::Failed, &mut after);
        after.settle();
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

/// The background half of an engine: [`run`](Self::run) it on a thread of your own, or let
/// [`Builder::spawn`](crate::Builder::spawn) do so.
///
/// Dropped before its time, it ends every watcher with [`EndReason::Failed`], and publishing is
/// refused from then on.
#[must_use = "without a running dispatcher nothing is delivered behind the publisher's back"]
pub struct Dispatcher {
    engine: Arc<Engine>,
}

impl Dispatcher {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self { engine }
    }

    /// Dispatches until the publisher is shut down or dropped and everything published is in the
    /// watchers' queues; ends the watchers then and returns.
    ///
    /// It sleeps while there is nothing to do. No user's code runs on this thread but wakers and
    /// the drop of published bytes; a waker that panics is caught.
    pub fn run(self) {
        let engine = &*self.engine;
        engine.parker.adopt();
        tracing::debug!("dispatcher started");
        let mut after = Aftermath::default();
        let mut before = 0;
        loop {
            engine.parker.begin();
            let closing = engine.is_closing();
            let did = loop {
                after.wakes.append(&mut engine.handed_over.lock());
                let did = engine.locked_step(&mut after);
                after.settle();
                if did != Did::Part {
                    break did;
                }
            };
            if closing {
                engine.finish();
            }
            if engine.ended().is_some() {
                break;
            }
            let dispatched = engine.counters.dispatched_events.get();
            if dispatched - mem::replace(&mut before, dispatched) >= BUSY {
                // Whatever has come since is little, and more will come.
                engine.parker.linger();
            } else if did == Did::Nothing {
                engine.parker.park();
            }
        }
        // What was handed over meanwhile, with nobody else left to do it.
        after.wakes.append(&mut engine.handed_over.lock());
        after.settle();
        tracing::debug!("dispatcher stopped");
    }
}

impl Drop for Dispatcher {
    fn drop(&mut self) {
        if self.engine.ended().is_none() {
            tracing::error!("the dispatcher was dropped before its time; every watcher ends");
            self.engine.fail();
        }
    }
}

impl fmt::Debug for Dispatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Dispatcher").field(&self.engine).finish()
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

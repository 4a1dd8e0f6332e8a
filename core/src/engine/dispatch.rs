//! Dispatching: from the ingress into the history and the queues.
//!
//! One step dispatches one segment or one gap, under the dispatch lock. Any thread may take it:
//! the publisher while nothing else is going on, which saves one of two thread wakes; the
//! dispatcher's thread and receivers (see [`scheduling`](crate::engine::scheduling)); and, if no
//! thread runs the dispatcher, any thread that waits for the result ([`Engine::wake_dispatcher`]).

use std::mem;

use crate::change::Revision;
use crate::end::EndReason;
use crate::engine::Engine;
use crate::engine::deferred::{Deferred, TraceEvent};
use crate::engine::scratch::{DispatchState, Remainder};
use crate::lagged::Lagged;
use crate::log::history::STEP_BYTES;
use crate::log::segment::{Run, SEGMENT_EVENTS, Segment};
use crate::options::Overflow;

/// The outcome of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StepOutcome {
    /// There was nothing to dispatch.
    Idle,
    /// A full segment, or a gap. More is likely to wait.
    Full,
    /// Less than a full segment.
    Partial,
}

/// What one step dispatches.
enum Work {
    Gap(Lagged),
    /// Everything up to this revision, which may have no records; and whether a watcher was
    /// interested in any of it when it was published.
    Segment(Option<Segment>, Revision, bool),
}

impl Engine {
    /// Takes what waits, up to one segment. `None` if nothing waits.
    fn next_work(&self, state: &mut DispatchState) -> Option<Work> {
        if let Some(mut remainder) = state.remainder.take() {
            let (segment, upto) = remainder.cut(state.segment_events);
            let wanted = remainder.wanted;
            state.remainder = (!remainder.is_empty()).then_some(remainder);
            return Some(Work::Segment(segment, upto, wanted));
        }
        // Read before the ingress is found empty: what was published by then has been received.
        let published = self.revisions.published();
        let Some(batch) = self.ingress.receive() else {
            if published > self.revisions.dispatched() {
                return Some(Work::Segment(None, published, false));
            }
            return if self.wait_for_claimed() {
                self.next_work(state)
            } else {
                None
            };
        };
        let (last, wanted) = (batch.last, batch.wanted);
        let records = batch.records;
        let is_large = records.len() > state.segment_events || records.total_bytes() > STEP_BYTES;
        if batch.gap.is_none() && !is_large {
            let segment = (!records.is_empty()).then(|| Segment::new(records));
            return Some(Work::Segment(segment, last, wanted));
        }
        if batch.messages > 0 {
            state.remainder = Some(Remainder::new(records, last, wanted));
        }
        match batch.gap {
            // The gap is a step of its own, before the rest.
            Some(gap) => Some(Work::Gap(gap)),
            None => self.next_work(state),
        }
    }

    /// Finds the watchers that a segment concerns, and the records that each of them matches.
    fn match_segment(&self, state: &mut DispatchState, segment: &Segment, deferred: &mut Deferred) {
        let registry = self.registry.read();
        state.resize(registry.slots());
        let records = &segment.records;
        let mut left = records.spans(0);
        loop {
            // In parts, because a transaction may be larger than the caches and the scratch.
            state.spans.clear();
            state.spans.extend(left.by_ref().take(SEGMENT_EVENTS));
            let spans = &state.spans;
            if spans.is_empty() {
                break;
            }
            let keys = spans.iter().map(|span| {
                let first = &records[span.start as usize];
                (records.key(first), first.kind())
            });
            let (marks, matched) = (&mut state.slot_marks, &mut state.matched);
            registry.matching(keys, &self.hasher, &mut state.lookup, |nth, watcher| {
                DispatchState::mark(marks, matched, &spans[nth], watcher);
            });
        }
        let mut queued = 0;
        let mut cancelled = Vec::new();
        for (watcher, picking) in state.matched.drain(..) {
            state.slot_marks[watcher as usize] = 0;
            let queue = registry.queue(watcher);
            let enqueued = queue.enqueue(Run::new(segment, picking));
            queued += enqueued.queued;
            deferred.wakes.push(enqueued.waiter);
            if let Some(revision) = enqueued.overflowed {
                if queue.overflow == Overflow::Cancel {
                    let trace = TraceEvent::Cancelled(queue.id, revision);
                    deferred.traces.push(trace);
                    cancelled.push((watcher, queue.id));
                } else {
                    self.counters.fell_behind.add_unshared(1);
                    deferred.traces.push(TraceEvent::Behind(queue.id, revision));
                }
            }
        }
        drop(registry);
        self.counters.queued_events.add_unshared(queued);
        self.counters.cancelled.add_unshared(cancelled.len());
        for (watcher, id) in cancelled {
            deferred.unregistered.extend(self.unregister(watcher, id));
        }
    }

    /// Dispatches one segment or one gap.
    fn step(&self, state: &mut DispatchState, deferred: &mut Deferred) -> StepOutcome {
        #[cfg(test)]
        tests::fault();
        if self.ended().is_some() {
            return StepOutcome::Idle;
        }
        match self.next_work(state) {
            None => StepOutcome::Idle,
            Some(Work::Gap(gap)) => {
                self.dispatch_gap(gap, deferred);
                StepOutcome::Full
            }
            Some(Work::Segment(segment, upto, wanted)) => {
                self.dispatch_segment(state, segment, upto, wanted, deferred)
            }
        }
    }

    fn dispatch_segment(
        &self,
        state: &mut DispatchState,
        segment: Option<Segment>,
        upto: Revision,
        wanted: bool,
        deferred: &mut Deferred,
    ) -> StepOutcome {
        let events = segment.as_ref().map_or(0, |segment| segment.records.len());
        let full = state.remainder.is_some() || events >= state.segment_events;
        deferred.wakes.push(self.ingress.room_made());
        self.history
            .write()
            .append(segment.as_ref(), upto, &mut deferred.retired);
        self.revisions.mark_appended(upto);
        if let Some(segment) = segment {
            self.counters.dispatched_events.add_unshared(events);
            if wanted || self.revisions.must_match(segment.first()) {
                self.match_segment(state, &segment, deferred);
            }
            // Without a history this may be the last reference.
            deferred.retired.push(segment);
        }
        self.revisions.mark_dispatched(upto);
        self.waiters.reached(upto, &mut deferred.wakes);
        if full {
            StepOutcome::Full
        } else {
            StepOutcome::Partial
        }
    }

    /// Makes every live watcher read the history, where it finds the gap: so a gap is reported in
    /// one way to watchers that exist and to those that come later.
    fn dispatch_gap(&self, gap: Lagged, deferred: &mut Deferred) {
        self.history.write().append_gap(gap);
        self.revisions.mark_appended(gap.last);
        for (_, queue) in self.registry.read().watchers() {
            deferred.wakes.push(queue.fall_behind(gap));
        }
        self.revisions.mark_dispatched(gap.last);
        self.waiters.reached(gap.last, &mut deferred.wakes);
        deferred.traces.push(TraceEvent::Dropped(gap));
    }

    /// Takes one step under the dispatch lock. The caller runs `deferred`.
    pub(crate) fn locked_step(&self, deferred: &mut Deferred) -> StepOutcome {
        let guard = FailOnPanic(self);
        let outcome = self.step(&mut self.dispatch.lock(), deferred);
        mem::forget(guard);
        outcome
    }

    /// Takes one step if the dispatch lock is free; `None` if another thread dispatches.
    pub(crate) fn try_step(&self, deferred: &mut Deferred) -> Option<StepOutcome> {
        let guard = FailOnPanic(self);
        let outcome = self
            .dispatch
            .try_lock()
            .map(|mut state| self.step(&mut state, deferred));
        mem::forget(guard);
        outcome
    }

    /// Dispatches everything that waits, on this thread.
    pub(crate) fn drain(&self) {
        let mut deferred = Deferred::default();
        while self.locked_step(&mut deferred) != StepOutcome::Idle {
            deferred.run(&self.ingress);
        }
    }

    /// Has everything that waits dispatched: by the dispatcher's thread, or by this one if no
    /// thread runs the dispatcher.
    pub(crate) fn wake_dispatcher(&self) {
        if self.parker.is_absent() && self.config.inline_dispatch {
            self.drain();
        }
        self.parker.notify();
    }

    /// Requests that everything up to `revision` is dispatched soon.
    pub(crate) fn request_dispatch(&self, revision: Revision) {
        if self.revisions.dispatched() < revision && self.ended().is_none() {
            self.waiters.request(revision);
            self.wake_dispatcher();
        }
    }

    /// Dispatches everything that was published, then ends the engine. Called once the publisher
    /// is gone.
    pub(crate) fn finish(&self, reason: EndReason) {
        let mut deferred = Deferred::default();
        loop {
            let guard = FailOnPanic(self);
            let mut state = self.dispatch.lock();
            let more = self.step(&mut state, &mut deferred) != StepOutcome::Idle;
            if !more {
                self.end(reason, &mut deferred);
            }
            drop(state);
            mem::forget(guard);
            deferred.run(&self.ingress);
            if !more {
                return;
            }
        }
    }

    /// Ends the engine because dispatching cannot go on.
    pub(crate) fn fail(&self) {
        let mut deferred = Deferred::default();
        self.end(EndReason::Failed, &mut deferred);
        deferred.run(&self.ingress);
    }
}

/// Dropped only by a panic while dispatching, after every other guard: a bug of ours must not
/// leave a thread waiting for ever.
struct FailOnPanic<'a>(&'a Engine);

impl Drop for FailOnPanic<'_> {
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

    /// Simulates a bug of ours.
    pub(super) fn fault() {
        assert!(!FAULT.get(), "a fault on purpose");
    }

    #[test]
    fn clean_every_watcher_ends_when_the_dispatcher_panics() {
        let (mut publisher, hub, dispatcher) =
            Builder::new().inline_dispatch(false).build().unwrap();
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

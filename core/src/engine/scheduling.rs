//! The threads that dispatch beside the publisher: the dispatcher's own, and in a stream of events
//! a receiver that has nothing to receive.

use std::mem;
use std::time::{Duration, Instant};

use crate::engine::Engine;
use crate::engine::deferred::Deferred;
use crate::engine::dispatch::StepOutcome;
use crate::engine::parker::POLL_INTERVAL;
use crate::registry::queue::Queue;
use crate::sync;

/// After this many events in a row that a dispatch on the spot gained nothing for, the publisher
/// leaves events to the dispatcher: they come in a stream.
pub(crate) const STREAM: usize = 8;

/// If at least this many events were dispatched, by any thread, since the dispatcher's thread last
/// looked, more are likely to come, and it polls. With a larger number the publisher would ask it
/// after [`STREAM`] events, find it parked, and start counting again.
const BUSY: u64 = STREAM as u64;

/// The number of times that the dispatcher's thread then polls before it parks. A publisher that
/// was preempted for a moment finds it polling still.
const POLLS_BEFORE_PARK: u32 = 5;

/// The time for which a receiver in a stream spins for its next batch. Waking a processor that
/// sleeps can take longer than that if other machines share it.
const SPIN: Duration = POLL_INTERVAL;

impl Engine {
    /// Dispatches until the publisher is gone and everything published is in the queues, then ends
    /// the watchers. Runs on the dispatcher's thread.
    pub(crate) fn run_dispatcher(&self) {
        self.parker.adopt();
        tracing::debug!("dispatcher started");
        let mut deferred = Deferred::default();
        let (mut dispatched, mut by_receivers) = (0, 0);
        let mut polls = 0;
        loop {
            let undisturbed = self.parker.begin();
            // With few cores this thread competes with the publisher and with receivers that
            // dispatch inline. If a receiver has dispatched since the last pass, skip this one.
            let receivers_dispatch = grew(&mut by_receivers, self.receiver_dispatches.get()) > 0;
            if receivers_dispatch && undisturbed {
                self.parker.poll_sleep();
                continue;
            }
            let closing = self.closing();
            let outcome = self.dispatch_pass(&mut deferred);
            if let Some(reason) = closing {
                self.finish(reason);
            }
            if self.ended().is_some() {
                break;
            }
            if grew(&mut dispatched, self.counters.dispatched_events.get()) >= BUSY {
                polls = POLLS_BEFORE_PARK;
            }
            if polls > 0 {
                // Little has come since, and more will.
                polls -= 1;
                self.parker.poll_sleep();
            } else if outcome == StepOutcome::Idle {
                self.parker.park();
            }
        }
        // Wakes that the publisher handed over in the meantime.
        deferred.wakes.append(&mut self.handed_over.lock());
        deferred.run(&self.ingress);
        tracing::debug!("dispatcher stopped");
    }

    /// Steps until less than a full segment waits. After it has woken a receiver, leaves the rest
    /// to that receiver, which may dispatch inline.
    fn dispatch_pass(&self, deferred: &mut Deferred) -> StepOutcome {
        loop {
            deferred.wakes.append(&mut self.handed_over.lock());
            let outcome = self.locked_step(deferred);
            let woke_receiver = self.config.inline_dispatch && deferred.wakes.len() > 0;
            deferred.run(&self.ingress);
            if outcome != StepOutcome::Full || woke_receiver {
                return outcome;
            }
        }
    }

    /// Dispatches one full batch, if there is one and no other thread dispatches. Returns whether it
    /// did. Called by a receiver that has nothing to receive.
    ///
    /// So a receiver that keeps up with a stream is not put to sleep and woken for every segment,
    /// and the dispatcher's thread takes no processor time from either end. A batch that is still
    /// being filled is left alone: many watchers with few events each would spend more time on it
    /// than it saves.
    pub(crate) fn dispatch_batch(&self) -> bool {
        if !self.config.inline_dispatch || !self.ingress.has_batch() {
            return false;
        }
        let mut deferred = Deferred::default();
        let outcome = self.try_step(&mut deferred);
        deferred.run(&self.ingress);
        let dispatched = outcome.is_some_and(|outcome| outcome != StepOutcome::Idle);
        self.receiver_dispatches.add(dispatched.into());
        dispatched
    }

    /// Spins until a full batch waits or this queue is no longer idle, for [`SPIN`] or until the
    /// deadline. Returns whether that happened. Called by a receiver that has delivered everything
    /// that it dispatched by itself.
    ///
    /// One receiver of an engine spins at a time: more would take time from the publisher.
    pub(crate) fn spin_for_batch(&self, queue: &Queue, deadline: Option<Instant>) -> bool {
        let Some(_only) = self.spinner.try_lock() else {
            return false;
        };
        let end = Instant::now() + SPIN;
        let end = deadline.map_or(end, |deadline| deadline.min(end));
        sync::yield_until(end, || self.ingress.has_batch() || !queue.is_idle())
    }
}

/// By how much a number has grown since the last call.
fn grew(before: &mut u64, now: u64) -> u64 {
    now - mem::replace(before, now)
}

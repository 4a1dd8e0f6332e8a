//! Who dispatches beside the publisher where a dispatcher runs: its thread, and in a stream of
//! events a receiver that has nothing to do.

use std::fmt;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::engine::{Aftermath, Engine};
use crate::queue::Queue;
use crate::sender::STREAM;
use crate::step::Did;
use crate::sync;
use crate::wait::LINGER;

/// Where so many events were dispatched, by whomever, since the dispatcher looked last, more are
/// likely to come, and it lingers. With a larger number the publisher would ask it for help after
/// [`STREAM`] events, find it parked, and start counting again: 1000 watchers of one key then got
/// 20 M deliveries/s by reference instead of 200.
const BUSY: u64 = STREAM as u64;
/// So often it then lingers before it parks: a publisher that lost its core for a moment finds it
/// lingering still.
const PATIENCE: u32 = 5;

/// The background half of an engine: [`run`](Self::run) it on a thread of your own, or let
/// [`Builder::spawn`](crate::Builder::spawn) do so.
///
/// Dropped before its time, it ends every watcher with
/// [`EndReason::Failed`](crate::EndReason::Failed), and publishing is refused from then on.
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
        let (mut dispatched, mut helped) = (0, 0);
        let mut patience = 0;
        loop {
            let undisturbed = engine.parker.begin();
            // On two cores this thread takes its time from the publisher and from receivers that
            // dispatch by themselves. So where they have done so since it last looked, it does not
            // look; and once it has woken somebody, it leaves the rest to him. What is left lying
            // is found once it has lingered twice. One watcher gets a quarter more events by it,
            // blocking or as a task.
            let helpers = grew(&mut helped, engine.helped.get()) > 0;
            if helpers && undisturbed {
                engine.parker.linger();
                continue;
            }
            let closing = engine.is_closing();
            let did = loop {
                after.wakes.append(&mut engine.handed_over.lock());
                let did = engine.locked_step(&mut after);
                let left = engine.config.inline && after.wakes.len() > 0;
                after.settle(&engine.ingress);
                if did != Did::Part || left {
                    break did;
                }
            };
            if closing {
                engine.finish();
            }
            if engine.ended().is_some() {
                break;
            }
            if grew(&mut dispatched, engine.counters.dispatched_events.get()) >= BUSY {
                patience = PATIENCE;
            }
            if patience > 0 {
                // Whatever has come since is little, and more will come.
                patience -= 1;
                engine.parker.linger();
            } else if did == Did::Nothing {
                engine.parker.park();
            }
        }
        // What was handed over meanwhile, with nobody else left to do it.
        after.wakes.append(&mut engine.handed_over.lock());
        after.settle(&engine.ingress);
        tracing::debug!("dispatcher stopped");
    }
}

/// By how much a number has grown since it was last looked at.
fn grew(before: &mut u64, now: u64) -> u64 {
    now - mem::replace(before, now)
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

/// For so long a receiver in a stream waits awake for its next batch. To wake a core that sleeps
/// takes up to 150 µs where others share it: one watcher gets 1.1x to 1.4x the events there by
/// staying awake, and as many as before on a machine of one's own.
const LOOKOUT: Duration = LINGER;

impl Engine {
    /// From a receiver that has nothing to receive: dispatches one batch that waits, if there is a
    /// whole one and nobody else is at it. Returns whether it did.
    ///
    /// So a receiver that keeps up with a stream is not put to sleep and woken for every segment,
    /// and the dispatcher's thread takes no core's time from either end. A batch that is still
    /// being filled is left alone: many watchers of few events each would cost more than it saves.
    pub(crate) fn help(&self) -> bool {
        if !self.config.inline || !self.ingress.has_batch() {
            return false;
        }
        let mut after = Aftermath::default();
        let did = self.try_step(&mut after);
        after.settle(&self.ingress);
        let helped = did.is_some_and(|did| did != Did::Nothing);
        self.helped.add(helped.into());
        helped
    }

    /// From a receiver that has handed out what it dispatched itself: waits awake for the next
    /// batch, until [`LOOKOUT`] or the deadline is over. Returns whether one waits to be dispatched,
    /// or this queue is not idle any more.
    ///
    /// One receiver at a time does so: more would only take time from the publisher.
    pub(crate) fn look_out(&self, queue: &Queue, deadline: Option<Instant>) -> bool {
        let Some(_only) = self.lookout.try_lock() else {
            return false;
        };
        let end = Instant::now() + LOOKOUT;
        let end = deadline.map_or(end, |deadline| deadline.min(end));
        sync::yield_until(end, || self.ingress.has_batch() || !queue.is_idle())
    }
}

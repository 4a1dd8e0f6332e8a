//! The publisher's cost of an event, and the cost until the event is dispatched.
//!
//! The publisher keeps a clone of each event while the clock runs, as stores do. A peer that drops
//! an event then decrements a reference count, and frees no memory on the publisher's thread.

use std::hint;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::receivers::{Consumer, ReceiverKind, WatchKind, consume};
use crate::events::{self, Event, WARM_UP};
use crate::peer::{Hub, Input, Peer, Setup, Watch};
use crate::progress::Progress;
use crate::statistics;

/// The load under which a publish is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    /// All other threads sleep, and each publish is timed separately.
    Idle,
    /// Events are published back to back, and each burst is timed.
    Busy,
}

/// When the clock stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimedUntil {
    /// When the publish returns.
    Published,
    /// When the last event of the burst, which matches, is received.
    Received,
}

/// Readings: ns per event.
#[derive(Clone, Debug)]
pub(crate) struct Publish {
    /// The number of watchers that match each event. With 0, one watcher matches the last event of
    /// each burst, and none matches the others.
    pub(crate) matching: usize,
    /// The number of watchers that match no event.
    pub(crate) idle_watchers: usize,
    /// What the idle watchers select.
    pub(crate) kind: WatchKind,
    pub(crate) load: Load,
    pub(crate) until: TimedUntil,
    /// The number of events published by one call.
    pub(crate) chunk: usize,
    pub(crate) bursts: usize,
}

/// Events in a burst. They fit in a core's cache, as events that a store has just made would.
const BURST: usize = 1024;
/// Events in a burst that is timed until the last is received. It is longer, so that waking the
/// receiver's thread is a small part of it.
const LONG_BURST: usize = 4096;
/// Publishes that are timed one by one, each after a [`PAUSE`].
const SINGLES: usize = 4096;
/// kvwatch dispatches events that match no watcher once in this many, so that one publish in each
/// such period pays for all.
const DISPATCH_PERIOD: usize = 256;
const PAUSE: Duration = Duration::from_micros(20);

impl Publish {
    pub(super) fn run<P: Peer>(&self, peer: &P, setup: &Setup) -> Vec<f64> {
        let (mut input, hub) = peer.start(setup);
        let idle_watchers: Vec<P::Output> = (0..self.idle_watchers)
            .map(|number| hub.watch(self.kind.watch(number)))
            .collect();
        let receivers = self.matching.max(1);
        let (burst, bursts) = match (self.load, self.until) {
            (Load::Idle, _) => (SINGLES, 1),
            (Load::Busy, TimedUntil::Published) => (BURST, self.bursts),
            (Load::Busy, TimedUntil::Received) => (LONG_BURST, self.bursts),
        };
        let warm_up = WARM_UP.div_ceil(burst);
        let last = (burst * (warm_up + bursts)) as u64;
        let match_every = if self.matching > 0 { 1 } else { burst };
        let progress = Arc::new(Progress::new(receivers, last));
        let kind = if receivers == 1 {
            ReceiverKind::Thread
        } else {
            ReceiverKind::Task
        };
        let consumers: Vec<Consumer<()>> = (0..receivers)
            .map(|index| {
                let output = hub.watch(Watch::Exact(matching_key()));
                let expected = (match_every as u64..=last).step_by(match_every);
                let report = Progress::report;
                consume(setup, kind, output, index, &progress, expected, report)
            })
            .collect();
        let mut times = Vec::new();
        for number in 0..warm_up + bursts {
            let first = (number * burst) as u64 + 1;
            let keys = self.keys(burst);
            if number < warm_up {
                self.publish_burst(&mut input, first, keys, &progress);
            } else if self.load == Load::Idle {
                times = self.publish_singly(&mut input, first, keys, &progress);
            } else {
                times.push(self.publish_burst(&mut input, first, keys, &progress));
            }
        }
        for consumer in consumers {
            consumer.join(setup);
        }
        drop(idle_watchers);
        match self.load {
            Load::Idle => {
                vec![statistics::periodic_mean(&times, DISPATCH_PERIOD) - clock_overhead()]
            }
            Load::Busy => vec![statistics::median(&times)],
        }
    }

    fn keys(&self, count: usize) -> Vec<Bytes> {
        let mut random = events::random(1 << 20);
        let key = |nth| {
            if self.matching > 0 || nth == count {
                matching_key()
            } else {
                events::unwatched_key(random.next().expect("it is endless"))
            }
        };
        (1..=count).map(key).collect()
    }

    /// Returns the duration of each publish, in ns.
    fn publish_singly(
        &self,
        input: &mut impl Input,
        first: u64,
        keys: Vec<Bytes>,
        progress: &Progress,
    ) -> Vec<f64> {
        let last = first + keys.len() as u64 - 1;
        let mut times = Vec::with_capacity(keys.len());
        for (seq, key) in (first..).zip(keys) {
            let event = Event::new(seq, key);
            let kept = event.clone();
            pause();
            let start = Instant::now();
            input.publish(event);
            times.push(start.elapsed().as_nanos() as f64);
            if self.matching > 0 || seq == last {
                progress.wait_for(seq);
            }
            drop(kept);
        }
        times
    }

    /// Returns the time per event, in ns.
    fn publish_burst(
        &self,
        input: &mut impl Input,
        first: u64,
        keys: Vec<Bytes>,
        progress: &Progress,
    ) -> f64 {
        let mut events = events::from_keys(first, keys.into_iter());
        let kept = events.clone();
        let last = kept[kept.len() - 1].seq;
        // The last event matches and wakes its receiver, which is not part of the cost of events
        // that match no watcher: it is published after the clock stops.
        let untimed_last = self.matching == 0 && self.until == TimedUntil::Published;
        let after = if untimed_last { events.pop() } else { None };
        let count = events.len();
        let start;
        if self.chunk == 1 {
            start = Instant::now();
            for event in events {
                input.publish(event);
            }
        } else {
            let mut chunks = events::chunks(events, self.chunk);
            start = Instant::now();
            for chunk in &mut chunks {
                input.publish_chunk(chunk);
            }
        }
        let published = start.elapsed();
        after.into_iter().for_each(|event| input.publish(event));
        progress.wait_for(last);
        let elapsed = match self.until {
            TimedUntil::Published => published,
            TimedUntil::Received => start.elapsed(),
        };
        drop(kept);
        elapsed.as_nanos() as f64 / count as f64
    }
}

/// The key that the receivers watch.
fn matching_key() -> Bytes {
    Bytes::from("hot:000000000000")
}

/// Gives every other thread the time to fall asleep. The publisher's thread stays awake, as a
/// store's would.
fn pause() {
    let start = Instant::now();
    while start.elapsed() < PAUSE {
        hint::spin_loop();
    }
}

/// The time between two consecutive readings of the clock, in ns.
fn clock_overhead() -> f64 {
    let readings: Vec<f64> = (0..1000)
        .map(|_| Instant::now().elapsed().as_nanos() as f64)
        .collect();
    statistics::median(&readings)
}

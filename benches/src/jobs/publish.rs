//! What publishing costs the publisher, and until it has been dispatched.
//!
//! The store holds on to what it publishes, as stores do: so a peer that drops an event counts
//! down a reference, and no memory is freed by the publisher's clock.

use std::hint;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Consumer, Kind, Receiver, WARM_UP, consume};
use crate::figures;
use crate::load::{self, Event};
use crate::peer::{Hub, Input, Peer, Stage, Watch};
use crate::progress::Progress;

/// What else is going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    /// Everybody sleeps. Each publish is timed by itself.
    Idle,
    /// One publish after the other, in bursts.
    Busy,
}

/// When the clock stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    /// When the publish returns.
    Published,
    /// When the burst's last event, which matches, has been received.
    Received,
}

/// Readings: ns an event.
#[derive(Clone, Debug)]
pub(crate) struct Publish {
    /// How many watchers want each event. With 0, only the last of a burst is wanted, by one.
    pub(crate) matching: usize,
    /// How many watchers want none of them, and what they want instead.
    pub(crate) bystanders: usize,
    pub(crate) kind: Kind,
    pub(crate) load: Load,
    pub(crate) clock: Clock,
    /// Events handed in by one call.
    pub(crate) chunk: usize,
    pub(crate) bursts: usize,
}

/// Events in a burst: few enough that a core's cache holds them, as a store's would that were made
/// just now.
const BURST: usize = 1024;
/// The same where the clock runs until the last was received: that takes a thread's wake, which
/// must not weigh much.
const LONG_BURST: usize = 4096;
/// Publishes timed one by one. Each is preceded by a pause in which everybody goes to sleep.
const SINGLES: usize = 4096;
/// What nobody watches we dispatch once in as many events: one in each group pays for it, and in
/// every group the same.
const GROUP: usize = 256;
const PAUSE: Duration = Duration::from_micros(20);

impl Publish {
    pub(super) fn run<P: Peer>(&self, peer: &P, stage: &Stage) -> Vec<f64> {
        let (mut input, hub) = peer.open(stage);
        let bystanders: Vec<P::Output> = (0..self.bystanders)
            .map(|number| hub.watch(self.kind.watch(number)))
            .collect();
        let receivers = self.matching.max(1);
        let (burst, bursts) = match (self.load, self.clock) {
            (Load::Idle, _) => (SINGLES, 1),
            (Load::Busy, Clock::Published) => (BURST, self.bursts),
            (Load::Busy, Clock::Received) => (LONG_BURST, self.bursts),
        };
        let warm_up = WARM_UP.div_ceil(burst);
        let last = (burst * (warm_up + bursts)) as u64;
        let wanted = if self.matching > 0 { 1 } else { burst };
        let progress = Arc::new(Progress::new(receivers, last));
        let receiver = if receivers == 1 {
            Receiver::Thread
        } else {
            Receiver::Task
        };
        let consumers: Vec<Consumer<()>> = (0..receivers)
            .map(|index| {
                let output = hub.watch(Watch::Exact(hot()));
                let expected = (wanted as u64..=last).step_by(wanted);
                let told = Progress::got_now;
                consume(stage, receiver, output, index, &progress, expected, told)
            })
            .collect();
        let mut spent = Vec::new();
        for number in 0..warm_up + bursts {
            let first = (number * burst) as u64 + 1;
            let keys = self.keys(burst);
            if number < warm_up {
                self.at_once(&mut input, first, keys, &progress);
            } else if self.load == Load::Idle {
                spent = self.one_by_one(&mut input, first, keys, &progress);
            } else {
                spent.push(self.at_once(&mut input, first, keys, &progress));
            }
        }
        for consumer in consumers {
            consumer.join(stage);
        }
        drop(bystanders);
        match self.load {
            Load::Idle => vec![figures::grouped_mean(&spent, GROUP) - clock_overhead()],
            Load::Busy => vec![figures::median(&spent)],
        }
    }

    fn keys(&self, count: usize) -> Vec<Bytes> {
        let mut random = load::random(1 << 20);
        let key = |nth| {
            if self.matching > 0 || nth == count {
                hot()
            } else {
                load::other_key(random.next().expect("it is endless"))
            }
        };
        (1..=count).map(key).collect()
    }

    /// Returns what each publish took, in ns.
    fn one_by_one(
        &self,
        input: &mut impl Input,
        first: u64,
        keys: Vec<Bytes>,
        progress: &Progress,
    ) -> Vec<f64> {
        let last = first + keys.len() as u64 - 1;
        let mut spent = Vec::with_capacity(keys.len());
        for (seq, key) in (first..).zip(keys) {
            let event = Event::new(seq, key);
            let kept = event.clone();
            pause();
            let start = Instant::now();
            input.publish(event);
            spent.push(start.elapsed().as_nanos() as f64);
            if self.matching > 0 || seq == last {
                progress.wait_for(seq);
            }
            drop(kept);
        }
        spent
    }

    /// Returns ns an event.
    fn at_once(
        &self,
        input: &mut impl Input,
        first: u64,
        keys: Vec<Bytes>,
        progress: &Progress,
    ) -> f64 {
        let mut events = load::events(first, keys.into_iter());
        let kept = events.clone();
        let last = kept[kept.len() - 1].seq;
        // It wakes its receiver, which is not what publishing to nobody costs.
        let wakes = self.matching == 0 && self.clock == Clock::Published;
        let wanted = if wakes { events.pop() } else { None };
        let count = events.len();
        let start;
        if self.chunk == 1 {
            start = Instant::now();
            for event in events {
                input.publish(event);
            }
        } else {
            let mut chunks = load::chunks(events, self.chunk);
            start = Instant::now();
            for chunk in &mut chunks {
                input.publish_chunk(chunk);
            }
        }
        let published = start.elapsed();
        wanted.into_iter().for_each(|event| input.publish(event));
        progress.wait_for(last);
        let took = match self.clock {
            Clock::Published => published,
            Clock::Received => start.elapsed(),
        };
        drop(kept);
        took.as_nanos() as f64 / count as f64
    }
}

/// The key that is wanted.
fn hot() -> Bytes {
    Bytes::from("hot:000000000000")
}

/// Long enough for every other thread to go to sleep; this one stays awake, as a store's would.
fn pause() {
    let start = Instant::now();
    while start.elapsed() < PAUSE {
        hint::spin_loop();
    }
}

/// What two looks at the clock take by themselves, in ns.
fn clock_overhead() -> f64 {
    let readings: Vec<f64> = (0..1000)
        .map(|_| Instant::now().elapsed().as_nanos() as f64)
        .collect();
    figures::median(&readings)
}

//! Watchers that are registered and dropped again.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use crate::events;
use crate::peer::{Hub, Input, Peer, Setup, Watch};

/// Readings: registrations per second, where each watcher is dropped at once. Work that a peer
/// defers to another thread is not counted.
#[derive(Clone, Debug)]
pub(crate) struct Churn {
    pub(crate) registrations: usize,
    /// Whether another thread publishes 128,000 events per second meanwhile, 128 at a time.
    pub(crate) publishing: bool,
}

/// The number of keys that are watched and published.
const KEYS: usize = 10_000;
const PERIOD: Duration = Duration::from_millis(1);
const EVENTS_PER_PERIOD: usize = 128;

impl Churn {
    pub(super) fn run<P: Peer>(&self, peer: &P, setup: &Setup) -> Vec<f64> {
        let (input, hub) = peer.start(setup);
        let keys = events::random(KEYS).map(events::key);
        let watches: Vec<Watch> = keys
            .take(self.registrations / peer.event_divisor())
            .map(Watch::Exact)
            .collect();
        let count = watches.len();
        let stop = AtomicBool::new(false);
        let elapsed = thread::scope(|scope| {
            if self.publishing {
                scope.spawn(|| publish_until(input, &stop));
            }
            let start = Instant::now();
            for watch in watches {
                drop(hub.watch(watch));
            }
            let elapsed = start.elapsed();
            stop.store(true, Relaxed);
            elapsed
        });
        vec![count as f64 / elapsed.as_secs_f64()]
    }
}

fn publish_until(mut input: impl Input, stop: &AtomicBool) {
    let mut keys = events::random(KEYS).map(events::key);
    let mut first = 1;
    let mut next = Instant::now();
    while !stop.load(Relaxed) {
        for event in events::from_keys(first, keys.by_ref().take(EVENTS_PER_PERIOD)) {
            input.publish(event);
        }
        first += EVENTS_PER_PERIOD as u64;
        next += PERIOD;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

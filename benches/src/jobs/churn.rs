//! Watchers that come and go.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use crate::load;
use crate::peer::{Hub, Input, Peer, Stage, Watch};

/// Readings: registrations a second, each dropped again at once. Work that a peer leaves behind
/// for somebody else is not counted.
#[derive(Clone, Debug)]
pub(crate) struct Churn {
    pub(crate) registrations: usize,
    /// While 128,000 events a second are published, 128 at a time.
    pub(crate) publishing: bool,
}

/// Keys that are watched and published.
const KEYS: usize = 10_000;
const PACE: Duration = Duration::from_millis(1);
const EVENTS: usize = 128;

impl Churn {
    pub(super) fn run<P: Peer>(&self, peer: &P, stage: &Stage) -> Vec<f64> {
        let (input, hub) = peer.open(stage);
        let keys = load::random(KEYS).map(load::key);
        let watches: Vec<Watch> = keys
            .take(self.registrations / peer.slowness())
            .map(Watch::Exact)
            .collect();
        let count = watches.len();
        let done = AtomicBool::new(false);
        let took = thread::scope(|scope| {
            if self.publishing {
                scope.spawn(|| publish(input, &done));
            }
            let start = Instant::now();
            for watch in watches {
                drop(hub.watch(watch));
            }
            let took = start.elapsed();
            done.store(true, Relaxed);
            took
        });
        vec![count as f64 / took.as_secs_f64()]
    }
}

fn publish(mut input: impl Input, done: &AtomicBool) {
    let mut keys = load::random(KEYS).map(load::key);
    let mut first = 1;
    let mut due = Instant::now();
    while !done.load(Relaxed) {
        for event in load::events(first, keys.by_ref().take(EVENTS)) {
            input.publish(event);
        }
        first += EVENTS as u64;
        due += PACE;
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}

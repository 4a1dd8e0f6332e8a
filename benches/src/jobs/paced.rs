//! One publish now and then, and receivers that sleep until it comes.

use std::sync::Arc;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use super::{Consumer, Kind, Receiver, consume};
use crate::figures;
use crate::load;
use crate::peer::{Hub, Input, Peer, Stage};
use crate::progress::Progress;

/// Readings, in µs: median and 99th percentile of the time from before the publish until an event
/// was received, and the median of what the publish took.
#[derive(Clone, Debug)]
pub(crate) struct Paced {
    pub(crate) receiver: Receiver,
    /// All of them want every event.
    pub(crate) watchers: usize,
    pub(crate) events: usize,
}

const PACE: Duration = Duration::from_millis(1);

fn micros(duration: Duration) -> f64 {
    duration.as_nanos() as f64 / 1e3
}

impl Paced {
    pub(super) fn run<P: Peer>(&self, peer: &P, stage: &Stage) -> Vec<f64> {
        let (mut input, hub) = peer.open(stage);
        let last = self.events as u64;
        let progress = Arc::new(Progress::new(self.watchers, last));
        let base = Instant::now();
        let received: Vec<Arc<Mutex<Vec<Duration>>>> =
            (0..self.watchers).map(|_| Arc::default()).collect();
        let consumers: Vec<Consumer<()>> = received
            .iter()
            .enumerate()
            .map(|(index, received)| {
                let received = Arc::clone(received);
                let output = hub.watch(Kind::Exact.watch(0));
                let note = move |progress: &Progress, index, seq| {
                    let now = base.elapsed();
                    received.lock().expect("nobody panics here").push(now);
                    progress.got_now(index, seq);
                };
                let expected = 1..=last;
                consume(
                    stage,
                    self.receiver,
                    output,
                    index,
                    &progress,
                    expected,
                    note,
                )
            })
            .collect();
        let keys = std::iter::repeat_with(|| load::key(0));
        let mut published = Vec::with_capacity(self.events);
        for event in load::events(1, keys.take(self.events)) {
            thread::sleep(PACE);
            let before = base.elapsed();
            input.publish(event);
            published.push((before, base.elapsed()));
        }
        for consumer in consumers {
            consumer.join(stage);
        }
        let mut latencies = Vec::new();
        for received in received {
            let received = received.lock().expect("nobody panics here");
            let pairs = received.iter().zip(&published);
            latencies.extend(pairs.map(|(&got, &(before, _))| micros(got.saturating_sub(before))));
        }
        let took: Vec<f64> = published
            .iter()
            .map(|&(before, after)| micros(after - before))
            .collect();
        vec![
            figures::median(&latencies),
            figures::percentile(&latencies, 0.99),
            figures::median(&took),
        ]
    }
}

//! One publish per millisecond, to receivers that sleep in between.

use std::sync::Arc;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use super::receivers::{Consumer, ReceiverKind, WatchKind, consume};
use crate::events;
use crate::peer::{Hub, Input, Peer, Setup};
use crate::progress::Progress;
use crate::statistics;

/// Readings, in µs: median and 99th percentile of the time from just before the publish until an
/// event is received, and the median duration of the publish.
#[derive(Clone, Debug)]
pub(crate) struct Latency {
    pub(crate) receiver: ReceiverKind,
    /// Each of them selects every event.
    pub(crate) watchers: usize,
    pub(crate) events: usize,
}

const PERIOD: Duration = Duration::from_millis(1);

fn micros(duration: Duration) -> f64 {
    duration.as_nanos() as f64 / 1e3
}

impl Latency {
    pub(super) fn run<P: Peer>(&self, peer: &P, setup: &Setup) -> Vec<f64> {
        let (mut input, hub) = peer.start(setup);
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
                let output = hub.watch(WatchKind::Exact.watch(0));
                let report = move |progress: &Progress, index, seq| {
                    let now = base.elapsed();
                    received.lock().expect("no holder panics").push(now);
                    progress.report(index, seq);
                };
                let expected = 1..=last;
                consume(
                    setup,
                    self.receiver,
                    output,
                    index,
                    &progress,
                    expected,
                    report,
                )
            })
            .collect();
        let keys = std::iter::repeat_with(|| events::key(0));
        let mut published = Vec::with_capacity(self.events);
        for event in events::from_keys(1, keys.take(self.events)) {
            thread::sleep(PERIOD);
            let before = base.elapsed();
            input.publish(event);
            published.push((before, base.elapsed()));
        }
        for consumer in consumers {
            consumer.join(setup);
        }
        let mut latencies = Vec::new();
        for received in received {
            let received = received.lock().expect("no holder panics");
            let pairs = received.iter().zip(&published);
            latencies.extend(pairs.map(|(&got, &(before, _))| micros(got.saturating_sub(before))));
        }
        let publishing: Vec<f64> = published
            .iter()
            .map(|&(before, after)| micros(after - before))
            .collect();
        vec![
            statistics::median(&latencies),
            statistics::percentile(&latencies, 0.99),
            statistics::median(&publishing),
        ]
    }
}

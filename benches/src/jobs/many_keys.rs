//! Many watchers, each of its own key or prefix, and events with random keys.

use std::sync::Arc;
use std::thread;
use std::time::Instant;

use super::receivers::{WatchKind, publish_all, warm_up};
use crate::events;
use crate::peer::{Hub, Output, Peer, Setup};
use crate::progress::{Progress, Window};

/// Readings: events per second, from the first publish after a warm-up to the last receipt. One
/// thread receives, by polling the watcher of the next event.
#[derive(Clone, Debug)]
pub(crate) struct ManyKeys {
    pub(crate) kind: WatchKind,
    pub(crate) watchers: usize,
    pub(crate) events: usize,
    /// `false` for peers in which each watcher costs time for every event: their queues would
    /// overflow during a warm-up.
    pub(crate) warm_up: bool,
}

impl ManyKeys {
    pub(super) fn run<P: Peer>(&self, peer: &P, setup: &Setup) -> Vec<f64> {
        let count = self.events / peer.event_divisor();
        let warm_up = if self.warm_up { warm_up(peer) } else { 0 };
        let last = (warm_up + count) as u64;
        let (mut input, hub) = peer.start(setup);
        let mut outputs: Vec<P::Output> = (0..self.watchers)
            .map(|number| hub.watch(self.kind.watch(number)))
            .collect();
        let order: Vec<usize> = events::random(self.watchers)
            .take(warm_up + count)
            .collect();
        let keys = order.iter().map(|&number| self.kind.key(number));
        let mut events = events::from_keys(1, keys).into_iter();
        let progress = Arc::new(Progress::new(1, last));
        let reported = Arc::clone(&progress);
        let consumer = thread::spawn(move || {
            for (expected, number) in (1..).zip(order) {
                let seq = loop {
                    if let Some(seq) = outputs[number].try_recv() {
                        break seq;
                    }
                    thread::yield_now();
                };
                assert_eq!(seq, expected);
                reported.got(0, seq);
            }
            outputs
        });
        let mut window = Window::new(&progress);
        publish_all(&mut input, &mut window, events.by_ref().take(warm_up));
        progress.wait_for(warm_up as u64);
        let start = Instant::now();
        publish_all(&mut input, &mut window, events.by_ref());
        progress.wait_for(last);
        let elapsed = start.elapsed();
        // The watchers are dropped after the clock stops: unregistering them does not count.
        drop(consumer.join().expect("the receiver got everything"));
        vec![count as f64 / elapsed.as_secs_f64()]
    }
}

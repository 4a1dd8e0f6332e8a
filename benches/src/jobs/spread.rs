//! Many watchers, each of something of its own, and random keys.

use std::sync::Arc;
use std::thread;
use std::time::Instant;

use super::{Kind, feed, warm_up};
use crate::load;
use crate::peer::{Hub, Output, Peer, Stage};
use crate::progress::{Progress, Window};

/// Readings: events a second, from the first publish after a warm-up to the last receipt, by one
/// thread that polls the watcher whose turn it is.
#[derive(Clone, Debug)]
pub(crate) struct Spread {
    pub(crate) kind: Kind,
    pub(crate) watchers: usize,
    pub(crate) events: usize,
    /// Not for peers to which every watcher costs time: one of them would lose events meanwhile.
    pub(crate) warm_up: bool,
}

impl Spread {
    pub(super) fn run<P: Peer>(&self, peer: &P, stage: &Stage) -> Vec<f64> {
        let count = self.events / peer.slowness();
        let warm_up = if self.warm_up { warm_up(peer) } else { 0 };
        let last = (warm_up + count) as u64;
        let (mut input, hub) = peer.open(stage);
        let mut outputs: Vec<P::Output> = (0..self.watchers)
            .map(|number| hub.watch(self.kind.watch(number)))
            .collect();
        let turns: Vec<usize> = load::random(self.watchers).take(warm_up + count).collect();
        let mut events =
            load::events(1, turns.iter().map(|&number| self.kind.key(number))).into_iter();
        let progress = Arc::new(Progress::new(1, last));
        let told = Arc::clone(&progress);
        let consumer = thread::spawn(move || {
            for (expected, number) in (1..).zip(turns) {
                // Tries until it is there.
                let seq = loop {
                    if let Some(seq) = outputs[number].try_recv() {
                        break seq;
                    }
                    thread::yield_now();
                };
                assert_eq!(seq, expected);
                told.got(0, seq);
            }
            outputs
        });
        let mut window = Window::new(&progress);
        feed(&mut input, &mut window, events.by_ref().take(warm_up));
        progress.wait_for(warm_up as u64);
        let start = Instant::now();
        feed(&mut input, &mut window, events.by_ref());
        progress.wait_for(last);
        let took = start.elapsed();
        // Unregistering them is not part of it.
        drop(consumer.join().expect("the receiver got everything"));
        vec![count as f64 / took.as_secs_f64()]
    }
}

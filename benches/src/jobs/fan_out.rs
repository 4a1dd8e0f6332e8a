//! Many watchers of one key.

use std::sync::Arc;
use std::thread;
use std::time::Instant;

use super::receivers::{Consumer, ReceiverKind, WatchKind, consume, publish_all};
use crate::events;
use crate::peer::{Hub, Output, Peer, Setup};
use crate::progress::{Progress, Window};

/// How the watchers receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Receiving {
    /// Each watcher in a tokio task, event by event.
    Tasks,
    /// One thread drains all watchers in turn.
    Polling,
}

/// Readings: deliveries per second, from the first publish to the last receipt.
#[derive(Clone, Debug)]
pub(crate) struct FanOut {
    pub(crate) watchers: usize,
    pub(crate) events: usize,
    pub(crate) receiving: Receiving,
}

impl FanOut {
    pub(super) fn run<P: Peer>(&self, peer: &P, setup: &Setup) -> Vec<f64> {
        let (mut input, hub) = peer.start(setup);
        let outputs: Vec<P::Output> = (0..self.watchers)
            .map(|_| hub.watch(WatchKind::Exact.watch(0)))
            .collect();
        let keys = std::iter::repeat_with(|| events::key(0));
        let mut events = events::from_keys(1, keys.take(self.events)).into_iter();
        let last = self.events as u64;
        let (consumers, progress) = match self.receiving {
            Receiving::Tasks => spawn_tasks(setup, outputs, last),
            Receiving::Polling => {
                let progress = Arc::new(Progress::new(1, last));
                let reported = Arc::clone(&progress);
                let poll = move || poll_all(outputs, &reported, last);
                (vec![Consumer::Thread(thread::spawn(poll))], progress)
            }
        };
        let mut window = Window::new(&progress);
        let start = Instant::now();
        publish_all(&mut input, &mut window, events.by_ref());
        for consumer in consumers {
            consumer.join(setup);
        }
        let deliveries = self.watchers * self.events;
        vec![deliveries as f64 / start.elapsed().as_secs_f64()]
    }
}

fn spawn_tasks<O: Output>(
    setup: &Setup,
    outputs: Vec<O>,
    last: u64,
) -> (Vec<Consumer<()>>, Arc<Progress>) {
    let progress = Arc::new(Progress::new(outputs.len(), last));
    let consumers = outputs
        .into_iter()
        .enumerate()
        .map(|(index, output)| {
            let kind = ReceiverKind::Task;
            consume(
                setup,
                kind,
                output,
                index,
                &progress,
                1..=last,
                Progress::got,
            )
        })
        .collect();
    (consumers, progress)
}

fn poll_all<O: Output>(mut outputs: Vec<O>, progress: &Progress, last: u64) {
    let mut got = vec![0; outputs.len()];
    let mut slowest = 0;
    while slowest < last {
        let before = slowest;
        slowest = last;
        for (output, got) in outputs.iter_mut().zip(&mut got) {
            // One assertion for each drain: a branch for each event would be a large part of what
            // is measured.
            let (had, mut in_order) = (*got, true);
            output.drain(&mut |seq| {
                *got += 1;
                in_order &= seq == *got;
            });
            assert!(in_order, "events are missing or out of order after {had}");
            slowest = slowest.min(*got);
        }
        if slowest > before {
            progress.report(0, slowest);
        } else {
            thread::yield_now();
        }
    }
}

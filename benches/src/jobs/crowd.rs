//! Many watchers of one key.

use std::sync::Arc;
use std::thread;
use std::time::Instant;

use super::{Consumer, Kind, Receiver, consume, feed};
use crate::load;
use crate::peer::{Hub, Output, Peer, Stage};
use crate::progress::{Progress, Window};

/// How the watchers take their events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taking {
    /// Each watcher is a tokio task that takes event by event.
    Tasks,
    /// One thread goes round all of them and takes what is there.
    Polling,
}

/// Readings: deliveries a second, from the first publish to the last receipt.
#[derive(Clone, Debug)]
pub(crate) struct Crowd {
    pub(crate) watchers: usize,
    pub(crate) events: usize,
    pub(crate) taking: Taking,
}

impl Crowd {
    pub(super) fn run<P: Peer>(&self, peer: &P, stage: &Stage) -> Vec<f64> {
        let (mut input, hub) = peer.open(stage);
        let outputs: Vec<P::Output> = (0..self.watchers)
            .map(|_| hub.watch(Kind::Exact.watch(0)))
            .collect();
        let keys = std::iter::repeat_with(|| load::key(0));
        let mut events = load::events(1, keys.take(self.events)).into_iter();
        let last = self.events as u64;
        let (consumers, progress) = match self.taking {
            Taking::Tasks => tasks(stage, outputs, last),
            Taking::Polling => {
                let progress = Arc::new(Progress::new(1, last));
                let told = Arc::clone(&progress);
                let poll = move || poll(outputs, &told, last);
                (vec![Consumer::Thread(thread::spawn(poll))], progress)
            }
        };
        let mut window = Window::new(&progress);
        let start = Instant::now();
        feed(&mut input, &mut window, events.by_ref());
        for consumer in consumers {
            consumer.join(stage);
        }
        let deliveries = self.watchers * self.events;
        vec![deliveries as f64 / start.elapsed().as_secs_f64()]
    }
}

fn tasks<O: Output>(
    stage: &Stage,
    outputs: Vec<O>,
    last: u64,
) -> (Vec<Consumer<()>>, Arc<Progress>) {
    let progress = Arc::new(Progress::new(outputs.len(), last));
    let consumers = outputs
        .into_iter()
        .enumerate()
        .map(|(index, output)| {
            let receiver = Receiver::Task;
            consume(
                stage,
                receiver,
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

fn poll<O: Output>(mut outputs: Vec<O>, progress: &Progress, last: u64) {
    let mut got = vec![0; outputs.len()];
    let mut least = 0;
    while least < last {
        let before = least;
        least = last;
        for (output, got) in outputs.iter_mut().zip(&mut got) {
            // Without a branch for each: with one, ours took an eighth longer.
            let (had, mut in_order) = (*got, true);
            output.drain(&mut |seq| {
                *got += 1;
                in_order &= seq == *got;
            });
            assert!(in_order, "others came than those after {had}");
            least = least.min(*got);
        }
        if least > before {
            progress.got_now(0, least);
        } else {
            thread::yield_now();
        }
    }
}

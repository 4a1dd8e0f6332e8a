//! One watcher, one key, as fast as it goes.

use std::sync::Arc;
use std::time::Instant;

use super::{Kind, Receiver, consume};
use crate::load;
use crate::peer::{Hub, Input, Peer, Stage};
use crate::progress::{Progress, Window};

/// Readings: events a second, from the first publish to the last receipt.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    pub(crate) events: usize,
    pub(crate) receiver: Receiver,
    /// Events handed in by one call.
    pub(crate) chunk: usize,
}

impl Stream {
    pub(super) fn run<P: Peer>(&self, peer: &P, stage: &Stage) -> Vec<f64> {
        let count = self.events / peer.slowness();
        let (mut input, hub) = peer.open(stage);
        let output = hub.watch(Kind::Exact.watch(0));
        let keys = std::iter::repeat_with(|| load::key(0));
        // What held the events is freed at the end, and not while the clock runs.
        let mut events = load::events(1, keys.take(count)).into_iter();
        let last = count as u64;
        let progress = Arc::new(Progress::new(1, last));
        let consumer = consume(
            stage,
            self.receiver,
            output,
            0,
            &progress,
            1..=last,
            Progress::got,
        );
        let mut window = Window::new(&progress);
        let start;
        if self.chunk == 1 {
            start = Instant::now();
            for event in events.by_ref() {
                window.admit(event.seq);
                input.publish(event);
            }
        } else {
            let mut chunks = load::chunks(events.by_ref(), self.chunk);
            start = Instant::now();
            for chunk in &mut chunks {
                window.admit(chunk[chunk.len() - 1].seq);
                input.publish_chunk(chunk);
            }
        }
        consumer.join(stage);
        vec![count as f64 / start.elapsed().as_secs_f64()]
    }
}

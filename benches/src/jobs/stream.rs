//! One watcher, one key, as fast as it goes.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::{Kind, Receiver, consume, feed, warm_up};
use crate::load::{self, Event};
use crate::peer::{Hub, Input, Peer, Stage};
use crate::progress::{Progress, Window};

/// Readings: events a second, from the first publish after a warm-up to the last receipt.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    pub(crate) events: usize,
    pub(crate) receiver: Receiver,
    /// Events handed in by one call.
    pub(crate) chunk: usize,
    pub(crate) making: Making,
}

/// When the events are made, which is to allocate key and value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Making {
    /// Before the clock runs: it is not counted, and whoever frees them finds them in no cache.
    Beforehand,
    /// By the publisher, one before each publish, as a store does. Chunks are made beforehand.
    AsPublished,
}

impl Stream {
    pub(super) fn run<P: Peer>(&self, peer: &P, stage: &Stage) -> Vec<f64> {
        let count = self.events / peer.slowness();
        let warm_up = warm_up(peer).next_multiple_of(self.chunk);
        let (mut input, hub) = peer.open(stage);
        let output = hub.watch(Kind::Exact.watch(0));
        let key = load::key(0);
        let make = |seq| Event::new(seq, Bytes::copy_from_slice(&key));
        let last = (warm_up + count) as u64;
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
        // What holds the events is freed at the end, and not while the clock runs.
        let mut events = Vec::new();
        if self.making == Making::Beforehand {
            events = (1..=last).map(make).collect();
        }
        let mut events = events.into_iter();
        let mut chunks = if self.chunk > 1 {
            load::chunks(events.by_ref(), self.chunk)
        } else {
            Vec::new()
        };
        let mut chunks = chunks.iter_mut();
        let mut seqs = 1..=last;
        let mut publish = |count: usize| {
            if self.chunk > 1 {
                for chunk in chunks.by_ref().take(count.div_ceil(self.chunk)) {
                    window.admit(chunk[chunk.len() - 1].seq);
                    input.publish_chunk(chunk);
                }
            } else if self.making == Making::Beforehand {
                feed(&mut input, &mut window, events.by_ref().take(count));
            } else {
                // Not fed: what makes the events is compiled in here, a tenth faster.
                for event in seqs.by_ref().take(count).map(make) {
                    window.admit(event.seq);
                    input.publish(event);
                }
            }
        };
        publish(warm_up);
        progress.wait_for(warm_up as u64);
        let start = Instant::now();
        publish(count);
        consumer.join(stage);
        vec![count as f64 / start.elapsed().as_secs_f64()]
    }
}

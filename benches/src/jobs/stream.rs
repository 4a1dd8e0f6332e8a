//! One watcher, one key, as fast as it goes.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::{Kind, Receiver, consume};
use crate::load::{self, Event};
use crate::peer::{Hub, Input, Peer, Stage};
use crate::progress::{Progress, Window};

/// Readings: events a second, from the first publish to the last receipt.
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
        let (mut input, hub) = peer.open(stage);
        let output = hub.watch(Kind::Exact.watch(0));
        let key = load::key(0);
        let make = |seq| Event::new(seq, Bytes::copy_from_slice(&key));
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
        // What holds the events is freed at the end, and not while the clock runs.
        let mut events = Vec::new();
        if self.making == Making::Beforehand {
            events = (1..=last).map(make).collect();
        }
        let mut events = events.into_iter();
        let start;
        if self.chunk > 1 {
            let mut chunks = load::chunks(events.by_ref(), self.chunk);
            start = Instant::now();
            for chunk in &mut chunks {
                window.admit(chunk[chunk.len() - 1].seq);
                input.publish_chunk(chunk);
            }
        } else if self.making == Making::Beforehand {
            start = Instant::now();
            for event in events.by_ref() {
                window.admit(event.seq);
                input.publish(event);
            }
        } else {
            start = Instant::now();
            for event in (1..=last).map(make) {
                window.admit(event.seq);
                input.publish(event);
            }
        }
        consumer.join(stage);
        vec![count as f64 / start.elapsed().as_secs_f64()]
    }
}

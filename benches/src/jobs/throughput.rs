//! One watcher of one key, as fast as it goes.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::receivers::{ReceiverKind, WatchKind, consume, publish_all, warm_up};
use crate::events::{self, Event};
use crate::peer::{Hub, Input, Peer, Setup};
use crate::progress::{Progress, Window};

/// Readings: events per second, from the first publish after a warm-up to the last receipt.
#[derive(Clone, Debug)]
pub(crate) struct Throughput {
    pub(crate) events: usize,
    pub(crate) receiver: ReceiverKind,
    /// The number of events published by one call.
    pub(crate) chunk: usize,
    pub(crate) allocation: Allocation,
}

/// When the keys and values are allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Allocation {
    /// Before the clock starts. Allocation is not measured, but the thread that frees an event does
    /// not find its memory in the cache.
    Upfront,
    /// By the publisher, just before each publish, as a store does. Chunks are always allocated up
    /// front.
    PerPublish,
}

impl Throughput {
    pub(super) fn run<P: Peer>(&self, peer: &P, setup: &Setup) -> Vec<f64> {
        let count = self.events / peer.event_divisor();
        let warm_up = warm_up(peer).next_multiple_of(self.chunk);
        let (mut input, hub) = peer.start(setup);
        let output = hub.watch(WatchKind::Exact.watch(0));
        let key = events::key(0);
        let make = |seq| Event::new(seq, Bytes::copy_from_slice(&key));
        let last = (warm_up + count) as u64;
        let progress = Arc::new(Progress::new(1, last));
        let consumer = consume(
            setup,
            self.receiver,
            output,
            0,
            &progress,
            1..=last,
            Progress::got,
        );
        let mut window = Window::new(&progress);
        // The vectors live until the end, so that they are not freed while the clock runs.
        let mut events = Vec::new();
        if self.allocation == Allocation::Upfront {
            events = (1..=last).map(make).collect();
        }
        let mut events = events.into_iter();
        let mut chunks = if self.chunk > 1 {
            events::chunks(events.by_ref(), self.chunk)
        } else {
            Vec::new()
        };
        let mut chunks = chunks.iter_mut();
        let mut seqs = 1..=last;
        let mut publish = |count: usize| {
            if self.chunk > 1 {
                for chunk in chunks.by_ref().take(count.div_ceil(self.chunk)) {
                    window.wait_until_open(chunk[chunk.len() - 1].seq);
                    input.publish_chunk(chunk);
                }
            } else if self.allocation == Allocation::Upfront {
                publish_all(&mut input, &mut window, events.by_ref().take(count));
            } else {
                // A loop of its own instead of `publish_all`: the compiler then inlines the
                // allocation into it.
                for event in seqs.by_ref().take(count).map(make) {
                    window.wait_until_open(event.seq);
                    input.publish(event);
                }
            }
        };
        publish(warm_up);
        progress.wait_for(warm_up as u64);
        let start = Instant::now();
        publish(count);
        consumer.join(setup);
        vec![count as f64 / start.elapsed().as_secs_f64()]
    }
}

//! The structure of kvwatch without matching: events go by value through a crossbeam channel to a
//! thread, which collects all waiting events into one shared segment and sends the segment through
//! a flume channel.

use std::sync::Arc;
use std::thread;

use super::names;
use super::raw::Single;
use crate::events::Event;
use crate::peer::{Output, Peer, Setup};

/// The maximum number of events in a segment.
const SEGMENT: usize = 256;

/// Two channels with a thread in between.
#[derive(Debug)]
pub struct Pipe;

/// The receiving end, with the segment that it is reading.
#[derive(Debug)]
pub struct Segments {
    receiver: flume::Receiver<Arc<[Event]>>,
    segment: Arc<[Event]>,
    next: usize,
}

impl Peer for Pipe {
    type Input = crossbeam_channel::Sender<Event>;
    type Hub = Single<Segments>;
    type Output = Segments;

    fn name(&self) -> &'static str {
        names::PIPE
    }

    fn start(&self, setup: &Setup) -> (Self::Input, Self::Hub) {
        let (sender, events) = crossbeam_channel::bounded::<Event>(setup.capacity);
        let (segments, receiver) = flume::bounded(setup.capacity);
        // The thread ends when the sender is dropped.
        thread::spawn(move || {
            let mut batch = Vec::with_capacity(SEGMENT);
            while let Ok(first) = events.recv() {
                batch.push(first);
                batch.extend(events.try_iter().take(SEGMENT - 1));
                if segments.send(batch.drain(..).collect()).is_err() {
                    break;
                }
            }
        });
        let consumer = Segments {
            receiver,
            segment: Arc::new([]),
            next: 0,
        };
        (sender, Single::new(consumer))
    }
}

impl Segments {
    fn pop(&mut self) -> Option<u64> {
        let seq = self.segment.get(self.next)?.seq;
        self.next += 1;
        Some(seq)
    }

    fn read(&mut self, segment: Arc<[Event]>) {
        self.segment = segment;
        self.next = 0;
    }
}

impl Output for Segments {
    fn try_recv(&mut self) -> Option<u64> {
        if self.next == self.segment.len() {
            let segment = self.receiver.try_recv().ok()?;
            self.read(segment);
        }
        self.pop()
    }

    fn recv(&mut self) -> u64 {
        loop {
            if let Some(seq) = self.pop() {
                return seq;
            }
            let segment = self.receiver.recv().expect("the sender is connected");
            self.read(segment);
        }
    }
}

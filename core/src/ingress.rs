//! The way in: one message a call of the publisher, bounded, and what became of what found no
//! room.

use std::sync::atomic::Ordering::SeqCst;
use std::vec;

use crate::error::Lagged;
use crate::event::{Record, Revision};
use crate::sync::{AtomicBool, Channel, Mutex};
use crate::wait::{WaitCell, Waiter};

/// What one call of the publisher hands over.
#[derive(Debug)]
pub(crate) enum Message {
    /// One change.
    One(Record),
    /// Any number of whole transactions.
    Many {
        /// Revisions dropped before this message.
        hole: Option<Lagged>,
        records: vec::IntoIter<Record>,
        /// The last revision, which may have no records.
        last: Revision,
    },
}

impl Message {
    /// The same with the hole before it.
    pub(crate) fn behind(self, hole: Option<Lagged>) -> Self {
        let (records, last) = match self {
            Self::One(record) => {
                let last = record.revision;
                (vec![record].into_iter(), last)
            }
            Self::Many { records, last, .. } => (records, last),
        };
        Self::Many {
            hole,
            records,
            last,
        }
    }
}

/// What is left when the channel was found empty.
#[derive(Debug)]
pub(crate) enum Rest {
    Nothing,
    /// One has come since, and may carry a hole that was here.
    Message,
    Hole(Lagged),
}

/// Only the publisher sends, and only whoever holds the dispatch lock receives.
#[derive(Debug)]
pub(crate) struct Ingress {
    channel: Channel<Message>,
    capacity: usize,
    /// Revisions that a lossy publish dropped and that no message has carried along yet. Only the
    /// publisher adds to it, so while it is locked nothing is dropped, and if the channel is empty
    /// then, everything before the hole has been received.
    hole: Mutex<Option<Lagged>>,
    /// The publisher, while it waits for room.
    waiting: AtomicBool,
    waiter: WaitCell,
}

impl Ingress {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            channel: Channel::bounded(capacity),
            capacity,
            hole: Mutex::new(None),
            waiting: AtomicBool::new(false),
            waiter: WaitCell::default(),
        }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(crate) fn len(&self) -> usize {
        self.channel.len()
    }

    /// For how many messages there is room. Only the publisher takes it up.
    pub(crate) fn room(&self) -> usize {
        self.capacity - self.channel.len().min(self.capacity)
    }

    /// # Panics
    /// Without room: the publisher reserves it first.
    pub(crate) fn send(&self, message: Message) {
        if self.channel.try_send(message).is_err() {
            unreachable!("the publisher has reserved room");
        }
    }

    /// The next message, under the dispatch lock.
    pub(crate) fn receive(&self) -> Option<Message> {
        self.channel.try_recv()
    }

    /// Whoever waits for room, now that there is some.
    pub(crate) fn room_made(&self) -> Option<Waiter> {
        if self.waiting.load(SeqCst) && self.waiting.swap(false, SeqCst) {
            self.waiter.take()
        } else {
            None
        }
    }

    /// Whoever waits for room, there being none to come.
    pub(crate) fn give_up(&self) -> Option<Waiter> {
        self.waiter.take()
    }

    /// Leaves word that somebody waits for room. Look again afterwards.
    pub(crate) fn wait_for_room(&self, waiter: Waiter) {
        self.waiter.register(waiter);
        self.waiting.store(true, SeqCst);
    }

    pub(crate) fn stop_waiting(&self) {
        self.waiting.store(false, SeqCst);
        drop(self.waiter.take());
    }

    /// From the publisher: these revisions found no room. They are behind any hole there is.
    pub(crate) fn dig(&self, revisions: Lagged) {
        let mut hole = self.hole.lock();
        match &mut *hole {
            Some(hole) => hole.to = revisions.to,
            none => *none = Some(revisions),
        }
    }

    /// From the publisher: the message made of the hole, if there still is one. At no moment is the
    /// hole neither here nor in the channel, or what lies behind it would seem to be reached.
    pub(crate) fn send_with_hole(&self, message: impl FnOnce(Option<Lagged>) -> Message) {
        let mut hole = self.hole.lock();
        self.send(message(hole.take()));
    }

    /// From the dispatcher, which has just found the channel empty: what is there besides.
    pub(crate) fn rest(&self) -> Rest {
        let mut hole = self.hole.lock();
        if !self.channel.is_empty() {
            return Rest::Message;
        }
        hole.take().map_or(Rest::Nothing, Rest::Hole)
    }
}

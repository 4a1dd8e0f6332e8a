//! The bounded way in: one message a call of the publisher, gathered into batches that become
//! segments as they are.
//!
//! ```text
//!   publish ──▶ open batch ── full ──▶ channel of batches ──▶ the thread that dispatches
//!                    └──────────── if the channel is empty ───────▲
//! ```
//!
//! So a record is written once, to the memory from which watchers read it. A message of its own in
//! the channel for each call, gathered by the dispatcher, would cost more processor time an event.

use std::mem;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use crate::change::{Change, Revision};
use crate::error::Lagged;
use crate::log::history::STEP_BYTES;
use crate::log::records::{Record, Records};
use crate::sync::wait::{WaitCell, Waiter};
use crate::sync::{AtomicBool, AtomicU64, AtomicUsize, Channel, SpinThenSleepMutex};

/// Consecutive messages.
#[derive(Debug, Default)]
pub(crate) struct MessageBatch {
    /// Revisions that a lossy publish dropped before these messages.
    pub(crate) gap: Option<Lagged>,
    /// The messages' events: whole transactions, in order.
    pub(crate) records: Records,
    /// Whether a watcher was interested in any of them when they were published.
    pub(crate) wanted: bool,
    /// The number of messages.
    pub(crate) messages: u64,
    /// The last revision, which may have no records.
    pub(crate) last: Revision,
}

impl MessageBatch {
    /// Adds a transaction of one change.
    pub(crate) fn push(&mut self, revision: Revision, change: &Change) {
        self.records.push(revision, change);
        self.last = revision;
    }

    /// Adds whole transactions, the last of which may have no changes.
    pub(crate) fn append(&mut self, records: &mut Records, last: Revision) {
        self.records.append(records);
        self.last = last;
    }

    fn is_empty(&self) -> bool {
        self.messages == 0 && self.gap.is_none()
    }
}

/// Only the publisher sends, and only the thread that holds the dispatch lock receives.
#[derive(Debug)]
pub(crate) struct Ingress {
    /// The batch that the publisher writes to. A full batch is moved into the channel under this
    /// lock: so while it is held and the channel is empty, every earlier batch has been received.
    open_batch: SpinThenSleepMutex<MessageBatch>,
    /// Every batch has at least one message, so there is room for as many batches as messages.
    channel: Channel<MessageBatch>,
    /// Memory for batches to come: of retired segments, and new.
    spare: Channel<Records>,
    /// The number of batches for which memory was ever allocated.
    allocated: AtomicUsize,
    /// Set if no batch was spare when one was needed: 1 + the bytes of that batch. Memory for more
    /// is then allocated once the lock of `open_batch` is released.
    shortage: AtomicUsize,
    /// In messages.
    capacity: usize,
    /// The number of events in a batch, unless one call brings more.
    batch_events: usize,
    /// The number of messages sent. Written only by the publisher.
    sent: AtomicU64,
    /// The number of messages received. Written only under the dispatch lock.
    received: AtomicU64,
    /// Whether the publisher waits for room.
    waiting: AtomicBool,
    waiter: WaitCell,
}

/// The number of spare batches kept: enough for a full ingress of single changes and for the
/// batches being dispatched. With fewer, the allocator is asked more often, and merges what was
/// freed each time.
const MAX_SPARE: usize = 32;
/// The bytes allocated at most before they are needed: 37 batches of keys of 16 bytes and values of
/// 64. The memory is not written before it is used.
const MAX_AHEAD_BYTES: usize = 1024 * 1024;

impl Ingress {
    pub(crate) fn new(capacity: usize, batch_events: usize) -> Self {
        Self {
            open_batch: SpinThenSleepMutex::new(MessageBatch {
                records: Records::with_capacity(batch_events, 0),
                ..MessageBatch::default()
            }),
            channel: Channel::bounded(capacity),
            spare: Channel::bounded(MAX_SPARE),
            allocated: AtomicUsize::new(0),
            shortage: AtomicUsize::new(0),
            capacity,
            batch_events,
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            waiting: AtomicBool::new(false),
            waiter: WaitCell::default(),
        }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// The number of messages that wait.
    pub(crate) fn len(&self) -> usize {
        let received = self.received.load(SeqCst);
        self.sent.load(SeqCst).saturating_sub(received) as usize
    }

    /// Whether a full batch waits.
    pub(crate) fn has_batch(&self) -> bool {
        !self.channel.is_empty()
    }

    /// The number of messages for which there is room. Only the publisher uses it up.
    pub(crate) fn room(&self) -> usize {
        self.capacity.saturating_sub(self.len())
    }

    /// Sends one message with this many events. The publisher must have reserved room. `write` must
    /// not run user code: the publisher drops the store's changes later.
    pub(crate) fn send(&self, events: usize, wanted: bool, write: impl FnOnce(&mut MessageBatch)) {
        self.sent.store(self.sent.load(Relaxed) + 1, Relaxed);
        let mut open = self.open_batch.lock();
        let mut closed = false;
        if open.messages > 0 && open.records.len() + events > self.batch_events {
            self.close(&mut open);
            closed = true;
        }
        write(&mut open);
        open.wanted |= wanted;
        open.messages += 1;
        let bytes = open.records.total_bytes();
        if open.records.len() >= self.batch_events || bytes >= STEP_BYTES {
            self.close(&mut open);
            closed = true;
        }
        drop(open);
        if closed {
            self.allocate_ahead();
        }
    }

    /// Moves the open batch into the channel.
    ///
    /// # Panics
    /// Without room: the publisher reserves it first.
    #[cold]
    fn close(&self, open: &mut MessageBatch) {
        let full = self.take(open);
        if self.channel.try_send(full).is_err() {
            unreachable!("the publisher has reserved room");
        }
    }

    /// Moves the contents out of the open batch.
    fn take(&self, open: &mut MessageBatch) -> MessageBatch {
        MessageBatch {
            gap: open.gap.take(),
            records: open
                .records
                .take(self.batch_events, |bytes| self.spare(bytes)),
            wanted: mem::take(&mut open.wanted),
            messages: mem::take(&mut open.messages),
            last: open.last,
        }
    }

    /// Memory for a batch of about this many bytes.
    fn spare(&self, bytes: usize) -> Records {
        self.spare.try_recv().unwrap_or_else(|| {
            self.shortage.store(bytes + 1, Relaxed);
            Records::with_capacity(self.batch_events, bytes)
        })
    }

    /// After a shortage, allocates memory for as many batches as there ever were, within
    /// [`MAX_SPARE`] and [`MAX_AHEAD_BYTES`]: allocated one at a time, memory would be missing
    /// whenever more batches are under way than ever before.
    #[cold]
    fn allocate_ahead(&self) {
        let Some(bytes) = self.shortage.swap(0, Relaxed).checked_sub(1) else {
            return;
        };
        let allocated = self.allocated.load(Relaxed);
        let each = bytes + self.batch_events * size_of::<Record>();
        let ahead = allocated.min(MAX_SPARE - 1).min(MAX_AHEAD_BYTES / each);
        for _ in 0..ahead {
            self.give_back(Records::with_capacity(self.batch_events, bytes));
        }
        self.allocated.fetch_add(1 + ahead, Relaxed);
    }

    /// Takes back the emptied memory of a batch.
    pub(crate) fn give_back(&self, records: Records) {
        debug_assert!(records.is_empty());
        if records.capacity() == self.batch_events {
            // Freed if there are enough.
            drop(self.spare.try_send(records));
        }
    }

    /// The next batch. The dispatch lock must be held.
    pub(crate) fn receive(&self) -> Option<MessageBatch> {
        let next = self.channel.try_recv().or_else(|| {
            let mut open = self.open_batch.lock();
            // The publisher may have closed a batch in between.
            let closed = self.channel.try_recv();
            let next = closed.or_else(|| (!open.is_empty()).then(|| self.take(&mut open)));
            drop(open);
            self.allocate_ahead();
            next
        })?;
        let received = self.received.load(Relaxed) + next.messages;
        self.received.store(received, SeqCst);
        Some(next)
    }

    /// The publisher's waiter, once half of the room is free. The ingress is mostly emptied from
    /// there on, and a publisher woken for every bit of room would be woken all the time.
    pub(crate) fn room_made(&self) -> Option<Waiter> {
        if self.waiting.load(SeqCst)
            && self.room() >= self.capacity.div_ceil(2)
            && self.waiting.swap(false, SeqCst)
        {
            self.waiter.take()
        } else {
            None
        }
    }

    /// The publisher's waiter, because there will be no room any more.
    pub(crate) fn take_waiter(&self) -> Option<Waiter> {
        self.waiter.take()
    }

    /// Registers the publisher's waiter. Check for room again afterwards.
    pub(crate) fn wait_for_room(&self, waiter: Waiter) {
        self.waiter.register(waiter);
        self.waiting.store(true, SeqCst);
    }

    pub(crate) fn stop_waiting(&self) {
        self.waiting.store(false, SeqCst);
        drop(self.waiter.take());
    }

    /// Records a gap for revisions that did not fit. The gap is ordered after everything sent so
    /// far, and stays in the open batch until it is received, so that no later revision can be
    /// reported as reached first.
    pub(crate) fn record_gap(&self, revisions: Lagged) {
        let mut open = self.open_batch.lock();
        if open.messages > 0 {
            self.close(&mut open);
        }
        open.last = revisions.last;
        match &mut open.gap {
            Some(gap) => gap.last = revisions.last,
            none => *none = Some(revisions),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn send(ingress: &Ingress, revisions: std::ops::RangeInclusive<Revision>) {
        let events = revisions.clone().count();
        let last = *revisions.end();
        let mut records = revisions
            .map(|revision| (revision, Change::put("k", "v")))
            .collect();
        ingress.send(events, true, |batch| batch.append(&mut records, last));
    }

    /// The next batch: its gap, its revisions, the number of its messages.
    fn receive(ingress: &Ingress) -> (Option<Lagged>, Vec<Revision>, u64) {
        let batch = ingress.receive().unwrap();
        let revisions = batch.records.iter().map(|record| record.revision);
        (batch.gap, revisions.collect(), batch.messages)
    }

    #[test]
    fn messages_are_received_in_batches_and_an_oversized_one_alone() {
        let ingress = Ingress::new(8, 4);
        send(&ingress, 1..=3);
        send(&ingress, 4..=5);
        send(&ingress, 6..=6);
        send(&ingress, 7..=16);
        assert_eq!((ingress.len(), ingress.room()), (4, 4));
        assert_eq!(receive(&ingress), (None, vec![1, 2, 3], 1));
        assert_eq!(receive(&ingress), (None, vec![4, 5, 6], 2));
        assert_eq!(receive(&ingress), (None, (7..=16).collect(), 1));
        assert!(ingress.receive().is_none());
        assert_eq!((ingress.len(), ingress.room()), (0, 8));
    }

    #[test]
    fn ordered_message_that_outgrows_the_first_batch_stays_behind_it() {
        let ingress = Ingress::new(8, 256);
        send(&ingress, 1..=1);
        send(&ingress, 2..=100);
        assert_eq!(receive(&ingress), (None, (1..=100).collect(), 2));
    }

    /// The number of spare batches.
    fn spare(ingress: &Ingress) -> usize {
        let all: Vec<_> = std::iter::from_fn(|| ingress.spare.try_recv()).collect();
        let count = all.len();
        all.into_iter().for_each(|one| ingress.give_back(one));
        count
    }

    #[test]
    fn memory_is_allocated_ahead_for_as_many_batches_as_there_were_within_bounds() {
        let full = |events: u64, value: usize, ingress: &Ingress| {
            let change = || Change::put("k", vec![0; value]);
            let mut records = (1..=events).map(|revision| (revision, change())).collect();
            ingress.send(events as usize, true, |batch| {
                batch.append(&mut records, events);
            });
            drop(ingress.receive());
            spare(ingress)
        };
        let ingress = Ingress::new(8192, 4);
        let first: Vec<_> = (0..8).map(|_| full(4, 1, &ingress)).collect();
        assert_eq!(first, [0, 1, 0, 3, 2, 1, 0, 7]);
        let most = (0..1000).map(|_| full(4, 1, &ingress)).max();
        assert_eq!(most, Some(MAX_SPARE - 1));
        // Large batches are not allocated ahead.
        let ingress = Ingress::new(8192, 4);
        assert!((0..100).all(|_| full(4000, 500, &ingress) == 0));
    }

    #[test]
    fn reliable_gap_is_received_after_earlier_and_before_later_messages() {
        let ingress = Ingress::new(2, 4);
        send(&ingress, 1..=1);
        ingress.record_gap(Lagged { first: 2, last: 2 });
        ingress.record_gap(Lagged { first: 3, last: 5 });
        send(&ingress, 6..=6);
        assert_eq!(receive(&ingress), (None, vec![1], 1));
        let gap = Lagged { first: 2, last: 5 };
        assert_eq!(receive(&ingress), (Some(gap), vec![6], 1));
        ingress.record_gap(Lagged { first: 7, last: 7 });
        let gap = Lagged { first: 7, last: 7 };
        assert_eq!(receive(&ingress), (Some(gap), vec![], 0));
        assert!(ingress.receive().is_none());
    }

    #[test]
    fn message_without_changes_counts_as_a_message() {
        let ingress = Ingress::new(1, 4);
        ingress.send(0, false, |batch| batch.append(&mut Records::default(), 9));
        assert_eq!(ingress.room(), 0);
        assert_eq!(ingress.receive().unwrap().last, 9);
        assert_eq!(ingress.room(), 1);
    }
}

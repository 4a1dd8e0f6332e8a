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
use crate::lagged::Lagged;
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
    /// In bytes that closed batches hold in memory: the open one is bounded anyway. One batch may
    /// exceed it.
    capacity_bytes: usize,
    /// The number of events in a batch, unless one call brings more.
    batch_events: usize,
    /// The number of messages sent, and the bytes in closed batches. Written only by the publisher.
    sent: AtomicU64,
    sent_bytes: AtomicU64,
    /// The number of messages received, and the bytes in batches that were closed. Written only under
    /// the dispatch lock.
    received: AtomicU64,
    received_bytes: AtomicU64,
    /// Whether the publisher waits for room.
    waiting: AtomicBool,
    waiter: WaitCell,
}

/// What the publisher may still send.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Room {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}

impl Room {
    /// Whether there is room for a message. It may hold more than the bytes that are left.
    pub(crate) fn is_empty(self) -> bool {
        self.messages == 0 || self.bytes == 0
    }
}

/// The number of spare batches kept: enough for a full ingress of single changes and for the
/// batches being dispatched. With fewer, the allocator is asked more often, and merges what was
/// freed each time.
const MAX_SPARE: usize = 32;
/// The bytes allocated at most before they are needed: 37 batches of keys of 16 bytes and values of
/// 64. The memory is not written before it is used.
const MAX_AHEAD_BYTES: usize = 1024 * 1024;

impl Ingress {
    pub(crate) fn new(capacity: usize, capacity_bytes: usize, batch_events: usize) -> Self {
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
            capacity_bytes,
            batch_events,
            sent: AtomicU64::new(0),
            sent_bytes: AtomicU64::new(0),
            received: AtomicU64::new(0),
            received_bytes: AtomicU64::new(0),
            waiting: AtomicBool::new(false),
            waiter: WaitCell::default(),
        }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(crate) fn capacity_bytes(&self) -> usize {
        self.capacity_bytes
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

    /// The room that is left. Only the publisher uses it up.
    pub(crate) fn room(&self) -> Room {
        let messages = self.capacity.saturating_sub(self.len());
        // After the messages: the bytes of those received are counted before them.
        let received = self.received_bytes.load(Relaxed);
        let bytes = self.sent_bytes.load(Relaxed).saturating_sub(received);
        Room {
            messages,
            bytes: self.capacity_bytes.saturating_sub(bytes as usize),
        }
    }

    /// Sends one message with this many events. Returns the bytes of the batches that it closed, which
    /// take room from now on.
    ///
    /// The publisher must have reserved room. `write` must not run user code: the publisher drops the
    /// store's changes later.
    pub(crate) fn send(
        &self,
        events: usize,
        wanted: bool,
        write: impl FnOnce(&mut MessageBatch),
    ) -> usize {
        self.sent.store(self.sent.load(Relaxed) + 1, Relaxed);
        let mut open = self.open_batch.lock();
        let mut closed = 0;
        if open.messages > 0 && open.records.len() + events > self.batch_events {
            closed = self.close(&mut open);
        }
        write(&mut open);
        open.wanted |= wanted;
        open.messages += 1;
        if open.records.len() >= self.batch_events || open.records.total_bytes() >= STEP_BYTES {
            closed += self.close(&mut open);
        }
        drop(open);
        if closed > 0 {
            self.allocate_ahead();
        }
        closed
    }

    /// Moves the open batch into the channel. Returns its bytes.
    ///
    /// # Panics
    /// Without room: the publisher reserves it first.
    #[cold]
    fn close(&self, open: &mut MessageBatch) -> usize {
        let full = self.take(open);
        let bytes = full.records.total_bytes();
        let sent = self.sent_bytes.load(Relaxed) + bytes as u64;
        self.sent_bytes.store(sent, Relaxed);
        if self.channel.try_send(full).is_err() {
            unreachable!("the publisher has reserved room");
        }
        bytes
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
            // A message much larger than a batch says nothing about the next one.
            Records::with_capacity(self.batch_events, bytes.min(STEP_BYTES))
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
        let next = self.receive_closed().or_else(|| {
            let mut open = self.open_batch.lock();
            // The publisher may have closed a batch in between.
            let closed = self.receive_closed();
            let next = closed.or_else(|| (!open.is_empty()).then(|| self.take(&mut open)));
            drop(open);
            self.allocate_ahead();
            next
        })?;
        let received = self.received.load(Relaxed) + next.messages;
        self.received.store(received, SeqCst);
        Some(next)
    }

    fn receive_closed(&self) -> Option<MessageBatch> {
        let next = self.channel.try_recv()?;
        let bytes = next.records.total_bytes() as u64;
        let received = self.received_bytes.load(Relaxed) + bytes;
        self.received_bytes.store(received, Relaxed);
        Some(next)
    }

    /// The publisher's waiter, once half of the room is free. The ingress is mostly emptied from
    /// there on, and a publisher woken for every bit of room would be woken all the time.
    pub(crate) fn room_made(&self) -> Option<Waiter> {
        if !self.waiting.load(SeqCst) {
            return None;
        }
        let room = self.room();
        let half_free = room.messages >= self.capacity.div_ceil(2)
            && room.bytes >= self.capacity_bytes.div_ceil(2);
        if half_free && self.waiting.swap(false, SeqCst) {
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

    fn gap(first: Revision, last: Revision) -> Lagged {
        let reason = crate::LagReason::Dropped;
        Lagged {
            first,
            last,
            reason,
        }
    }

    /// The next batch: its gap, its revisions, the number of its messages.
    fn receive(ingress: &Ingress) -> (Option<Lagged>, Vec<Revision>, u64) {
        let batch = ingress.receive().unwrap();
        let revisions = batch.records.iter().map(|record| record.revision);
        (batch.gap, revisions.collect(), batch.messages)
    }

    #[test]
    fn messages_are_received_in_batches_and_an_oversized_one_alone() {
        let ingress = Ingress::new(8, usize::MAX, 4);
        send(&ingress, 1..=3);
        send(&ingress, 4..=5);
        send(&ingress, 6..=6);
        send(&ingress, 7..=16);
        assert_eq!((ingress.len(), ingress.room().messages), (4, 4));
        assert_eq!(receive(&ingress), (None, vec![1, 2, 3], 1));
        assert_eq!(receive(&ingress), (None, vec![4, 5, 6], 2));
        assert_eq!(receive(&ingress), (None, (7..=16).collect(), 1));
        assert!(ingress.receive().is_none());
        assert_eq!((ingress.len(), ingress.room().messages), (0, 8));
    }

    #[test]
    fn ordered_message_that_outgrows_the_first_batch_stays_behind_it() {
        let ingress = Ingress::new(8, usize::MAX, 256);
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
        let ingress = Ingress::new(8192, usize::MAX, 4);
        let first: Vec<_> = (0..8).map(|_| full(4, 1, &ingress)).collect();
        assert_eq!(first, [0, 1, 0, 3, 2, 1, 0, 7]);
        let most = (0..1000).map(|_| full(4, 1, &ingress)).max();
        assert_eq!(most, Some(MAX_SPARE - 1));
        // Large batches are not allocated ahead.
        let ingress = Ingress::new(8192, usize::MAX, 4);
        assert!((0..100).all(|_| full(4000, 500, &ingress) == 0));
    }

    #[test]
    fn reliable_gap_is_received_after_earlier_and_before_later_messages() {
        let ingress = Ingress::new(2, usize::MAX, 4);
        send(&ingress, 1..=1);
        ingress.record_gap(gap(2, 2));
        ingress.record_gap(gap(3, 5));
        send(&ingress, 6..=6);
        assert_eq!(receive(&ingress), (None, vec![1], 1));
        let merged = gap(2, 5);
        assert_eq!(receive(&ingress), (Some(merged), vec![6], 1));
        ingress.record_gap(gap(7, 7));
        let merged = gap(7, 7);
        assert_eq!(receive(&ingress), (Some(merged), vec![], 0));
        assert!(ingress.receive().is_none());
    }

    #[test]
    fn message_without_changes_counts_as_a_message() {
        let ingress = Ingress::new(1, usize::MAX, 4);
        ingress.send(0, false, |batch| batch.append(&mut Records::default(), 9));
        assert_eq!(ingress.room().messages, 0);
        assert_eq!(ingress.receive().unwrap().last, 9);
        assert_eq!(ingress.room().messages, 1);
    }

    #[test]
    fn isolated_ingress_counts_bytes_and_lets_one_message_exceed_them() {
        let ingress = Ingress::new(8, 2000, 2);
        let change = Change::put("k", vec![0; 700]);
        let publish = |revision| ingress.send(1, true, |batch| batch.push(revision, &change));
        let bytes = 2 * (32 + 1 + 700);
        assert_eq!((publish(1), publish(2)), (0, bytes), "a batch is closed");
        assert_eq!((publish(3), ingress.room().bytes), (0, 2000 - bytes));
        assert!(!ingress.room().is_empty());
        assert_eq!(publish(4), bytes);
        assert!(
            ingress.room().is_empty(),
            "the second batch exceeds the bytes"
        );
        publish(5);
        for (messages, room) in [(5, 2000 - bytes), (7, 2000), (8, 2000)] {
            drop(ingress.receive());
            let left = ingress.room();
            assert_eq!((left.messages, left.bytes), (messages, room));
        }
    }
}

//! One call of the publisher: it reserves room, checks the interest, sends the message, and decides
//! which thread dispatches it.

use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::change::{Change, MAX_REVISION, Revision};
use crate::end::EndReason;
use crate::engine::Engine;
use crate::engine::chunk::Chunk;
use crate::engine::deferred::Deferred;
use crate::engine::dispatch::StepOutcome;
use crate::engine::ingress::Room;
use crate::engine::scheduling::STREAM;
use crate::error::{PublishError, PublishErrorKind};
use crate::lagged::Lagged;
use crate::replay::Replay;
use crate::sync::wait::{Waiter, park_until};

/// An event that no watcher wants wakes no thread. Once this many events wait, the publisher
/// dispatches them, so that the ingress does not fill up with them.
const SIGNAL_EVENTS: usize = 256;
/// In a stream the dispatcher polls by itself, and is woken once this many events wait. The number
/// leaves it time to poll first: a wake puts it on the processor of its receiver.
const SIGNAL_EVENTS_IN_STREAM: usize = 3072;

/// In either case a thread is signalled once the batches closed since hold this many bytes.
const SIGNAL_BYTES: usize = 1024 * 1024;

/// An event follows at once if it is published within this time after the last dispatch on the spot
/// ended. The time that the dispatch took, wakes included, does not count.
const AT_ONCE: Duration = Duration::from_micros(25);

/// More wakes than this are left to the dispatcher's thread: waking that one thread costs less, and
/// the store's apply path goes on.
const MAX_OWN_WAKES: usize = 2;

/// How long a publish waits for room.
#[derive(Clone, Copy)]
pub(crate) enum WaitPolicy {
    Try,
    Until(Instant),
    Block,
}

impl WaitPolicy {
    pub(crate) fn timeout(timeout: Duration) -> Self {
        match Instant::now().checked_add(timeout) {
            Some(deadline) => Self::Until(deadline),
            None => Self::Block,
        }
    }
}

/// The mechanism of the publisher.
#[derive(Debug)]
pub(crate) struct Sender {
    engine: Arc<Engine>,
    /// The last revision published.
    last: Revision,
    /// There is room for at least this, which only this sender uses up.
    room: Room,
    /// The number of messages and of the events in them, sent since a thread was last signalled; and
    /// the bytes of the batches closed since then.
    unsignalled: usize,
    unsignalled_events: usize,
    unsignalled_bytes: usize,
    /// A thread is signalled once this many messages are unsignalled.
    signal_after: usize,
    /// The same for the bytes of closed batches.
    signal_after_bytes: usize,
    /// Whether events come in a stream, and are left to the dispatcher.
    streaming: bool,
    /// The number of dispatches on the spot in a row that gained nothing.
    futile_dispatches: usize,
    /// When the last dispatch on the spot ended.
    last_dispatch: Instant,
    deferred: Deferred,
    /// An empty chunk with the memory of the last one.
    spare: Chunk,
}

impl Sender {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self {
            last: engine.revisions.claimed(),
            // Leaves room for what is published while the dispatcher wakes up.
            signal_after: (engine.ingress.capacity() * 3 / 4).max(1),
            signal_after_bytes: (engine.ingress.capacity_bytes() / 4 * 3).clamp(1, SIGNAL_BYTES),
            engine,
            room: Room::default(),
            unsignalled: 0,
            unsignalled_events: 0,
            unsignalled_bytes: 0,
            streaming: false,
            futile_dispatches: 0,
            last_dispatch: Instant::now(),
            deferred: Deferred::default(),
            spare: Chunk::default(),
        }
    }

    /// An empty chunk, to be filled and [published](Self::publish_chunk).
    pub(crate) fn empty_chunk(&mut self) -> Chunk {
        mem::take(&mut self.spare)
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    pub(crate) fn last(&self) -> Revision {
        self.last
    }

    /// Publishes one change.
    ///
    /// The steps that each event takes are inlined, and rare ones are not: publishing is bound by
    /// the number of its instructions.
    pub(crate) fn publish_one(
        &mut self,
        change: Change,
        wait: WaitPolicy,
    ) -> Result<Revision, PublishError<Change>> {
        let reserved = self
            .next()
            .and_then(|next| self.reserve(wait).map(|()| next));
        let revision = match reserved {
            Ok(revision) => revision,
            Err(kind) => {
                return Err(PublishError::new(kind, change));
            }
        };
        let wanted = self.claim(revision) || self.is_wanted(&change.key);
        if self.is_sent(wanted) {
            let ingress = &self.engine.ingress;
            let closed = ingress.send(1, wanted, |batch| batch.push(revision, &change));
            self.sent(closed);
        }
        self.submitted(revision, wanted, 1, 1);
        // The change is dropped last, because its bytes may run user code that panics. It is dropped
        // in place: `drop(change)` would move it first, and wait for the move.
        Ok(revision)
    }

    /// Publishes whole transactions as one message.
    pub(crate) fn publish_chunk(
        &mut self,
        mut chunk: Chunk,
        wait: WaitPolicy,
    ) -> Result<Revision, PublishError<Chunk>> {
        if chunk.len() == 0 {
            return Ok(self.last);
        }
        let replay = self.engine.replay();
        let keeps_every_change = replay.is_none_or(Replay::keeps_every_change);
        let reserved = chunk
            .check(self.last, keeps_every_change)
            .and_then(|last| self.reserve(wait).map(|()| last));
        let last = match reserved {
            Ok(last) => last,
            Err(kind) => return Err(PublishError::new(kind, chunk)),
        };
        let (events, transactions) = (chunk.records.len(), chunk.len());
        let wanted = self.claim(last) || chunk.keys().any(|key| self.is_wanted(key));
        if self.is_sent(wanted) {
            let records = &mut chunk.records;
            let ingress = &self.engine.ingress;
            let closed = ingress.send(events, wanted, |batch| batch.append(records, last));
            self.sent(closed);
        }
        self.submitted(last, wanted, events, transactions);
        self.spare = chunk.emptied();
        Ok(last)
    }

    fn next(&self) -> Result<Revision, PublishErrorKind> {
        let given = self.last + 1;
        if given > MAX_REVISION {
            let last = self.last;
            return Err(PublishErrorKind::Revision { given, last });
        }
        Ok(given)
    }

    /// Whether a message only has to be sent, whichever watchers want it: then the interest, a large
    /// part of what publishing costs, need not be checked.
    fn skips_interest(&self) -> bool {
        self.streaming && self.engine.config.keeps_history() && !self.engine.parker.is_parked()
    }

    fn is_wanted(&self, key: &[u8]) -> bool {
        self.engine.interest.wants(&self.engine.hasher, key)
    }

    /// Without a history, an event that no watcher wants is not sent.
    fn is_sent(&self, wanted: bool) -> bool {
        wanted || self.engine.config.keeps_history()
    }

    /// Claims everything up to `revision`. The interest may be checked only after that. Returns
    /// whether it need not be checked.
    fn claim(&self, revision: Revision) -> bool {
        let skips_interest = self.skips_interest();
        if skips_interest {
            self.engine.revisions.claim_unordered(revision);
        } else {
            self.engine.revisions.claim(revision);
        }
        skips_interest
    }

    /// Makes sure that there is room for one message.
    #[inline(always)]
    fn reserve(&mut self, wait: WaitPolicy) -> Result<(), PublishErrorKind> {
        if let Some(reason) = self.engine.ended() {
            return Err(PublishErrorKind::Closed(reason));
        }
        if self.room.is_empty() {
            self.room = self.engine.ingress.room();
        }
        if self.room.is_empty() {
            self.make_room(wait)?;
        }
        Ok(())
    }

    #[cold]
    fn make_room(&mut self, wait: WaitPolicy) -> Result<(), PublishErrorKind> {
        let full = PublishErrorKind::Full {
            capacity: self.engine.ingress.capacity(),
            capacity_bytes: self.engine.ingress.capacity_bytes(),
        };
        let deadline = match wait {
            WaitPolicy::Try => {
                self.engine.wake_dispatcher();
                self.room = self.engine.ingress.room();
                return if self.room.is_empty() {
                    Err(full)
                } else {
                    Ok(())
                };
            }
            WaitPolicy::Until(deadline) => Some(deadline),
            WaitPolicy::Block => None,
        };
        // Within a waker. Only this thread makes room, unless it dispatches right here.
        let on_dispatcher = self.engine.parker.is_this_thread();
        if self.engine.config.inline_dispatch {
            if on_dispatcher {
                self.engine.drain();
            } else if !self.streaming {
                // In a stream the dispatcher's thread is working already.
                self.dispatch_on_the_spot();
            }
        }
        loop {
            match self.check_room(Waiter::this_thread) {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(reason) => return Err(PublishErrorKind::Closed(reason)),
            }
            if on_dispatcher {
                self.engine.ingress.stop_waiting();
                return Err(PublishErrorKind::OnDispatcher);
            }
            if !park_until(deadline) {
                self.engine.ingress.stop_waiting();
                return Err(full);
            }
        }
    }

    /// Checks for room, registers a waiter, and checks again.
    fn check_room(&mut self, waiter: impl FnOnce() -> Waiter) -> Result<bool, EndReason> {
        let ingress = &self.engine.ingress;
        if self.room.is_empty() {
            self.room = ingress.room();
        }
        if self.room.is_empty() {
            ingress.wait_for_room(waiter());
            self.engine.wake_dispatcher();
            self.room = ingress.room();
        }
        match self.engine.ended() {
            Some(reason) => Err(reason),
            None => Ok(!self.room.is_empty()),
        }
    }

    /// Counts a message that was sent, and the bytes of the batches that it closed.
    #[inline(always)]
    fn sent(&mut self, closed: usize) {
        self.room.messages -= 1;
        if closed > 0 {
            self.room.bytes = self.room.bytes.saturating_sub(closed);
            self.unsignalled_bytes += closed;
        }
    }

    /// Marks a message as published, sent or not, and has it dispatched in time.
    #[inline(always)]
    fn submitted(&mut self, last: Revision, wanted: bool, events: usize, transactions: usize) {
        debug_assert!(self.last < last);
        self.last = last;
        let counters = &self.engine.counters;
        counters.published_events.add_unshared(events);
        counters.published_transactions.add_unshared(transactions);
        self.engine.revisions.mark_published(last);
        self.unsignalled += 1;
        self.unsignalled_events += events;
        if self.must_signal() || self.engine.waiters.any_up_to(last) {
            self.signal();
        } else if wanted {
            self.signal_if_idle();
        }
    }

    /// Whether so much waits that a thread must be signalled.
    fn must_signal(&mut self) -> bool {
        let limit = if self.streaming {
            SIGNAL_EVENTS_IN_STREAM
        } else {
            SIGNAL_EVENTS
        };
        let exceeds = |sender: &Self| {
            sender.unsignalled_events >= limit
                || sender.unsignalled >= sender.signal_after
                || sender.unsignalled_bytes >= sender.signal_after_bytes
        };
        exceeds(self) && {
            // While the dispatcher polls by itself, only what it has left counts.
            if self.streaming && !self.engine.parker.is_parked() {
                self.recount();
            }
            exceeds(self)
        }
    }

    /// Counts the messages that were not dispatched in the meantime.
    #[cold]
    fn recount(&mut self) {
        let waiting = self.engine.ingress.len();
        if waiting < self.unsignalled {
            self.unsignalled_events = self.unsignalled_events * waiting / self.unsignalled;
            let bytes = self.unsignalled_bytes as u64 * waiting as u64 / self.unsignalled as u64;
            self.unsignalled_bytes = bytes as usize;
            self.unsignalled = waiting;
        }
    }

    /// Has a message that a watcher wants dispatched: on the spot, or in a stream by the
    /// dispatcher's thread, which polls soon.
    fn signal_if_idle(&mut self) {
        let parker = &self.engine.parker;
        if self.streaming && !parker.is_parked() {
            parker.ask();
        } else {
            self.streaming = false;
            self.signal();
        }
    }

    /// Has everything that waits dispatched now.
    #[inline(never)]
    fn signal(&mut self) {
        self.unsignalled = 0;
        self.unsignalled_events = 0;
        self.unsignalled_bytes = 0;
        if self.engine.config.inline_dispatch && !self.streaming {
            self.dispatch_on_the_spot();
        } else {
            self.engine.parker.notify();
        }
    }

    fn dispatch_on_the_spot(&mut self) {
        let engine = &*self.engine;
        let mut woken = 0;
        let pause = self.last_dispatch.elapsed();
        loop {
            match engine.try_step(&mut self.deferred) {
                Some(StepOutcome::Idle) => break,
                Some(_) => {}
                // Another thread dispatches, and may have looked at the ingress before the message
                // came. Without a dispatcher there is no thread to notify.
                None if engine.parker.is_absent() => return engine.drain(),
                None => return engine.parker.notify(),
            }
            woken += self.deferred.wakes.len();
            if self.deferred.wakes.len() > MAX_OWN_WAKES && !engine.parker.is_absent() {
                engine.handed_over.lock().append(&mut self.deferred.wakes);
                engine.parker.notify();
            }
            self.deferred.run(&engine.ingress);
        }
        self.last_dispatch = Instant::now();
        if woken > 0 && pause > AT_ONCE {
            self.futile_dispatches = 0;
            return;
        }
        self.futile_dispatches += 1;
        if self.futile_dispatches >= STREAM && !engine.parker.is_absent() {
            self.futile_dispatches = 0;
            self.streaming = true;
            engine.parker.ask();
        }
    }

    /// Records a gap for a message that found no room, and returns the gap's last revision. A
    /// message refused for another reason is returned as it is.
    pub(crate) fn record_gap<T>(
        &mut self,
        refused: PublishError<T>,
        revisions: Lagged,
        events: usize,
        transactions: usize,
    ) -> Result<Revision, PublishError<T>> {
        if !matches!(refused.kind(), PublishErrorKind::Full { .. }) {
            return Err(refused);
        }
        self.last = revisions.last;
        self.engine.revisions.claim(revisions.last);
        let counters = &self.engine.counters;
        counters.published_events.add_unshared(events);
        counters.published_transactions.add_unshared(transactions);
        counters.dropped_events.add_unshared(events);
        if events > 0 {
            self.engine.ingress.record_gap(revisions);
        }
        self.engine.revisions.mark_published(revisions.last);
        self.engine.wake_dispatcher();
        Ok(revisions.last)
    }

    /// Ready once there is room for a message.
    pub(crate) fn poll_room(&mut self, cx: &Context<'_>) -> Poll<Result<(), EndReason>> {
        match self.check_room(|| Waiter::Task(cx.waker().clone())) {
            Ok(true) => Poll::Ready(Ok(())),
            Ok(false) => Poll::Pending,
            Err(reason) => Poll::Ready(Err(reason)),
        }
    }
}

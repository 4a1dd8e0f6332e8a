//! How one call of the publisher gets in: room, the question who is interested, the message, and
//! who is to dispatch it.

use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::chunk::Chunk;
use crate::engine::{Aftermath, Engine};
use crate::error::{EndReason, Lagged, PublishError, PublishErrorKind};
use crate::event::{Change, MAX_REVISION, Revision};
use crate::publisher::Lossy;
use crate::step::Did;
use crate::wait::{Waiter, park_until};

/// Events that nobody watches wake nobody; once this many may wait, the publisher dispatches them
/// itself, so that the ingress does not fill up with them.
const GATHERED: usize = 256;
/// In a stream the dispatcher lingers, and looks by itself; it is woken when this many wait. With
/// 1024, and room for no more messages, a fast publisher wakes it before it would look, and it
/// takes its receiver's core from it: one watcher gets a tenth less.
const STREAMED: usize = 3072;

/// Dispatching on the spot is for events that come one by one. After so many in a row that were
/// not worth it, as they woke nobody or the next event came at once, events are gathered.
pub(crate) const STREAM: usize = 8;
/// An event comes at once if it does so within this time after the last dispatch on the spot was
/// done: what that took, wakes included, does not count.
const QUICK: Duration = Duration::from_micros(25);

/// More wakes than this the publisher leaves to the dispatcher's thread: waking that one thread
/// costs less, and the store's apply path goes on.
const OWN_WAKES: usize = 2;

/// How long a publish may wait for room.
#[derive(Clone, Copy)]
pub(crate) enum Patience {
    None,
    Until(Instant),
    Endless,
}

impl Patience {
    pub(crate) fn of(timeout: Duration) -> Self {
        match Instant::now().checked_add(timeout) {
            Some(deadline) => Self::Until(deadline),
            None => Self::Endless,
        }
    }
}

/// The publisher without its public face.
#[derive(Debug)]
pub(crate) struct Sender {
    engine: Arc<Engine>,
    /// The last revision published.
    last: Revision,
    /// Messages for which there is room at least; only this sender takes it up.
    room: usize,
    /// Messages left lying since somebody was last roused, how many of them are many, and the
    /// events in them.
    lying: usize,
    many: usize,
    gathered: usize,
    /// Events come in a stream, and are gathered.
    streams: bool,
    /// How often in a row a dispatch on the spot was not worth it.
    streak: usize,
    /// When the last dispatch on the spot was done.
    done: Instant,
    after: Aftermath,
    /// Empty, with the memory of the last chunk.
    spare: Chunk,
}

impl Sender {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self {
            last: engine.opened(),
            // Room is left for what is published while the dispatcher wakes up.
            many: (engine.ingress.capacity() * 3 / 4).max(1),
            engine,
            room: 0,
            lying: 0,
            gathered: 0,
            streams: false,
            streak: 0,
            done: Instant::now(),
            after: Aftermath::default(),
            spare: Chunk::default(),
        }
    }

    /// An empty chunk, to be filled and [published](Self::chunk).
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
    /// What each event needs is inlined, and what is rare is kept out of it: publishing is bound by
    /// its instructions. One watcher gets a tenth more events by it, and an event takes a tenth
    /// less to publish, whether somebody wants it or not.
    pub(crate) fn one(
        &mut self,
        change: Change,
        patience: Patience,
    ) -> Result<Revision, PublishError<Change>> {
        let reserved = self
            .next()
            .and_then(|next| self.reserve(patience).map(|()| next));
        let revision = match reserved {
            Ok(revision) => revision,
            Err(kind) => {
                return Err(PublishError::new(kind, change));
            }
        };
        let wanted = self.open(revision) || self.is_wanted(&change.key);
        if self.is_sent(wanted) {
            self.engine
                .ingress
                .send(1, wanted, |batch| batch.push(revision, &change));
        }
        self.submitted(revision, wanted, 1, 1);
        // The change is dropped last, as it may be the user's, and may panic; and where it lies: to
        // drop key and value would wait until they are moved. One watcher gets 1.2x the events by it.
        Ok(revision)
    }

    /// Publishes whole transactions as one message.
    pub(crate) fn chunk(
        &mut self,
        mut chunk: Chunk,
        patience: Patience,
    ) -> Result<Revision, PublishError<Chunk>> {
        if chunk.len() == 0 {
            return Ok(self.last);
        }
        let reserved = chunk
            .check(self.last)
            .and_then(|last| self.reserve(patience).map(|()| last));
        let last = match reserved {
            Ok(last) => last,
            Err(kind) => return Err(PublishError::new(kind, chunk)),
        };
        let (events, transactions) = (chunk.records.len(), chunk.len());
        let wanted = self.open(last) || chunk.keys().any(|key| self.is_wanted(key));
        if self.is_sent(wanted) {
            let records = &mut chunk.records;
            self.engine
                .ingress
                .send(events, wanted, |batch| batch.append(records, last));
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

    /// Whether what is sent only has to be left lying, whoever wants it: that need not be asked
    /// then, which is a tenth of what publishing costs.
    fn gathers(&self) -> bool {
        self.streams && self.engine.config.history > 0 && !self.engine.parker.is_parked()
    }

    fn is_wanted(&self, key: &[u8]) -> bool {
        self.engine.interest.wants(&self.engine.hasher, key)
    }

    /// Without a history, what nobody watches needs to be known to nobody.
    fn is_sent(&self, wanted: bool) -> bool {
        wanted || self.engine.config.history > 0
    }

    /// Opens everything up to `revision`: who is interested may be asked only after that. Returns
    /// whether that need not be asked, as it [gathers](Self::gathers).
    fn open(&self, revision: Revision) -> bool {
        let gathers = self.gathers();
        if gathers {
            self.engine.open_wanted(revision);
        } else {
            self.engine.open(revision);
        }
        gathers
    }

    /// Makes sure of room for one message.
    #[inline(always)]
    fn reserve(&mut self, patience: Patience) -> Result<(), PublishErrorKind> {
        if let Some(reason) = self.engine.ended() {
            return Err(PublishErrorKind::Closed(reason));
        }
        if self.room == 0 {
            self.room = self.engine.ingress.room();
        }
        if self.room == 0 {
            self.make_room(patience)?;
        }
        Ok(())
    }

    #[cold]
    fn make_room(&mut self, patience: Patience) -> Result<(), PublishErrorKind> {
        let full = PublishErrorKind::Full {
            capacity: self.engine.ingress.capacity(),
        };
        let deadline = match patience {
            Patience::None => {
                self.engine.parker.notify();
                return Err(full);
            }
            Patience::Until(deadline) => Some(deadline),
            Patience::Endless => None,
        };
        // In a stream the dispatcher's thread is at it already.
        if self.engine.config.inline && !self.streams {
            self.dispatch_here();
        }
        loop {
            match self.look_for_room(Waiter::this_thread) {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(reason) => return Err(PublishErrorKind::Closed(reason)),
            }
            if !park_until(deadline) {
                self.engine.ingress.stop_waiting();
                return Err(full);
            }
        }
    }

    /// Looks, leaves word, looks again.
    fn look_for_room(&mut self, waiter: impl FnOnce() -> Waiter) -> Result<bool, EndReason> {
        let ingress = &self.engine.ingress;
        if self.room == 0 {
            self.room = ingress.room();
        }
        if self.room == 0 {
            ingress.wait_for_room(waiter());
            self.engine.parker.notify();
            self.room = ingress.room();
        }
        match self.engine.ended() {
            Some(reason) => Err(reason),
            None => Ok(self.room > 0),
        }
    }

    /// Sees to it that what was sent, if it was, is dispatched when it matters.
    #[inline(always)]
    fn submitted(&mut self, last: Revision, wanted: bool, events: usize, transactions: usize) {
        debug_assert!(self.last < last);
        self.last = last;
        let counters = &self.engine.counters;
        counters.published_events.add_alone(events);
        counters.published_transactions.add_alone(transactions);
        if self.is_sent(wanted) {
            self.room -= 1;
        }
        self.engine.settle(last);
        self.lying += 1;
        self.gathered += events;
        if self.is_due() || self.engine.milestones.wanted_by(last) {
            self.rouse();
        } else if wanted {
            self.offer();
        }
    }

    /// Whether so much waits that somebody must see to it.
    fn is_due(&mut self) -> bool {
        let gathered = if self.streams { STREAMED } else { GATHERED };
        let may_be = |sender: &Self| sender.gathered >= gathered || sender.lying >= sender.many;
        may_be(self) && {
            // While somebody looks by himself, only what is left of it counts.
            if self.streams && !self.engine.parker.is_parked() {
                self.count_anew();
            }
            may_be(self)
        }
    }

    /// Some of what was left lying may have been dispatched since.
    #[cold]
    fn count_anew(&mut self) {
        let waiting = self.engine.ingress.len();
        if waiting < self.lying {
            self.gathered = self.gathered * waiting / self.lying;
            self.lying = waiting;
        }
    }

    /// Somebody wants what was sent just now: it is dispatched on the spot, or, in a stream,
    /// gathered for the dispatcher's thread, which looks soon.
    fn offer(&mut self) {
        let parker = &self.engine.parker;
        if self.streams && !parker.is_parked() {
            parker.ask();
        } else {
            self.streams = false;
            self.rouse();
        }
    }

    /// Gets what waits dispatched now.
    #[inline(never)]
    fn rouse(&mut self) {
        self.lying = 0;
        self.gathered = 0;
        if self.engine.config.inline && !self.streams {
            self.dispatch_here();
        } else {
            self.engine.parker.notify();
        }
    }

    fn dispatch_here(&mut self) {
        let engine = &*self.engine;
        let mut woken = 0;
        let pause = self.done.elapsed();
        loop {
            match engine.try_step(&mut self.after) {
                Some(Did::Nothing) => break,
                Some(_) => {}
                // Whoever dispatches may have looked already, and there is nobody to notify.
                None if engine.parker.is_absent() => return engine.drain(),
                // Whoever dispatches may have looked already.
                None => return engine.parker.notify(),
            }
            woken += self.after.wakes.len();
            if self.after.wakes.len() > OWN_WAKES && !engine.parker.is_absent() {
                engine.handed_over.lock().append(&mut self.after.wakes);
                engine.parker.notify();
            }
            self.after.settle(&engine.ingress);
        }
        self.done = Instant::now();
        if woken > 0 && pause > QUICK {
            self.streak = 0;
            return;
        }
        self.streak += 1;
        if self.streak >= STREAM && !engine.parker.is_absent() {
            self.streak = 0;
            self.streams = true;
            engine.parker.ask();
        }
    }

    /// What found no room becomes a hole, unless it was refused for another reason.
    pub(crate) fn dig<T>(
        &mut self,
        refused: PublishError<T>,
        revisions: Lagged,
        events: usize,
        transactions: usize,
    ) -> Result<Lossy, PublishError<T>> {
        if !matches!(refused.kind(), PublishErrorKind::Full { .. }) {
            return Err(refused);
        }
        self.last = revisions.to;
        self.engine.open(revisions.to);
        let counters = &self.engine.counters;
        counters.published_events.add_alone(events);
        counters.published_transactions.add_alone(transactions);
        counters.dropped_events.add_alone(events);
        if events > 0 {
            self.engine.ingress.dig(revisions);
        }
        self.engine.settle(revisions.to);
        self.engine.parker.notify();
        Ok(Lossy::Dropped(revisions.to))
    }

    /// Ready once there is room.
    pub(crate) fn poll_room(&mut self, cx: &Context<'_>) -> Poll<Result<(), EndReason>> {
        match self.look_for_room(|| Waiter::Task(cx.waker().clone())) {
            Ok(true) => Poll::Ready(Ok(())),
            Ok(false) => Poll::Pending,
            Err(reason) => Poll::Ready(Err(reason)),
        }
    }
}

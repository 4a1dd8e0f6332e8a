//! The receiving end.

use std::fmt;
use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::batch::Batch;
use crate::catch_up::Place;
use crate::engine::Engine;
use crate::error::{EndReason, RecvError, RecvTimeoutError, TryRecvError};
use crate::event::{Event, Revision};
use crate::iter::{Iter, TryIter};
use crate::queue::{Queue, Taken, WatcherId};
use crate::runs::Runs;
use crate::segment::Run;
use crate::selector::Selector;
use crate::slots::Slot;
use crate::wait::{Waiter, park_until};

/// Receives every matching event, in order, each once; or is told which revisions it missed.
///
/// Receiving by blocking, trying, polling, batch and iterator may be mixed freely. Dropping it
/// unregisters it at once.
///
/// - *If I am slow:* nobody else is delayed. The queue takes up to [`capacity`](Self::capacity)
///   events; beyond that the watcher reads on from the history by itself, at its own pace, and
///   comes back to the live path without a gap or a repeat. Where the history has moved past it,
///   it gets [`RecvError::Lagged`] with the revisions missed, and goes on after them. With
///   [`Overflow::Cancel`](crate::Overflow::Cancel) it ends instead.
/// - *If I am dropped, or leaked:* dropped, it is out of the registry when `drop` returns, and
///   what it held is freed. Leaked, it costs its queue's bounds and no more.
/// - *If the publisher is gone:* everything published can still be received, then every receive
///   returns [`RecvError::Closed`] with the reason.
///
/// What a receive takes out of the queue is all that was queued, whole revisions; `capacity`
/// bounds what is queued ahead of that.
///
/// ```
/// use kvwatch_core::{Builder, Change, RecvError, Selector};
///
/// let (mut publisher, hub) = Builder::new().spawn()?;
/// let mut watcher = hub.watch(Selector::prefix("app/"))?;
/// publisher.publish(Change::put("app/port", "80"))?;
/// drop(publisher);
///
/// for event in &mut watcher {
///     match event {
///         Ok(event) => println!("{:?} = {:?}", event.key(), event.value()),
///         Err(RecvError::Lagged(missed)) => println!("read the store again: {missed}"),
///         Err(error) => return Err(error.into()),
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a watcher that is dropped is unregistered"]
pub struct Watcher {
    engine: Arc<Engine>,
    selector: Selector,
    queue: Arc<Queue>,
    slot: Slot,
    start: Revision,
    /// Taken out of the queue or read from the history, and not handed out yet.
    ready: Runs,
    /// How many events of the first of these have been handed out.
    taken: usize,
    place: Place,
    /// Whether it has dispatched itself what it took out of its queue last.
    in_stream: bool,
}

/// What there is to hand out.
enum Found {
    Ready,
    Empty {
        awaited: bool,
    },
    /// One step of reading on brought nothing; there is more to read.
    Again,
}

impl Watcher {
    pub(crate) fn new(
        engine: Arc<Engine>,
        selector: Selector,
        queue: Arc<Queue>,
        slot: Slot,
        start: Revision,
    ) -> Self {
        Self {
            engine,
            selector,
            queue,
            slot,
            start,
            ready: Runs::default(),
            taken: 0,
            place: Place::default(),
            in_stream: false,
        }
    }

    /// Waits for the next event.
    ///
    /// # Errors
    /// [`Lagged`](RecvError::Lagged) where events were missed, in their place;
    /// [`Closed`](RecvError::Closed) once the watcher has ended, from then on always.
    pub fn recv(&mut self) -> Result<Event, RecvError> {
        self.block(None)?;
        Ok(self.pop())
    }

    /// The next event if it is there. Reads on from the history if the watcher is behind.
    ///
    /// # Errors
    /// [`Empty`](TryRecvError::Empty) if nothing is there yet; otherwise as
    /// [`recv`](Self::recv).
    pub fn try_recv(&mut self) -> Result<Event, TryRecvError> {
        self.look()?;
        Ok(self.pop())
    }

    /// Waits for the next event this long at most.
    ///
    /// # Errors
    /// [`Timeout`](RecvTimeoutError::Timeout) if nothing came; otherwise as
    /// [`recv`](Self::recv).
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Event, RecvTimeoutError> {
        self.wait(Instant::now().checked_add(timeout))?;
        Ok(self.pop())
    }

    /// Waits for the next event until then at most.
    ///
    /// # Errors
    /// As [`recv_timeout`](Self::recv_timeout).
    pub fn recv_deadline(&mut self, deadline: Instant) -> Result<Event, RecvTimeoutError> {
        self.wait(Some(deadline))?;
        Ok(self.pop())
    }

    /// Waits until there is something, and takes all that is at hand: whole revisions, by
    /// reference, at no cost for each event. With it everything in the batch counts as handed
    /// out, read or not.
    ///
    /// ```
    /// # use kvwatch_core::{Builder, Change, Selector};
    /// # let (mut publisher, hub) = Builder::new().spawn()?;
    /// # let mut watcher = hub.watch(Selector::all())?;
    /// publisher.publish_batch([Change::put("a", "1"), Change::put("b", "2")])?;
    /// let batch = watcher.recv_batch()?;
    /// let keys: Vec<_> = batch.iter().map(|event| event.key_bytes()).collect();
    /// assert_eq!(keys, ["a", "b"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`recv`](Self::recv). A lag never comes with events: it is between two batches.
    pub fn recv_batch(&mut self) -> Result<Batch<'_>, RecvError> {
        self.block(None)?;
        Ok(self.pop_all())
    }

    /// All that is at hand, without waiting: see [`recv_batch`](Self::recv_batch).
    ///
    /// # Errors
    /// As [`try_recv`](Self::try_recv).
    pub fn try_recv_batch(&mut self) -> Result<Batch<'_>, TryRecvError> {
        self.look()?;
        Ok(self.pop_all())
    }

    /// Waits this long at most for something: see [`recv_batch`](Self::recv_batch).
    ///
    /// # Errors
    /// As [`recv_timeout`](Self::recv_timeout).
    pub fn recv_batch_timeout(&mut self, timeout: Duration) -> Result<Batch<'_>, RecvTimeoutError> {
        self.wait(Instant::now().checked_add(timeout))?;
        Ok(self.pop_all())
    }

    /// Polls for the next event. Where nothing is there yet, the waker of the last call is woken
    /// once there is; a thread that waits in between takes its place.
    ///
    /// Cancel safe: an event is taken only by the call that returns it. A watcher that is behind
    /// reads one step of the history a call, and wakes itself if that brought nothing.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Event, RecvError>> {
        match self.poll_ready(cx) {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(self.pop())),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Polls for all that is at hand: see [`recv_batch`](Self::recv_batch) and
    /// [`poll_recv`](Self::poll_recv).
    pub fn poll_recv_batch(&mut self, cx: &mut Context<'_>) -> Poll<Result<Batch<'_>, RecvError>> {
        match self.poll_ready(cx) {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(self.pop_all())),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Polls until something is at hand, and takes nothing: once this is ready, the next receive
    /// returns without waiting. It is for async functions that hand out a [`Batch`], which borrows
    /// from the watcher and so cannot come out of a poll that is repeated.
    ///
    /// Cancel safe: see [`poll_recv`](Self::poll_recv).
    ///
    /// # Errors
    /// As [`recv`](Self::recv): a lag is reported by this call, and not again.
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), RecvError>> {
        loop {
            match self.fill(Some(cx.waker())) {
                Err(error) => return Poll::Ready(Err(error)),
                Ok(Found::Ready) => return Poll::Ready(Ok(())),
                Ok(Found::Again) => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Ok(Found::Empty { awaited: true }) => return Poll::Pending,
                // The waker is cloned here, outside of the queue's lock.
                Ok(Found::Empty { awaited: false }) => {
                    if self.queue.wait(Waiter::Task(cx.waker().clone())) {
                        return Poll::Pending;
                    }
                }
            }
        }
    }

    /// Events as they come, waiting for each: `Ok` for an event, `Err` for a lag in its place.
    /// An end that nobody asked for is an error item too, once; a shutdown or a close just ends.
    pub fn iter(&mut self) -> Iter<'_> {
        Iter::new(self)
    }

    /// Events that are there, without waiting: like [`iter`](Self::iter), and ends where nothing
    /// is there yet.
    pub fn try_iter(&mut self) -> TryIter<'_> {
        TryIter::new(self)
    }

    /// Its name within its engine; none is used twice.
    #[must_use]
    pub fn id(&self) -> WatcherId {
        self.queue.id
    }

    /// What it watches.
    #[must_use]
    pub fn selector(&self) -> &Selector {
        &self.selector
    }

    /// The first revision that it delivers: the one asked for, or else the one after the last
    /// that had been opened when it was registered.
    #[must_use]
    pub fn start_revision(&self) -> Revision {
        self.start
    }

    /// Up to where everything is known: every matching event with this revision or one below has
    /// been handed out, or reported as missed. Never goes back.
    ///
    /// It moves with what is dispatched, whether that matches or not; a watcher that starts in
    /// the future, or is behind, goes by its own position alone. If something published is not
    /// dispatched yet because nobody watches it, that is done soon after, so a later call knows
    /// more.
    #[must_use]
    pub fn progress(&self) -> Revision {
        if let Some(run) = self.ready.front() {
            return run.revision(self.taken) - 1;
        }
        self.engine.hasten(self.engine.settled());
        // Read before the queue: what was dispatched then has been queued.
        let dispatched = self.engine.dispatched();
        self.queue.position(dispatched).max(self.start - 1)
    }

    /// Why it ends, as soon as that is decided: what was queued before can still be received.
    #[must_use]
    pub fn end(&self) -> Option<EndReason> {
        self.queue.ended()
    }

    /// How many events are at hand without reading the history.
    #[must_use]
    pub fn len(&self) -> usize {
        let ready: usize = self.ready.iter().map(Run::len).sum();
        ready - self.taken + self.queue.len()
    }

    /// Whether no event is at hand without reading the history.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many events are queued ahead of it at most, but for a single larger transaction.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.queue.capacity as usize
    }

    /// Ends this watcher at once: it leaves the registry, and what is queued is dropped.
    pub fn close(&mut self) {
        let first = self.ready.front().map(|run| run.revision(self.taken));
        self.ready = Runs::default();
        self.taken = 0;
        close(&self.engine, &self.queue, self.slot, first);
    }

    /// A handle with which to end this watcher from elsewhere, while it waits in a receive.
    #[must_use]
    pub fn closer(&self) -> Closer {
        Closer {
            engine: Arc::clone(&self.engine),
            queue: Arc::clone(&self.queue),
            slot: self.slot,
        }
    }

    /// Fills `ready` if it is empty, without waiting.
    fn fill(&mut self, waker: Option<&Waker>) -> Result<Found, RecvError> {
        if !self.ready.is_empty() {
            return Ok(Found::Ready);
        }
        let mut taken = self.queue.take(&mut self.ready, waker);
        let helped = matches!(taken, Taken::Empty { .. }) && self.engine.help();
        if helped {
            taken = self.queue.take(&mut self.ready, waker);
        }
        match taken {
            Taken::Runs => {
                self.in_stream = helped;
                Ok(Found::Ready)
            }
            Taken::Empty { awaited } => Ok(Found::Empty { awaited }),
            Taken::Ended(reason) => Err(RecvError::Closed(reason)),
            Taken::Behind(next) => {
                let read = self.place.read_on(
                    &self.engine,
                    &self.selector,
                    &self.queue,
                    next,
                    &mut self.ready,
                );
                if let Some(lagged) = read {
                    return Err(RecvError::Lagged(lagged));
                }
                Ok(if self.ready.is_empty() {
                    Found::Again
                } else {
                    Found::Ready
                })
            }
        }
    }

    /// Fills `ready` or says why not.
    fn look(&mut self) -> Result<(), TryRecvError> {
        loop {
            match self.fill(None)? {
                Found::Ready => return Ok(()),
                Found::Empty { .. } => return Err(TryRecvError::Empty),
                Found::Again => {}
            }
        }
    }

    /// Waits until `ready` is filled. Without a deadline it does not return `Ok(false)`.
    fn block(&mut self, deadline: Option<Instant>) -> Result<bool, RecvError> {
        loop {
            match self.fill(None)? {
                Found::Ready => return Ok(true),
                Found::Again => continue,
                Found::Empty { .. } => {}
            }
            if mem::take(&mut self.in_stream) && self.engine.look_out(&self.queue, deadline) {
                continue;
            }
            if self.queue.wait(Waiter::this_thread()) && !park_until(deadline) {
                self.queue.stop_waiting();
                return Ok(matches!(self.fill(None)?, Found::Ready));
            }
        }
    }

    fn wait(&mut self, deadline: Option<Instant>) -> Result<(), RecvTimeoutError> {
        if self.block(deadline)? {
            Ok(())
        } else {
            Err(RecvTimeoutError::Timeout)
        }
    }

    /// Hands out the next event of `ready`.
    fn pop(&mut self) -> Event {
        let with_prev = self.queue.with_prev;
        let run = self.ready.front().expect("filled before");
        let nth = self.taken;
        if nth + 1 < run.len() {
            self.taken += 1;
            return run.event(nth, with_prev);
        }
        self.taken = 0;
        let run = self.ready.pop_front().expect("there is a front");
        run.into_last(with_prev)
    }

    /// Hands out all of `ready`.
    fn pop_all(&mut self) -> Batch<'_> {
        let taken = mem::take(&mut self.taken);
        Batch::new(&mut self.ready, taken, self.queue.with_prev)
    }
}

/// Ends a watcher at once, and takes it out of the registry; `first` is the revision of the first
/// event that it had taken and drops.
fn close(engine: &Engine, queue: &Queue, slot: Slot, first: Option<Revision>) {
    let (waiter, runs) = queue.close(engine.dispatched(), first);
    let gone = engine.unregister(slot, queue.id);
    drop((runs, gone));
    if let Some(waiter) = waiter {
        waiter.wake();
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // Nobody waits any more: the waiter, if there is one, goes with the queue.
        drop(self.engine.unregister(self.slot, self.queue.id));
    }
}

impl<'a> IntoIterator for &'a mut Watcher {
    type Item = Result<Event, RecvError>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher")
            .field("id", &self.id().0)
            .field("selector", self.selector())
            .field("start_revision", &self.start)
            .field("len", &self.len())
            .field("end", &self.end())
            .finish_non_exhaustive()
    }
}

/// Ends a watcher from elsewhere: from [`Watcher::closer`].
///
/// It does not keep the watcher registered. After the watcher is gone, closing does nothing.
#[derive(Clone)]
pub struct Closer {
    engine: Arc<Engine>,
    queue: Arc<Queue>,
    slot: Slot,
}

impl Closer {
    /// Ends the watcher at once: it leaves the registry, what is queued is dropped, and a receive
    /// that waits returns [`EndReason::Closed`]. What an earlier receive took out of the queue
    /// beyond its own event can still be received. Closing twice does nothing more.
    pub fn close(&self) {
        close(&self.engine, &self.queue, self.slot, None);
    }
}

impl fmt::Debug for Closer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Closer").field(&self.queue.id.0).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use crate::{Builder, Change, RecvTimeoutError};

    #[test]
    fn one_receiver_looks_out_until_a_batch_waits_or_its_own_wait_is_over() {
        let built = Builder::new().inline(false).build();
        let (mut publisher, hub, _dispatcher) = built.unwrap();
        let watcher = hub.watch("k").unwrap();
        let engine = &watcher.engine;
        let mut publish = |key, count| {
            for _ in 0..count {
                publisher.publish(Change::put(key, "v")).unwrap();
            }
            engine.look_out(&watcher.queue, None)
        };
        let closer = watcher.closer();
        assert!(!publish("other", 255), "this is no whole batch");
        assert!(publish("other", 2), "a batch waits to be dispatched");
        engine.drain();
        assert!(!publish("k", 1), "it is not dispatched yet");
        engine.drain();
        assert!(publish("other", 0), "an event is in the queue");
        closer.close();
        assert!(publish("other", 0), "it is closed");
        assert!(publish("other", 300), "a batch waits again");
        let now = Some(Instant::now());
        assert!(
            !engine.look_out(&watcher.queue, now),
            "the deadline is over"
        );
        let _other = engine.lookout.lock();
        assert!(!publish("other", 0), "another receiver looks out");
    }

    #[test]
    fn who_gets_nothing_from_a_stream_does_not_stay_awake_to_dispatch_it() {
        let (mut publisher, hub, _dispatcher) = Builder::new().build().unwrap();
        let mut quiet = hub.watch("quiet").unwrap();
        let _other = hub.watch("other").unwrap();
        // Where a dispatcher runs, what comes in a stream is left to it.
        quiet.engine.parker.adopt();
        for _ in 0..2000 {
            publisher.publish(Change::put("other", "v")).unwrap();
        }
        let received = quiet.recv_timeout(Duration::from_millis(5));
        assert_eq!(received, Err(RecvTimeoutError::Timeout));
        assert!(quiet.engine.ingress.has_batch(), "it has dispatched two");
    }
}

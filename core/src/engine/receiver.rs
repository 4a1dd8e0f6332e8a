//! The mechanism of a watcher: taking from the queue, reading on from the history, and waiting.

use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use crate::change::Revision;
use crate::engine::Engine;
use crate::engine::catch_up::HistoryCursor;
use crate::error::{RecvError, TryRecvError};
use crate::event::Event;
use crate::log::runs::Runs;
use crate::log::segment::Run;
use crate::registry::queue::{Queue, Taken};
use crate::registry::slab::Slot;
use crate::selector::Selector;
use crate::sync::wait::{Waiter, park_until};

/// A watcher's name in the registry, with which it is closed.
#[derive(Clone)]
pub(crate) struct QueueHandle {
    pub(crate) engine: Arc<Engine>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) slot: Slot,
}

impl QueueHandle {
    /// Ends the watcher at once, and removes it from the registry. `dropped` is the revision of the
    /// first event that the watcher had taken and drops.
    pub(crate) fn close(&self, dropped: Option<Revision>) {
        let dispatched = || self.engine.revisions.dispatched();
        let (waiter, runs) = self.queue.close(dispatched, dropped);
        let removed = self.unregister();
        drop((runs, removed));
        if let Some(waiter) = waiter {
            waiter.wake();
        }
    }

    /// Removes the watcher from the registry. Returns its queue, to be dropped without any guard.
    pub(crate) fn unregister(&self) -> Option<Arc<Queue>> {
        self.engine.unregister(self.slot, self.queue.id)
    }
}

/// What a watcher receives with.
pub(crate) struct Receiver {
    pub(crate) handle: QueueHandle,
    pub(crate) selector: Selector,
    pub(crate) start: Revision,
    /// Taken out of the queue or read from the history, and not delivered yet.
    ready: Runs,
    /// The number of events of the first ready run that were delivered.
    delivered: usize,
    cursor: HistoryCursor,
    /// Whether this receiver dispatched by itself what it took out of its queue last.
    in_stream: bool,
}

/// The outcome of filling `ready`.
enum Filled {
    Ready,
    Empty {
        registered: bool,
    },
    /// One step of reading on brought nothing, and there is more to read.
    Again,
}

impl Receiver {
    pub(crate) fn new(
        handle: QueueHandle,
        selector: Selector,
        start: Revision,
        cursor: HistoryCursor,
    ) -> Self {
        Self {
            handle,
            selector,
            start,
            ready: Runs::default(),
            delivered: 0,
            cursor,
            in_stream: false,
        }
    }

    /// Fills `ready` if it is empty, without waiting.
    fn fill(&mut self, waker: Option<&Waker>) -> Result<Filled, RecvError> {
        if !self.ready.is_empty() {
            return Ok(Filled::Ready);
        }
        let QueueHandle { engine, queue, .. } = &self.handle;
        let mut taken = queue.take(&mut self.ready, waker);
        let dispatched = matches!(taken, Taken::Empty { .. }) && engine.dispatch_batch();
        if dispatched {
            taken = queue.take(&mut self.ready, waker);
        }
        match taken {
            Taken::Runs => {
                self.in_stream = dispatched;
                Ok(Filled::Ready)
            }
            Taken::Empty { registered } => Ok(Filled::Empty { registered }),
            Taken::Ended(reason) => Err(RecvError::Closed(reason)),
            Taken::Behind(next) => {
                let lagged =
                    self.cursor
                        .read_on(engine, &self.selector, queue, next, &mut self.ready);
                if let Some(lagged) = lagged {
                    return Err(RecvError::Lagged(lagged));
                }
                Ok(if self.ready.is_empty() {
                    Filled::Again
                } else {
                    Filled::Ready
                })
            }
        }
    }

    /// Fills `ready` without waiting for events.
    pub(crate) fn try_fill(&mut self) -> Result<(), TryRecvError> {
        loop {
            match self.fill(None)? {
                Filled::Ready => return Ok(()),
                Filled::Empty { .. } => return Err(TryRecvError::Empty),
                Filled::Again => {}
            }
        }
    }

    /// Waits until `ready` is filled. Returns whether it is: without a deadline, always.
    pub(crate) fn fill_until(&mut self, deadline: Option<Instant>) -> Result<bool, RecvError> {
        loop {
            match self.fill(None)? {
                Filled::Ready => return Ok(true),
                Filled::Again if deadline.is_some_and(|end| Instant::now() >= end) => {
                    return Ok(false);
                }
                Filled::Again => continue,
                Filled::Empty { .. } => {}
            }
            let QueueHandle { engine, queue, .. } = &self.handle;
            if mem::take(&mut self.in_stream) && engine.spin_for_batch(queue, deadline) {
                continue;
            }
            if queue.wait(Waiter::this_thread()) && !park_until(deadline) {
                queue.stop_waiting();
                return Ok(matches!(self.fill(None)?, Filled::Ready));
            }
        }
    }

    /// Polls until `ready` is filled.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), RecvError>> {
        loop {
            match self.fill(Some(cx.waker())) {
                Err(error) => return Poll::Ready(Err(error)),
                Ok(Filled::Ready) => return Poll::Ready(Ok(())),
                Ok(Filled::Again) => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Ok(Filled::Empty { registered: true }) => return Poll::Pending,
                // The waker is cloned here, outside of the queue's lock.
                Ok(Filled::Empty { registered: false }) => {
                    if self.handle.queue.wait(Waiter::Task(cx.waker().clone())) {
                        return Poll::Pending;
                    }
                }
            }
        }
    }

    /// Delivers the next event of `ready`, which must be filled.
    pub(crate) fn pop(&mut self) -> Event {
        let with_prev = self.handle.queue.with_prev;
        let run = self.ready.front().expect("filled before");
        let nth = self.delivered;
        if nth + 1 < run.len() {
            self.delivered += 1;
            return Event::of_run(run, nth, with_prev);
        }
        self.delivered = 0;
        let run = self.ready.pop_front().expect("filled before");
        Event::last_of_run(run, with_prev)
    }

    /// Everything in `ready`, and the number of events of its first run that were delivered before.
    pub(crate) fn pop_all(&mut self) -> (&mut Runs, usize) {
        (&mut self.ready, mem::take(&mut self.delivered))
    }

    /// The revision of the next event of `ready`, if there is one.
    fn next_ready(&self) -> Option<Revision> {
        let run = self.ready.front()?;
        Some(run.revision(self.delivered))
    }

    pub(crate) fn progress(&self) -> Revision {
        if let Some(next) = self.next_ready() {
            return next - 1;
        }
        let QueueHandle { engine, queue, .. } = &self.handle;
        engine.request_dispatch(engine.revisions.published());
        // Read before the queue: what was dispatched by then has been queued.
        let dispatched = engine.revisions.dispatched();
        queue.progress(dispatched).max(self.start - 1)
    }

    /// The number of events at hand without reading the history.
    pub(crate) fn len(&self) -> usize {
        let ready: usize = self.ready.iter().map(Run::len).sum();
        ready - self.delivered + self.handle.queue.len()
    }

    /// Ends the watcher at once, and drops the events at hand.
    pub(crate) fn close(&mut self) {
        let dropped = self.next_ready();
        self.ready = Runs::default();
        self.delivered = 0;
        self.handle.close(dropped);
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use crate::{Builder, Change, RecvTimeoutError};

    #[test]
    fn one_receiver_spins_until_a_batch_waits_or_its_own_wait_ends() {
        let built = Builder::new().inline_dispatch(false).build();
        let (mut publisher, hub, _dispatcher) = built.unwrap();
        let watcher = hub.watch("k").unwrap();
        let handle = &watcher.receiver.handle;
        let mut publish = |key, count| {
            for _ in 0..count {
                publisher.publish(Change::put(key, "v")).unwrap();
            }
            handle.engine.spin_for_batch(&handle.queue, None)
        };
        let closer = watcher.closer();
        assert!(!publish("other", 255), "this is no full batch");
        assert!(publish("other", 2), "a batch waits to be dispatched");
        handle.engine.drain();
        assert!(!publish("k", 1), "it is not dispatched yet");
        handle.engine.drain();
        assert!(publish("other", 0), "an event is in the queue");
        closer.close();
        assert!(publish("other", 0), "it is closed");
        assert!(publish("other", 300), "a batch waits again");
        let now = Some(Instant::now());
        assert!(
            !handle.engine.spin_for_batch(&handle.queue, now),
            "the deadline has passed"
        );
        let _other = handle.engine.spinner.lock();
        assert!(!publish("other", 0), "another receiver spins");
    }

    #[test]
    fn receiver_that_a_stream_does_not_concern_waits_asleep() {
        let (mut publisher, hub, _dispatcher) = Builder::new().build().unwrap();
        let mut quiet = hub.watch("quiet").unwrap();
        let _other = hub.watch("other").unwrap();
        let engine = std::sync::Arc::clone(&quiet.receiver.handle.engine);
        // Where a dispatcher runs, the events of a stream are left to it.
        engine.parker.adopt();
        for _ in 0..2000 {
            publisher.publish(Change::put("other", "v")).unwrap();
        }
        let received = quiet.recv_timeout(Duration::from_millis(5));
        assert_eq!(received, Err(RecvTimeoutError::Timeout));
        assert!(engine.ingress.has_batch(), "it has dispatched two");
    }
}

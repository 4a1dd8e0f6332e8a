//! The receiving end: the watcher, its iterators and its closer.

use std::fmt;
use std::iter::FusedIterator;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::batch::Batch;
use crate::change::Revision;
use crate::end::EndReason;
use crate::engine::receiver::{QueueHandle, Receiver};
use crate::error::{RecvError, RecvTimeoutError, TryRecvError};
use crate::event::Event;
use crate::id::WatcherId;
use crate::selector::Selector;

/// Receives every matching event, in order, each once, or is told which revisions it missed.
///
/// Receiving by blocking, trying, polling, batch and iterator may be mixed freely. Dropping the
/// watcher unregisters it at once.
///
/// - *If I am slow:* nobody else is delayed. The queue takes up to [`capacity`](Self::capacity)
///   events; beyond that the watcher reads on from the history by itself, at its own pace, and
///   comes back to the live path without a gap or a repeat. If the history has moved past it, the
///   watcher gets [`RecvError::Lagged`] with the revisions missed, and goes on after them. With
///   [`Overflow::Cancel`](crate::Overflow::Cancel) it ends instead.
/// - *If I am dropped, or leaked:* a dropped watcher is out of the registry when `drop` returns, and
///   what it held is freed. A leaked one costs its queue's bounds and no more.
/// - *If the publisher is gone:* everything published can still be received, then every receive
///   returns [`RecvError::Closed`] with the reason.
///
/// A receive takes everything out of the queue at once, in whole revisions; `capacity` bounds what
/// is queued in addition to that.
///
/// ```
/// # use kvwatch_core as kvwatch;
/// use kvwatch::{Builder, Change, RecvError, Selector};
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
    pub(crate) receiver: Receiver,
}

impl Watcher {
    pub(crate) fn new(receiver: Receiver) -> Self {
        Self { receiver }
    }

    /// Waits for the next event.
    ///
    /// # Errors
    /// [`Lagged`](RecvError::Lagged) in the place of events that were missed;
    /// [`Closed`](RecvError::Closed) once the watcher has ended, from then on always.
    pub fn recv(&mut self) -> Result<Event, RecvError> {
        self.receiver.fill_until(None)?;
        Ok(self.receiver.pop())
    }

    /// Returns the next event if it is there. A watcher that is behind reads on from the history.
    ///
    /// # Errors
    /// [`Empty`](TryRecvError::Empty) if no event is there yet; otherwise as
    /// [`recv`](Self::recv).
    pub fn try_recv(&mut self) -> Result<Event, TryRecvError> {
        self.receiver.try_fill()?;
        Ok(self.receiver.pop())
    }

    /// Waits for the next event, for `timeout` at most.
    ///
    /// # Errors
    /// [`Timeout`](RecvTimeoutError::Timeout) if no event came; otherwise as
    /// [`recv`](Self::recv).
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Event, RecvTimeoutError> {
        self.wait(Instant::now().checked_add(timeout))?;
        Ok(self.receiver.pop())
    }

    /// Waits for the next event, until `deadline` at most.
    ///
    /// # Errors
    /// As [`recv_timeout`](Self::recv_timeout).
    pub fn recv_deadline(&mut self, deadline: Instant) -> Result<Event, RecvTimeoutError> {
        self.wait(Some(deadline))?;
        Ok(self.receiver.pop())
    }

    /// Waits until there are events, and takes all that are at hand: whole revisions, by reference,
    /// at no cost for each event. Every event of the batch counts as delivered, read or not.
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
        self.receiver.fill_until(None)?;
        Ok(self.pop_all())
    }

    /// Takes all events that are at hand, without waiting: see [`recv_batch`](Self::recv_batch).
    ///
    /// # Errors
    /// As [`try_recv`](Self::try_recv).
    pub fn try_recv_batch(&mut self) -> Result<Batch<'_>, TryRecvError> {
        self.receiver.try_fill()?;
        Ok(self.pop_all())
    }

    /// Waits for events, for `timeout` at most: see [`recv_batch`](Self::recv_batch).
    ///
    /// # Errors
    /// As [`recv_timeout`](Self::recv_timeout).
    pub fn recv_batch_timeout(&mut self, timeout: Duration) -> Result<Batch<'_>, RecvTimeoutError> {
        self.wait(Instant::now().checked_add(timeout))?;
        Ok(self.pop_all())
    }

    /// Polls for the next event. If none is there yet, the waker of the last call is woken once
    /// there is one; a thread that waits in between replaces it.
    ///
    /// Cancel safe: an event is taken only by the call that returns it. A watcher that is behind
    /// reads one step of the history in each call, and wakes itself if that brought nothing.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Event, RecvError>> {
        match self.receiver.poll_fill(cx) {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(self.receiver.pop())),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Polls for all events at hand: see [`recv_batch`](Self::recv_batch) and
    /// [`poll_recv`](Self::poll_recv).
    pub fn poll_recv_batch(&mut self, cx: &mut Context<'_>) -> Poll<Result<Batch<'_>, RecvError>> {
        match self.receiver.poll_fill(cx) {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(self.pop_all())),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Polls until an event is at hand, and takes nothing: once this is ready, the next receive
    /// returns without waiting. It is for async functions that return a [`Batch`], which borrows
    /// from the watcher and so cannot come out of a poll that is repeated.
    ///
    /// Cancel safe: see [`poll_recv`](Self::poll_recv).
    ///
    /// # Errors
    /// As [`recv`](Self::recv): a lag is reported by this call, and not again.
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), RecvError>> {
        self.receiver.poll_fill(cx)
    }

    /// Iterates over events, waiting for each: `Ok` for an event, `Err` for a lag in its place.
    /// An abnormal end is one last error item; after a shutdown or a close the iterator just ends.
    pub fn iter(&mut self) -> Iter<'_> {
        Iter {
            watcher: self,
            ended: false,
        }
    }

    /// Iterates over the events that are there, without waiting: like [`iter`](Self::iter), and ends
    /// when no event is there yet.
    pub fn try_iter(&mut self) -> TryIter<'_> {
        TryIter {
            watcher: self,
            ended: false,
        }
    }

    /// The watcher's name within its engine; none is used twice.
    #[must_use]
    pub fn id(&self) -> WatcherId {
        self.receiver.handle.queue.id
    }

    /// The keys that this watcher receives events of.
    #[must_use]
    pub fn selector(&self) -> &Selector {
        &self.receiver.selector
    }

    /// The first revision that this watcher delivers: the one that was asked for, or else the one
    /// after the last that had been claimed by the publisher when the watcher was registered.
    #[must_use]
    pub fn start_revision(&self) -> Revision {
        self.receiver.start
    }

    /// The revision up to which nothing is missing: every matching event with this revision or a
    /// lower one was delivered, or reported as missed. Never goes back.
    ///
    /// It follows what is dispatched, whether that matches or not. A watcher that starts in the
    /// future, or is behind, goes by its own position alone. Events that no watcher wants are
    /// dispatched late; this call requests it, so a later call knows more.
    #[must_use]
    pub fn progress(&self) -> Revision {
        self.receiver.progress()
    }

    /// The reason for which this watcher ends, as soon as that is decided. Events queued before the
    /// end can still be received. If the watcher is closed before it has received all that was
    /// published, the end of the engine becomes [`Closed`](EndReason::Closed).
    #[must_use]
    pub fn end_reason(&self) -> Option<EndReason> {
        self.receiver.handle.queue.end_reason()
    }

    /// The number of events at hand without reading the history.
    #[must_use]
    pub fn len(&self) -> usize {
        self.receiver.len()
    }

    /// Whether no event is at hand without reading the history.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of events that are queued at most, except for a single larger transaction.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.receiver.handle.queue.capacity as usize
    }

    /// Ends this watcher at once: it leaves the registry, and its queued events are dropped.
    pub fn close(&mut self) {
        self.receiver.close();
    }

    /// A handle that ends this watcher from another thread, even while it waits in a receive.
    #[must_use]
    pub fn closer(&self) -> Closer {
        Closer {
            handle: self.receiver.handle.clone(),
        }
    }

    fn wait(&mut self, deadline: Option<Instant>) -> Result<(), RecvTimeoutError> {
        if self.receiver.fill_until(deadline)? {
            Ok(())
        } else {
            Err(RecvTimeoutError::Timeout)
        }
    }

    fn pop_all(&mut self) -> Batch<'_> {
        let with_prev = self.receiver.handle.queue.with_prev;
        let (ready, delivered) = self.receiver.pop_all();
        Batch::new(ready, delivered, with_prev)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // The watcher is not waiting: a waiter that is still registered goes with the queue.
        drop(self.receiver.handle.unregister());
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
            .field("start_revision", &self.start_revision())
            .field("len", &self.len())
            .field("end_reason", &self.end_reason())
            .finish_non_exhaustive()
    }
}

/// Waits for each event: from [`Watcher::iter`].
#[derive(Debug)]
#[must_use = "iterators do nothing until they are used"]
pub struct Iter<'a> {
    watcher: &'a mut Watcher,
    ended: bool,
}

/// Yields the events that are there: from [`Watcher::try_iter`].
#[derive(Debug)]
#[must_use = "iterators do nothing until they are used"]
pub struct TryIter<'a> {
    watcher: &'a mut Watcher,
    ended: bool,
}

/// The item for a receive's result. Sets `ended` at the end; a normal end is no item.
fn item(received: Result<Event, RecvError>, ended: &mut bool) -> Option<Result<Event, RecvError>> {
    if let Err(RecvError::Closed(reason)) = received {
        *ended = true;
        if reason.is_normal() {
            return None;
        }
    }
    Some(received)
}

impl Iterator for Iter<'_> {
    type Item = Result<Event, RecvError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        item(self.watcher.recv(), &mut self.ended)
    }
}

impl FusedIterator for Iter<'_> {}

impl Iterator for TryIter<'_> {
    type Item = Result<Event, RecvError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let received = match self.watcher.try_recv() {
            Ok(event) => Ok(event),
            Err(TryRecvError::Empty) => return None,
            Err(TryRecvError::Lagged(lagged)) => Err(RecvError::Lagged(lagged)),
            Err(TryRecvError::Closed(reason)) => Err(RecvError::Closed(reason)),
        };
        item(received, &mut self.ended)
    }
}

/// Ends a watcher from another thread: from [`Watcher::closer`].
///
/// A closer does not keep the watcher registered. Once the watcher is gone, closing does nothing.
///
/// ```
/// # use kvwatch_core as kvwatch;
/// use kvwatch::{Builder, EndReason, RecvError};
/// use std::thread;
///
/// let (_publisher, hub) = Builder::new().spawn()?;
/// let mut watcher = hub.watch("app/port")?;
/// let closer = watcher.closer();
/// let waiting = thread::spawn(move || watcher.recv());
/// closer.close();
/// assert_eq!(waiting.join().unwrap(), Err(RecvError::Closed(EndReason::Closed)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Closer {
    handle: QueueHandle,
}

impl Closer {
    /// Ends the watcher at once: it leaves the registry, its queued events are dropped, and a receive
    /// that waits returns [`EndReason::Closed`]. Events that an earlier receive took out of the queue
    /// together with its own can still be received. Closing twice does nothing more.
    pub fn close(&self) {
        self.handle.close(None);
    }
}

impl fmt::Debug for Closer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Closer")
            .field(&self.handle.queue.id.0)
            .finish()
    }
}

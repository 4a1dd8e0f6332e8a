//! Watches that deliver only the newest event of each key, for consumers that cannot keep up.
//!
//! ```
//! use kvwatch::{Builder, Change, Selector, WatcherExt};
//!
//! let (mut publisher, hub) = Builder::new().spawn()?;
//! let mut prices = hub.watch(Selector::prefix("price/"))?.latest();
//! for price in 1..=100 {
//!     publisher.publish(Change::put("price/tea", price.to_string()))?;
//! }
//! publisher.publish(Change::delete("price/coffee"))?;
//! drop(publisher);
//!
//! // A fast consumer gets every event, a slow one the newest of each key. Both end up at 100.
//! let mut last = String::new();
//! for event in &mut prices {
//!     if let Some(value) = event?.value() {
//!         last = String::from_utf8(value.to_vec())?;
//!     }
//! }
//! assert_eq!(last, "100");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Order
//!
//! A receive moves the available events of the watcher into a buffer that keeps the newest event
//! of each key, and returns the one that entered the buffer first. So revisions never go back. A
//! put that is followed by a delete of its key is delivered as the delete. A key whose event is
//! replaced moves behind the other keys. A transaction may be delivered in part, because later
//! transactions may have replaced some of its events.
//!
//! A lag is an error between the events before and after it. The events before it are delivered
//! first and are not replaced by later ones; then the lag; then the events after it. The end of
//! the watcher likewise comes after all events before it.
//!
//! # Bounds
//!
//! The buffer holds one event for each key that changed since its last delivery, in addition to
//! the watcher's queue. It owns its data and keeps no segment of the engine alive. A receive moves
//! at most 65,536 events and then returns one, so a publisher that is faster than the receiver
//! cannot delay a receive without bound. The next receive moves the rest.
//!
//! # Cancel safety
//!
//! The buffer is part of [`Latest`], not of a future. Dropping a future or a `next()` loses no
//! event and no lag.

mod event;
mod newest;

use std::fmt;
use std::future::poll_fn;
use std::iter::FusedIterator;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_core::stream::{FusedStream, Stream};

use crate::thread_waker::{block_until, deadline_after, poll_now};
use crate::{RecvError, RecvTimeoutError, Revision, TryRecvError, Watcher};
pub use event::LatestEvent;
use newest::NewestByKey;

/// The most events that one receive moves from the watcher into the buffer.
const MAX_EVENTS_PER_RECEIVE: usize = 65_536;
/// After this many events a poll lets other tasks run.
const EVENTS_PER_POLL: usize = 1_024;

/// A watcher that delivers only the newest event of each key: from
/// [`WatcherExt::latest`](crate::stream::WatcherExt::latest). The [module](self) describes the
/// order of events.
///
/// Blocking, trying and polling receives, the [`Stream`] and the iterator may be mixed freely. It
/// does not use tokio's budget. If other tasks starve beside a busy one, wrap its receives in
/// `tokio::task::coop::cooperative`.
///
/// - *If I am slow:* neither the publisher nor another watcher is delayed. This watcher falls
///   behind and catches up from the history, and each receive delivers the newest event of a key.
///   If the history no longer holds the events that this watcher needs, it reports a lag, as any
///   [`Watcher`] does.
/// - *If I am dropped:* the watcher is dropped too and unregistered at once.
/// - *If the publisher is dropped:* the newest event of each key that was published is delivered,
///   then the end.
///
/// ```
/// use kvwatch::{Builder, Change, Latest, Selector};
/// use std::time::Duration;
///
/// let (mut publisher, hub) = Builder::new().spawn()?;
/// let mut latest = Latest::new(hub.watch(Selector::all())?);
/// for change in [Change::put("a", "1"), Change::put("b", "2"), Change::put("a", "3")] {
///     publisher.publish(change)?;
/// }
/// publisher.flush(Duration::from_secs(5))?;
///
/// // The second event of `a` replaced the first and moved behind `b`.
/// assert_eq!(latest.recv()?.value().unwrap(), "2");
/// assert_eq!(latest.recv()?.value().unwrap(), "3");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "dropping it unregisters its watcher"]
pub struct Latest {
    watcher: Watcher,
    buffer: NewestByKey,
    /// A lag or an end that the watcher reported. It is ordered after all of `buffer` and before
    /// everything that the watcher still holds.
    pending_error: Option<RecvError>,
    /// How many events the current receive has moved into the buffer.
    moved: usize,
    /// The stream has yielded its last item.
    terminated: bool,
}

impl Latest {
    /// Wraps a watcher. Nothing is taken from it before the first receive.
    pub fn new(watcher: Watcher) -> Self {
        Self {
            watcher,
            buffer: NewestByKey::default(),
            pending_error: None,
            moved: 0,
            terminated: false,
        }
    }

    /// Waits for the next event, blocking the thread.
    ///
    /// # Errors
    /// [`Lagged`](RecvError::Lagged) if events were missed, in their place;
    /// [`Closed`](RecvError::Closed) once the watcher has ended, on every further call too.
    pub fn recv(&mut self) -> Result<LatestEvent, RecvError> {
        block_until(None, |cx| self.poll_recv(cx)).expect("a wait without a deadline completes")
    }

    /// Receives the next event without waiting.
    ///
    /// ```
    /// use kvwatch::{Builder, TryRecvError, WatcherExt};
    ///
    /// let (_publisher, hub) = Builder::new().spawn()?;
    /// let mut latest = hub.watch("a")?.latest();
    /// assert_eq!(latest.try_recv(), Err(TryRecvError::Empty));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Empty`](TryRecvError::Empty) if there is no event yet; otherwise as
    /// [`recv`](Self::recv).
    pub fn try_recv(&mut self) -> Result<LatestEvent, TryRecvError> {
        match poll_now(|cx| self.poll_recv(cx)) {
            Some(received) => received.map_err(Into::into),
            None => Err(TryRecvError::Empty),
        }
    }

    /// Waits for the next event for at most `timeout`, blocking the thread.
    ///
    /// # Errors
    /// [`Timeout`](RecvTimeoutError::Timeout) if no event came in time; otherwise as
    /// [`recv`](Self::recv).
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<LatestEvent, RecvTimeoutError> {
        self.recv_until(deadline_after(timeout))
    }

    /// Waits for the next event until `deadline` at the latest, blocking the thread.
    ///
    /// # Errors
    /// As [`recv_timeout`](Self::recv_timeout).
    pub fn recv_deadline(&mut self, deadline: Instant) -> Result<LatestEvent, RecvTimeoutError> {
        self.recv_until(Some(deadline))
    }

    fn recv_until(&mut self, deadline: Option<Instant>) -> Result<LatestEvent, RecvTimeoutError> {
        match block_until(deadline, |cx| self.poll_recv(cx)) {
            Some(received) => received.map_err(Into::into),
            None => Err(RecvTimeoutError::Timeout),
        }
    }

    /// Waits for the next event, on any executor.
    ///
    /// Cancel safe: a dropped future has received nothing.
    ///
    /// ```
    /// use kvwatch::{Builder, Change, WatcherExt};
    ///
    /// # futures::executor::block_on(async {
    /// let (mut publisher, hub) = Builder::new().spawn()?;
    /// let mut latest = hub.watch("a")?.latest();
    /// publisher.publish(Change::put("a", "1"))?;
    /// assert_eq!(latest.recv_async().await?.value().unwrap(), "1");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub async fn recv_async(&mut self) -> Result<LatestEvent, RecvError> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// Polls for the next event. If there is none yet, the waker of the latest call is woken once
    /// there is. If the poll stopped early to let other tasks run, the waker is woken at once.
    ///
    /// Cancel safe: an event is removed only by the call that returns it.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<LatestEvent, RecvError>> {
        loop {
            if !self.fill_buffer() {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if let Some(received) = self.next_buffered() {
                return Poll::Ready(received);
            }
            match self.watcher.poll_ready(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => self.pending_error = Some(error),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// An iterator that waits for each event, as [`Watcher::iter`] does.
    pub fn iter(&mut self) -> LatestIter<'_> {
        LatestIter { latest: self }
    }

    /// The revision up to which this consumer is complete: for every key, the last event up to
    /// that revision has been received, has been reported as missed, or is replaced by a later
    /// one that is still to come. A watch that starts at the next revision misses nothing. It
    /// never goes back.
    ///
    /// ```
    /// use kvwatch::{Builder, Change, Selector, WatcherExt};
    /// use std::time::Duration;
    ///
    /// let (mut publisher, hub) = Builder::new().spawn()?;
    /// let mut latest = hub.watch(Selector::all())?.latest();
    /// for key in ["a", "b"] {
    ///     publisher.publish(Change::put(key, "1"))?;
    /// }
    /// publisher.flush(Duration::from_secs(5))?;
    /// assert_eq!(latest.recv()?.key(), "a");
    /// assert_eq!(latest.progress(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn progress(&self) -> Revision {
        if let Some(first) = self.buffer.first_revision() {
            return first - 1;
        }
        match self.pending_error {
            Some(RecvError::Lagged(lagged)) => lagged.first - 1,
            _ => self.watcher.progress(),
        }
    }

    /// How many keys have an event in the buffer. The events in the watcher's queue are not
    /// counted.
    #[must_use]
    pub fn buffered_keys(&self) -> usize {
        self.buffer.len()
    }

    /// The watcher, for its id, its selector or a [`Closer`](crate::Closer). Its own progress
    /// counts the events in the buffer as received.
    pub fn get_ref(&self) -> &Watcher {
        &self.watcher
    }

    /// Moves available events into the buffer, up to a lag or the end. Returns `false` if it
    /// stopped to let other tasks run, and `true` if nothing is left or the receive has moved as
    /// many events as it may.
    fn fill_buffer(&mut self) -> bool {
        let mut moved = 0;
        while self.pending_error.is_none() && self.moved < MAX_EVENTS_PER_RECEIVE {
            if moved >= EVENTS_PER_POLL {
                return false;
            }
            match self.watcher.try_recv_batch() {
                Ok(batch) => {
                    moved += batch.len();
                    self.moved += batch.len();
                    batch.iter().for_each(|event| self.buffer.insert(event));
                }
                Err(TryRecvError::Lagged(lagged)) => {
                    self.pending_error = Some(RecvError::Lagged(lagged));
                }
                Err(TryRecvError::Closed(reason)) => {
                    self.pending_error = Some(RecvError::Closed(reason));
                }
                Err(_) => return true,
            }
        }
        true
    }

    /// The first event of the buffer, or the error that follows the buffer. An end stays pending,
    /// so every later receive returns it again.
    fn next_buffered(&mut self) -> Option<Result<LatestEvent, RecvError>> {
        self.moved = 0;
        if let Some(event) = self.buffer.pop_first() {
            return Some(Ok(event));
        }
        let error = self.pending_error?;
        if let RecvError::Lagged(_) = error {
            self.pending_error = None;
        }
        Some(Err(error))
    }

    /// Turns the result of a receive into an item of the stream or iterator.
    fn stream_item(
        &mut self,
        received: Result<LatestEvent, RecvError>,
    ) -> Option<Result<LatestEvent, RecvError>> {
        if let Err(RecvError::Closed(reason)) = received {
            self.terminated = true;
            if reason.is_normal() {
                return None;
            }
        }
        Some(received)
    }
}

impl From<Watcher> for Latest {
    fn from(watcher: Watcher) -> Self {
        Self::new(watcher)
    }
}

/// A lag is an `Err` item in its place. An abnormal end is one `Err` item. After that item, and
/// after a shutdown or a close, the stream yields `None` for ever.
impl Stream for Latest {
    type Item = Result<LatestEvent, RecvError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.terminated {
            return Poll::Ready(None);
        }
        self.poll_recv(cx)
            .map(|received| self.stream_item(received))
    }
}

impl FusedStream for Latest {
    fn is_terminated(&self) -> bool {
        self.terminated
    }
}

impl fmt::Debug for Latest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Latest")
            .field("watcher", &self.watcher)
            .field("gathered", &self.buffered_keys())
            .field("pending_error", &self.pending_error)
            .finish_non_exhaustive()
    }
}

impl<'a> IntoIterator for &'a mut Latest {
    type Item = Result<LatestEvent, RecvError>;
    type IntoIter = LatestIter<'a>;

    fn into_iter(self) -> LatestIter<'a> {
        self.iter()
    }
}

/// An iterator that waits for each event: from [`Latest::iter`]. Its items and its end are those of
/// the [`Stream`].
#[derive(Debug)]
#[must_use = "iterators do nothing until they are used"]
pub struct LatestIter<'a> {
    latest: &'a mut Latest,
}

impl Iterator for LatestIter<'_> {
    type Item = Result<LatestEvent, RecvError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.latest.terminated {
            return None;
        }
        let received = self.latest.recv();
        self.latest.stream_item(received)
    }
}

impl FusedIterator for LatestIter<'_> {}

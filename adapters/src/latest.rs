//! Only the newest event of each key, for consumers that cannot keep up.
//!
//! ```
//! use kvwatch::stream::WatcherExt;
//! use kvwatch::{Builder, Change, Selector};
//!
//! let (mut publisher, hub) = Builder::new().spawn()?;
//! let mut prices = hub.watch(Selector::prefix("price/"))?.latest();
//! for price in 1..=100 {
//!     publisher.publish(Change::put("price/tea", price.to_string()))?;
//! }
//! publisher.publish(Change::delete("price/coffee"))?;
//! drop(publisher);
//!
//! // A fast consumer gets each event, a slow one the newest of each key; both end up here:
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
//! # What comes out
//!
//! A receive first gathers what the watcher has, keeping one event a key, and hands out the oldest
//! of these. So revisions never go back, a put that a delete followed comes out as the delete, and
//! a key whose event was replaced moves behind the others. A transaction need not stay whole: some
//! of its events may have been replaced by later ones.
//!
//! A lag is an error item in its place: what came before it is handed out first, and is not
//! replaced by what comes after; then the lag; then what came after it. So is an end: first what
//! came before it, then the end.
//!
//! # Bounds
//!
//! What is kept is one event for each key that changed since it was handed out last, beside what
//! the watcher has queued. None of it keeps a segment of the engine alive. One receive gathers
//! 65,536 events at most before it hands one out, so a publisher that is faster than the gathering
//! cannot keep it from returning; what it left comes with the next.
//!
//! # Cancel safety
//!
//! Everything gathered is kept here, not in a future: a future or a `next()` that is dropped
//! loses nothing.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::future::poll_fn;
use std::iter::FusedIterator;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_core::stream::{FusedStream, Stream};

use crate::park::{block_until, deadline_after, poll_now};
use crate::{
    Change, EventKind, EventRef, PrevValue, RecvError, RecvTimeoutError, Revision, TryRecvError,
    Watcher,
};

/// One receive gathers so many events at most.
const GATHERED_A_RECEIVE: usize = 65_536;
/// After so many, a poll lets other tasks run.
const GATHERED_A_POLL: usize = 1_024;

/// The newest event of a key: from [`Latest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LatestEvent {
    revision: Revision,
    change: Change,
    replaced: u64,
}

impl LatestEvent {
    /// The revision of the transaction that this event is part of.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Whether this is a put or a delete.
    #[must_use]
    pub fn kind(&self) -> EventKind {
        self.change.kind()
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &Bytes {
        self.change.key()
    }

    /// The new value; `None` for a delete.
    #[must_use]
    pub fn value(&self) -> Option<&Bytes> {
        self.change.value()
    }

    /// What the key held before this event, which need not be what was handed out before: see
    /// [`Event::prev_value`](crate::Event::prev_value).
    #[must_use]
    pub fn prev_value(&self) -> &PrevValue {
        self.change.prev_value()
    }

    /// How many older events of the key were not handed out because of this one.
    #[must_use]
    pub fn replaced(&self) -> u64 {
        self.replaced
    }

    /// The change on its own.
    #[must_use]
    pub fn into_change(self) -> Change {
        self.change
    }
}

/// What was gathered, one event a key, in the order in which it came.
#[derive(Debug, Default)]
struct Gathered {
    events: BTreeMap<u64, LatestEvent>,
    /// Where in `events` the one of a key is.
    places: HashMap<Bytes, u64>,
    next: u64,
}

impl Gathered {
    fn add(&mut self, event: EventRef<'_>) {
        let place = self.next;
        self.next += 1;
        let old = match self.places.get_mut::<[u8]>(event.key()) {
            Some(old) => self.events.remove(&std::mem::replace(old, place)),
            None => {
                self.places.insert(event.key_bytes(), place);
                None
            }
        };
        let event = LatestEvent {
            revision: event.revision(),
            change: event.to_change(),
            replaced: old.map_or(0, |old| old.replaced + 1),
        };
        self.events.insert(place, event);
    }

    fn pop(&mut self) -> Option<LatestEvent> {
        let (_, event) = self.events.pop_first()?;
        self.places.remove(event.key());
        Some(event)
    }

    fn first_revision(&self) -> Option<Revision> {
        let (_, event) = self.events.first_key_value()?;
        Some(event.revision)
    }
}

/// A watcher that hands out only the newest event of each key: from
/// [`WatcherExt::latest`](crate::stream::WatcherExt::latest). The [module](self) tells what comes
/// out, and in which order.
///
/// Receiving by blocking, trying, polling, as a [`Stream`] and as an iterator may be mixed freely.
/// It takes no part in tokio's budget: where others starve beside a busy one, put
/// `tokio::task::coop::cooperative` around its receives.
///
/// - *If I am slow:* nobody else is delayed. The watcher falls behind, and each receive takes the
///   newest from all that the history has by then. Where the history has moved past it, that is a
///   lag, as of any [`Watcher`].
/// - *If I am dropped:* so is the watcher, and it is out of the registry at once.
/// - *If the publisher is gone:* the newest of everything published comes first, then the end.
#[must_use = "dropping it unregisters its watcher"]
pub struct Latest {
    watcher: Watcher,
    gathered: Gathered,
    /// Comes after all that was gathered, and before what the watcher has.
    stop: Option<RecvError>,
    /// How many events this receive has taken from the watcher.
    taken: usize,
    /// The stream has said its last.
    done: bool,
}

impl Latest {
    /// Nothing is taken from the watcher before a receive. A lag or an end that it reports comes
    /// out here, too.
    pub fn new(watcher: Watcher) -> Self {
        Self {
            watcher,
            gathered: Gathered::default(),
            stop: None,
            taken: 0,
            done: false,
        }
    }

    /// Waits for the next event.
    ///
    /// # Errors
    /// [`Lagged`](RecvError::Lagged) where events were missed, in their place;
    /// [`Closed`](RecvError::Closed) once the watcher has ended, from then on always.
    pub fn recv(&mut self) -> Result<LatestEvent, RecvError> {
        block_until(None, |cx| self.poll_recv(cx)).expect("without a deadline it waits")
    }

    /// The next event if there is one.
    ///
    /// # Errors
    /// [`Empty`](TryRecvError::Empty) if nothing is there yet; otherwise as
    /// [`recv`](Self::recv).
    pub fn try_recv(&mut self) -> Result<LatestEvent, TryRecvError> {
        match poll_now(|cx| self.poll_recv(cx)) {
            Some(received) => received.map_err(Into::into),
            None => Err(TryRecvError::Empty),
        }
    }

    /// Waits for the next event this long at most.
    ///
    /// # Errors
    /// [`Timeout`](RecvTimeoutError::Timeout) if nothing came; otherwise as
    /// [`recv`](Self::recv).
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<LatestEvent, RecvTimeoutError> {
        self.recv_until(deadline_after(timeout))
    }

    /// Waits for the next event until then at most.
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
    /// Cancel safe: a future that is dropped has handed out nothing.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub async fn recv_async(&mut self) -> Result<LatestEvent, RecvError> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// Polls for the next event. Where nothing is there yet, the waker of the last call is woken
    /// once there is; it is woken at once where there is more to gather.
    ///
    /// Cancel safe: an event leaves only by the call that returns it.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<LatestEvent, RecvError>> {
        loop {
            if !self.gather() {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if let Some(received) = self.hand_out() {
                return Poll::Ready(received);
            }
            match self.watcher.poll_ready(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(stop)) => self.stop = Some(stop),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Events as they come, waiting for each: like [`Watcher::iter`].
    pub fn iter(&mut self) -> LatestIter<'_> {
        LatestIter { latest: self }
    }

    /// Up to where everything is known: for every key, the last event with this revision or one
    /// below has been handed out, or is replaced by one above that is still to come, or was
    /// reported as missed. Never goes back. Who resumes at the revision behind it misses nothing.
    #[must_use]
    pub fn progress(&self) -> Revision {
        if let Some(first) = self.gathered.first_revision() {
            return first - 1;
        }
        match self.stop {
            Some(RecvError::Lagged(lagged)) => lagged.from - 1,
            _ => self.watcher.progress(),
        }
    }

    /// How many keys have an event gathered and not handed out yet; what the watcher has queued
    /// comes on top of that.
    #[must_use]
    pub fn gathered(&self) -> usize {
        self.gathered.events.len()
    }

    /// The watcher: its name, its selector, a [`Closer`](crate::Closer). Its own progress is that
    /// of what was gathered, not of what was handed out.
    pub fn get_ref(&self) -> &Watcher {
        &self.watcher
    }

    /// Takes what the watcher has, up to a lag or the end. Returns whether that is all, or enough
    /// for one receive; if not, it is enough for one poll.
    fn gather(&mut self) -> bool {
        let mut taken = 0;
        while self.stop.is_none() && self.taken < GATHERED_A_RECEIVE {
            if taken >= GATHERED_A_POLL {
                return false;
            }
            match self.watcher.try_recv_batch() {
                Ok(batch) => {
                    taken += batch.len();
                    self.taken += batch.len();
                    batch.iter().for_each(|event| self.gathered.add(event));
                }
                Err(TryRecvError::Lagged(lagged)) => self.stop = Some(RecvError::Lagged(lagged)),
                Err(TryRecvError::Closed(reason)) => self.stop = Some(RecvError::Closed(reason)),
                Err(_) => return true,
            }
        }
        true
    }

    /// What is next of what was gathered, or what stopped the gathering.
    fn hand_out(&mut self) -> Option<Result<LatestEvent, RecvError>> {
        self.taken = 0;
        if let Some(event) = self.gathered.pop() {
            return Some(Ok(event));
        }
        let stop = self.stop?;
        if let RecvError::Lagged(_) = stop {
            self.stop = None;
        }
        Some(Err(stop))
    }

    /// What a receive returned, as an item of a stream or iterator.
    fn item(
        &mut self,
        received: Result<LatestEvent, RecvError>,
    ) -> Option<Result<LatestEvent, RecvError>> {
        if let Err(RecvError::Closed(reason)) = received {
            self.done = true;
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

/// A lag is an `Err` item in its place; an end that nobody asked for is one too, once. Behind it,
/// and behind a shutdown or a close, there is `None` for ever.
impl Stream for Latest {
    type Item = Result<LatestEvent, RecvError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.done {
            return Poll::Ready(None);
        }
        self.poll_recv(cx).map(|received| self.item(received))
    }
}

impl FusedStream for Latest {
    fn is_terminated(&self) -> bool {
        self.done
    }
}

impl fmt::Debug for Latest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Latest")
            .field("watcher", &self.watcher)
            .field("gathered", &self.gathered())
            .field("stop", &self.stop)
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

/// Waits for each event: from [`Latest::iter`]. Ends as the [`Stream`] does.
#[derive(Debug)]
#[must_use = "iterators do nothing until they are used"]
pub struct LatestIter<'a> {
    latest: &'a mut Latest,
}

impl Iterator for LatestIter<'_> {
    type Item = Result<LatestEvent, RecvError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.latest.done {
            return None;
        }
        let received = self.latest.recv();
        self.latest.item(received)
    }
}

impl FusedIterator for LatestIter<'_> {}

//! Forwards watchers into flume channels, to share one watch among a pool of workers or to receive
//! several watches from one channel. Feature `flume`.
//!
//! [`forward`] runs on a thread of the caller, [`forward_async`] in a task of the caller; no thread
//! and no task is started. The caller creates the channel, and its capacity is the backpressure:
//! while the channel is full, forwarding waits and the watcher falls behind; afterwards the watcher
//! catches up from the history. No event is lost by this.
//!
//! ```
//! use kvwatch::flume::forward;
//! use kvwatch::{Builder, Change, EndReason, Selector};
//! use std::thread;
//!
//! let (mut publisher, hub) = Builder::new().spawn()?;
//! let watcher = hub.watch(Selector::prefix("job/"))?;
//! let (sender, receiver) = flume::bounded(16);
//! let workers: Vec<_> = (0..3)
//!     .map(|_| {
//!         let jobs = receiver.clone();
//!         thread::spawn(move || jobs.iter().filter(Result::is_ok).count())
//!     })
//!     .collect();
//! drop(receiver);
//! let forwarding = thread::spawn(|| forward(watcher, sender));
//!
//! for job in 0..100 {
//!     publisher.publish(Change::put(format!("job/{job}"), ""))?;
//! }
//! drop(publisher);
//! assert_eq!(forwarding.join().unwrap()?, EndReason::ShutDown);
//! let done: usize = workers.into_iter().map(|worker| worker.join().unwrap()).sum();
//! assert_eq!(done, 100);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Items
//!
//! Each message is one [`Item`], in the watcher's order: an event, or a lag between the events
//! before and after it. An abnormal end is the last item. A shutdown or a close is not an item:
//! forwarding drops its sender, and the channel is disconnected if that was the last sender.
//! Workers that share the channel each get some of the items. There is no order between workers,
//! and the events of one revision may go to different workers.
//!
//! # If every receiver is dropped
//!
//! Forwarding ends with [`Undelivered`], which returns the watcher and the item that the channel
//! did not accept. Forwarding notices the disconnect when it sends the next item, or when it is
//! polled for another reason; until then the watcher stays registered. Items that the channel had
//! accepted are dropped with the last receiver. To process those again, start a new watch after
//! the last revision that was processed
//! ([`start_revision`](crate::WatchOptions::start_revision)).
//!
//! # One way of receiving per receiver
//!
//! Do not mix polling (`recv_async`, `stream`) with trying or blocking (`try_recv`, `recv`) on one
//! flume receiver: flume 0.12 loses wake-ups then. Use a clone of the receiver for each.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use ::flume::r#async::SendFut;
use ::flume::{SendError, Sender, TrySendError};
use futures_core::future::FusedFuture;

use crate::{EndReason, Event, RecvError, Watcher};

/// A message of the channel: an event, a lag, or an abnormal end.
pub type Item = Result<Event, RecvError>;

/// After this many items a poll lets other tasks run.
const ITEMS_PER_POLL: usize = 64;

/// Forwards a watcher until it ends. Blocks the thread while there is no event and while the
/// channel is full. Returns why the watcher ended; an abnormal end was sent as the last item too.
///
/// To stop it from another thread, take a [`Closer`](crate::Closer) from the watcher first. A
/// forward that waits for room in a full channel stops when there is room, or when every receiver
/// is dropped.
///
/// ```
/// use kvwatch::flume::forward;
/// use kvwatch::{Builder, Change, EndReason};
///
/// let (mut publisher, hub) = Builder::new().spawn()?;
/// let watcher = hub.watch("a")?;
/// publisher.publish(Change::put("a", "1"))?;
/// drop(publisher);
///
/// let (sender, receiver) = flume::unbounded();
/// assert_eq!(forward(watcher, sender)?, EndReason::ShutDown);
/// let revisions: Vec<_> = receiver.iter().map(|item| item.unwrap().revision()).collect();
/// assert_eq!(revisions, [1]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`Undelivered`] if every receiver is dropped.
pub fn forward(mut watcher: Watcher, sender: Sender<Item>) -> Result<EndReason, Undelivered> {
    while !sender.is_disconnected() {
        let item = watcher.recv();
        let end = end_of(&item);
        if let Some(reason) = end
            && reason.is_normal()
        {
            return Ok(reason);
        }
        if let Err(SendError(item)) = sender.send(item) {
            return Err(Undelivered::new(watcher, Some(item)));
        }
        if let Some(reason) = end {
            return Ok(reason);
        }
    }
    Err(Undelivered::new(watcher, None))
}

/// Forwards a watcher as a future, on any executor. Completes with the result that [`forward`]
/// would return. [`Forward`] describes its cancel safety.
///
/// ```
/// use kvwatch::flume::forward_async;
/// use kvwatch::{Builder, Change, Selector};
///
/// # futures::executor::block_on(async {
/// let (mut publisher, hub) = Builder::new().spawn()?;
/// let (sender, receiver) = flume::bounded(4);
/// // One receiver for two watches.
/// let cats = forward_async(hub.watch(Selector::prefix("cat/"))?, sender.clone());
/// let dogs = forward_async(hub.watch(Selector::prefix("dog/"))?, sender);
/// publisher.publish(Change::put("cat/tom", ""))?;
/// publisher.publish(Change::put("dog/rex", ""))?;
/// drop(publisher);
///
/// let (cats, dogs) = futures::join!(cats, dogs);
/// (cats?, dogs?);
/// assert_eq!(receiver.iter().count(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
pub fn forward_async(watcher: Watcher, sender: Sender<Item>) -> Forward {
    Forward {
        parts: Some(Parts {
            watcher,
            sender,
            sending: None,
            end: None,
        }),
    }
}

fn end_of(item: &Item) -> Option<EndReason> {
    match item {
        Err(RecvError::Closed(reason)) => Some(*reason),
        _ => None,
    }
}

/// A future that forwards a watcher until it ends: from [`forward_async`]. It yields to other tasks
/// every 64 items, on any executor.
///
/// - *If the channel is full:* the future waits, the watcher falls behind and catches up
///   afterwards.
/// - *If I am dropped:* the watcher and the item that waits for room are dropped.
///   [`into_parts`](Self::into_parts) returns them instead.
/// - *If every receiver is dropped:* the future completes with [`Undelivered`].
///
/// # Cancel safety
///
/// `&mut forward` may be polled in `select!`, left and polled again. No item is lost or sent twice,
/// because the item that waits for room in the channel is part of this struct.
#[must_use = "a future does nothing until it is polled"]
#[derive(Debug)]
pub struct Forward {
    /// `None` once the future has completed.
    parts: Option<Parts>,
}

/// The parts of a [`Forward`] that was stopped: from [`Forward::into_parts`]. A [`Forward`] that is
/// made from them continues where the first one stopped.
///
/// ```
/// use futures::{FutureExt, StreamExt};
/// use kvwatch::flume::{Forward, forward_async};
/// use kvwatch::{Builder, Change};
///
/// # futures::executor::block_on(async {
/// let (mut publisher, hub) = Builder::new().spawn()?;
/// let (sender, receiver) = flume::bounded(1);
/// let mut forward = forward_async(hub.watch("a")?, sender);
/// for value in ["1", "2", "3"] {
///     publisher.publish(Change::put("a", value))?;
/// }
/// publisher.flush(std::time::Duration::from_secs(5))?;
/// assert!((&mut forward).now_or_never().is_none()); // The second event waits for room.
///
/// let mut parts = forward.into_parts().unwrap();
/// assert_eq!(receiver.recv_async().await??.revision(), 1);
/// parts.sending.take().unwrap().await?;
/// assert_eq!(receiver.recv_async().await??.revision(), 2);
/// assert_eq!(parts.watcher.recv()?.revision(), 3);
/// # let _ = Forward::from(parts);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
#[must_use = "dropping this drops the watcher and the item that waits for room"]
#[non_exhaustive]
pub struct Parts {
    /// The watcher, with all events not yet received.
    pub watcher: Watcher,
    /// The sending half of the channel.
    pub sender: Sender<Item>,
    /// The item that waits for room in the channel, if the channel was full. It comes before all
    /// events of `watcher`. A receiver may take it at any moment; the future completes once that
    /// has happened. Dropping the future withdraws the item, unless a receiver has taken it.
    pub sending: Option<SendFut<'static, Item>>,
    /// The abnormal end of the watcher, once it has been given to the channel.
    end: Option<EndReason>,
}

impl Forward {
    /// Stops forwarding without losing an item. `None` if the future has completed.
    #[must_use]
    pub fn into_parts(self) -> Option<Parts> {
        self.parts
    }

    fn undelivered(&mut self, item: Option<Item>) -> Poll<<Self as Future>::Output> {
        match self.parts.take() {
            Some(parts) => Poll::Ready(Err(Undelivered::new(parts.watcher, item))),
            None => Poll::Pending,
        }
    }

    fn ended(&mut self, reason: EndReason) -> Poll<<Self as Future>::Output> {
        self.parts = None;
        Poll::Ready(Ok(reason))
    }
}

impl From<Parts> for Forward {
    fn from(parts: Parts) -> Self {
        Self { parts: Some(parts) }
    }
}

impl Future for Forward {
    type Output = Result<EndReason, Undelivered>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        for _ in 0..ITEMS_PER_POLL {
            let Some(parts) = &mut this.parts else {
                return Poll::Pending;
            };
            if let Some(sending) = &mut parts.sending {
                let sent = ready!(Pin::new(sending).poll(cx));
                parts.sending = None;
                if let Err(SendError(item)) = sent {
                    return this.undelivered(Some(item));
                }
            }
            if let Some(reason) = parts.end {
                return this.ended(reason);
            }
            if parts.sender.is_disconnected() {
                return this.undelivered(None);
            }
            let item = ready!(parts.watcher.poll_recv(cx));
            parts.end = end_of(&item);
            if let Some(reason) = parts.end
                && reason.is_normal()
            {
                return this.ended(reason);
            }
            match parts.sender.try_send(item) {
                Ok(()) => {}
                Err(TrySendError::Full(item)) => {
                    parts.sending = Some(parts.sender.clone().into_send_async(item));
                }
                Err(TrySendError::Disconnected(item)) => return this.undelivered(Some(item)),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl FusedFuture for Forward {
    fn is_terminated(&self) -> bool {
        self.parts.is_none()
    }
}

/// The error of forwarding: every receiver of the channel is dropped. It returns the watcher and the
/// item that could not be sent.
///
/// ```
/// use kvwatch::flume::forward;
/// use kvwatch::{Builder, Change};
///
/// let (mut publisher, hub) = Builder::new().spawn()?;
/// let watcher = hub.watch("a")?;
/// publisher.publish(Change::put("a", "1"))?;
///
/// let (sender, receiver) = flume::bounded(1);
/// drop(receiver);
/// let (mut watcher, item) = forward(watcher, sender).unwrap_err().into_parts();
/// // Nothing was received from the watcher, so there is no item.
/// assert!(item.is_none());
/// assert_eq!(watcher.recv()?.revision(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Undelivered {
    /// Boxed to keep every `Result` with this error small.
    parts: Box<(Watcher, Option<Item>)>,
}

impl Undelivered {
    fn new(watcher: Watcher, item: Option<Item>) -> Self {
        Self {
            parts: Box::new((watcher, item)),
        }
    }

    /// The item that the channel did not accept, if there was one to send. It comes before all
    /// events of the watcher.
    #[must_use]
    pub fn item(&self) -> Option<&Item> {
        self.parts.1.as_ref()
    }

    /// Returns the watcher, and the item that comes before all of its events.
    pub fn into_parts(self) -> (Watcher, Option<Item>) {
        *self.parts
    }
}

impl fmt::Debug for Undelivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Undelivered")
            .field("watcher", &self.parts.0)
            .field("item", &self.parts.1)
            .finish()
    }
}

impl fmt::Display for Undelivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("every receiver of the channel was dropped; the error returns the watcher")
    }
}

impl Error for Undelivered {}

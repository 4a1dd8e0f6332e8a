//! A watcher forwarded into a flume channel: one watch shared by a pool of workers, or
//! several watches in one receiver. Feature `flume`.
//!
//! [`forward`] does it on a thread of the caller's, [`forward_async`] in a task of the caller's;
//! none is started here. The channel is the caller's too, and its capacity the backpressure: while
//! it is full the forwarding waits, the watcher falls behind and catches up from the history
//! afterwards, and nothing is lost.
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
//! # What comes out
//!
//! Every receive of the channel is one [`Item`], in the watcher's order: an event; a lag, in its
//! place; an end that nobody asked for, as the last item. A shutdown or a close is no item: the
//! forwarding drops its sender, and the channel is disconnected when it was the last. Workers that
//! share a receiver each get some of the items, and with the order between them is gone, as is the
//! unity of a revision.
//!
//! # If the receivers are gone
//!
//! Then the forwarding ends with [`Undelivered`]: the watcher, and the item that the channel did
//! not accept. It notices when it has the next item to send, or is polled for another reason;
//! until then the watcher stays registered. What the channel had accepted is the channel's: items
//! that lay in it when the last receiver went are gone with it, so whoever resumes goes by the
//! last revision that was worked on
//! ([`start_revision`](crate::WatchOptions::start_revision)).
//!
//! # One way of receiving
//!
//! On one flume receiver do not both poll (`recv_async`, `stream`) and try or block (`try_recv`,
//! `recv`): flume 0.12 loses wake-ups then. A clone of the receiver for each is fine.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use ::flume::r#async::SendFut;
use ::flume::{SendError, Sender, TrySendError};
use futures_core::future::FusedFuture;

use crate::{EndReason, Event, RecvError, Watcher};

/// What comes out of the channel: an event, a lag in its place, or an abnormal end.
pub type Item = Result<Event, RecvError>;

/// After so many items a poll lets other tasks run.
const ITEMS_A_POLL: usize = 64;

/// Forwards what the watcher receives until its end, blocking while there is nothing to receive
/// and while the channel is full. Returns why the watcher ended; if that was not normal, it was
/// the last item too.
///
/// To stop it from elsewhere, take a [`Closer`](crate::Closer) of the watcher before; while it
/// waits for room in the channel, it sees that once there is room, or no receiver.
///
/// # Errors
/// [`Undelivered`] once every receiver is gone.
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

/// The same as a future, for a task of any executor.
///
/// ```
/// use kvwatch::flume::forward_async;
/// use kvwatch::{Builder, Change, Selector};
///
/// # futures::executor::block_on(async {
/// let (mut publisher, hub) = Builder::new().spawn()?;
/// let (sender, receiver) = flume::bounded(4);
/// // Two watches in one receiver.
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

/// Forwards until the watcher's end: from [`forward_async`]. Completes as [`forward`] returns.
///
/// It yields to other tasks every few dozen items, whatever the executor.
///
/// # Cancel safety
///
/// The item that waits for room in the channel is kept in here, not in a future of the poll. So
/// `&mut forward` may be polled in `select!`, left, and polled again: nothing is lost, nothing is
/// sent twice. To stop for good and go on with the watcher, take it apart with
/// [`into_parts`](Self::into_parts). Dropped, it drops the watcher, and with that whatever was not
/// sent, as dropping any watcher does.
#[must_use = "a future does nothing until it is polled"]
#[derive(Debug)]
pub struct Forward {
    /// `None` once it is done.
    parts: Option<Parts>,
}

/// A forwarding that was stopped: from [`Forward::into_parts`]. A [`Forward`] made of it goes on
/// where it stopped.
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
/// assert!((&mut forward).now_or_never().is_none()); // the second waits for room
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
    /// The watcher, with everything that was not taken from it yet.
    pub watcher: Watcher,
    /// The channel.
    pub sender: Sender<Item>,
    /// The item before those, if the channel was full: it stands in the channel's line, from which
    /// a receiver may take it at any moment. Await it, to know that it was taken. Dropped, it
    /// leaves the line, unless it was taken before.
    pub sending: Option<SendFut<'static, Item>>,
    /// The watcher's end, which has been handed to the channel.
    end: Option<EndReason>,
}

impl Forward {
    /// Stops, with nothing lost. `None` once it is done.
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
        for _ in 0..ITEMS_A_POLL {
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

/// Every receiver of the channel is gone: the watcher, and the item that was to be sent next.
pub struct Undelivered {
    /// Boxed, as an error should not make every result larger than it need be.
    parts: Box<(Watcher, Option<Item>)>,
}

impl Undelivered {
    fn new(watcher: Watcher, item: Option<Item>) -> Self {
        Self {
            parts: Box::new((watcher, item)),
        }
    }

    /// What the channel did not accept, if there was something to send. What the watcher receives
    /// next comes behind it.
    #[must_use]
    pub fn item(&self) -> Option<&Item> {
        self.parts.1.as_ref()
    }

    /// The watcher, and what came before whatever it receives next.
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
        f.write_str("every receiver of the channel is gone; the watcher goes on")
    }
}

impl Error for Undelivered {}

//! What the bodies of tests that run in every world are made of.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::thread;

use futures::channel::oneshot;
use kvwatch::{
    Builder, Dispatcher, EndReason, Event, Hub, Overflow, RecvError, Selector, WatchOptions,
};

use crate::put;
use crate::worlds::{Publish, Receive, World};

/// An engine that dispatches on the publisher's thread, so that every step is in the test's hand.
///
/// # Panics
/// On options that are not valid.
pub fn by_hand<W: World>(builder: Builder) -> (W::Publisher, Hub, Dispatcher) {
    let (publisher, hub, dispatcher) = crate::by_hand(builder);
    (W::Publisher::of(publisher), hub, dispatcher)
}

/// An engine with a dispatcher's thread.
///
/// # Panics
/// On options that are not valid.
#[must_use]
pub fn running<W: World>(builder: Builder) -> (W::Publisher, Hub) {
    let (publisher, hub) = builder.spawn().expect("valid options");
    (W::Publisher::of(publisher), hub)
}

/// A watch of everything.
///
/// # Panics
/// If it is refused.
#[must_use]
pub fn watch<W: World>(hub: &Hub, options: WatchOptions) -> W::Stream {
    let watcher = hub.watch_with(Selector::all(), options);
    W::Stream::of(watcher.expect("it runs"))
}

/// The ways to receive, so that what is true of one is tried with each.
#[derive(Clone, Copy, Debug)]
pub enum Way {
    /// `recv`.
    Recv,
    /// `next` of a stream, or of an iterator.
    Item,
    /// `recv_batch`.
    Batch,
}

/// All of them.
pub const WAYS: [Way; 3] = [Way::Recv, Way::Item, Way::Batch];

/// What came, in one way or the other; a normal end that a stream only shows by its end is told
/// as the watcher tells it.
///
/// # Errors
/// As a watcher's receive.
///
/// # Panics
/// If another end ends a stream without a word.
pub async fn receive<S: Receive>(stream: &mut S, way: Way) -> Result<Vec<Event>, RecvError> {
    match way {
        Way::Recv => stream.recv().await.map(|event| vec![event]),
        Way::Batch => stream.recv_batch().await,
        Way::Item => match stream.item().await {
            Some(item) => item.map(|event| vec![event]),
            None => {
                let reason = stream.watcher().end().expect("only an end ends a stream");
                assert!(reason.is_normal(), "{reason:?} just ended the stream");
                Err(RecvError::Closed(reason))
            }
        },
    }
}

/// The revisions of what [`receive`] returns.
///
/// # Errors
/// As that.
pub async fn revisions<S: Receive>(stream: &mut S, way: Way) -> Result<Vec<u64>, RecvError> {
    let events = receive(stream, way).await?;
    Ok(crate::revisions(events))
}

/// A stream with one event at hand, behind which it ends for this reason: an overflow, or a failed
/// dispatcher.
///
/// # Panics
/// If the engine refuses anything.
pub async fn that_ends<W: World>(reason: EndReason) -> W::Stream {
    let (mut publisher, hub, dispatcher) = by_hand::<W>(Builder::new());
    let options = WatchOptions::new().capacity(1).overflow(Overflow::Cancel);
    let stream = watch::<W>(&hub, options);
    publisher.publish(put("k")).await.expect("it runs");
    if reason == EndReason::Overflow {
        publisher.publish(put("k")).await.expect("it runs");
    }
    drop(dispatcher);
    stream
}

/// Runs this on a thread, and waits for it without blocking.
///
/// # Panics
/// If it does.
pub async fn on_a_thread<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, outcome) = oneshot::channel();
    let thread = thread::spawn(|| drop(done.send(body())));
    let outcome = outcome.await.expect("it did not panic");
    thread.join().expect("it did not panic");
    outcome
}

/// Polls a future once with this waker, and drops it.
pub fn poll_once<T>(future: impl Future<Output = T>, waker: &Waker) -> Poll<T> {
    pin!(future).poll(&mut Context::from_waker(waker))
}

//! Helpers for test bodies that run in every runtime.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::thread;

use futures::channel::oneshot;
use kvwatch::{
    Builder, Dispatcher, EndReason, Event, Hub, Overflow, RecvError, Selector, WatchOptions,
};

use crate::put;
use crate::runtimes::{Publish, Receive, Runtime};

/// An engine without a dispatcher thread: see [`inline_engine`](crate::inline_engine()).
///
/// # Panics
/// If the builder's options are not valid.
pub fn inline_engine<Rt: Runtime>(builder: Builder) -> (Rt::Publisher, Hub, Dispatcher) {
    let (publisher, hub, dispatcher) = crate::inline_engine(builder);
    (Rt::Publisher::of(publisher), hub, dispatcher)
}

/// An engine with a dispatcher thread.
///
/// # Panics
/// If the builder's options are not valid.
#[must_use]
pub fn running<Rt: Runtime>(builder: Builder) -> (Rt::Publisher, Hub) {
    let (publisher, hub) = builder.spawn().expect("valid options");
    (Rt::Publisher::of(publisher), hub)
}

/// A watch of everything.
///
/// # Panics
/// If the watch is refused.
#[must_use]
pub fn watch<Rt: Runtime>(hub: &Hub, options: WatchOptions) -> Rt::Stream {
    let watcher = hub.watch_with(Selector::all(), options);
    Rt::Stream::of(watcher.expect("it runs"))
}

/// A way to receive. Each of them must show the same.
#[derive(Clone, Copy, Debug)]
pub enum Way {
    /// `recv`.
    Recv,
    /// `next` of a stream or of an iterator.
    Item,
    /// `recv_batch`.
    Batch,
}

/// Every way to receive.
pub const WAYS: [Way; 3] = [Way::Recv, Way::Item, Way::Batch];

/// Receives in this way. A stream shows a normal end by ending: it is returned as the error that
/// the watcher would return.
///
/// # Errors
/// As a receive of the watcher.
///
/// # Panics
/// If a stream ends without an error although its end is not a normal one.
pub async fn receive<S: Receive>(stream: &mut S, way: Way) -> Result<Vec<Event>, RecvError> {
    match way {
        Way::Recv => stream.recv().await.map(|event| vec![event]),
        Way::Batch => stream.recv_batch().await,
        Way::Item => match stream.item().await {
            Some(item) => item.map(|event| vec![event]),
            None => {
                let reason = stream
                    .watcher()
                    .end_reason()
                    .expect("only an end ends a stream");
                assert!(reason.is_normal(), "{reason:?} just ended the stream");
                Err(RecvError::Closed(reason))
            }
        },
    }
}

/// The revisions of the events that [`receive`] returns.
///
/// # Errors
/// As [`receive`].
pub async fn revisions<S: Receive>(stream: &mut S, way: Way) -> Result<Vec<u64>, RecvError> {
    let events = receive(stream, way).await?;
    Ok(crate::revisions(events))
}

/// A stream with one event queued that ends after it for this reason: an overflow, or a failed
/// dispatcher.
///
/// # Panics
/// If the engine refuses anything.
pub async fn ending_stream<Rt: Runtime>(reason: EndReason) -> Rt::Stream {
    let (mut publisher, hub, dispatcher) = inline_engine::<Rt>(Builder::new());
    let options = WatchOptions::new().capacity(1).overflow(Overflow::Cancel);
    let stream = watch::<Rt>(&hub, options);
    publisher.publish(put("k")).await.expect("it runs");
    if reason == EndReason::Overflow {
        publisher.publish(put("k")).await.expect("it runs");
    }
    drop(dispatcher);
    stream
}

/// Runs `body` on a thread, and waits for it without blocking.
///
/// # Panics
/// If the body panics.
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

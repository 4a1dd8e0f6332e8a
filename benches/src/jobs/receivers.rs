//! What the jobs share: watches, receivers that check their events, and publishing in a window.

use std::sync::Arc;
use std::thread;

use bytes::Bytes;
use tokio::task;

use crate::events::{self, Event, WARM_UP};
use crate::peer::{Input, Output, Peer, Setup, Watch};
use crate::progress::{Progress, STRIDE, Window};

/// The number of events with which to warm this peer up: a multiple of the [`STRIDE`] in which its
/// receiver reports.
pub(super) fn warm_up(peer: &impl Peer) -> usize {
    (WARM_UP / peer.event_divisor()).next_multiple_of(STRIDE as usize)
}

/// How a receiver waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReceiverKind {
    /// A thread that blocks.
    Thread,
    /// A tokio task on the setup's runtime.
    Task,
}

/// What each of many watchers selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WatchKind {
    Exact,
    Prefix,
}

impl WatchKind {
    /// The watch with this number.
    pub(super) fn watch(self, number: usize) -> Watch {
        match self {
            Self::Exact => Watch::Exact(events::key(number)),
            Self::Prefix => Watch::Prefix(events::prefix(number)),
        }
    }

    /// A key that [`watch(number)`](Self::watch) selects, and no other watch.
    pub(super) fn key(self, number: usize) -> Bytes {
        match self {
            Self::Exact => events::key(number),
            Self::Prefix => events::key_below(number),
        }
    }
}

/// A running receiver.
pub(super) enum Consumer<T> {
    Thread(thread::JoinHandle<T>),
    Task(task::JoinHandle<T>),
}

impl<T> Consumer<T> {
    /// Waits for its end, and returns its result.
    ///
    /// # Panics
    /// If the receiver panicked: events were lost, or came out of order.
    pub(super) fn join(self, setup: &Setup) -> T {
        match self {
            Self::Thread(thread) => thread.join().expect("the receiver got everything"),
            Self::Task(task) => setup
                .runtime
                .block_on(task)
                .expect("the receiver got everything"),
        }
    }
}

/// Publishes the events one by one, each as soon as the window is open for it.
pub(super) fn publish_all(
    input: &mut impl Input,
    window: &mut Window<'_>,
    events: impl Iterator<Item = Event>,
) {
    // `for_each` instead of `for`: the compiler then moves an event in pieces of the same size on
    // both sides. A load of another size than the store before it stalls, which would cost kvwatch
    // more than the peers that it is compared with.
    events.for_each(|event| {
        window.wait_until_open(event.seq);
        input.publish(event);
    });
}

/// Starts the receiver with number `index`. It must get exactly the events `expected`, in that
/// order, and calls `report` after each.
pub(super) fn consume<O: Output>(
    setup: &Setup,
    kind: ReceiverKind,
    mut output: O,
    index: usize,
    progress: &Arc<Progress>,
    expected: impl Iterator<Item = u64> + Send + 'static,
    mut report: impl FnMut(&Progress, usize, u64) + Send + 'static,
) -> Consumer<()> {
    let progress = Arc::clone(progress);
    match kind {
        ReceiverKind::Thread => Consumer::Thread(thread::spawn(move || {
            for expected in expected {
                assert_eq!(output.recv(), expected);
                report(&progress, index, expected);
            }
        })),
        ReceiverKind::Task => Consumer::Task(setup.runtime.spawn(async move {
            for expected in expected {
                assert_eq!(output.recv_async().await, expected);
                report(&progress, index, expected);
            }
        })),
    }
}

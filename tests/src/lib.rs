//! What the tests of kvwatch share.
//!
//! - A specification of a watch that uses nothing of the engine but its public types: a naive
//!   [`selector`], a [`record`] of what a watcher received, a [`checker`] that holds a record
//!   against the promises, and a [`model`] of the whole engine.
//! - Drivers: random rounds on real threads ([`stress`]) and the bodies of the fuzz targets
//!   ([`fuzz`]).
//! - A store that mirrors are compared with ([`committed`]), servers and clients of etcd's API
//!   ([`etcd`]), and the [`runtimes`] that a test body runs in, with the helpers for such bodies
//!   ([`shared`], [`mirrors`]).
//!
//! A test waits for a condition ([`eventually`]) and never for time to pass. It forces what it
//! needs and asserts nothing that scheduling decides. A test that hangs fails by its name: each
//! wait has a limit ([`HANG`], [`in_time`]), and `make test` ends a test that outlives them.

pub mod checker;
pub mod committed;
pub mod etcd;
pub mod fuzz;
pub mod mirrors;
pub mod model;
pub mod record;
pub mod runtimes;
pub mod selector;
pub mod shared;
pub mod stress;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use kvwatch::{
    Builder, Change, Dispatcher, Event, Hub, LagReason, Lagged, Publisher, Revision, Watcher,
};

/// A put of this key, with a value that does not matter.
#[must_use]
pub fn put(key: &str) -> Change {
    Change::put(key.to_owned(), "v")
}

/// A lag of revisions that the history no longer holds.
#[must_use]
pub const fn removed(first: Revision, last: Revision) -> Lagged {
    let reason = LagReason::Removed;
    Lagged {
        first,
        last,
        reason,
    }
}

/// A lag of revisions that a lossy publish dropped.
#[must_use]
pub const fn dropped(first: Revision, last: Revision) -> Lagged {
    let reason = LagReason::Dropped;
    Lagged {
        first,
        last,
        reason,
    }
}

/// A lag of revisions that the replay source failed to read.
#[must_use]
pub const fn replay_failed(first: Revision, last: Revision) -> Lagged {
    let reason = LagReason::ReplayFailed;
    Lagged {
        first,
        last,
        reason,
    }
}

/// An engine without a dispatcher thread: each publish dispatches on the calling thread.
///
/// Keep the dispatcher. The engine fails once it is dropped.
///
/// # Panics
/// If the builder's options are not valid.
pub fn inline_engine(builder: Builder) -> (Publisher, Hub, Dispatcher) {
    builder.build().expect("valid options")
}

/// The revisions of these events.
#[must_use]
pub fn revisions(events: impl IntoIterator<Item = Event>) -> Vec<Revision> {
    events.into_iter().map(|event| event.revision()).collect()
}

/// Receives without waiting, and returns the revisions of the events received.
///
/// # Panics
/// If there is a lag.
#[must_use]
pub fn ready_revisions(watcher: &mut Watcher) -> Vec<Revision> {
    revisions(watcher.try_iter().map(|item| item.expect("no lag")))
}

/// The limit of one wait. A wait that reaches it hangs, and its test fails.
///
/// The limit is far beyond what a busy machine needs. No test measures anything with it.
pub const HANG: Duration = Duration::from_secs(240);

/// The limit of one test body, or of one thread to end: see [`in_time`]. It is longer than
/// [`HANG`], so that the wait that hangs is named first.
const HANG_BODY: Duration = Duration::from_secs(480);

/// Waits until `condition` holds.
///
/// # Panics
/// If the condition does not hold within [`HANG`]. The message names it as `what`.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + HANG;
    while !condition() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        thread::yield_now();
    }
}

/// Runs a test body on a thread of its own, so that the test fails if the body hangs.
///
/// # Panics
/// If the body panics or does not return.
pub fn in_time<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
    join_in_time(thread::spawn(body))
}

/// Joins a thread that is expected to end.
///
/// # Panics
/// If the thread panicked or does not end.
#[expect(clippy::must_use_candidate, reason = "most threads return nothing")]
pub fn join_in_time<T>(thread: JoinHandle<T>) -> T {
    let deadline = Instant::now() + HANG_BODY;
    while !thread.is_finished() {
        assert!(Instant::now() < deadline, "a thread hangs");
        thread::sleep(Duration::from_millis(1));
    }
    match thread.join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// A waker that counts its calls and unparks a thread.
#[derive(Debug)]
pub struct CountingWaker {
    calls: AtomicUsize,
    thread: Thread,
}

impl CountingWaker {
    /// A waker that unparks the current thread, and its counter.
    #[must_use]
    pub fn pair() -> (Arc<Self>, Waker) {
        let counting = Arc::new(Self {
            calls: AtomicUsize::new(0),
            thread: thread::current(),
        });
        (Arc::clone(&counting), Waker::from(counting))
    }

    /// How often the waker was called.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// Parks until the waker has been called more than `seen` times.
    ///
    /// # Panics
    /// If that does not happen: a wake-up was lost.
    pub fn park_beyond(&self, seen: usize) {
        let deadline = Instant::now() + HANG;
        while self.calls() <= seen {
            assert!(Instant::now() < deadline, "a wake-up was lost");
            thread::park_timeout(Duration::from_millis(100));
        }
    }
}

impl Wake for CountingWaker {
    fn wake(self: Arc<Self>) {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.thread.unpark();
    }
}

/// A small seeded generator. The seed names a failing schedule.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// The same seed gives the same numbers.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(2).wrapping_add(0x9e37_79b9_7f4a_7c15))
    }

    /// The next number, below `bound`.
    pub fn next_below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

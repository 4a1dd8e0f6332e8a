//! What the tests of kvwatch share: a naive idea of what a watch is ([`want`]), a record of what
//! a watcher received ([`record`]), a judge of it ([`judge`]) and a naive model of the whole engine
//! ([`model`]), none of which uses anything of the engine but its public types; random rounds on
//! real threads ([`stress`]), what the fuzzers run ([`fuzz`]), a store to hold mirrors against
//! ([`committed`]), and the worlds to run in ([`worlds`], [`bodies`], [`mirrors`]).

pub mod bodies;
pub mod committed;
pub mod etcd;
pub mod fuzz;
pub mod judge;
pub mod mirrors;
pub mod model;
pub mod record;
pub mod stress;
pub mod want;
pub mod worlds;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use kvwatch::{Builder, Change, Dispatcher, Event, Hub, Publisher, Revision, Watcher};

/// A put of this key; its value does not matter.
#[must_use]
pub fn put(key: &str) -> Change {
    Change::put(key.to_owned(), "v")
}

/// An engine that dispatches on the calling thread alone, so that every step is in the test's
/// hand. The dispatcher must be kept.
///
/// # Panics
/// If the builder refuses.
pub fn by_hand(builder: Builder) -> (Publisher, Hub, Dispatcher) {
    builder.build().expect("valid options")
}

/// The events' revisions.
#[must_use]
pub fn revisions(events: impl IntoIterator<Item = Event>) -> Vec<Revision> {
    events.into_iter().map(|event| event.revision()).collect()
}

/// The revisions of what is at hand, in order.
///
/// # Panics
/// If there is a lag.
#[must_use]
pub fn at_hand(watcher: &mut Watcher) -> Vec<Revision> {
    revisions(watcher.try_iter().map(|item| item.expect("no lag")))
}

/// After this long something hangs: the test fails instead of waiting for ever. Nothing is
/// measured with it.
pub const HANG: Duration = Duration::from_secs(60);

/// Waits until `condition` holds.
///
/// # Panics
/// If that does not happen: `what` says what was waited for.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + HANG;
    while !condition() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        thread::yield_now();
    }
}

/// Runs a test's body on a thread of its own, so that a body that hangs fails.
///
/// # Panics
/// If the body panics or does not return.
pub fn in_time<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
    join_in_time(thread::spawn(body))
}

/// Joins a thread that must come to its end.
///
/// # Panics
/// If it panicked or does not return.
#[expect(clippy::must_use_candidate, reason = "most threads return nothing")]
pub fn join_in_time<T>(thread: JoinHandle<T>) -> T {
    let deadline = Instant::now() + 2 * HANG;
    while !thread.is_finished() {
        assert!(Instant::now() < deadline, "a thread hangs");
        thread::sleep(Duration::from_millis(1));
    }
    match thread.join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// A waker that counts how often it was woken and unparks its thread.
#[derive(Debug)]
pub struct Counting {
    woken: AtomicUsize,
    thread: Thread,
}

impl Counting {
    /// A waker for this thread.
    #[must_use]
    pub fn here() -> (Arc<Self>, Waker) {
        let counting = Arc::new(Self {
            woken: AtomicUsize::new(0),
            thread: thread::current(),
        });
        (Arc::clone(&counting), Waker::from(counting))
    }

    /// How often it was woken.
    #[must_use]
    pub fn woken(&self) -> usize {
        self.woken.load(Ordering::SeqCst)
    }

    /// Parks until it has been woken more than `seen` times.
    ///
    /// # Panics
    /// If that never happens: a wake-up was lost.
    pub fn park_beyond(&self, seen: usize) {
        let deadline = Instant::now() + HANG;
        while self.woken() <= seen {
            assert!(Instant::now() < deadline, "a wake-up was lost");
            thread::park_timeout(Duration::from_millis(100));
        }
    }
}

impl Wake for Counting {
    fn wake(self: Arc<Self>) {
        self.woken.fetch_add(1, Ordering::SeqCst);
        self.thread.unpark();
    }
}

/// A small seeded generator, so that a failing schedule can be named.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// The same seed gives the same numbers.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(2).wrapping_add(0x9e37_79b9_7f4a_7c15))
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

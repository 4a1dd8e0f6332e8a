//! Limits the number of events under way: the receivers report how far they are, and the publisher
//! waits for them.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// The maximum number of events that are published and not yet received by all. Every peer has
/// capacity for them, so none is lost.
pub const OUTSTANDING: usize = 8192;

/// After this long without progress, an event is lost or the peer hangs.
const HANG: Duration = Duration::from_secs(60);

/// A receiver reports its position once in this many events. A report for each event would add
/// contention on a cache line to every peer's cost.
pub(crate) const STRIDE: u64 = 64;

/// The last event that a receiver has reported, on cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Position(AtomicU64);

/// The position of each receiver.
///
/// The publisher stores the event that it awaits and then loads the positions. A receiver stores
/// its position and then loads the awaited event. All of these are `SeqCst`, so at least one of the
/// two sees the other's store. The publisher parks instead of spinning: with few cores, a spinning
/// publisher would take CPU time from the receivers that it waits for.
#[derive(Debug)]
pub(crate) struct Progress {
    positions: Box<[Position]>,
    /// The last event that each receiver will get.
    last: u64,
    /// The event that the publisher awaits, or [`NONE`].
    awaited: AtomicU64,
    publisher: Thread,
}

/// The publisher awaits no event.
const NONE: u64 = u64::MAX;

impl Progress {
    /// Must be called on the publisher's thread.
    pub(crate) fn new(receivers: usize, last: u64) -> Self {
        Self {
            positions: (0..receivers).map(|_| Position::default()).collect(),
            last,
            awaited: AtomicU64::new(NONE),
            publisher: thread::current(),
        }
    }

    /// Called by a receiver that has got `seq` and everything before. Reports every [`STRIDE`]th
    /// event and the last.
    pub(crate) fn got(&self, receiver: usize, seq: u64) {
        if seq.is_multiple_of(STRIDE) || seq == self.last {
            self.report(receiver, seq);
        }
    }

    /// Called by a receiver that has got `seq` and everything before. Reports it at once.
    pub(crate) fn report(&self, receiver: usize, seq: u64) {
        self.positions[receiver].0.store(seq, SeqCst);
        let awaited = self.awaited.load(SeqCst);
        if seq >= awaited && self.all_got(awaited) {
            self.publisher.unpark();
        }
    }

    fn all_got(&self, seq: u64) -> bool {
        let mut positions = self.positions.iter();
        positions.all(|position| position.0.load(SeqCst) >= seq)
    }

    /// The position of the slowest receiver.
    fn slowest(&self) -> u64 {
        let positions = self.positions.iter();
        let slowest = positions.map(|position| position.0.load(SeqCst)).min();
        slowest.expect("there are receivers")
    }

    /// Waits until all receivers have got this event.
    ///
    /// # Panics
    /// If that does not happen within a minute: events were lost.
    pub(crate) fn wait_for(&self, seq: u64) {
        let deadline = Instant::now() + HANG;
        self.awaited.store(seq, SeqCst);
        while !self.all_got(seq) {
            let left = deadline.checked_duration_since(Instant::now());
            thread::park_timeout(left.unwrap_or_else(|| panic!("event {seq} never arrived")));
        }
        self.awaited.store(NONE, SeqCst);
    }
}

/// The publisher's flow control: keeps the events under way within [`OUTSTANDING`].
#[derive(Debug)]
pub(crate) struct Window<'a> {
    progress: &'a Progress,
    /// The position of the slowest receiver when the publisher last waited.
    slowest: u64,
}

impl<'a> Window<'a> {
    pub(crate) fn new(progress: &'a Progress) -> Self {
        Self {
            progress,
            slowest: 0,
        }
    }

    /// Waits until `seq` may be published.
    pub(crate) fn wait_until_open(&mut self, seq: u64) {
        if seq > self.slowest + OUTSTANDING as u64 {
            // Waits until half of the window is free, not just one place: otherwise the next
            // publish would wait again.
            let half = (seq - OUTSTANDING as u64 / 2) / STRIDE * STRIDE;
            self.progress.wait_for(half);
            self.slowest = self.progress.slowest();
        }
    }
}

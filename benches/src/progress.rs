//! How far the receivers are: so that no more is under way than is allowed.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// No more events than these are under way: every peer has room for them, so none is lost.
pub const OUTSTANDING: usize = 8192;

/// After this long without progress something is lost or hangs.
const HANG: Duration = Duration::from_secs(60);

/// A receiver says how far it is this often: saying so for each event would make every peer pay
/// for a cache line that two threads fight over.
pub(crate) const STRIDE: u64 = 64;

/// On cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Seen(AtomicU64);

/// What each receiver has got.
///
/// The publisher says what it waits for and looks then; a receiver says what it got and looks
/// then; all of it SeqCst, so one of them sees the other. Waiting is parking: on two cores a
/// publisher that tries again and again takes the time of those that it waits for.
#[derive(Debug)]
pub(crate) struct Progress {
    seen: Box<[Seen]>,
    /// The last event that each of them will get.
    last: u64,
    /// What the publisher waits for.
    wanted: AtomicU64,
    publisher: Thread,
}

/// The publisher waits for nothing.
const NOTHING: u64 = u64::MAX;

impl Progress {
    /// To be called by the publisher's thread.
    pub(crate) fn new(receivers: usize, last: u64) -> Self {
        Self {
            seen: (0..receivers).map(|_| Seen::default()).collect(),
            last,
            wanted: AtomicU64::new(NOTHING),
            publisher: thread::current(),
        }
    }

    /// From a receiver: it got this one, and all before it.
    pub(crate) fn got(&self, receiver: usize, seq: u64) {
        if seq.is_multiple_of(STRIDE) || seq == self.last {
            self.got_now(receiver, seq);
        }
    }

    /// The same, told at once.
    pub(crate) fn got_now(&self, receiver: usize, seq: u64) {
        self.seen[receiver].0.store(seq, SeqCst);
        let wanted = self.wanted.load(SeqCst);
        if seq >= wanted && self.all_got(wanted) {
            self.publisher.unpark();
        }
    }

    fn all_got(&self, seq: u64) -> bool {
        self.seen.iter().all(|seen| seen.0.load(SeqCst) >= seq)
    }

    /// What all of them have got.
    fn least(&self) -> u64 {
        let seen = self.seen.iter().map(|seen| seen.0.load(SeqCst));
        seen.min().expect("there are receivers")
    }

    /// Waits until all have got this one.
    ///
    /// # Panics
    /// If that does not happen: events were lost.
    pub(crate) fn wait_for(&self, seq: u64) {
        let deadline = Instant::now() + HANG;
        self.wanted.store(seq, SeqCst);
        while !self.all_got(seq) {
            let left = deadline.checked_duration_since(Instant::now());
            thread::park_timeout(left.unwrap_or_else(|| panic!("event {seq} never arrived")));
        }
        self.wanted.store(NOTHING, SeqCst);
    }
}

/// The publisher's side: lets through what keeps within [`OUTSTANDING`].
#[derive(Debug)]
pub(crate) struct Window<'a> {
    progress: &'a Progress,
    /// What had been got by all when it was last asked.
    least: u64,
}

impl<'a> Window<'a> {
    pub(crate) fn new(progress: &'a Progress) -> Self {
        Self { progress, least: 0 }
    }

    /// Waits until `seq` may be published.
    pub(crate) fn admit(&mut self, seq: u64) {
        if seq > self.least + OUTSTANDING as u64 {
            // For more than one event's room, so that it need not wait again at once.
            let enough = (seq - OUTSTANDING as u64 / 2) / STRIDE * STRIDE;
            self.progress.wait_for(enough);
            self.least = self.progress.least();
        }
    }
}

//! Counters and gauges of an engine.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use crate::change::Revision;

/// A snapshot of an engine's counters and gauges: from [`Hub::stats`](crate::Hub::stats).
///
/// Counters count since the start of the engine and never go back; gauges tell the current state.
/// They are read one after the other while the engine runs, so two of them may not match exactly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Events published since the start, including those that a lossy publish dropped.
    pub published_events: u64,
    /// Transactions published since the start, including those without changes.
    pub published_transactions: u64,
    /// Events dropped by lossy publishes since the start.
    pub dropped_events: u64,
    /// Events dispatched since the start.
    pub dispatched_events: u64,
    /// Events queued for watchers since the start, counted once for each watcher. Events that a
    /// watcher reads from the history are not counted.
    pub queued_events: u64,
    /// The number of times that a watcher fell behind since the start.
    pub fell_behind: u64,
    /// The number of times that a watcher which was behind, or started in the past, went live.
    pub caught_up: u64,
    /// Lags reported to watchers since the start.
    pub lagged: u64,
    /// Reads of the replay source that failed since the start.
    pub replay_failures: u64,
    /// Watchers ended by an overflow since the start.
    pub cancelled: u64,
    /// The registered watchers.
    pub watchers: WatcherCounts,
    /// The number of distinct exact keys that are watched.
    pub keys_watched: usize,
    /// The contents of the history.
    pub history: HistoryStats,
    /// Messages that wait in the ingress.
    pub ingress_depth: usize,
}

/// The numbers of registered watchers, by kind of selector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WatcherCounts {
    /// Of one key.
    pub exact: usize,
    /// Of a prefix.
    pub prefix: usize,
    /// Of a range.
    pub range: usize,
    /// Of every key from a start on.
    pub from_key: usize,
    /// Of every key.
    pub all: usize,
    /// Of a union of several.
    pub union: usize,
    /// The sum of these.
    pub total: usize,
}

/// The contents of the history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HistoryStats {
    /// The oldest revision from which a watch can start without a replay source.
    pub oldest: Revision,
    /// The newest revision dispatched.
    pub newest: Revision,
    /// Events held.
    pub events: usize,
    /// Bytes held by these events.
    pub bytes: usize,
}

/// A number that only statistics read, so its order relative to other memory does not matter.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: usize) {
        self.0.fetch_add(count as u64, Relaxed);
    }

    /// Adds if only one thread at a time can write: a load and a store instead of a locked
    /// instruction.
    pub(crate) fn add_unshared(&self, count: usize) {
        self.0.store(self.0.load(Relaxed) + count as u64, Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Written only by the publisher.
    pub(crate) published_events: Counter,
    pub(crate) published_transactions: Counter,
    pub(crate) dropped_events: Counter,
    /// Written only under the dispatch lock.
    pub(crate) dispatched_events: Counter,
    pub(crate) queued_events: Counter,
    pub(crate) fell_behind: Counter,
    pub(crate) cancelled: Counter,
    /// Written by watchers.
    pub(crate) caught_up: Counter,
    pub(crate) lagged: Counter,
    pub(crate) replay_failures: Counter,
}

//! What an engine knows of itself.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use crate::event::Revision;

/// Figures of one moment: from [`Hub::stats`](crate::Hub::stats).
///
/// Those that count something since the start never go back; the others are gauges. They are read
/// one after the other while the engine goes on, so two of them may not fit together exactly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Events published since the start, those included that a lossy publish had to drop.
    pub published_events: u64,
    /// Transactions published since the start, those without changes included.
    pub published_transactions: u64,
    /// Events that a lossy publish had to drop since the start.
    pub dropped_events: u64,
    /// Events dispatched since the start.
    pub dispatched_events: u64,
    /// Events queued for watchers since the start, counted once for each watcher. What a watcher
    /// reads from the history is not counted.
    pub queued_events: u64,
    /// How often a watcher fell behind since the start.
    pub fell_behind: u64,
    /// How often a watcher that was behind, or started in the past, came to the live path.
    pub caught_up: u64,
    /// Lags reported to watchers since the start.
    pub lagged: u64,
    /// Watchers ended by an overflow since the start.
    pub cancelled: u64,
    /// The watchers registered now.
    pub watchers: WatcherCounts,
    /// How many different exact keys are watched now.
    pub keys_watched: usize,
    /// What the history in memory holds now.
    pub history: HistoryStats,
    /// Messages that wait in the ingress now.
    pub ingress_depth: usize,
}

/// Registered watchers, by kind of selector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WatcherCounts {
    /// Of one key.
    pub exact: usize,
    /// Of a prefix.
    pub prefix: usize,
    /// Of a range.
    pub range: usize,
    /// Of every key from one on.
    pub from_key: usize,
    /// Of every key.
    pub all: usize,
    /// Of a union of several.
    pub union: usize,
    /// All of these.
    pub total: usize,
}

/// What the history in memory holds.
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

/// A number that only statistics read, so its order among others does not matter.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: usize) {
        self.0.fetch_add(count as u64, Relaxed);
    }

    /// Adds where only one thread at a time can write: two plain moves instead of a locked one.
    pub(crate) fn add_alone(&self, count: usize) {
        self.0.store(self.0.load(Relaxed) + count as u64, Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Written by the publisher alone.
    pub(crate) published_events: Counter,
    pub(crate) published_transactions: Counter,
    pub(crate) dropped_events: Counter,
    /// Written under the dispatch lock alone.
    pub(crate) dispatched_events: Counter,
    pub(crate) queued_events: Counter,
    pub(crate) fell_behind: Counter,
    pub(crate) cancelled: Counter,
    /// Written by watchers.
    pub(crate) caught_up: Counter,
    pub(crate) lagged: Counter,
}

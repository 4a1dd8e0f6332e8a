//! The hub: where watchers are registered.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::change::Revision;
use crate::engine::Engine;
use crate::engine::catch_up::HistoryCursor;
use crate::engine::receiver::{QueueHandle, Receiver};
use crate::error::{WaitError, WatchError};
use crate::options::WatchOptions;
use crate::reached::Reached;
use crate::registry::queue::Queue;
use crate::selector::Selector;
use crate::stats::{HistoryStats, Stats};
use crate::watcher::Watcher;

/// Registers watchers. Cheap to clone, and usable from any thread.
///
/// A hub does not keep the engine running; the [`Publisher`](crate::Publisher) does.
///
/// - *If I am dropped:* registered watchers stay.
/// - *If the publisher is gone:* once everything published is dispatched, new watches are refused
///   with [`WatchError::Closed`], and the statistics stay as they were.
///
/// ```
/// # use kvwatch_core as kvwatch;
/// use kvwatch::{Builder, Change, Selector};
/// use std::time::Duration;
///
/// let (mut publisher, hub) = Builder::new().spawn()?;
/// let mut watcher = hub.watch(Selector::prefix("app/"))?;
/// let revision = publisher.publish(Change::put("app/port", "80"))?;
/// hub.wait_for(revision, Duration::from_secs(5))?;
/// assert_eq!(watcher.try_recv()?.key(), "app/port");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Hub {
    engine: Arc<Engine>,
}

impl Hub {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self { engine }
    }

    /// Watches from now on: the watcher delivers exactly the changes that are published after this
    /// call returns, and none that were published before it. A bare key is an exact selector.
    ///
    /// So there is no race in: watch, then read the store, then skip events up to the revision that
    /// was read. A store that is read at a given revision must be read at
    /// [`start_revision() - 1`](Watcher::start_revision) or later. [`revision`](Self::revision), called
    /// after this, is such a revision.
    ///
    /// # Errors
    /// See [`WatchError`].
    pub fn watch(&self, selector: impl Into<Selector>) -> Result<Watcher, WatchError> {
        self.watch_with(selector, WatchOptions::new())
    }

    /// Watches with options: from a past or future revision, filtered, with a capacity of its own.
    ///
    /// # Errors
    /// See [`WatchError`]; [`Compacted`](WatchError::Compacted) only if the options have a start
    /// revision.
    pub fn watch_with(
        &self,
        selector: impl Into<Selector>,
        options: WatchOptions,
    ) -> Result<Watcher, WatchError> {
        let engine = &self.engine;
        let selector = selector.into();
        selector.validate()?;
        let capacity = options.capacity.unwrap_or(engine.config.queue_capacity);
        let capacity_bytes = options.capacity_bytes.unwrap_or(engine.config.queue_bytes);
        for (value, what) in [
            (capacity, "the watcher's capacity"),
            (capacity_bytes, "the watcher's capacity in bytes"),
        ] {
            if value == 0 {
                return Err(WatchError::ZeroCapacity { what });
            }
        }
        // No revision is below 1.
        let wanted = options.start.map(|start| start.max(1));
        if let Some(requested) = wanted {
            self.check_start(requested)?;
        }
        let queue = Arc::new(Queue::new(
            engine.next_watcher(),
            options.filter,
            options.prev_value,
            options.overflow,
            capacity,
            capacity_bytes,
        ));
        let mut registry = engine.registry.write();
        if let Err(refused) = registry.admit() {
            drop(registry);
            return Err(refused);
        }
        let slot = engine.register(&mut registry, &queue, &selector);
        // Read after the interest was raised: the publisher sees it for every later claim. And while
        // the registry is locked: every later step finds the start of this watcher set.
        let claimed = engine.revisions.claimed();
        let start = wanted.unwrap_or(claimed + 1);
        let behind = start <= claimed;
        queue.start_at(start, behind);
        if behind {
            engine.revisions.note_late_watch(claimed);
        }
        let mut cursor = HistoryCursor::default();
        if behind && !engine.config.keeps_history() {
            // Events that no watcher wanted were not even sent: only the store has them, dispatched
            // or not.
            cursor = HistoryCursor::new(claimed);
            let oldest = claimed + 1;
            engine.history.write().compact(oldest, &mut Vec::new());
            if engine.replay().is_none() {
                drop(registry);
                drop(engine.unregister(slot, queue.id));
                return Err(WatchError::Compacted {
                    requested: start,
                    oldest,
                });
            }
        }
        drop(registry);
        let handle = QueueHandle {
            engine: Arc::clone(engine),
            queue,
            slot,
        };
        Ok(Watcher::new(Receiver::new(handle, selector, start, cursor)))
    }

    /// Checks that the history, or the store's own log, reaches back to `requested`.
    fn check_start(&self, requested: Revision) -> Result<(), WatchError> {
        let mut oldest = self.engine.history.read().floor();
        if requested < oldest
            && let Some(source) = self.engine.replay()
        {
            oldest = oldest.min(source.oldest());
        }
        if requested < oldest {
            return Err(WatchError::Compacted { requested, oldest });
        }
        Ok(())
    }

    /// The revision that the publisher has claimed last: it is published, or will be within the
    /// call of the publisher that is under way. Its events may not have been dispatched yet.
    ///
    /// A store makes a change readable before it publishes it, so the store can be read at this
    /// revision. After [`watch`](Self::watch) it is never below the watcher's
    /// [`start_revision`](Watcher::start_revision) less 1: whatever is read at it and applied
    /// together with the watcher's later events misses none.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.engine.revisions.claimed()
    }

    /// The revision up to which everything is in the queues of the watchers it concerns.
    #[must_use]
    pub fn dispatched(&self) -> Revision {
        self.engine.revisions.dispatched()
    }

    /// Waits until everything up to `revision`, which may not be published yet, is in the queues
    /// of the watchers it concerns.
    ///
    /// # Errors
    /// [`Timeout`](WaitError::Timeout), or [`Closed`](WaitError::Closed) if the engine stopped before
    /// that revision.
    pub fn wait_for(&self, revision: Revision, timeout: Duration) -> Result<(), WaitError> {
        let now = Instant::now();
        // A deadline that the clock cannot represent is replaced by a hundred years.
        let forever = Duration::from_secs(60 * 60 * 24 * 365 * 100);
        let deadline = now.checked_add(timeout).unwrap_or(now + forever);
        self.wait_for_async(revision).block(deadline)
    }

    /// Like [`wait_for`](Self::wait_for) as a future, without a timeout. It needs no runtime.
    ///
    /// Cancel safe: dropping the future ends the wait and nothing else.
    pub fn wait_for_async(&self, revision: Revision) -> Reached {
        Reached::new(Arc::clone(&self.engine), revision)
    }

    /// Whether any registered watcher asked for previous values. If not, the store need not read
    /// them.
    #[must_use]
    pub fn wants_prev_value(&self) -> bool {
        self.engine.wants_prev_value()
    }

    /// The engine's counters and gauges. Takes the registry's and the history's lock briefly.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let counters = &self.engine.counters;
        let (watchers, keys_watched) = {
            let registry = self.engine.registry.read();
            (registry.counts(), registry.keys())
        };
        let history = {
            let history = self.engine.history.read();
            HistoryStats {
                oldest: history.floor(),
                newest: history.head(),
                events: history.events(),
                bytes: history.bytes(),
            }
        };
        Stats {
            published_events: counters.published_events.get(),
            published_transactions: counters.published_transactions.get(),
            dropped_events: counters.dropped_events.get(),
            dispatched_events: counters.dispatched_events.get(),
            queued_events: counters.queued_events.get(),
            fell_behind: counters.fell_behind.get(),
            caught_up: counters.caught_up.get(),
            lagged: counters.lagged.get(),
            replay_failures: counters.replay_failures.get(),
            cancelled: counters.cancelled.get(),
            watchers,
            keys_watched,
            history,
            ingress_depth: self.engine.ingress.len(),
        }
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hub").field(&self.engine).finish()
    }
}

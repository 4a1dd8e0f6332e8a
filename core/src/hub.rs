//! The way in for watchers.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::engine::Engine;
use crate::error::{WaitError, WatchError};
use crate::event::Revision;
use crate::milestone::Reached;
use crate::options::WatchOptions;
use crate::queue::Queue;
use crate::selector::Selector;
use crate::stats::{HistoryStats, Stats};
use crate::watcher::Watcher;

/// Where watchers are registered: cheap to clone, usable from any thread.
///
/// It does not keep the engine going; the [`Publisher`](crate::Publisher) does. Once that is gone
/// and everything published is dispatched, new watches are refused with
/// [`WatchError::Closed`], and the figures stay as they were.
#[derive(Clone)]
pub struct Hub {
    engine: Arc<Engine>,
}

impl Hub {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self { engine }
    }

    /// Watches from now on: exactly what is published after this call returns, and nothing that
    /// was published before it. A bare key is an exact selector.
    ///
    /// So there is no race in: watch, then read the store, then skip events up to the revision
    /// that was read.
    ///
    /// # Errors
    /// See [`WatchError`].
    pub fn watch(&self, selector: impl Into<Selector>) -> Result<Watcher, WatchError> {
        self.watch_with(selector, WatchOptions::new())
    }

    /// Watches with more to say: from a past or future revision, filtered, with a capacity of its
    /// own.
    ///
    /// # Errors
    /// See [`WatchError`]; [`Compacted`](WatchError::Compacted) only where a start revision was
    /// asked for.
    pub fn watch_with(
        &self,
        selector: impl Into<Selector>,
        options: WatchOptions,
    ) -> Result<Watcher, WatchError> {
        let engine = &self.engine;
        let selector = selector.into();
        selector.validate()?;
        let capacity = options.capacity.unwrap_or(engine.config.queue);
        let capacity_bytes = options.capacity_bytes.unwrap_or(engine.config.queue_bytes);
        for (value, what) in [
            (capacity, "the watcher's capacity"),
            (capacity_bytes, "the watcher's capacity in bytes"),
        ] {
            if value == 0 {
                return Err(WatchError::ZeroCapacity { what });
            }
        }
        // Nothing is before revision 1.
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
        if let Err(refused) = registry.admits() {
            drop(registry);
            return Err(refused);
        }
        let slot = engine.insert(&mut registry, &queue, &selector);
        // After the interest is raised: what is opened from here on is not overlooked. And while
        // the registry is locked: what is dispatched from here on finds this watcher placed.
        let opened = engine.opened();
        let start = wanted.unwrap_or(opened + 1);
        let behind = start <= opened;
        queue.place(start, behind);
        if behind {
            engine.doubt(opened);
        }
        if behind && engine.config.history == 0 {
            // What nobody watched was not even sent: it is gone, dispatched or not.
            let oldest = opened + 1;
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
        Ok(Watcher::new(
            Arc::clone(engine),
            selector,
            queue,
            slot,
            start,
        ))
    }

    /// Whether the history, or the store behind it, reaches back to `requested`.
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

    /// The revision published last. Its events may not have been dispatched yet.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.engine.settled()
    }

    /// Everything up to this revision is in the queues of the watchers it concerns.
    #[must_use]
    pub fn dispatched(&self) -> Revision {
        self.engine.dispatched()
    }

    /// Waits until everything up to `revision`, which may not be published yet, is in the queues
    /// of the watchers it concerns.
    ///
    /// # Errors
    /// [`Timeout`](WaitError::Timeout), or [`Closed`](WaitError::Closed) where the engine stopped
    /// before that revision.
    pub fn wait_for(&self, revision: Revision, timeout: Duration) -> Result<(), WaitError> {
        let now = Instant::now();
        // A timeout beyond what the clock can tell is as good as a hundred years.
        let forever = Duration::from_secs(60 * 60 * 24 * 365 * 100);
        let deadline = now.checked_add(timeout).unwrap_or(now + forever);
        self.reached(revision).block(deadline)
    }

    /// The same as a future, without a timeout. It needs no runtime.
    pub fn reached(&self, revision: Revision) -> Reached {
        Reached::new(Arc::clone(&self.engine), revision)
    }

    /// Whether any registered watcher asked for previous values: if not, the store need not read
    /// them.
    #[must_use]
    pub fn wants_prev_value(&self) -> bool {
        self.engine.wants_prev_value()
    }

    /// What the engine knows of itself. Takes the registry's and the history's lock for a moment.
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

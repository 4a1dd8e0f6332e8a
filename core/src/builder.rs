//! Setting an engine up.

use std::fmt;
use std::sync::Arc;
use std::thread;

use crate::change::{MAX_REVISION, Revision};
use crate::dispatcher::Dispatcher;
use crate::engine::Engine;
use crate::engine::config::Config;
use crate::error::BuildError;
use crate::hub::Hub;
use crate::publisher::Publisher;
use crate::replay::Replay;

/// The ingress allocates its slots, of some 150 bytes each, when it is built.
const MAX_INGRESS_CAPACITY: usize = 1 << 20;

/// Sets an engine up. Every capacity is taken exactly as given.
///
/// ```
/// # use kvwatch_core as kvwatch;
/// use kvwatch::Builder;
///
/// // The dispatcher runs on a thread that this starts:
/// let (publisher, hub) = Builder::new().history_events(10_000).spawn()?;
/// drop(publisher);
///
/// // or on one of your own:
/// let (publisher, hub, dispatcher) = Builder::new().build()?;
/// let thread = std::thread::spawn(|| dispatcher.run());
/// drop(publisher);
/// thread.join().unwrap();
/// # let _ = hub;
/// # Ok::<(), kvwatch::BuildError>(())
/// ```
#[must_use]
pub struct Builder {
    config: Config,
    thread_name: String,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            config: Config::default(),
            thread_name: "kvwatch".to_owned(),
        }
    }
}

impl Builder {
    /// An engine with the defaults that are named at each option.
    pub fn new() -> Self {
        Self::default()
    }

    /// The maximum number of events in the history. Default: 65,536. The history always keeps the
    /// newest transaction, however large. With 0 it keeps nothing but the newest revision's number,
    /// and a watcher that falls behind is told that it lagged.
    ///
    /// Memory is given back by the segment, of 256 events or a quarter of the history, whichever
    /// is less: up to that many more events are in memory than can be read. Memory for up to 32
    /// future segments is kept at hand.
    pub fn history_events(mut self, events: usize) -> Self {
        self.config.history_events = events;
        self
    }

    /// The maximum number of bytes in the history: keys, values, previous values and 32 bytes for
    /// each event. Default: 32 MiB.
    pub fn history_bytes(mut self, bytes: usize) -> Self {
        self.config.history_bytes = bytes;
        self
    }

    /// The maximum number of events that are queued for a watcher which does not set its own
    /// ([`WatchOptions::capacity`](crate::WatchOptions::capacity)). Default: 256.
    pub fn queue_capacity(mut self, events: usize) -> Self {
        self.config.queue_capacity = events;
        self
    }

    /// The maximum number of bytes that a watcher's queued events keep in memory, for a watcher
    /// which does not set its own
    /// ([`WatchOptions::capacity_bytes`](crate::WatchOptions::capacity_bytes)). Default: 1 MiB.
    pub fn queue_bytes(mut self, bytes: usize) -> Self {
        self.config.queue_bytes = bytes;
        self
    }

    /// The maximum number of messages, one for each call of the publisher, that wait in the ingress:
    /// from 1 to 1,048,576. Default: 4096, which is more than a fast publisher sends between two
    /// passes of the dispatcher (100 µs apart).
    pub fn ingress_capacity(mut self, messages: usize) -> Self {
        self.config.ingress_capacity = messages;
        self
    }

    /// The maximum number of bytes that the messages in the ingress hold: keys, values, previous values
    /// and 32 bytes for each event. Default: 8 MiB.
    ///
    /// They are counted in batches of 256 events or 256 KiB, or of one message if it is larger. The
    /// batch that is being filled is not counted, and the last one may exceed the bound, so that any
    /// transaction fits into an empty ingress.
    pub fn ingress_bytes(mut self, bytes: usize) -> Self {
        self.config.ingress_bytes = bytes;
        self
    }

    /// The maximum number of registered watchers. Default: limited only by memory.
    pub fn max_watchers(mut self, limit: usize) -> Self {
        self.config.max_watchers = limit;
        self
    }

    /// The revision that the store has committed when the engine starts. Everything up to it counts
    /// as compacted, and the next revision must be above it. Default: 0.
    pub fn start_revision(mut self, last_committed: Revision) -> Self {
        self.config.start_revision = last_committed;
        self
    }

    /// Whether other threads than the dispatcher's may dispatch. Default: yes. Turn it off for apply
    /// paths that must only hand events over, and if wakers may block.
    ///
    /// While it is on, **matching and wakers run within publish**, and within the receives of other
    /// watchers. A publish of an event that 10,000 watchers of one key want then takes about a
    /// millisecond, and a few microseconds while it is off. A waker that blocks also blocks the publish
    /// that calls it. While it is off, such a waker blocks the dispatcher's thread only: publishing goes
    /// on until the ingress is full, other watchers still receive what is in their queues, and no lock
    /// is held. A waker must return promptly in either case.
    ///
    /// If nothing else is going on, a publish dispatches its event on the spot: that halves the time
    /// to the watcher. It pays only for single events. The events of a stream (each less than 25 µs after the last was dispatched, or for
    /// watchers that are busy) are left to the dispatcher, which then looks every 100 µs, or 200 µs
    /// while receivers dispatch: that takes fewer wakes, and raises the throughput.
    ///
    /// A receive that has nothing to receive dispatches a waiting batch of 256 events, whichever
    /// watchers they concern, if no other thread does. A watcher that received its last events that
    /// way spins for about 100 µs in its next blocking receive before it sleeps, and yields to other
    /// threads meanwhile. Only one watcher of an engine does so at a time.
    pub fn inline_dispatch(mut self, allowed: bool) -> Self {
        self.config.inline_dispatch = allowed;
        self
    }

    /// The store's own log, from which watchers read what the history no longer holds. Default:
    /// none.
    pub fn replay(mut self, source: impl Replay + 'static) -> Self {
        self.config.replay = Some(Box::new(source));
        self
    }

    /// The name of the thread that [`spawn`](Self::spawn) starts. Default: `kvwatch`.
    pub fn thread_name(mut self, name: impl Into<String>) -> Self {
        self.thread_name = name.into();
        self
    }

    /// Builds the publisher, the hub, and the dispatcher, which the caller runs on a thread.
    ///
    /// Until the dispatcher runs, the publisher dispatches by itself, unless
    /// [`inline_dispatch`](Self::inline_dispatch) was turned off. A program that keeps the dispatcher
    /// and never runs it has an engine without a thread.
    ///
    /// # Errors
    /// [`ZeroCapacity`](BuildError::ZeroCapacity), [`TooLarge`](BuildError::TooLarge) and
    /// [`Revision`](BuildError::Revision).
    pub fn build(self) -> Result<(Publisher, Hub, Dispatcher), BuildError> {
        let config = &self.config;
        let capacities = [
            (
                config.queue_capacity,
                "the watchers' capacity (Builder::queue_capacity)",
            ),
            (
                config.queue_bytes,
                "the watchers' capacity in bytes (Builder::queue_bytes)",
            ),
            (
                config.ingress_capacity,
                "the ingress' capacity (Builder::ingress_capacity)",
            ),
            (
                config.ingress_bytes,
                "the ingress' capacity in bytes (Builder::ingress_bytes)",
            ),
            (
                config.max_watchers,
                "the limit on watchers (Builder::max_watchers)",
            ),
        ];
        for (value, what) in capacities {
            if value == 0 {
                return Err(BuildError::ZeroCapacity { what });
            }
        }
        if config.ingress_capacity > MAX_INGRESS_CAPACITY {
            return Err(BuildError::TooLarge {
                what: "the ingress' capacity (Builder::ingress_capacity)",
                given: config.ingress_capacity,
                max: MAX_INGRESS_CAPACITY,
            });
        }
        if config.start_revision >= MAX_REVISION {
            return Err(BuildError::Revision {
                given: config.start_revision,
            });
        }
        let engine = Arc::new(Engine::new(self.config));
        Ok((
            Publisher::new(Arc::clone(&engine)),
            Hub::new(Arc::clone(&engine)),
            Dispatcher::new(engine),
        ))
    }

    /// Builds the publisher and the hub, and runs the dispatcher on a named thread, which ends when
    /// the publisher is shut down or dropped.
    ///
    /// # Errors
    /// As [`build`](Self::build), and [`Spawn`](BuildError::Spawn).
    pub fn spawn(self) -> Result<(Publisher, Hub), BuildError> {
        let name = self.thread_name.clone();
        let (publisher, hub, dispatcher) = self.build()?;
        let thread = thread::Builder::new()
            .name(name)
            .spawn(|| dispatcher.run())
            .map_err(BuildError::Spawn)?;
        Ok((publisher.with_thread(thread), hub))
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("history_events", &self.config.history_events)
            .field("history_bytes", &self.config.history_bytes)
            .field("queue_capacity", &self.config.queue_capacity)
            .field("queue_bytes", &self.config.queue_bytes)
            .field("ingress_capacity", &self.config.ingress_capacity)
            .field("ingress_bytes", &self.config.ingress_bytes)
            .field("max_watchers", &self.config.max_watchers)
            .field("start_revision", &self.config.start_revision)
            .field("inline_dispatch", &self.config.inline_dispatch)
            .field("replay", &self.config.replay.is_some())
            .field("thread_name", &self.thread_name)
            .finish()
    }
}

//! Setting an engine up.

use std::fmt;
use std::sync::Arc;
use std::thread;

use crate::dispatcher::Dispatcher;
use crate::engine::Engine;
use crate::error::BuildError;
use crate::event::{MAX_REVISION, Revision};
use crate::hub::Hub;
use crate::publisher::Publisher;
use crate::replay::Replay;

/// Sets an engine up. Every capacity is taken exactly as given.
///
/// ```
/// use kvwatch_core::Builder;
///
/// // The dispatcher runs on a thread that this starts:
/// let (publisher, hub) = Builder::new().history(10_000).spawn()?;
/// drop(publisher);
///
/// // or on one of your own:
/// let (publisher, hub, dispatcher) = Builder::new().build()?;
/// let thread = std::thread::spawn(|| dispatcher.run());
/// drop(publisher);
/// thread.join().unwrap();
/// # let _ = hub;
/// # Ok::<(), kvwatch_core::BuildError>(())
/// ```
#[must_use]
pub struct Builder {
    pub(crate) history: usize,
    pub(crate) history_bytes: usize,
    pub(crate) queue: usize,
    pub(crate) queue_bytes: usize,
    pub(crate) ingress: usize,
    pub(crate) watchers: usize,
    pub(crate) revision: Revision,
    pub(crate) inline: bool,
    pub(crate) replay: Option<Box<dyn Replay>>,
    thread_name: String,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            history: 65_536,
            history_bytes: 32 * 1024 * 1024,
            queue: 256,
            queue_bytes: 1024 * 1024,
            ingress: 4096,
            watchers: usize::MAX,
            revision: 0,
            inline: true,
            replay: None,
            thread_name: "kvwatch".to_owned(),
        }
    }
}

impl Builder {
    /// An engine with the defaults named at each option.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many events the history holds at most. Default: 65,536. It always keeps the newest
    /// transaction, however large; with 0 it keeps nothing but the newest revision's number, and
    /// a watcher that falls behind is told that it lagged.
    ///
    /// Memory is given back by the segment, of 256 events or a quarter of the history, whichever
    /// is less: up to so many more are in memory than can be read. Memory for up to 32 segments to
    /// come is kept at hand.
    pub fn history(mut self, events: usize) -> Self {
        self.history = events;
        self
    }

    /// How many bytes the history holds at most: keys, values, previous values and 32 bytes for each
    /// event. Default: 32 MiB.
    pub fn history_bytes(mut self, bytes: usize) -> Self {
        self.history_bytes = bytes;
        self
    }

    /// How many events are queued for each watcher at most, where it does not say
    /// ([`WatchOptions::capacity`](crate::WatchOptions::capacity)). Default: 256.
    pub fn queue(mut self, events: usize) -> Self {
        self.queue = events;
        self
    }

    /// How many bytes each watcher's queued events may keep in memory, where it does not say
    /// ([`WatchOptions::capacity_bytes`](crate::WatchOptions::capacity_bytes)). Default: 1 MiB.
    pub fn queue_bytes(mut self, bytes: usize) -> Self {
        self.queue_bytes = bytes;
        self
    }

    /// How many messages, one for each call of the publisher, the ingress holds at most. Default:
    /// 4096, which is more than a fast publisher sends while the dispatcher lingers (100 µs).
    pub fn ingress(mut self, messages: usize) -> Self {
        self.ingress = messages;
        self
    }

    /// How many watchers may be registered at once. Default: no limit but memory.
    pub fn watchers(mut self, limit: usize) -> Self {
        self.watchers = limit;
        self
    }

    /// Where the store stands as the engine starts: what was committed up to this revision is
    /// compacted, and the next revision must be above it. Default: 0.
    pub fn revision(mut self, last_committed: Revision) -> Self {
        self.revision = last_committed;
        self
    }

    /// Whether others than the dispatcher's thread may dispatch. Default: yes. Turn it off for
    /// apply paths that must only hand over.
    ///
    /// A publish dispatches on the spot where nothing else is going on: that halves the time to the
    /// watcher, and costs the publisher the matching. Only single events are worth it. While they
    /// come in a stream (the next less than 25 µs after the last was dispatched, or to watchers that
    /// are busy) they are left to the dispatcher, which then looks every 100 µs, or 200 where
    /// receivers dispatch: fewer wakes, and more than twice as many events a second.
    ///
    /// A receive that finds nothing to receive, while 256 events wait to be dispatched and nobody
    /// else is at it, dispatches these before it waits, whomever they concern. A watcher that got its
    /// last events that way first waits awake, for about 100 µs, in its next blocking receive that
    /// has to wait, and lets other threads run meanwhile; of an engine's watchers, one at a time.
    pub fn inline(mut self, allowed: bool) -> Self {
        self.inline = allowed;
        self
    }

    /// The store's own log, from which watchers read what the history no longer holds. Default:
    /// none.
    pub fn replay(mut self, source: impl Replay + 'static) -> Self {
        self.replay = Some(Box::new(source));
        self
    }

    /// The name of the thread that [`spawn`](Self::spawn) starts. Default: `kvwatch`.
    pub fn thread_name(mut self, name: impl Into<String>) -> Self {
        self.thread_name = name.into();
        self
    }

    /// The publisher, the hub, and the dispatcher, which the caller puts on a thread.
    ///
    /// Until that runs, the publisher dispatches by itself, unless [`inline`](Self::inline) was
    /// turned off; a program that never runs it (but keeps it) has an engine without a thread.
    ///
    /// # Errors
    /// [`ZeroCapacity`](BuildError::ZeroCapacity) and [`Revision`](BuildError::Revision).
    pub fn build(self) -> Result<(Publisher, Hub, Dispatcher), BuildError> {
        let capacities = [
            (self.queue, "the watchers' capacity (Builder::queue)"),
            (
                self.queue_bytes,
                "the watchers' capacity in bytes (Builder::queue_bytes)",
            ),
            (self.ingress, "the ingress' capacity (Builder::ingress)"),
            (self.watchers, "the limit on watchers (Builder::watchers)"),
        ];
        for (value, what) in capacities {
            if value == 0 {
                return Err(BuildError::ZeroCapacity { what });
            }
        }
        if self.revision >= MAX_REVISION {
            return Err(BuildError::Revision {
                given: self.revision,
            });
        }
        let engine = Arc::new(Engine::new(self));
        Ok((
            Publisher::new(Arc::clone(&engine)),
            Hub::new(Arc::clone(&engine)),
            Dispatcher::new(engine),
        ))
    }

    /// The publisher and the hub, with the dispatcher running on a named thread, which ends when
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
            .field("history", &self.history)
            .field("history_bytes", &self.history_bytes)
            .field("queue", &self.queue)
            .field("queue_bytes", &self.queue_bytes)
            .field("ingress", &self.ingress)
            .field("watchers", &self.watchers)
            .field("revision", &self.revision)
            .field("inline", &self.inline)
            .field("replay", &self.replay.is_some())
            .field("thread_name", &self.thread_name)
            .finish()
    }
}

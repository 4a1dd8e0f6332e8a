//! How a watcher wants its events.

use crate::event::{EventKind, Revision};

/// Which kinds of change a watcher wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Filter {
    /// Puts and deletes.
    #[default]
    All,
    /// Only puts.
    Puts,
    /// Only deletes.
    Deletes,
}

impl Filter {
    /// Whether this filter lets such a change pass.
    #[must_use]
    pub fn passes(self, kind: EventKind) -> bool {
        match self {
            Self::All => true,
            Self::Puts => kind == EventKind::Put,
            Self::Deletes => kind == EventKind::Delete,
        }
    }
}

/// What becomes of a watcher whose queue is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Overflow {
    /// It reads on from the history, at its own pace, and comes back to the live path. Only
    /// where the history has passed it by does it get a [`Lagged`](crate::Lagged) in place of
    /// what it missed.
    #[default]
    CatchUp,
    /// It ends with [`EndReason::Overflow`](crate::EndReason::Overflow), after what is already
    /// in its queue. A watch from a past revision reads up to the present first; only from then
    /// on can it overflow.
    Cancel,
}

/// What can be asked of a watch beyond its selector.
///
/// ```
/// use kvwatch_core::{Filter, WatchOptions};
///
/// let options = WatchOptions::new().start_revision(42).filter(Filter::Puts).capacity(16);
/// # let _ = options;
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct WatchOptions {
    pub(crate) start: Option<Revision>,
    pub(crate) prev_value: bool,
    pub(crate) filter: Filter,
    pub(crate) overflow: Overflow,
    pub(crate) capacity: Option<usize>,
    pub(crate) capacity_bytes: Option<usize>,
}

impl WatchOptions {
    /// From now on, puts and deletes, without previous values, the builder's capacities.
    pub fn new() -> Self {
        Self::default()
    }

    /// The first revision wanted, inclusive. A past one is replayed from the history; one in the
    /// future delivers nothing below it. Revision 0 is before anything, so it means the same as 1.
    ///
    /// Without it, a watch delivers what is published after it was registered.
    pub fn start_revision(mut self, revision: Revision) -> Self {
        self.start = Some(revision);
        self
    }

    /// Whether events should carry what the key held before. Default: no.
    pub fn prev_value(mut self, wanted: bool) -> Self {
        self.prev_value = wanted;
        self
    }

    /// Which kinds of change are wanted. Default: both.
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = filter;
        self
    }

    /// What becomes of this watcher when its queue is full. Default: it catches up.
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }

    /// How many events the engine queues ahead of the receiver, exactly. Default: the builder's
    /// [`queue`](crate::Builder::queue). A transaction larger than that still fits into an empty
    /// queue. More than 2^32 - 1 is taken as that.
    pub fn capacity(mut self, events: usize) -> Self {
        self.capacity = Some(events);
        self
    }

    /// How many bytes the queued events may keep in memory. Default: the builder's
    /// [`queue_bytes`](crate::Builder::queue_bytes). One revision always fits into an empty queue.
    pub fn capacity_bytes(mut self, bytes: usize) -> Self {
        self.capacity_bytes = Some(bytes);
        self
    }
}

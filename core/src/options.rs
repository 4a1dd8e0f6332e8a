//! The options of a watch.

use crate::change::{EventKind, Revision};

/// The kinds of change that a watcher receives.
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
    /// Whether changes of this kind pass the filter.
    #[must_use]
    pub fn passes(self, kind: EventKind) -> bool {
        match self {
            Self::All => true,
            Self::Puts => kind == EventKind::Put,
            Self::Deletes => kind == EventKind::Delete,
        }
    }
}

/// What happens to a watcher whose queue overflows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Overflow {
    /// The watcher reads on from the history, at its own pace, and comes back to the live path. Only
    /// if the history has moved past it does it get a [`Lagged`](crate::Lagged) in place of the
    /// events that it missed.
    #[default]
    CatchUp,
    /// The watcher ends with [`EndReason::Overflow`](crate::EndReason::Overflow) after the events
    /// that are already in its queue. A watch from a past revision first reads up to the present;
    /// only from then on can it overflow.
    Cancel,
}

/// The options of a watch beside its selector.
///
/// ```
/// # use kvwatch_core as kvwatch;
/// use kvwatch::{Filter, WatchOptions};
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
    /// The defaults: from now on, puts and deletes, without previous values, with the builder's
    /// capacities.
    pub fn new() -> Self {
        Self::default()
    }

    /// The first revision to deliver, inclusive. A past one is replayed from the history; with one in
    /// the future, nothing below it is delivered. Revision 0 is before anything, so it means the same
    /// as 1.
    ///
    /// Without this option, a watch delivers the changes that are published after it was registered.
    pub fn start_revision(mut self, revision: Revision) -> Self {
        self.start = Some(revision);
        self
    }

    /// Whether events carry the value that the key held before. Default: no.
    pub fn prev_value(mut self, wanted: bool) -> Self {
        self.prev_value = wanted;
        self
    }

    /// The kinds of change to deliver. Default: both.
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = filter;
        self
    }

    /// What happens when the watcher's queue overflows. Default: it catches up.
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }

    /// The maximum number of events in the watcher's queue, taken exactly. Default: the builder's
    /// [`queue_capacity`](crate::Builder::queue_capacity). A larger transaction still fits into an
    /// empty queue. Values above 2^32 - 1 mean 2^32 - 1.
    pub fn capacity(mut self, events: usize) -> Self {
        self.capacity = Some(events);
        self
    }

    /// The maximum number of bytes that the queued events keep in memory. Default: the builder's
    /// [`queue_bytes`](crate::Builder::queue_bytes). One revision always fits into an empty queue,
    /// and there a run of events that is shared with other watchers may hold up to twice as much.
    pub fn capacity_bytes(mut self, bytes: usize) -> Self {
        self.capacity_bytes = Some(bytes);
        self
    }
}

//! What a watcher is told of events that it cannot get.

use std::fmt;

use crate::change::Revision;

/// Revisions whose matching events a watcher can no longer get, both ends included.
///
/// A lag is reported in its place: everything below was delivered before it, and everything above
/// comes after it. Not every revision in it needs to have had a matching event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lagged {
    /// The first revision that may have been missed.
    pub first: Revision,
    /// The last revision that may have been missed.
    pub last: Revision,
    /// The reason for which these events are not available.
    pub reason: LagReason,
}

/// The reason for a [`Lagged`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LagReason {
    /// The history no longer holds these revisions: they were removed by its bounds or by
    /// [`Publisher::compact`](crate::Publisher::compact). The store offers no replay, or has
    /// compacted them too.
    Removed,
    /// A lossy publish dropped them, because the ingress was full.
    Dropped,
    /// The replay source failed, several times in a row. `tracing` has its error.
    ReplayFailed,
}

impl fmt::Display for LagReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Removed => "they were removed from the history",
            Self::Dropped => "a lossy publish dropped them",
            Self::ReplayFailed => "the replay source failed",
        })
    }
}

impl fmt::Display for Lagged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "events of revisions {} to {} are not available, because {}; read the store for their \
             result",
            self.first, self.last, self.reason
        )
    }
}

//! The name of a watcher.

use std::fmt;

/// The name of a watcher within its engine. None is used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WatcherId(pub(crate) u64);

impl From<WatcherId> for u64 {
    /// The number of the watcher, counted from 0 in the order of registration.
    fn from(id: WatcherId) -> Self {
        id.0
    }
}

impl fmt::Display for WatcherId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

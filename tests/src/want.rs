//! What a watcher asks for, matched the slow and obvious way.

use kvwatch::{Change, EventKind, Filter, Selector};

/// A selector of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Want {
    /// One key.
    Exact(Vec<u8>),
    /// Keys that start so.
    Prefix(Vec<u8>),
    /// Keys from the first, below the second.
    Range(Vec<u8>, Vec<u8>),
    /// Keys from this on.
    From(Vec<u8>),
    /// Every key.
    All,
    /// What any of these wants.
    Any(Vec<Want>),
}

impl Want {
    /// Whether this wants the key.
    #[must_use]
    pub fn wants(&self, key: &[u8]) -> bool {
        match self {
            Self::Exact(own) => key == own,
            Self::Prefix(own) => key.len() >= own.len() && &key[..own.len()] == own,
            Self::Range(start, end) => key >= start.as_slice() && key < end.as_slice(),
            Self::From(start) => key >= start.as_slice(),
            Self::All => true,
            Self::Any(wants) => wants.iter().any(|want| want.wants(key)),
        }
    }

    /// The same as the engine's selector.
    #[must_use]
    pub fn selector(&self) -> Selector {
        match self {
            Self::Exact(key) => Selector::exact(key),
            Self::Prefix(prefix) => Selector::prefix(prefix),
            Self::Range(start, end) => Selector::range(start.as_slice()..end.as_slice()),
            Self::From(start) => Selector::from_key(start),
            Self::All => Selector::all(),
            Self::Any(wants) => Selector::any(wants.iter().map(Self::selector)),
        }
    }

    /// Whether a watch for this is refused as it could never match.
    #[must_use]
    pub fn is_void(&self) -> bool {
        match self {
            Self::Range(start, end) => end <= start,
            Self::Any(wants) => wants.is_empty() || wants.iter().any(Self::is_void),
            _ => false,
        }
    }
}

/// Whether a filter lets a change pass.
#[must_use]
pub fn passes(filter: Filter, change: &Change) -> bool {
    match filter {
        Filter::Puts => change.kind() == EventKind::Put,
        Filter::Deletes => change.kind() == EventKind::Delete,
        _ => true,
    }
}

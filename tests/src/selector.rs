//! A selector that matches in the obvious way.

use kvwatch::{Change, EventKind, Filter, Selector};

/// The specification of a [`Selector`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NaiveSelector {
    /// One key.
    Exact(Vec<u8>),
    /// The keys that start with these bytes.
    Prefix(Vec<u8>),
    /// The keys from the first one on, below the second one.
    Range(Vec<u8>, Vec<u8>),
    /// The keys from this one on.
    From(Vec<u8>),
    /// Every key.
    All,
    /// The keys that any of these selectors matches.
    Any(Vec<NaiveSelector>),
}

impl NaiveSelector {
    /// Whether this selector matches the key.
    #[must_use]
    pub fn matches(&self, key: &[u8]) -> bool {
        match self {
            Self::Exact(own) => key == own,
            Self::Prefix(own) => key.len() >= own.len() && &key[..own.len()] == own,
            Self::Range(start, end) => key >= start.as_slice() && key < end.as_slice(),
            Self::From(start) => key >= start.as_slice(),
            Self::All => true,
            Self::Any(selectors) => selectors.iter().any(|selector| selector.matches(key)),
        }
    }

    /// The engine's selector of the same keys.
    #[must_use]
    pub fn to_selector(&self) -> Selector {
        match self {
            Self::Exact(key) => Selector::exact(key),
            Self::Prefix(prefix) => Selector::prefix(prefix),
            Self::Range(start, end) => Selector::range(start.as_slice()..end.as_slice()),
            Self::From(start) => Selector::from_key(start),
            Self::All => Selector::all(),
            Self::Any(selectors) => Selector::any(selectors.iter().map(Self::to_selector)),
        }
    }

    /// Whether the engine refuses this selector because it or a part of it matches no key.
    #[must_use]
    pub fn is_void(&self) -> bool {
        match self {
            Self::Range(start, end) => end <= start,
            Self::Any(selectors) => selectors.is_empty() || selectors.iter().any(Self::is_void),
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

//! Which keys a request means.

use std::ops::Bound;

use bytes::Bytes;

use crate::Selector;

/// Which keys a request means: one, those up to another, or all from one on.
///
/// On the wire it is a key and a `range_end`: empty for the key alone, one zero byte for no end,
/// anything else for the first key that is not meant.
///
/// ```
/// use kvwatch::etcd::{End, KeyRange};
///
/// let one = KeyRange::from_wire("a", "");
/// let from = KeyRange::from_wire("a", "\0");
/// let some = KeyRange::from_wire("a", "c");
/// assert_eq!((one.end(), from.end()), (&End::Alone, &End::Open));
/// assert!(some.contains(b"b") && !some.contains(b"c"));
/// assert!(from.covers(&some) && !some.covers(&from));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyRange {
    start: Bytes,
    end: End,
}

/// Where a [`KeyRange`] ends.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// It is its start alone.
    Alone,
    /// Before this key.
    Before(Bytes),
    /// Nowhere.
    Open,
}

impl KeyRange {
    /// What a request's key and `range_end` mean.
    #[must_use]
    pub fn from_wire(key: impl Into<Bytes>, range_end: impl Into<Bytes>) -> Self {
        let range_end = range_end.into();
        let end = match &range_end[..] {
            [] => End::Alone,
            [0] => End::Open,
            _ => End::Before(range_end),
        };
        Self {
            start: key.into(),
            end,
        }
    }

    /// One key.
    #[must_use]
    pub fn one(key: impl Into<Bytes>) -> Self {
        Self {
            start: key.into(),
            end: End::Alone,
        }
    }

    /// Every key.
    #[must_use]
    pub fn all() -> Self {
        Self {
            start: Bytes::new(),
            end: End::Open,
        }
    }

    /// The first key that is meant, if it exists.
    #[must_use]
    pub fn start(&self) -> &Bytes {
        &self.start
    }

    /// Where it ends.
    #[must_use]
    pub fn end(&self) -> &End {
        &self.end
    }

    /// Whether its end does not lie behind its start.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(&self.end, End::Before(end) if *end <= self.start)
    }

    /// Whether `key` is meant.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        match &self.end {
            End::Alone => self.start == key,
            End::Before(end) => self.start <= key && key < &end[..],
            End::Open => self.start <= key,
        }
    }

    /// Whether every key that `other` means is meant.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match &other.end {
            End::Alone => self.contains(&other.start),
            End::Open => self.end == End::Open && self.start <= other.start,
            End::Before(end) => {
                self.start <= other.start
                    && match &self.end {
                        End::Alone => false,
                        End::Before(own) => end <= own,
                        End::Open => true,
                    }
            }
        }
    }

    /// The same as bounds over keys. Those of an empty range must not be looked up in every kind
    /// of map: ask [`is_empty`](Self::is_empty) first.
    #[must_use]
    pub fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        let end = match &self.end {
            End::Alone => Bound::Included(&self.start[..]),
            End::Before(end) => Bound::Excluded(&end[..]),
            End::Open => Bound::Unbounded,
        };
        (Bound::Included(&self.start[..]), end)
    }

    /// The same as a selector for watches.
    #[must_use]
    pub fn selector(&self) -> Selector {
        match &self.end {
            End::Alone => Selector::exact(&self.start),
            End::Before(end) => Selector::range(&self.start[..]..&end[..]),
            End::Open => Selector::from_key(&self.start),
        }
    }
}

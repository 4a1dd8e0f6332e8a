//! The keys that a request selects.

use std::ops::Bound;

use bytes::Bytes;
use kvwatch::Selector;

/// The keys that a request selects: a single key, the keys up to another, or all from a key on.
///
/// On the wire a range is a key and a `range_end`. An empty `range_end` selects the key alone, a
/// single zero byte has no upper bound, and any other value is the exclusive upper bound.
///
/// ```
/// use kvwatch_etcd::{End, KeyRange};
///
/// let one = KeyRange::from_wire("a", "");
/// let from = KeyRange::from_wire("a", "\0");
/// let some = KeyRange::from_wire("a", "c");
/// assert_eq!((one.end(), from.end()), (&End::Key, &End::Unbounded));
/// assert!(some.contains(b"b") && !some.contains(b"c"));
/// assert!(from.covers(&some) && !some.covers(&from));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyRange {
    start: Bytes,
    end: End,
}

/// The end of a [`KeyRange`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// The range is its start, a single key.
    Key,
    /// The range ends before this key.
    Before(Bytes),
    /// The range has no end.
    Unbounded,
}

impl KeyRange {
    /// The range of a request's key and `range_end`.
    #[must_use]
    pub fn from_wire(key: impl Into<Bytes>, range_end: impl Into<Bytes>) -> Self {
        let range_end = range_end.into();
        let end = match &range_end[..] {
            [] => End::Key,
            [0] => End::Unbounded,
            _ => End::Before(range_end),
        };
        Self {
            start: key.into(),
            end,
        }
    }

    /// A single key.
    #[must_use]
    pub fn one(key: impl Into<Bytes>) -> Self {
        Self {
            start: key.into(),
            end: End::Key,
        }
    }

    /// Every key.
    #[must_use]
    pub fn all() -> Self {
        Self {
            start: Bytes::new(),
            end: End::Unbounded,
        }
    }

    /// The inclusive start.
    #[must_use]
    pub fn start(&self) -> &Bytes {
        &self.start
    }

    /// The end.
    #[must_use]
    pub fn end(&self) -> &End {
        &self.end
    }

    /// Whether the range can hold no key: its end is not after its start.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(&self.end, End::Before(end) if *end <= self.start)
    }

    /// Whether `key` is in the range.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        match &self.end {
            End::Key => self.start == key,
            End::Before(end) => self.start <= key && key < &end[..],
            End::Unbounded => self.start <= key,
        }
    }

    /// Whether every key of `other` is in the range.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match &other.end {
            End::Key => self.contains(&other.start),
            End::Unbounded => self.end == End::Unbounded && self.start <= other.start,
            End::Before(end) => {
                self.start <= other.start
                    && match &self.end {
                        End::Key => false,
                        End::Before(own) => end <= own,
                        End::Unbounded => true,
                    }
            }
        }
    }

    /// The range as bounds of an ordered map. Some maps panic on the bounds of an empty range:
    /// check [`is_empty`](Self::is_empty) first.
    #[must_use]
    pub fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        let end = match &self.end {
            End::Key => Bound::Included(&self.start[..]),
            End::Before(end) => Bound::Excluded(&end[..]),
            End::Unbounded => Bound::Unbounded,
        };
        (Bound::Included(&self.start[..]), end)
    }

    /// The range as a selector for watches.
    #[must_use]
    pub fn selector(&self) -> Selector {
        match &self.end {
            End::Key => Selector::exact(&self.start),
            End::Before(end) => Selector::range(&self.start[..]..&end[..]),
            End::Unbounded => Selector::from_key(&self.start),
        }
    }
}

//! Selectors: the set of keys that a watcher receives events of.

pub(crate) mod inline_key;
mod union;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::WatchError;
use crate::selector::inline_key::InlineKey;

/// The set of keys that a watcher receives events of: one key, a prefix, a range, or a union of
/// these.
///
/// Keys are bytes, compared byte by byte; the empty key is a key like any other.
///
/// | selector | matches |
/// | --- | --- |
/// | [`exact`](Self::exact) | that key (of any length, the empty one too) |
/// | [`prefix`](Self::prefix) | every key that starts with these bytes; the empty prefix matches every key |
/// | [`range`](Self::range) | every key `k` with `start <= k < end` |
/// | [`from_key`](Self::from_key) | every key `k` with `start <= k` |
/// | [`all`](Self::all) | every key |
/// | [`any`](Self::any) | every key that any of its parts matches; an event that several parts match arrives once |
///
/// A range with `end <= start` and a union without parts match nothing: a watch with one is refused
/// with [`WatchError::EmptyRange`] or [`WatchError::EmptyUnion`].
///
/// ```
/// # use kvwatch_core as kvwatch;
/// use kvwatch::Selector;
///
/// let selector = Selector::any([Selector::prefix("app/"), Selector::range("k1".."k5")]);
/// assert!(selector.matches(b"app/port") && selector.matches(b"k1"));
/// assert!(!selector.matches(b"k5"));
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Selector {
    parts: Parts,
}

/// One part is the common case, and needs no allocation.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Parts {
    One(Part),
    /// Sorted by their first keys. No two of them match the same key.
    Union(Box<[Part]>),
    /// Without parts, or with an empty range among them: no watch is registered with it.
    Void(Box<[Part]>),
}

/// A selector that is not a union. Keys are copied in, so that no `Bytes` of the user are dropped
/// under the registry's lock.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) enum Part {
    Exact(InlineKey),
    /// Never empty: that would be `All`.
    Prefix(InlineKey),
    /// Behind a pointer, because it is the rarest and would make every part larger; shared with the
    /// registry's clone.
    Range(Arc<Bounds>),
    /// Never empty: that would be `All`.
    From(InlineKey),
    All,
}

/// One part of a [`Selector`]: from [`Selector::parts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SelectorPart<'a> {
    /// This key.
    Exact(&'a [u8]),
    /// Every key that starts with these bytes.
    Prefix(&'a [u8]),
    /// Every key from the first on that is below the second.
    Range(&'a [u8], &'a [u8]),
    /// Every key from this one on.
    FromKey(&'a [u8]),
    /// Every key.
    All,
}

/// The start of a range and its end, which is exclusive.
type Bounds = (Box<[u8]>, Box<[u8]>);

impl Part {
    /// Every key from this one on.
    fn from_start(start: &[u8]) -> Self {
        match start {
            [] => Self::All,
            start => Self::From(start.into()),
        }
    }

    /// The first key that it may match.
    fn start(&self) -> &[u8] {
        match self {
            Self::Exact(key) => key,
            Self::Prefix(prefix) => prefix,
            Self::Range(bounds) => &bounds.0,
            Self::From(start) => start,
            Self::All => &[],
        }
    }

    fn is_empty_range(&self) -> bool {
        matches!(self, Self::Range(bounds) if bounds.1 <= bounds.0)
    }

    pub(crate) fn matches(&self, key: &[u8]) -> bool {
        match self {
            Self::Exact(own) => **own == *key,
            Self::Prefix(own) => key.starts_with(own),
            Self::Range(bounds) => *bounds.0 <= *key && *key < *bounds.1,
            Self::From(start) => **start <= *key,
            Self::All => true,
        }
    }
}

impl Selector {
    fn one(part: Part) -> Self {
        Self {
            parts: Parts::One(part),
        }
    }

    /// One key.
    #[must_use]
    pub fn exact(key: impl AsRef<[u8]>) -> Self {
        Self::one(Part::Exact(key.as_ref().into()))
    }

    /// Every key that starts with these bytes. The prefix needs no separator at its end.
    #[must_use]
    pub fn prefix(prefix: impl AsRef<[u8]>) -> Self {
        match prefix.as_ref() {
            [] => Self::all(),
            bytes => Self::one(Part::Prefix(bytes.into())),
        }
    }

    /// Every key from `start` on that is below `end`.
    #[must_use]
    pub fn range<K: AsRef<[u8]>>(range: Range<K>) -> Self {
        let bounds = (range.start.as_ref().into(), range.end.as_ref().into());
        Self::one(Part::Range(Arc::new(bounds)))
    }

    /// Every key from `start` on.
    #[must_use]
    pub fn from_key(start: impl AsRef<[u8]>) -> Self {
        Self::one(Part::from_start(start.as_ref()))
    }

    /// Every key.
    #[must_use]
    pub fn all() -> Self {
        Self::one(Part::All)
    }

    /// Every key that any of these matches. Unions are flattened, and parts that overlap are merged.
    #[must_use]
    pub fn any(selectors: impl IntoIterator<Item = Self>) -> Self {
        let mut parts: Vec<Part> = Vec::new();
        for selector in selectors {
            match selector.parts {
                Parts::One(part) => parts.push(part),
                Parts::Union(many) | Parts::Void(many) => parts.extend(many),
            }
        }
        if parts.is_empty() || parts.iter().any(Part::is_empty_range) {
            let parts = Parts::Void(parts.into());
            return Self { parts };
        }
        let parts = match <[Part; 1]>::try_from(union::merge(parts)) {
            Ok([part]) => Parts::One(part),
            Err(parts) => Parts::Union(parts.into()),
        };
        Self { parts }
    }

    /// Whether this selector matches `key`. An empty range or union matches nothing.
    #[must_use]
    pub fn matches(&self, key: &[u8]) -> bool {
        match &self.parts {
            Parts::One(part) => part.matches(key),
            Parts::Union(parts) => {
                union::candidate(parts, key).is_some_and(|part| part.matches(key))
            }
            Parts::Void(parts) => parts.iter().any(|part| part.matches(key)),
        }
    }

    /// The key, if this selector is [exact](Self::exact).
    ///
    /// ```
    /// # use kvwatch_core as kvwatch;
    /// use kvwatch::Selector;
    ///
    /// assert_eq!(Selector::exact("app/port").as_key().unwrap(), b"app/port");
    /// assert_eq!(Selector::prefix("app/").as_key(), None);
    /// ```
    #[must_use]
    pub fn as_key(&self) -> Option<&[u8]> {
        match &self.parts {
            Parts::One(Part::Exact(key)) => Some(key),
            _ => None,
        }
    }

    /// The parts of a union, or the selector itself as its only part. Those of a union are sorted by
    /// their first keys, and merged where they overlapped.
    ///
    /// ```
    /// # use kvwatch_core as kvwatch;
    /// use kvwatch::{Selector, SelectorPart};
    ///
    /// let selector = Selector::any([Selector::exact("a"), Selector::range("k1".."k5")]);
    /// let parts: Vec<_> = selector.parts().collect();
    /// assert_eq!(parts[0], SelectorPart::Exact(b"a"));
    /// assert_eq!(parts[1], SelectorPart::Range(b"k1", b"k5"));
    /// ```
    pub fn parts(&self) -> impl Iterator<Item = SelectorPart<'_>> {
        self.as_parts().iter().map(|part| match part {
            Part::Exact(key) => SelectorPart::Exact(key),
            Part::Prefix(prefix) => SelectorPart::Prefix(prefix),
            Part::Range(bounds) => SelectorPart::Range(&bounds.0, &bounds.1),
            Part::From(start) => SelectorPart::FromKey(start),
            Part::All => SelectorPart::All,
        })
    }

    pub(crate) fn as_parts(&self) -> &[Part] {
        match &self.parts {
            Parts::One(part) => std::slice::from_ref(part),
            Parts::Union(parts) | Parts::Void(parts) => parts,
        }
    }

    /// Refuses selectors that match nothing.
    pub(crate) fn validate(&self) -> Result<(), WatchError> {
        if self.as_parts().is_empty() {
            return Err(WatchError::EmptyUnion);
        }
        for part in self.as_parts() {
            if let Part::Range(bounds) = part
                && part.is_empty_range()
            {
                return Err(WatchError::EmptyRange {
                    start: Bytes::copy_from_slice(&bounds.0),
                    end: Bytes::copy_from_slice(&bounds.1),
                });
            }
        }
        Ok(())
    }
}

/// Shows bytes as text, with escapes for those that are not printable ASCII.
struct Show<'a>(&'a [u8]);

impl fmt::Debug for Show<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(key) => write!(f, "exact({:?})", Show(key)),
            Self::Prefix(prefix) => write!(f, "prefix({:?})", Show(prefix)),
            Self::Range(bounds) => {
                write!(f, "range({:?}..{:?})", Show(&bounds.0), Show(&bounds.1))
            }
            Self::From(start) => write!(f, "from_key({:?})", Show(start)),
            Self::All => f.write_str("all()"),
        }
    }
}

impl fmt::Debug for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.parts {
            Parts::One(part) => part.fmt(f),
            Parts::Union(parts) | Parts::Void(parts) => {
                f.write_str("any(")?;
                f.debug_list().entries(parts.iter()).finish()?;
                f.write_str(")")
            }
        }
    }
}

/// A bare key is an exact selector.
macro_rules! exact_from {
    ($($key:ty),+) => {$(
        impl From<$key> for Selector {
            fn from(key: $key) -> Self {
                Self::exact(key)
            }
        }
    )+};
}

exact_from!(&str, String, &[u8], Vec<u8>, Bytes, &Bytes, &String);

impl<const N: usize> From<&[u8; N]> for Selector {
    fn from(key: &[u8; N]) -> Self {
        Self::exact(key)
    }
}

impl From<&Selector> for Selector {
    fn from(selector: &Selector) -> Self {
        selector.clone()
    }
}

//! Which keys a watcher wants.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::WatchError;
use crate::key::Key;

/// Which keys a watcher wants: one key, a prefix, a range, or a union of these.
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
/// | [`any`](Self::any) | what any of its parts matches; an event that several match arrives once |
///
/// A range with `end <= start` and a union without parts would match nothing: watching them is
/// refused with [`WatchError::EmptyRange`] and [`WatchError::EmptyUnion`].
///
/// ```
/// use kvwatch_core::Selector;
///
/// let selector = Selector::any([Selector::prefix("app/"), Selector::range("k1".."k5")]);
/// assert!(selector.matches(b"app/port") && selector.matches(b"k1"));
/// assert!(!selector.matches(b"k5"));
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Selector {
    parts: Parts,
}

/// The common case is one part; it must not cost an allocation.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Parts {
    One(Part),
    Many(Box<[Part]>),
}

/// A selector that is not a union. Keys are copied in, so that nothing of the user's is ever
/// dropped under the registry's lock.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) enum Part {
    Exact(Key),
    /// Never empty: that is `All`.
    Prefix(Key),
    /// Behind a pointer, as it is the rarest and would make every part larger; shared, as the
    /// registry has a clone.
    Range(Arc<Bounds>),
    /// Never empty: that is `All`.
    From(Key),
    All,
}

/// A range's start and, exclusive, its end.
type Bounds = (Box<[u8]>, Box<[u8]>);

impl Part {
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

    /// Every key that starts with these bytes. They need no separator at their end.
    #[must_use]
    pub fn prefix(prefix: impl AsRef<[u8]>) -> Self {
        match prefix.as_ref() {
            [] => Self::all(),
            bytes => Self::one(Part::Prefix(bytes.into())),
        }
    }

    /// Every key from `start` on, below `end`.
    #[must_use]
    pub fn range<K: AsRef<[u8]>>(range: Range<K>) -> Self {
        let bounds = (range.start.as_ref().into(), range.end.as_ref().into());
        Self::one(Part::Range(Arc::new(bounds)))
    }

    /// Every key from `start` on.
    #[must_use]
    pub fn from_key(start: impl AsRef<[u8]>) -> Self {
        match start.as_ref() {
            [] => Self::all(),
            bytes => Self::one(Part::From(bytes.into())),
        }
    }

    /// Every key.
    #[must_use]
    pub fn all() -> Self {
        Self::one(Part::All)
    }

    /// What any of these matches. Unions within are taken apart, repeated parts count once.
    #[must_use]
    pub fn any(selectors: impl IntoIterator<Item = Self>) -> Self {
        let mut parts: Vec<Part> = Vec::new();
        for selector in selectors {
            match selector.parts {
                Parts::One(part) => parts.push(part),
                Parts::Many(many) => parts.extend(many),
            }
        }
        let mut seen = std::collections::HashSet::new();
        parts.retain(|part| seen.insert(part.clone()));
        let parts = match <[Part; 1]>::try_from(parts) {
            Ok([part]) => Parts::One(part),
            Err(parts) => Parts::Many(parts.into()),
        };
        Self { parts }
    }

    /// Whether this selector matches `key`. An empty range or union matches nothing.
    #[must_use]
    pub fn matches(&self, key: &[u8]) -> bool {
        self.parts().iter().any(|part| part.matches(key))
    }

    pub(crate) fn parts(&self) -> &[Part] {
        match &self.parts {
            Parts::One(part) => std::slice::from_ref(part),
            Parts::Many(parts) => parts,
        }
    }

    /// Refuses what can never match anything.
    pub(crate) fn validate(&self) -> Result<(), WatchError> {
        if self.parts().is_empty() {
            return Err(WatchError::EmptyUnion);
        }
        for part in self.parts() {
            if let Part::Range(bounds) = part
                && bounds.1 <= bounds.0
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

/// Bytes as text where they are text, escaped where they are not.
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
            Parts::Many(parts) => {
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

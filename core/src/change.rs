//! What a store hands in: changes, and the numbers and kinds that describe them.

use std::fmt;

use bstr::BStr;
use bytes::Bytes;

/// The number of a transaction. It grows with each transaction; 0 is "before anything".
///
/// The publisher assigns revisions, one after the other, or the store gives them (a Raft index, for
/// example): then they must grow, and may skip numbers. [`MAX_REVISION`] is the largest that can be
/// published.
pub type Revision = u64;

/// The largest revision that can be published. The number above it means "never".
pub const MAX_REVISION: Revision = u64::MAX - 1;

/// What a change does to its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// The key has a new value.
    Put,
    /// The key is gone.
    Delete,
}

/// The value that a key held before a change, if the store handed it in.
///
/// The engine never reads it from the store: the store hands it in with the change, if it has it at
/// hand. [`Hub::wants_prev_value`](crate::Hub::wants_prev_value) tells whether any watcher asked for
/// it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PrevValue<B = Bytes> {
    /// The key did not exist.
    Absent,
    /// The key held this value.
    Value(B),
    /// The store did not hand it in, or the watcher did not ask for it.
    #[default]
    Unavailable,
}

impl<B> PrevValue<B> {
    /// Applies a function to the value, if there is one.
    pub fn map<T>(self, convert: impl FnOnce(B) -> T) -> PrevValue<T> {
        match self {
            Self::Absent => PrevValue::Absent,
            Self::Value(value) => PrevValue::Value(convert(value)),
            Self::Unavailable => PrevValue::Unavailable,
        }
    }
}

impl PrevValue {
    /// This previous value by reference, as
    /// [`Event::prev_value`](crate::Event::prev_value) returns it.
    #[must_use]
    pub fn as_ref(&self) -> PrevValue<&BStr> {
        match self {
            Self::Absent => PrevValue::Absent,
            Self::Value(value) => PrevValue::Value(BStr::new(value)),
            Self::Unavailable => PrevValue::Unavailable,
        }
    }
}

/// A put or a delete of one key, as the store hands it in.
///
/// ```
/// # use kvwatch_core as kvwatch;
/// use kvwatch::{Change, EventKind, PrevValue};
///
/// let change = Change::put("app/a", "1").with_prev_value(PrevValue::Absent);
/// assert_eq!(change.kind(), EventKind::Put);
/// assert_eq!(change.value().unwrap(), "1");
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Change {
    pub(crate) key: Bytes,
    /// `None` for a delete.
    pub(crate) value: Option<Bytes>,
    pub(crate) prev: PrevValue,
}

impl Change {
    /// The key now holds `value`, which may be empty.
    ///
    /// Publishing copies keys and values of up to 512 bytes to the memory from which watchers read
    /// them, and frees the originals. Longer ones are shared, never copied.
    #[must_use]
    pub fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self {
            key: key.into(),
            value: Some(value.into()),
            prev: PrevValue::Unavailable,
        }
    }

    /// The key is gone.
    #[must_use]
    pub fn delete(key: impl Into<Bytes>) -> Self {
        Self {
            key: key.into(),
            value: None,
            prev: PrevValue::Unavailable,
        }
    }

    /// Sets the value that the key held before. Without it, events have
    /// [`PrevValue::Unavailable`].
    #[must_use]
    pub fn with_prev_value(mut self, prev: PrevValue) -> Self {
        self.prev = prev;
        self
    }

    /// Whether this is a put or a delete.
    #[must_use]
    pub fn kind(&self) -> EventKind {
        match self.value {
            Some(_) => EventKind::Put,
            None => EventKind::Delete,
        }
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &Bytes {
        &self.key
    }

    /// The new value; `None` for a delete.
    #[must_use]
    pub fn value(&self) -> Option<&Bytes> {
        self.value.as_ref()
    }

    /// The value that the key held before.
    #[must_use]
    pub fn prev_value(&self) -> &PrevValue {
        &self.prev
    }
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct(match self.kind() {
            EventKind::Put => "Put",
            EventKind::Delete => "Delete",
        });
        out.field("key", &BStr::new(&self.key));
        if let Some(value) = &self.value {
            out.field("value", &BStr::new(value));
        }
        if self.prev != PrevValue::Unavailable {
            out.field("prev_value", &self.prev.as_ref());
        }
        out.finish()
    }
}

//! The event type of [`Latest`](super::Latest).

use bytes::Bytes;

use crate::{Change, EventKind, PrevValue, Revision};

/// The newest event of a key: from [`Latest`](super::Latest). It owns its data.
///
/// ```
/// use kvwatch::{Builder, Change, WatcherExt};
/// use std::time::Duration;
///
/// let (mut publisher, hub) = Builder::new().spawn()?;
/// let mut latest = hub.watch("a")?.latest();
/// for value in ["1", "2", "3"] {
///     publisher.publish(Change::put("a", value))?;
/// }
/// publisher.flush(Duration::from_secs(5))?;
///
/// let event = latest.recv()?;
/// assert_eq!((event.key(), event.value().unwrap()), (&"a".into(), &"3".into()));
/// assert_eq!((event.revision(), event.replaced()), (3, 2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LatestEvent {
    pub(super) revision: Revision,
    pub(super) change: Change,
    pub(super) replaced: u64,
}

impl LatestEvent {
    /// The revision of the transaction that this event is part of.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Whether this is a put or a delete.
    #[must_use]
    pub fn kind(&self) -> EventKind {
        self.change.kind()
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &Bytes {
        self.change.key()
    }

    /// The new value; `None` for a delete.
    #[must_use]
    pub fn value(&self) -> Option<&Bytes> {
        self.change.value()
    }

    /// The value of the key before this event. If older events of the key were replaced, it is
    /// not the value that was received last. See
    /// [`Event::prev_value`](crate::Event::prev_value).
    #[must_use]
    pub fn prev_value(&self) -> &PrevValue {
        self.change.prev_value()
    }

    /// How many older events of the key this event replaced before they were received.
    #[must_use]
    pub fn replaced(&self) -> u64 {
        self.replaced
    }

    /// Returns the change, without its revision.
    #[must_use]
    pub fn into_change(self) -> Change {
        self.change
    }
}

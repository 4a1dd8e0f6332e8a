//! Every error.
//!
//! An error names what failed and what would be right. An error that refuses a value hands it back.

use std::error::Error;
use std::fmt;
use std::io;

use bytes::Bytes;

use crate::change::{Change, MAX_REVISION, Revision};
use crate::end::EndReason;
use crate::lagged::Lagged;

/// The reason for which a blocking or polled receive returned no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecvError {
    /// Events were missed here. The watcher goes on after them.
    Lagged(Lagged),
    /// The watcher has ended. Every further receive returns the same.
    Closed(EndReason),
}

/// The reason for which a receive that does not wait returned no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TryRecvError {
    /// No event is there yet.
    Empty,
    /// Events were missed here. The watcher goes on after them.
    Lagged(Lagged),
    /// The watcher has ended. Every further receive returns the same.
    Closed(EndReason),
}

/// The reason for which a receive with a deadline returned no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecvTimeoutError {
    /// No event came in time.
    Timeout,
    /// Events were missed here. The watcher goes on after them.
    Lagged(Lagged),
    /// The watcher has ended. Every further receive returns the same.
    Closed(EndReason),
}

impl From<RecvError> for TryRecvError {
    fn from(error: RecvError) -> Self {
        match error {
            RecvError::Lagged(lagged) => Self::Lagged(lagged),
            RecvError::Closed(reason) => Self::Closed(reason),
        }
    }
}

impl From<RecvError> for RecvTimeoutError {
    fn from(error: RecvError) -> Self {
        match error {
            RecvError::Lagged(lagged) => Self::Lagged(lagged),
            RecvError::Closed(reason) => Self::Closed(reason),
        }
    }
}

impl fmt::Display for RecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lagged(lagged) => lagged.fmt(f),
            Self::Closed(reason) => reason.fmt(f),
        }
    }
}

impl fmt::Display for TryRecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("no event is waiting"),
            Self::Lagged(lagged) => lagged.fmt(f),
            Self::Closed(reason) => reason.fmt(f),
        }
    }
}

impl fmt::Display for RecvTimeoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout => f.write_str("no event came in time"),
            Self::Lagged(lagged) => lagged.fmt(f),
            Self::Closed(reason) => reason.fmt(f),
        }
    }
}

impl Error for RecvError {}
impl Error for TryRecvError {}
impl Error for RecvTimeoutError {}

/// The reason for which a watch was not registered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WatchError {
    /// Some events from `requested` on are no longer available. A watch from `oldest` succeeds.
    Compacted {
        /// The start revision that was asked for.
        requested: Revision,
        /// The oldest start revision that can be served.
        oldest: Revision,
    },
    /// The range is empty: its end is not above its start.
    EmptyRange {
        /// The range's start.
        start: Bytes,
        /// The range's end, which is not above the start.
        end: Bytes,
    },
    /// The union has no parts, so it matches nothing.
    EmptyUnion,
    /// A capacity is 0; it must be at least 1.
    ZeroCapacity {
        /// Which capacity.
        what: &'static str,
    },
    /// As many watchers are registered as the builder allows.
    TooManyWatchers {
        /// The limit, set with [`Builder::max_watchers`](crate::Builder::max_watchers).
        limit: usize,
    },
    /// The engine has ended.
    Closed(EndReason),
}

impl fmt::Display for WatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compacted { requested, oldest } => write!(
                f,
                "start revision {requested} is compacted; the oldest that can be watched from is \
                 {oldest}"
            ),
            Self::EmptyRange { start, end } => write!(
                f,
                "the range {start:?}..{end:?} is empty: its end must be above its start (for one \
                 key use an exact selector, for no upper bound a from-key selector)"
            ),
            Self::EmptyUnion => {
                f.write_str("the union has no parts and matches nothing: give it at least one")
            }
            Self::ZeroCapacity { what } => write!(f, "{what} is 0 and must be at least 1"),
            Self::TooManyWatchers { limit } => write!(
                f,
                "{limit} watchers are registered, which is the limit: drop some, or raise \
                 Builder::max_watchers"
            ),
            Self::Closed(reason) => write!(f, "the engine has ended: {reason}"),
        }
    }
}

impl Error for WatchError {}

/// The entries of a [`publish_many`](crate::Publisher::publish_many): revisions with their changes.
pub type Entries = Vec<(Revision, Vec<Change>)>;

/// The reason for which a publish failed, with the changes that were handed in.
///
/// None of them was published, and no revision was used up.
#[derive(Clone, PartialEq, Eq)]
pub struct PublishError<T> {
    kind: PublishErrorKind,
    /// Boxed, so that the error does not make every result of a publish larger.
    input: Box<T>,
}

impl<T> PublishError<T> {
    pub(crate) fn new(kind: PublishErrorKind, input: T) -> Self {
        let input = Box::new(input);
        Self { kind, input }
    }

    /// The reason.
    #[must_use]
    pub fn kind(&self) -> PublishErrorKind {
        self.kind
    }

    /// The changes that the caller handed in.
    #[must_use]
    pub fn into_input(self) -> T {
        *self.input
    }

    /// The changes that the caller handed in, by reference.
    #[must_use]
    pub fn input(&self) -> &T {
        &self.input
    }

    pub(crate) fn map<U>(self, back: impl FnOnce(T) -> U) -> PublishError<U> {
        PublishError::new(self.kind, back(*self.input))
    }
}

/// The reasons for which a publish fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PublishErrorKind {
    /// The ingress is full (`try_publish`), or stayed full until the timeout (`publish_timeout`).
    Full {
        /// The number of messages that the ingress holds.
        capacity: usize,
        /// The number of bytes that the ingress holds.
        capacity_bytes: usize,
    },
    /// The ingress is full, and the publish runs on the dispatcher's thread, within a waker: to wait
    /// for room would wait for ever, because only this thread makes room. Publish from another
    /// thread, or with `try_publish`.
    OnDispatcher,
    /// Two changes of one key in one transaction, and the replay source keeps only one of them
    /// ([`Replay::keeps_every_change`](crate::Replay::keeps_every_change)).
    DuplicateKey {
        /// The revision of the transaction.
        revision: Revision,
    },
    /// The engine has ended.
    Closed(EndReason),
    /// A revision does not grow, or is above [`MAX_REVISION`].
    Revision {
        /// The revision handed in, or the next one if the publisher assigns it.
        given: Revision,
        /// The revision before it.
        last: Revision,
    },
}

impl fmt::Display for PublishErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full {
                capacity,
                capacity_bytes,
            } => write!(
                f,
                "the ingress is full ({capacity} messages or {capacity_bytes} bytes): try again, or \
                 publish lossily"
            ),
            Self::OnDispatcher => f.write_str(
                "the ingress is full, and the dispatcher's thread cannot wait for itself: publish \
                 from another thread, or with try_publish",
            ),
            Self::DuplicateKey { revision } => write!(
                f,
                "revision {revision} changes a key twice, and the replay source keeps one change of \
                 a key in a transaction: publish only the last one"
            ),
            Self::Closed(reason) => write!(f, "nothing more can be published: {reason}"),
            Self::Revision { given, .. } if *given > MAX_REVISION => {
                write!(
                    f,
                    "revision {given} is above the largest one, {MAX_REVISION}"
                )
            }
            Self::Revision { given, last } => write!(
                f,
                "revision {given} does not grow: it must be above {last}, the one before it"
            ),
        }
    }
}

impl<T> fmt::Debug for PublishError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublishError")
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

impl<T> fmt::Display for PublishError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}

impl<T> Error for PublishError<T> {}

/// The reason for which a wait ended before its revision was dispatched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitError {
    /// The timeout passed first.
    Timeout,
    /// The engine ended first.
    Closed(EndReason),
}

impl fmt::Display for WaitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout => f.write_str("the revision was not dispatched in time"),
            Self::Closed(reason) => {
                write!(f, "the revision will never be dispatched: {reason}")
            }
        }
    }
}

impl Error for WaitError {}

/// The reason for which a compaction was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CompactError {
    /// The revision was not published yet.
    Future {
        /// The revision handed in.
        requested: Revision,
        /// The largest revision allowed: one above the last published.
        largest: Revision,
    },
}

impl fmt::Display for CompactError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Future { requested, largest } => write!(
                f,
                "cannot compact below revision {requested}, which is in the future: the largest \
                 allowed is {largest}"
            ),
        }
    }
}

impl Error for CompactError {}

/// The reason for which an engine was not built.
#[derive(Debug)]
#[non_exhaustive]
pub enum BuildError {
    /// A capacity is 0; it must be at least 1.
    ZeroCapacity {
        /// Which capacity.
        what: &'static str,
    },
    /// A capacity is larger than the engine can allocate.
    TooLarge {
        /// Which capacity.
        what: &'static str,
        /// The value handed in.
        given: usize,
        /// The largest value allowed.
        max: usize,
    },
    /// The start revision leaves none to publish: it must be below [`MAX_REVISION`].
    Revision {
        /// The revision handed in.
        given: Revision,
    },
    /// The dispatcher's thread could not be started.
    Spawn(io::Error),
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ZeroCapacity { what } => write!(f, "{what} is 0 and must be at least 1"),
            Self::TooLarge { what, given, max } => {
                write!(f, "{what} is {given} and must be at most {max}")
            }
            Self::Revision { given } => write!(
                f,
                "start revision {given} leaves none to publish: it must be below \
                 {MAX_REVISION}"
            ),
            Self::Spawn(_) => f.write_str("the dispatcher's thread could not be started"),
        }
    }
}

impl Error for BuildError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Spawn(error) => Some(error),
            Self::ZeroCapacity { .. } | Self::TooLarge { .. } | Self::Revision { .. } => None,
        }
    }
}

/// The reason for which a [`Replay`](crate::Replay) source could not serve a read.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReplayError {
    /// The source has removed the first revision asked for. The watcher reports everything below
    /// `oldest` as a lag and reads on from there.
    Compacted {
        /// The oldest revision from which a read succeeds. It must be above the first revision asked
        /// for; otherwise the source counts as failed.
        oldest: Revision,
    },
    /// The source failed. The watcher asks up to three times in a row; then it reports the revisions
    /// that it asked for as a lag, with the reason [`ReplayFailed`](crate::LagReason::ReplayFailed).
    /// Each error goes to `tracing`.
    Failed(Box<dyn Error + Send + Sync>),
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compacted { oldest } => {
                write!(f, "the oldest revision that can be replayed is {oldest}")
            }
            Self::Failed(_) => f.write_str("the replay source failed"),
        }
    }
}

impl Error for ReplayError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Failed(error) => Some(&**error),
            Self::Compacted { .. } => None,
        }
    }
}

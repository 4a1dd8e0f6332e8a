//! Every error, and the reasons for which a watcher ends.
//!
//! An error names what failed and what would be right. An error that refuses a value hands it back.

use std::error::Error;
use std::fmt;
use std::io;

use bytes::Bytes;

use crate::change::{Change, MAX_REVISION, Revision};

/// The reason for which a watcher delivers nothing more. A watcher ends once, and delivers nothing
/// after its end.
///
/// It is as large as a word, so that an event in a `Result` beside it is aligned, and moves fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u64)]
pub enum EndReason {
    /// It was closed, by [`Watcher::close`](crate::Watcher::close) or a [`Closer`](crate::Closer).
    Closed,
    /// Its queue overflowed, and its option was [`Overflow::Cancel`](crate::Overflow::Cancel).
    Overflow,
    /// The publisher was shut down or dropped. Everything published is delivered before this end.
    ShutDown,
    /// The dispatcher panicked, or was dropped before the publisher: the last published events may
    /// be missing.
    Failed,
}

impl EndReason {
    /// Whether this end was asked for ([`Closed`](Self::Closed) or [`ShutDown`](Self::ShutDown)).
    /// Iterators and streams then just end; they report any other end as a last error item.
    #[must_use]
    pub fn is_normal(self) -> bool {
        matches!(self, Self::Closed | Self::ShutDown)
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "the watcher was closed",
            Self::Overflow => "the watcher's queue overflowed and it asked to be cancelled then",
            Self::ShutDown => "the publisher was shut down",
            Self::Failed => "the dispatcher failed",
        })
    }
}

/// An optional [`EndReason`] in one byte, because every watcher has one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct End(pub(crate) u8);

impl End {
    /// Not ended.
    pub(crate) const NONE: Self = Self(0);

    pub(crate) fn of(reason: EndReason) -> Self {
        Self(match reason {
            EndReason::Closed => 1,
            EndReason::Overflow => 2,
            EndReason::ShutDown => 3,
            EndReason::Failed => 4,
        })
    }

    pub(crate) fn reason(self) -> Option<EndReason> {
        match self.0 {
            1 => Some(EndReason::Closed),
            2 => Some(EndReason::Overflow),
            3 => Some(EndReason::ShutDown),
            4 => Some(EndReason::Failed),
            _ => None,
        }
    }
}

/// Revisions whose matching events a watcher can no longer get, both ends included.
///
/// A lag is reported in its place: everything below was delivered before it, and everything above
/// comes after it. Not every revision in it needs to have had a matching event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lagged {
    /// The first revision that may have been missed.
    pub first: Revision,
    /// The last revision that may have been missed.
    pub last: Revision,
}

impl fmt::Display for Lagged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "events of revisions {} to {} are no longer available; read the store for their result",
            self.first, self.last
        )
    }
}

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
            Self::Full { capacity } => write!(
                f,
                "the ingress is full with {capacity} messages: try again, or publish lossily"
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
            Self::ZeroCapacity { .. } | Self::Revision { .. } => None,
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
        /// The oldest revision from which a read succeeds.
        oldest: Revision,
    },
    /// The source failed. The watcher reports everything below the history in memory as a lag, and
    /// the error goes to `tracing`.
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

//! Every error, and why a watcher ends.
//!
//! Each names what failed and what would be right; one that refuses a value hands it back.

use std::error::Error;
use std::fmt;
use std::io;

use bytes::Bytes;

use crate::event::{Change, MAX_REVISION, Revision};

/// Why a watcher delivers nothing more. There is exactly one end, and nothing after it.
///
/// As large as a word, so that whatever a receive returns starts at a word's boundary behind the
/// tag: copied from the byte behind it, an event stalled at each move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u64)]
pub enum EndReason {
    /// Its user closed it, here or through a [`Closer`](crate::Closer).
    Closed,
    /// Its queue overflowed, and it asked for [`Overflow::Cancel`](crate::Overflow::Cancel).
    Overflow,
    /// The publisher was shut down or dropped; everything published was delivered before.
    ShutDown,
    /// The dispatcher panicked, or was dropped before its time: what was published last may be
    /// missing.
    Failed,
}

impl EndReason {
    /// Whether this is an end that somebody asked for ([`Closed`](Self::Closed) or
    /// [`ShutDown`](Self::ShutDown)): iterators and streams then just end. Any other end they
    /// report as an error item first.
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

/// Whether something has ended and why, in a byte: a word in each watcher would be too much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct End(pub(crate) u8);

impl End {
    /// It goes on.
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
/// It is reported in its place: everything below was delivered before, everything above comes
/// after. Not every revision within need have matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lagged {
    /// The first revision that may have been missed.
    pub from: Revision,
    /// The last revision that may have been missed.
    pub to: Revision,
}

impl fmt::Display for Lagged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "events of revisions {} to {} are no longer to be had; read the store for what they \
             left behind",
            self.from, self.to
        )
    }
}

/// Why a blocking or polled receive returned no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecvError {
    /// Events were missed here. The watcher goes on behind them.
    Lagged(Lagged),
    /// The watcher has ended; every further receive says the same.
    Closed(EndReason),
}

/// Why a receive that does not wait returned no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TryRecvError {
    /// Nothing is there yet.
    Empty,
    /// Events were missed here. The watcher goes on behind them.
    Lagged(Lagged),
    /// The watcher has ended; every further receive says the same.
    Closed(EndReason),
}

/// Why a receive with a deadline returned no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecvTimeoutError {
    /// Nothing came in time.
    Timeout,
    /// Events were missed here. The watcher goes on behind them.
    Lagged(Lagged),
    /// The watcher has ended; every further receive says the same.
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

/// Why a watch was not registered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WatchError {
    /// The events from `requested` on are no longer all there; a watch from `oldest` succeeds.
    Compacted {
        /// The start revision that was asked for.
        requested: Revision,
        /// The oldest start revision that can be served.
        oldest: Revision,
    },
    /// A range whose end does not lie behind its start matches nothing.
    EmptyRange {
        /// The range's start.
        start: Bytes,
        /// The range's end, which is not above the start.
        end: Bytes,
    },
    /// A union without parts matches nothing.
    EmptyUnion,
    /// A capacity must be at least 1.
    ZeroCapacity {
        /// Which capacity.
        what: &'static str,
    },
    /// As many watchers are registered as the builder allows.
    TooManyWatchers {
        /// The limit, set with [`Builder::watchers`](crate::Builder::watchers).
        limit: usize,
    },
    /// There is nothing to watch any more.
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
                f.write_str("the union has no parts and would match nothing: give it at least one")
            }
            Self::ZeroCapacity { what } => write!(f, "{what} is 0 and must be at least 1"),
            Self::TooManyWatchers { limit } => write!(
                f,
                "{limit} watchers are registered, which is the limit: drop some, or raise \
                 Builder::watchers"
            ),
            Self::Closed(reason) => write!(f, "nothing can be watched any more: {reason}"),
        }
    }
}

impl Error for WatchError {}

/// The entries of a [`publish_many`](crate::Publisher::publish_many): revisions with their changes.
pub type Entries = Vec<(Revision, Vec<Change>)>;

/// Why a publish did not happen, with what was to be published.
///
/// Nothing of it was published, and its revision was not used up.
#[derive(Clone, PartialEq, Eq)]
pub struct PublishError<T> {
    kind: PublishErrorKind,
    /// Boxed, as an error should not make every result of a publish larger than it need be.
    input: Box<T>,
}

impl<T> PublishError<T> {
    pub(crate) fn new(kind: PublishErrorKind, input: T) -> Self {
        let input = Box::new(input);
        Self { kind, input }
    }

    /// What was wrong.
    #[must_use]
    pub fn kind(&self) -> PublishErrorKind {
        self.kind
    }

    /// What the caller handed in.
    #[must_use]
    pub fn into_input(self) -> T {
        *self.input
    }

    /// The same by reference.
    #[must_use]
    pub fn input(&self) -> &T {
        &self.input
    }

    pub(crate) fn map<U>(self, back: impl FnOnce(T) -> U) -> PublishError<U> {
        PublishError::new(self.kind, back(*self.input))
    }
}

/// What was wrong with a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PublishErrorKind {
    /// The ingress is full (`try_publish`), or stayed so until the time was up
    /// (`publish_timeout`).
    Full {
        /// How many messages the ingress holds.
        capacity: usize,
    },
    /// The engine has stopped.
    Closed(EndReason),
    /// A revision that does not grow, or is above [`MAX_REVISION`].
    Revision {
        /// The revision handed in (or, where the publisher counts, the next one).
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
                "the ingress is full with {capacity} messages: try again, or publish lossy"
            ),
            Self::Closed(reason) => write!(f, "nothing can be published any more: {reason}"),
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

/// Why a wait ended without what was waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitError {
    /// It did not come in time.
    Timeout,
    /// The engine stopped first.
    Closed(EndReason),
}

impl fmt::Display for WaitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout => f.write_str("the revision was not dispatched in time"),
            Self::Closed(reason) => {
                write!(f, "the revision will not be dispatched any more: {reason}")
            }
        }
    }
}

impl Error for WaitError {}

/// Why a compaction was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CompactError {
    /// What is not published yet cannot be forgotten.
    Future {
        /// The revision handed in.
        requested: Revision,
        /// The largest that could be: one above the last published.
        largest: Revision,
    },
}

impl fmt::Display for CompactError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Future { requested, largest } => write!(
                f,
                "cannot compact below revision {requested}, which lies in the future: the largest \
                 possible is {largest}"
            ),
        }
    }
}

impl Error for CompactError {}

/// Why an engine was not built.
#[derive(Debug)]
#[non_exhaustive]
pub enum BuildError {
    /// A capacity must be at least 1.
    ZeroCapacity {
        /// Which capacity.
        what: &'static str,
    },
    /// The starting revision leaves none to publish: it must be below [`MAX_REVISION`].
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
                "starting at revision {given} leaves none to publish: it must be below \
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

/// Why a [`Replay`](crate::Replay) source could not serve a read.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReplayError {
    /// The source has forgotten the first revision asked for. The watcher reports what lies
    /// below `oldest` as a lag and reads on from there.
    Compacted {
        /// The oldest revision from which a read succeeds.
        oldest: Revision,
    },
    /// The source failed. The watcher reports everything up to the history in memory as a lag,
    /// and the error goes to `tracing`.
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

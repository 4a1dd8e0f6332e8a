//! What can go wrong with a mirror, and how it ends.

use std::error::Error;
use std::fmt;

use crate::{EndReason, Revision, WatchError};

/// Why a step of a [`MirrorDriver`](super::MirrorDriver) did not succeed.
///
/// All but [`Ended`](Self::Ended) leave the driver as it was before the step: readers keep the
/// last state, waits go on, the watcher stays registered, and the next step tries again. When
/// that is, is up to the caller, who has a clock.
///
/// `E` is what the store's reader fails with: its
/// [`Error`](super::SnapshotReader::Error).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MirrorError<E> {
    /// The store could not be read: what its reader said.
    Read(E),
    /// The read is too old: events between it and what is at hand are gone. A read of
    /// `at_least`, or later, succeeds; so does one of `oldest - 1`, as long as the history stays
    /// as it is.
    Stale {
        /// The revision that was read.
        revision: Revision,
        /// The lowest that is good in any case.
        at_least: Revision,
        /// The oldest revision from which events could still be had, if the engine runs.
        oldest: Option<Revision>,
    },
    /// The read is older than what readers have already seen.
    WentBack {
        /// The revision that was read.
        revision: Revision,
        /// The revision of what readers see.
        applied: Revision,
    },
    /// The read is old, and the watch behind it was refused.
    Watch(WatchError),
    /// The mirror has ended, in a way that nobody asked for. Every further step says the same.
    Ended(EndReason),
}

impl<E> MirrorError<E> {
    /// Whether another step can succeed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        !matches!(self, Self::Ended(_))
    }
}

impl<E: fmt::Display> fmt::Display for MirrorError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => write!(f, "the store could not be read for the mirror: {error}"),
            Self::Stale {
                revision,
                at_least,
                oldest,
            } => {
                write!(
                    f,
                    "the store was read at revision {revision}, too old for the mirror: it must be \
                     read at {at_least} or later"
                )?;
                match oldest {
                    Some(oldest) => write!(f, "; events are to be had from {oldest} on"),
                    None => f.write_str("; no older events are to be had"),
                }
            }
            Self::WentBack { revision, applied } => write!(
                f,
                "the store was read at revision {revision}, before revision {applied}, which the \
                 mirror already shows: it must not go back"
            ),
            Self::Watch(_) => f.write_str("the watch behind the store's read was refused"),
            Self::Ended(reason) => write!(f, "the mirror ended: {reason}"),
        }
    }
}

/// What the reader said is in the message and not the source: so it may be anything that can be
/// shown, a boxed error or a string too.
impl<E: fmt::Debug + fmt::Display> Error for MirrorError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Watch(error) => Some(error),
            _ => None,
        }
    }
}

/// Why a mirror is not kept up to date any more. What it showed last can still be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MirrorEnd {
    /// Its watcher ended, or its driver was closed; everything before that has been applied.
    Watch(EndReason),
    /// Its driver was dropped.
    Dropped,
}

impl fmt::Display for MirrorEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Watch(reason) => reason.fmt(f),
            Self::Dropped => f.write_str("the mirror's driver was dropped"),
        }
    }
}

/// Why a wait for a revision of a mirror ended without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MirrorWaitError {
    /// It was not applied in time.
    Timeout {
        /// The revision waited for.
        wanted: Revision,
        /// The one applied by then, if any state was.
        applied: Option<Revision>,
    },
    /// The mirror ended before it.
    Closed {
        /// The revision waited for.
        wanted: Revision,
        /// The last one applied, if any state was.
        applied: Option<Revision>,
        /// Why it ended.
        end: MirrorEnd,
    },
}

impl fmt::Display for MirrorWaitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (wanted, applied) = match self {
            Self::Timeout { wanted, applied } => {
                write!(f, "revision {wanted} was not applied in time")?;
                (wanted, applied)
            }
            Self::Closed {
                wanted,
                applied,
                end,
            } => {
                write!(f, "revision {wanted} will not be applied any more: {end}")?;
                (wanted, applied)
            }
        };
        match applied {
            Some(applied) => write!(f, " (wanted {wanted}, applied {applied})"),
            None => f.write_str(" (nothing was read yet)"),
        }
    }
}

impl Error for MirrorWaitError {}

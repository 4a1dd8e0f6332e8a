//! The errors of a mirror, and the reasons of its end.

use std::error::Error;
use std::fmt;

use crate::{EndReason, MAX_REVISION, Revision, WatchError};

/// The error of a step of a [`MirrorDriver`](super::MirrorDriver).
///
/// Every error but [`Ended`](Self::Ended) leaves the driver as it was before the step: readers keep
/// the last state, readers that wait keep waiting, the watcher stays registered, and the next step
/// tries again. The caller decides when that is; the driver does not wait between two tries.
///
/// `E` is the [`Error`](super::SnapshotReader::Error) of the reader.
///
/// ```
/// use kvwatch::mirror::{Mirror, MirrorError, Snapshot, SnapshotRequest};
/// use kvwatch::{Builder, Selector};
///
/// let (_publisher, hub) = Builder::new().spawn()?;
/// let read = |_: SnapshotRequest| Err::<Snapshot, _>("the store is starting");
/// let (_mirror, mut driver) = Mirror::watch(&hub, Selector::all(), read)?;
/// let error = driver.step().unwrap_err();
/// assert_eq!(error, MirrorError::Read("the store is starting"));
/// assert!(error.is_retryable());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MirrorError<E> {
    /// The reader failed with this error.
    Read(E),
    /// The read is too old: the events between it and the watcher are no longer available. A read
    /// at `at_least` or later succeeds. A read at `oldest - 1` or later succeeds as long as the
    /// history keeps its events.
    Stale {
        /// The revision of the read.
        revision: Revision,
        /// The lowest revision at which a read always succeeds.
        at_least: Revision,
        /// The oldest revision from which events are available. `None` if the engine has stopped.
        oldest: Option<Revision>,
    },
    /// The read is older than the state that readers see.
    WentBack {
        /// The revision of the read.
        revision: Revision,
        /// The revision that readers see.
        applied: Revision,
    },
    /// The read has a revision that cannot be published: it must be at most
    /// [`MAX_REVISION`](crate::MAX_REVISION).
    Revision {
        /// The revision of the read.
        revision: Revision,
    },
    /// The read is older than the watcher, and a new watcher after it was refused.
    Watch(WatchError),
    /// The mirror has ended abnormally. Every further step returns the same error.
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
            Self::Read(error) => write!(f, "reading the store for the mirror failed: {error}"),
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
                    Some(oldest) => {
                        write!(f, "; events are available from revision {oldest} on")
                    }
                    None => f.write_str("; no older events are available"),
                }
            }
            Self::WentBack { revision, applied } => write!(
                f,
                "the store was read at revision {revision}, but the mirror already shows revision \
                 {applied} and must not go back"
            ),
            Self::Revision { revision } => write!(
                f,
                "the store was read at revision {revision}, which cannot be published: the largest \
                 is {MAX_REVISION}"
            ),
            Self::Watch(_) => f.write_str("the watch after the read of the store was refused"),
            Self::Ended(reason) => write!(f, "the mirror ended: {reason}"),
        }
    }
}

/// The error of the reader is part of the message, not a source. So it need not implement `Error`:
/// a string or a boxed error will do.
impl<E: fmt::Debug + fmt::Display> Error for MirrorError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Watch(error) => Some(error),
            _ => None,
        }
    }
}

/// Why a mirror is no longer kept up to date: from [`Mirror::end_reason`](super::Mirror::end_reason). The last
/// state stays readable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MirrorEnd {
    /// The watcher ended, or the mirror was closed. If the watcher ended, every event before its end
    /// has been applied.
    Watch(EndReason),
    /// The driver was dropped.
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

/// The error of a wait for a revision of a mirror: of
/// [`Mirror::wait_for`](super::Mirror::wait_for) and its async form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MirrorWaitError {
    /// The revision was not applied in time.
    Timeout {
        /// The revision that the wait was for.
        wanted: Revision,
        /// The last applied revision. `None` before the first read of the store.
        applied: Option<Revision>,
    },
    /// The mirror ended before that revision was applied.
    Closed {
        /// The revision that the wait was for.
        wanted: Revision,
        /// The last applied revision. `None` before the first read of the store.
        applied: Option<Revision>,
        /// Why the mirror ended.
        end: MirrorEnd,
    },
}

impl fmt::Display for MirrorWaitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let applied = match self {
            Self::Timeout { wanted, applied } => {
                write!(f, "revision {wanted} was not applied in time")?;
                applied
            }
            Self::Closed {
                wanted,
                applied,
                end,
            } => {
                write!(f, "revision {wanted} will not be applied: {end}")?;
                applied
            }
        };
        match applied {
            Some(applied) => write!(f, " (the last applied revision is {applied})"),
            None => f.write_str(" (the store has not been read yet)"),
        }
    }
}

impl Error for MirrorWaitError {}

//! Why a watcher, or the engine, has ended.

use std::fmt;

/// The reason for which a watcher delivers nothing more. A watcher delivers nothing after its
/// end.
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
    /// The publisher was dropped by a thread that panicked. Everything published is delivered before
    /// this end, but the store may have committed more than it published.
    PublisherPanicked,
}

impl EndReason {
    /// Whether this end was asked for ([`Closed`](Self::Closed) or [`ShutDown`](Self::ShutDown)).
    /// Iterators and streams then just end; they report any other end as a last error item.
    #[must_use]
    pub fn is_normal(self) -> bool {
        matches!(self, Self::Closed | Self::ShutDown)
    }

    /// Whether everything published was delivered before this end.
    pub(crate) fn follows_everything(self) -> bool {
        matches!(self, Self::ShutDown | Self::PublisherPanicked)
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "the watcher was closed",
            Self::Overflow => "the watcher's queue overflowed and it asked to be cancelled then",
            Self::ShutDown => "the publisher was shut down",
            Self::Failed => "the dispatcher failed",
            Self::PublisherPanicked => "the publisher's thread panicked",
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
            EndReason::PublisherPanicked => 5,
        })
    }

    pub(crate) fn reason(self) -> Option<EndReason> {
        match self.0 {
            1 => Some(EndReason::Closed),
            2 => Some(EndReason::Overflow),
            3 => Some(EndReason::ShutDown),
            4 => Some(EndReason::Failed),
            5 => Some(EndReason::PublisherPanicked),
            _ => None,
        }
    }
}

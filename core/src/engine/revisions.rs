//! The revisions that tell how far publishing and dispatching are.
//!
//! Each of the four is written by one side only:
//!
//! | revision | written by | meaning: everything up to it |
//! | --- | --- | --- |
//! | `claimed` | the publisher, before it checks the interest | may have been published |
//! | `published` | the publisher, after it has sent | was sent, or concerns no watcher |
//! | `appended` | the thread that dispatches | is in the history |
//! | `dispatched` | the thread that dispatches | is in the queues of the watchers it concerns |

use std::sync::atomic::Ordering::{Acquire, Release, SeqCst};

use crate::change::Revision;
use crate::sync::AtomicU64;

#[derive(Debug)]
pub(crate) struct Revisions {
    claimed: AtomicU64,
    published: AtomicU64,
    appended: AtomicU64,
    dispatched: AtomicU64,
    /// Up to here a watcher may want an event that had no interest when it was published.
    unfiltered_up_to: AtomicU64,
}

impl Revisions {
    /// Everything up to `start` was committed before the engine existed.
    pub(crate) fn new(start: Revision) -> Self {
        Self {
            claimed: AtomicU64::new(start),
            published: AtomicU64::new(start),
            appended: AtomicU64::new(start),
            dispatched: AtomicU64::new(start),
            unfiltered_up_to: AtomicU64::new(0),
        }
    }

    pub(crate) fn claimed(&self) -> Revision {
        self.claimed.load(SeqCst)
    }

    /// Claims everything up to `revision`. The publisher calls it before it checks the interest.
    pub(crate) fn claim(&self, revision: Revision) {
        self.claimed.store(revision, SeqCst);
    }

    /// Claims without a fence. The publisher calls it if it does not check the interest: the message
    /// is then matched when it is dispatched, and the registry's lock orders registrations.
    pub(crate) fn claim_unordered(&self, revision: Revision) {
        self.claimed.store(revision, Release);
    }

    pub(crate) fn published(&self) -> Revision {
        self.published.load(Acquire)
    }

    /// The publisher calls it once everything up to `revision` was sent, or found to concern no
    /// watcher.
    pub(crate) fn mark_published(&self, revision: Revision) {
        self.published.store(revision, Release);
    }

    pub(crate) fn appended(&self) -> Revision {
        self.appended.load(SeqCst)
    }

    pub(crate) fn mark_appended(&self, revision: Revision) {
        self.appended.store(revision, SeqCst);
    }

    pub(crate) fn dispatched(&self) -> Revision {
        self.dispatched.load(SeqCst)
    }

    pub(crate) fn mark_dispatched(&self, revision: Revision) {
        self.dispatched.store(revision, SeqCst);
    }

    /// Records that a watcher with a start in the past registers now. It may go live before
    /// everything claimed so far is dispatched, and the publisher has checked the interest of those
    /// revisions without it.
    pub(crate) fn note_late_watch(&self, claimed: Revision) {
        self.unfiltered_up_to.fetch_max(claimed, SeqCst);
    }

    /// Whether a segment that starts at `first` must be matched even if the publisher found no
    /// interest in it. To be asked after the segment was appended: a watcher that registers later
    /// finds it in the history.
    pub(crate) fn must_match(&self, first: Revision) -> bool {
        first <= self.unfiltered_up_to.load(SeqCst)
    }
}

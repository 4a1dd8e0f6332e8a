//! The handle for readers of a mirror.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::error::{MirrorEnd, MirrorWaitError};
use super::shared::Shared;
use super::view::View;
use crate::Revision;
use crate::thread_waker::{block_until, deadline_after};

/// A handle for readers of a mirror. It is cheap to clone and can be used from any thread.
///
/// - *If I am slow:* neither the driver nor another reader is delayed. A view that is kept holds
///   the values that have been overwritten since.
/// - *If I am dropped:* the driver and the other handles are not affected.
/// - *If the driver is slow, or does not run:* readers see an older state, and
///   [`wait_for`](Self::wait_for) waits.
/// - *If the driver has ended, or was dropped:* the last state stays readable.
///   [`end_reason`](Self::end_reason) returns the reason, and a wait for a later revision returns
///   [`MirrorWaitError::Closed`].
///
/// ```
/// use kvwatch::mirror::{Mirror, MirrorEnd, Snapshot, SnapshotRequest, Step};
/// use kvwatch::{Builder, Change, Selector};
///
/// let (mut publisher, hub) = Builder::new().spawn()?;
/// let read = |_: SnapshotRequest| Ok::<_, std::io::Error>(Snapshot::at(0));
/// let (mirror, mut driver) = Mirror::watch(&hub, Selector::all(), read)?;
/// assert!(mirror.view().is_none());
///
/// assert_eq!(driver.step()?, Step::Loaded { revision: 0 });
/// publisher.publish(Change::put("a", "1"))?;
/// assert_eq!(driver.step()?, Step::Applied { events: 1, revision: 1 });
///
/// drop(driver);
/// assert_eq!(mirror.end_reason(), Some(MirrorEnd::Dropped));
/// assert_eq!(mirror.view().unwrap().get("a").unwrap(), "1");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct Mirror {
    shared: Arc<Shared>,
}

impl Mirror {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The current state. `None` until the store has been read for the first time; to wait for
    /// that, wait for revision 0.
    #[must_use]
    pub fn view(&self) -> Option<View> {
        self.shared.view()
    }

    /// Waits until every event up to `revision` has been applied, for at most `timeout`, blocking
    /// the thread. Returns the state then, which is at that revision or a later one.
    ///
    /// A writer that waits for the revision of its own write reads that write back. The selector
    /// need not match any event of `revision`, and the revision need not be published yet.
    ///
    /// ```
    /// use kvwatch::mirror::{Mirror, MirrorWaitError, Snapshot, SnapshotRequest};
    /// use kvwatch::{Builder, Selector};
    /// use std::time::Duration;
    ///
    /// let (_publisher, hub) = Builder::new().spawn()?;
    /// let read = |_: SnapshotRequest| Ok::<_, std::io::Error>(Snapshot::at(0));
    /// let (mirror, mut driver) = Mirror::watch(&hub, Selector::all(), read)?;
    /// driver.step()?;
    ///
    /// assert!(mirror.wait_for(0, Duration::ZERO)?.is_empty());
    /// let timeout = MirrorWaitError::Timeout { wanted: 1, applied: Some(0) };
    /// assert_eq!(mirror.wait_for(1, Duration::from_millis(1)).unwrap_err(), timeout);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Timeout`](MirrorWaitError::Timeout) if that takes longer;
    /// [`Closed`](MirrorWaitError::Closed) if the mirror ends before that revision.
    pub fn wait_for(&self, revision: Revision, timeout: Duration) -> Result<View, MirrorWaitError> {
        let mut applied = self.wait_for_async(revision);
        let waited = block_until(deadline_after(timeout), |cx| {
            Pin::new(&mut applied).poll(cx)
        });
        waited.unwrap_or_else(|| {
            Err(MirrorWaitError::Timeout {
                wanted: revision,
                applied: self.view().as_ref().map(View::revision),
            })
        })
    }

    /// [`wait_for`](Self::wait_for) as a future, on any executor and without a timeout.
    ///
    /// Cancel safe: it only waits.
    ///
    /// ```
    /// use kvwatch::mirror::{Mirror, Snapshot, SnapshotRequest};
    /// use kvwatch::{Builder, Change, Selector};
    ///
    /// # futures::executor::block_on(async {
    /// let (mut publisher, hub) = Builder::new().spawn()?;
    /// let read = |_: SnapshotRequest| Ok::<_, std::io::Error>(Snapshot::at(0));
    /// let (mirror, mut driver) = Mirror::watch(&hub, Selector::prefix("app/"), read)?;
    /// let written = publisher.publish(Change::put("app/a", "1"))?;
    /// drop(publisher);
    ///
    /// let (view, end) = futures::join!(mirror.wait_for_async(written), driver.run_async());
    /// assert_eq!(view?.get("app/a").unwrap(), "1");
    /// # let _ = end.unwrap();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// [`Closed`](MirrorWaitError::Closed) if the mirror ends before that revision.
    pub fn wait_for_async(&self, revision: Revision) -> Applied {
        Applied {
            shared: Arc::clone(&self.shared),
            revision,
            ticket: self.shared.next_ticket(),
        }
    }

    /// Why the mirror is no longer kept up to date. `None` while it is.
    #[must_use]
    pub fn end_reason(&self) -> Option<MirrorEnd> {
        self.shared.end_reason()
    }
}

impl fmt::Debug for Mirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mirror")
            .field("view", &self.view())
            .field("end_reason", &self.end_reason())
            .finish()
    }
}

/// A future that completes with the state once a revision has been applied: from
/// [`Mirror::wait_for_async`].
///
/// Cancel safe: dropping it only ends the wait.
#[must_use = "a future does nothing until it is polled"]
pub struct Applied {
    shared: Arc<Shared>,
    revision: Revision,
    ticket: u64,
}

impl Future for Applied {
    type Output = Result<View, MirrorWaitError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.shared.poll_wait(self.revision, self.ticket, cx)
    }
}

impl Drop for Applied {
    fn drop(&mut self) {
        self.shared.cancel_wait(self.revision, self.ticket);
    }
}

impl fmt::Debug for Applied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Applied")
            .field("revision", &self.revision)
            .finish_non_exhaustive()
    }
}

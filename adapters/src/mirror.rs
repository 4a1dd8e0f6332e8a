//! A map of a selector's current state, kept up to date.
//!
//! What users of a watch write again and again: watch, read the store, skip the events up to the
//! read's revision, apply the others; and after a lag, read the store again. Here it is in two
//! parts. [`Mirror`] is a handle for readers: cheap to clone, from any thread, any number of
//! them. [`MirrorDriver`] does the work, while the caller runs it: no task and no thread is
//! started here.
//!
//! ```
//! use kvwatch::mirror::{Mirror, Snapshot, SnapshotRequest};
//! use kvwatch::{Builder, Change, EndReason, Selector};
//! use std::thread;
//! use std::time::Duration;
//!
//! let (mut publisher, hub) = Builder::new().revision(41).spawn()?;
//! // What reads the store: here, it holds one key, and was written to at revision 41.
//! let read = |_: SnapshotRequest| {
//!     let mut snapshot = Snapshot::at(41);
//!     snapshot.insert("app/port", "80");
//!     Ok::<_, std::io::Error>(snapshot)
//! };
//! let (mirror, mut driver) = Mirror::watch(&hub, Selector::prefix("app/"), read)?;
//! let driving = thread::spawn(move || driver.run());
//!
//! let written = publisher.publish(Change::put("app/host", "localhost"))?;
//! let view = mirror.wait_for(written, Duration::from_secs(10))?;
//! assert_eq!(view.get("app/host").unwrap(), "localhost");
//! assert_eq!(view.get("app/port").unwrap(), "80");
//!
//! drop(publisher);
//! assert_eq!(driving.join().unwrap()?, EndReason::ShutDown);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! In a task it is the same with [`run_async`](MirrorDriver::run_async), on any executor:
//!
//! ```
//! # use kvwatch::mirror::{Mirror, Snapshot, SnapshotRequest};
//! # use kvwatch::{Builder, Change, EndReason, Selector};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let (mut publisher, hub) = Builder::new().spawn()?;
//! # type AnyError = Box<dyn std::error::Error + Send + Sync>;
//! # let read = |_: SnapshotRequest| Ok::<_, AnyError>(Snapshot::at(0));
//! let (mirror, mut driver) = Mirror::watch(&hub, Selector::prefix("app/"), read)?;
//! let driving = tokio::spawn(async move { driver.run_async().await });
//!
//! let written = publisher.publish(Change::put("app/host", "localhost"))?;
//! let view = mirror.applied(written).await?;
//! assert_eq!(view.get("app/host").unwrap(), "localhost");
//! # drop(publisher);
//! # assert_eq!(driving.await??, EndReason::ShutDown);
//! # Ok(())
//! # }
//! ```
//!
//! # What readers see
//!
//! A [`View`]: the state at one revision, whole. Revisions are applied whole and in order, and a
//! state that was read again after a lag takes the place of the old one at once: nobody sees half
//! of either. A view's revision never goes back. Not every revision is shown by itself: all that
//! is at hand is applied at once.
//!
//! A view is a persistent map, of which a change copies only what it touches. So to take one
//! costs a lock for a moment and a reference count; readers and driver do not wait for each
//! other's work.
//!
//! Every event that matches is applied as it comes. A commit that does not concern the mirror
//! wakes nobody: it moves the revision when a reader waits for it ([`Mirror::wait_for`]), or
//! together with what comes next.

mod driver;
mod error;
mod shared;
mod snapshot;
mod view;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

pub use driver::{MirrorCloser, MirrorDriver, Step};
pub use error::{MirrorEnd, MirrorError, MirrorWaitError};
pub use snapshot::{ReadAsync, Snapshot, SnapshotReader, SnapshotRequest, read_async};
pub use view::{View, ViewIter};

use crate::park::{block_until, deadline_after};
use crate::{Hub, Revision, Selector, WatchError, WatchOptions};
use shared::Shared;

/// What can be asked of a mirror's watch. It always gets puts and deletes, and catches up when
/// its queue overflows.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct MirrorOptions {
    capacity: Option<usize>,
    capacity_bytes: Option<usize>,
}

impl MirrorOptions {
    /// The builder's capacities.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many events the engine queues ahead of the driver: see [`WatchOptions::capacity`].
    /// What is published while the store is read fits in here, or is read from the history.
    pub fn capacity(mut self, events: usize) -> Self {
        self.capacity = Some(events);
        self
    }

    /// How many bytes the queued events may keep in memory: see
    /// [`WatchOptions::capacity_bytes`].
    pub fn capacity_bytes(mut self, bytes: usize) -> Self {
        self.capacity_bytes = Some(bytes);
        self
    }

    fn watch(&self) -> WatchOptions {
        let mut options = WatchOptions::new();
        if let Some(events) = self.capacity {
            options = options.capacity(events);
        }
        if let Some(bytes) = self.capacity_bytes {
            options = options.capacity_bytes(bytes);
        }
        options
    }
}

/// A handle to a selector's current state, for readers. Cheap to clone, usable from any thread.
///
/// - *If I am slow:* nobody notices. A view that is kept costs what has been overwritten since.
/// - *If I am dropped:* neither the driver nor other handles notice.
/// - *If the driver is slow, or does not run:* I see an older state; [`wait_for`](Self::wait_for)
///   waits.
/// - *If the driver has ended, or was dropped:* the last state can still be read, for ever;
///   [`ended`](Self::ended) says why, and every wait for more returns
///   [`MirrorWaitError::Closed`].
#[derive(Clone)]
#[must_use]
pub struct Mirror {
    shared: Arc<Shared>,
}

impl Mirror {
    fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Mirrors what this selector matches. The watch is registered here; the store is read, with
    /// `reader`, when the driver runs.
    ///
    /// # Errors
    /// See [`WatchError`].
    pub fn watch<R: SnapshotReader>(
        hub: &Hub,
        selector: impl Into<Selector>,
        reader: R,
    ) -> Result<(Self, MirrorDriver<R>), WatchError> {
        Self::watch_with(hub, selector, MirrorOptions::new(), reader)
    }

    /// The same with a queue of its own size.
    ///
    /// # Errors
    /// See [`WatchError`].
    pub fn watch_with<R: SnapshotReader>(
        hub: &Hub,
        selector: impl Into<Selector>,
        options: MirrorOptions,
        reader: R,
    ) -> Result<(Self, MirrorDriver<R>), WatchError> {
        let driver = MirrorDriver::new(hub, selector.into(), options, reader)?;
        Ok((driver.mirror(), driver))
    }

    /// The state now; none before the store has been read for the first time. To wait for that,
    /// wait for revision 0.
    #[must_use]
    pub fn view(&self) -> Option<View> {
        self.shared.view()
    }

    /// Waits this long at most until everything up to `revision` has been applied, and returns
    /// the state then, at that revision or a later one. With the revision of one's own write,
    /// that is to read it back. Any revision will do, whether it concerns the mirror or not, and
    /// whether it is published yet or not.
    ///
    /// # Errors
    /// See [`MirrorWaitError`].
    pub fn wait_for(&self, revision: Revision, timeout: Duration) -> Result<View, MirrorWaitError> {
        let mut applied = self.applied(revision);
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

    /// The same as a future, without a timeout. It needs no runtime.
    pub fn applied(&self, revision: Revision) -> Applied {
        Applied {
            shared: Arc::clone(&self.shared),
            revision,
            ticket: self.shared.ticket(),
        }
    }

    /// Why it is not kept up to date any more, if so.
    #[must_use]
    pub fn ended(&self) -> Option<MirrorEnd> {
        self.shared.ended()
    }
}

impl fmt::Debug for Mirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mirror")
            .field("view", &self.view())
            .field("ended", &self.ended())
            .finish()
    }
}

/// Completes when a revision has been applied, with the state then: from [`Mirror::applied`].
///
/// Cancel safe: dropping it forgets the wait and nothing else.
#[must_use = "a future does nothing until it is polled"]
pub struct Applied {
    shared: Arc<Shared>,
    revision: Revision,
    ticket: u64,
}

impl Future for Applied {
    type Output = Result<View, MirrorWaitError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.shared.wait(self.revision, self.ticket, cx.waker()) {
            Some(outcome) => Poll::Ready(outcome),
            None => Poll::Pending,
        }
    }
}

impl Drop for Applied {
    fn drop(&mut self) {
        self.shared.forget(self.revision, self.ticket);
    }
}

impl fmt::Debug for Applied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Applied")
            .field("revision", &self.revision)
            .finish_non_exhaustive()
    }
}

//! The ways to run a mirror, on a thread or in a task.

use std::fmt;
use std::future::poll_fn;
use std::mem;
use std::sync::Arc;
use std::task::Poll;

use super::closer::MirrorCloser;
use super::error::{MirrorEnd, MirrorError};
use super::handle::Mirror;
use super::options::MirrorOptions;
use super::snapshot::SnapshotReader;
use super::step::Step;
use super::updater::{Phase, Updater};
use crate::thread_waker::{block_on, poll_now};
use crate::{EndReason, Hub, Selector, WatchError};

/// After this many steps [`MirrorDriver::run_async`] lets other tasks run.
const STEPS_PER_POLL: usize = 16;

/// Keeps a [`Mirror`] up to date while the caller runs it: on a thread with [`run`](Self::run), in
/// a task of any executor with [`run_async`](Self::run_async), or step by step with
/// [`step`](Self::step). It does nothing unless it is run. The ways of running it may be mixed.
///
/// - *If I am slow, or do not run:* the watcher falls behind and catches up, as
///   [`Watcher`](crate::Watcher) describes. Neither the publisher nor another watcher is delayed.
///   Readers see an older state.
/// - *If I am dropped:* the watcher is unregistered, and every wait of a reader returns
///   [`MirrorEnd::Dropped`]. Readers keep the last state.
/// - *If the publisher is dropped:* everything published is applied, then the mirror ends.
/// - *If every [`Mirror`] is dropped:* the driver goes on until it is dropped or closed
///   ([`closer`](Self::closer)).
///
/// # When a read of the store fails
///
/// The step returns the error and changes nothing: readers keep the last state, the watcher stays
/// registered, and readers that wait keep waiting. The next step reads again; the caller decides
/// when, and how often. The same holds for a read that is too old and for one that would move
/// readers back: see [`MirrorError`].
///
/// ```
/// use kvwatch::mirror::{Mirror, Snapshot, SnapshotRequest};
/// use kvwatch::{Builder, Selector};
///
/// let (publisher, hub) = Builder::new().spawn()?;
/// let mut reads = 0;
/// let read = move |_: SnapshotRequest| {
///     reads += 1;
///     if reads < 3 { Err("the store is starting") } else { Ok(Snapshot::at(0)) }
/// };
/// let (mirror, mut driver) = Mirror::watch(&hub, Selector::all(), read)?;
/// drop(publisher);
///
/// let mut retries = 5;
/// while let Err(error) = driver.run() {
///     if !error.is_retryable() || retries == 0 {
///         return Err(error.into());
///     }
///     retries -= 1; // A program would wait here.
/// }
/// assert!(mirror.view().is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # When the watcher lags
///
/// If the history no longer holds the events that the watcher needs, the store is read again. If
/// more is published during that read than the queue and the history hold, the watcher lags again;
/// each read still shows readers a newer state. So let the queue or the history hold the events
/// that are published while the store is read.
#[must_use = "a mirror is only kept up to date while its driver runs"]
pub struct MirrorDriver<R> {
    updater: Updater<R>,
}

impl Mirror {
    /// Mirrors the keys that `selector` matches. Registers the watch at once; the store is read
    /// with `reader` when the driver runs.
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

    /// [`watch`](Self::watch) with options for the watch.
    ///
    /// # Errors
    /// See [`WatchError`].
    pub fn watch_with<R: SnapshotReader>(
        hub: &Hub,
        selector: impl Into<Selector>,
        options: MirrorOptions,
        reader: R,
    ) -> Result<(Self, MirrorDriver<R>), WatchError> {
        let updater = Updater::new(hub, selector.into(), options, reader)?;
        let driver = MirrorDriver { updater };
        Ok((driver.mirror(), driver))
    }
}

impl<R: SnapshotReader> MirrorDriver<R> {
    /// Keeps the mirror up to date until it ends, blocking the thread. Returns why it ended:
    /// [`ShutDown`](EndReason::ShutDown) or [`Closed`](EndReason::Closed).
    ///
    /// An async reader is polled on this thread, outside of any runtime.
    ///
    /// # Errors
    /// [`MirrorError::Ended`] if the end is abnormal. After any other error the driver can be run
    /// again.
    pub fn run(&mut self) -> Result<EndReason, MirrorError<R::Error>> {
        block_on(self.run_async())
    }

    /// [`run`](Self::run) as a future, on any executor. A reader that blocks, blocks the thread of
    /// the executor.
    ///
    /// Cancel safe: no event is lost. A read of the store that was in progress is dropped, and the
    /// next step starts it again.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn run_async(&mut self) -> Result<EndReason, MirrorError<R::Error>> {
        loop {
            for _ in 0..STEPS_PER_POLL {
                if let Step::Ended(reason) = self.step_async().await? {
                    return Ok(reason);
                }
            }
            yield_now().await;
        }
    }

    /// Runs one step, blocking the thread: waits until there is something to do, then reads the
    /// store, applies the available events, or reports a lag or the end.
    ///
    /// ```
    /// use kvwatch::mirror::{Mirror, Snapshot, SnapshotRequest, Step};
    /// use kvwatch::{Builder, Change, EndReason, Selector};
    ///
    /// let (mut publisher, hub) = Builder::new().spawn()?;
    /// let read = |_: SnapshotRequest| Ok::<_, std::io::Error>(Snapshot::at(0));
    /// let (_mirror, mut driver) = Mirror::watch(&hub, Selector::all(), read)?;
    /// publisher.publish(Change::put("a", "1"))?;
    /// drop(publisher);
    ///
    /// assert_eq!(driver.step()?, Step::Loaded { revision: 0 });
    /// assert_eq!(driver.step()?, Step::Applied { events: 1, revision: 1 });
    /// assert_eq!(driver.step()?, Step::Ended(EndReason::ShutDown));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn step(&mut self) -> Result<Step, MirrorError<R::Error>> {
        block_on(self.step_async())
    }

    /// Runs one step without waiting for events: returns [`Step::Idle`] if none is available. If
    /// the step reads the store, it waits for that read, blocking the thread.
    ///
    /// It also moves the view to the last dispatched revision, so a commit that the selector does
    /// not match moves the revision of the view.
    ///
    /// ```
    /// use kvwatch::mirror::{Mirror, Snapshot, SnapshotRequest, Step};
    /// use kvwatch::{Builder, Change, Selector};
    ///
    /// // No thread is started: this thread publishes, dispatches and drives the mirror.
    /// let (mut publisher, hub, _dispatcher) = Builder::new().build()?;
    /// let read = |_: SnapshotRequest| Ok::<_, std::io::Error>(Snapshot::at(0));
    /// let (mirror, mut driver) = Mirror::watch(&hub, Selector::prefix("app/"), read)?;
    /// publisher.publish(Change::put("app/a", "1"))?;
    ///
    /// while driver.try_step()? != Step::Idle {}
    /// assert_eq!(mirror.view().unwrap().get("app/a").unwrap(), "1");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn try_step(&mut self) -> Result<Step, MirrorError<R::Error>> {
        match self.updater.phase {
            Phase::Reading { .. } => self.step(),
            _ => poll_now(|cx| self.updater.poll_following(cx)).unwrap_or(Ok(Step::Idle)),
        }
    }

    /// [`step`](Self::step) as a future, on any executor.
    ///
    /// Cancel safe, as [`run_async`](Self::run_async) is.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn step_async(&mut self) -> Result<Step, MirrorError<R::Error>> {
        self.updater.step().await
    }
}

impl<R> MirrorDriver<R> {
    /// A handle for readers.
    pub fn mirror(&self) -> Mirror {
        Mirror::new(Arc::clone(self.updater.shared()))
    }

    /// A handle that ends the mirror from another thread or task, while this driver runs.
    pub fn closer(&self) -> MirrorCloser {
        MirrorCloser::new(Arc::clone(self.updater.shared()))
    }
}

/// Lets other tasks of the executor run.
async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

impl<R> Drop for MirrorDriver<R> {
    fn drop(&mut self) {
        self.updater.shared().end(MirrorEnd::Dropped);
    }
}

impl<R> fmt::Debug for MirrorDriver<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MirrorDriver")
            .field("watcher", &self.updater.watcher)
            .field("view", &self.updater.view)
            .field("phase", &self.updater.phase)
            .finish_non_exhaustive()
    }
}

//! What keeps a mirror up to date.
//!
//! | phase | a step | left |
//! | --- | --- | --- |
//! | reading | reads the store | to following, with a read that is good; an error leaves it as it is |
//! | following | waits for the watcher or for a wait of a reader, and applies what is at hand | to reading, by a lag of what is not applied yet; to ended, by the watcher's end or a close |
//! | ended | says so again | never |
//!
//! Why nothing is missed: the watcher is registered before the store is read, and what it
//! delivers starts at `at_least + 1` or below. A read at `at_least` or above joins up with it; one
//! below gets a watcher of its own that starts behind it, or is refused. Why nothing comes twice:
//! events up to the view's revision are skipped.

use std::fmt;
use std::future::{Future, poll_fn};
use std::mem;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use super::error::{MirrorEnd, MirrorError};
use super::shared::Shared;
use super::snapshot::{Snapshot, SnapshotReader, SnapshotRequest};
use super::view::View;
use super::{Mirror, MirrorOptions};
use crate::park::{block_on, poll_now};
use crate::{EndReason, Hub, Lagged, Reached, RecvError, Revision, Selector, WatchError, Watcher};

/// After so many steps [`MirrorDriver::run_async`] lets other tasks run.
const STEPS_A_POLL: usize = 16;

/// Keeps a [`Mirror`] up to date, while the caller runs it: on a thread with
/// [`run`](Self::run), in a task of any executor with [`run_async`](Self::run_async), or step by
/// step. Nothing happens by itself. The ways may be mixed.
///
/// # A read that fails
///
/// The step returns the error and changes nothing: readers keep the last state, the watcher stays
/// registered, waits go on. Run it again to try again; how long to wait before that, and how
/// often, is up to the caller. So it is with a read that is too old, and with one that would take
/// readers back: see [`MirrorError`].
///
/// ```
/// use kvwatch::mirror::{Mirror, MirrorError, Snapshot, SnapshotRequest};
/// use kvwatch::{Builder, Selector};
/// use std::time::Duration;
///
/// let (publisher, hub) = Builder::new().spawn()?;
/// let mut times = 0;
/// let read = move |_: SnapshotRequest| {
///     times += 1;
///     if times < 3 { Err("the store is starting") } else { Ok(Snapshot::at(0)) }
/// };
/// let (mirror, mut driver) = Mirror::watch(&hub, Selector::all(), read)?;
/// drop(publisher);
/// let mut patience = 5;
/// loop {
///     match driver.run() {
///         Ok(_) => break,
///         Err(error) if error.is_retryable() && patience > 0 => patience -= 1,
///         Err(error) => return Err(error.into()),
///     }
///     std::thread::sleep(Duration::from_millis(1));
/// }
/// assert!(mirror.view().is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # A lag
///
/// Where the history has passed the watcher by, the store is read again. A read in which more is
/// published than the queue and the history hold ends in the next lag; each read shows readers a
/// newer state all the same. So let the queue or the history hold what is published while the
/// store is read.
///
/// # Peers
///
/// - *If I am slow, or do not run:* the watcher falls behind and catches up, as
///   [`Watcher`] tells; nobody else is delayed. Readers see an older state.
/// - *If I am dropped:* the watcher is unregistered, and every wait returns
///   [`MirrorEnd::Dropped`]. Readers keep the last state.
/// - *If the publisher is gone:* everything published is applied, then the mirror ends.
/// - *If every [`Mirror`] is gone:* it goes on, until it is dropped or closed
///   ([`closer`](Self::closer)).
#[must_use = "a mirror is only kept up to date while its driver runs"]
pub struct MirrorDriver<R> {
    hub: Hub,
    watcher: Watcher,
    selector: Selector,
    options: MirrorOptions,
    reader: R,
    shared: Arc<Shared>,
    /// What readers see, and what the next step changes.
    view: View,
    phase: Phase,
    /// The dispatch of the lowest revision that a reader waits for. The watcher tells nothing of
    /// revisions that do not concern it.
    reached: Option<(Revision, Reached)>,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Reading { at_least: Revision, first: bool },
    Following,
    Ended(EndReason),
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// The first read of the store is what readers see now.
    Loaded {
        /// Its revision.
        revision: Revision,
    },
    /// So many events, of whole revisions, were applied at once.
    Applied {
        /// How many events.
        events: usize,
        /// The revision that readers see now.
        revision: Revision,
    },
    /// Events were missed: the next step reads the store again. Readers keep what they see.
    Lagged(Lagged),
    /// The store was read again after a lag: readers see that now, all at once.
    Resynced {
        /// Its revision.
        revision: Revision,
    },
    /// Nothing is at hand. Only where a step does not wait.
    Idle,
    /// The publisher was shut down, or the mirror closed. Every further step says the same.
    Ended(EndReason),
}

impl<R: SnapshotReader> MirrorDriver<R> {
    pub(super) fn new(
        hub: &Hub,
        selector: Selector,
        options: MirrorOptions,
        reader: R,
    ) -> Result<Self, WatchError> {
        let watcher = hub.watch_with(&selector, options.watch())?;
        let at_least = watcher.start_revision() - 1;
        Ok(Self {
            hub: hub.clone(),
            watcher,
            selector,
            options,
            reader,
            shared: Arc::default(),
            view: View::empty(0),
            phase: Phase::Reading {
                at_least,
                first: true,
            },
            reached: None,
        })
    }

    /// Keeps the mirror up to date until it ends, on this thread. Returns why it ended:
    /// [`ShutDown`](EndReason::ShutDown) or [`Closed`](EndReason::Closed).
    ///
    /// A reader that is async is polled on this thread, outside of any runtime.
    ///
    /// # Errors
    /// [`MirrorError::Ended`] on any other end; otherwise it may be run again, and goes on.
    pub fn run(&mut self) -> Result<EndReason, MirrorError<R::Error>> {
        block_on(self.run_async())
    }

    /// The same as a future, for any executor. A reader that blocks does so in its poll.
    ///
    /// Cancel safe: dropping the future loses nothing. A read of the store that was not done is
    /// begun again by whoever runs the driver next.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn run_async(&mut self) -> Result<EndReason, MirrorError<R::Error>> {
        loop {
            for _ in 0..STEPS_A_POLL {
                if let Step::Ended(reason) = self.step_async().await? {
                    return Ok(reason);
                }
            }
            let_others_run().await;
        }
    }

    /// Waits until there is something to do, and does it: reads the store, applies what is at
    /// hand, or notices a lag or the end.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn step(&mut self) -> Result<Step, MirrorError<R::Error>> {
        block_on(self.step_async())
    }

    /// One step, without waiting for events: [`Step::Idle`] where nothing is at hand. The
    /// store's read, where one is due, is waited for. It also takes the view to what is
    /// dispatched by now, so a commit without changes moves its revision.
    ///
    /// ```
    /// use kvwatch::mirror::{Mirror, Snapshot, SnapshotRequest, Step};
    /// use kvwatch::{Builder, Change, Selector};
    ///
    /// // Nothing runs but this thread: it dispatches, too.
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
        match self.phase {
            Phase::Reading { .. } => self.step(),
            _ => poll_now(|cx| self.poll_following(cx)).unwrap_or(Ok(Step::Idle)),
        }
    }

    /// [`step`](Self::step) as a future, for any executor.
    ///
    /// Cancel safe, as [`run_async`](Self::run_async) is.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn step_async(&mut self) -> Result<Step, MirrorError<R::Error>> {
        match self.phase {
            Phase::Reading { at_least, first } => self.read(at_least, first).await,
            _ => poll_fn(|cx| self.poll_following(cx)).await,
        }
    }

    /// Reads the store, unless closed meanwhile.
    async fn read(
        &mut self,
        at_least: Revision,
        first: bool,
    ) -> Result<Step, MirrorError<R::Error>> {
        let request = SnapshotRequest::new(self.selector.clone(), at_least);
        let read = {
            let mut reading = pin!(self.reader.read(request));
            poll_fn(|cx| {
                if self.shared.attend(cx.waker()).closing {
                    return Poll::Ready(None);
                }
                reading.as_mut().poll(cx).map(Some)
            })
            .await
        };
        let Some(read) = read else {
            return self.end(EndReason::Closed);
        };
        let snapshot = read.map_err(MirrorError::Read)?;
        self.install(snapshot, at_least)?;
        let revision = self.view.revision;
        Ok(if first {
            Step::Loaded { revision }
        } else {
            Step::Resynced { revision }
        })
    }

    /// Makes a snapshot what readers see, if it joins up with what they saw and with the watcher.
    fn install(
        &mut self,
        snapshot: Snapshot,
        at_least: Revision,
    ) -> Result<(), MirrorError<R::Error>> {
        let revision = snapshot.revision();
        // Before the first read that is 0.
        let applied = self.view.revision;
        if revision < applied {
            return Err(MirrorError::WentBack { revision, applied });
        }
        if revision < at_least {
            self.watcher = self.watch_behind(revision, at_least)?;
        }
        self.phase = Phase::Following;
        self.show(snapshot.of(&self.selector));
        Ok(())
    }

    /// A watcher that starts behind a read which the present one has left behind.
    fn watch_behind(
        &self,
        revision: Revision,
        at_least: Revision,
    ) -> Result<Watcher, MirrorError<R::Error>> {
        let options = self.options.watch().start_revision(revision + 1);
        let stale = |oldest| MirrorError::Stale {
            revision,
            at_least,
            oldest,
        };
        match self.hub.watch_with(&self.selector, options) {
            Ok(watcher) => Ok(watcher),
            Err(WatchError::Compacted { oldest, .. }) => Err(stale(Some(oldest))),
            Err(WatchError::Closed(_)) => Err(stale(None)),
            Err(refused) => Err(MirrorError::Watch(refused)),
        }
    }

    /// One step of any phase but reading.
    fn poll_following(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Step, MirrorError<R::Error>>> {
        loop {
            if let Phase::Ended(reason) = self.phase {
                return Poll::Ready(ended(reason));
            }
            if self.shared.attend(cx.waker()).closing {
                return Poll::Ready(self.end(EndReason::Closed));
            }
            let polled = self.watcher.poll_ready(cx);
            if polled.is_pending() {
                self.settle();
                self.poll_waits(cx);
            }
            if let Some(done) = self.receive(ready!(polled)) {
                return Poll::Ready(done);
            }
        }
    }

    /// Does what the watcher has; none if that was known already.
    fn receive(
        &mut self,
        polled: Result<(), RecvError>,
    ) -> Option<Result<Step, MirrorError<R::Error>>> {
        match polled {
            Ok(()) => self.apply().map(Ok),
            Err(RecvError::Lagged(lagged)) if lagged.to <= self.view.revision => None,
            Err(RecvError::Lagged(lagged)) => {
                self.phase = Phase::Reading {
                    at_least: lagged.to,
                    first: false,
                };
                Some(Ok(Step::Lagged(lagged)))
            }
            Err(RecvError::Closed(reason)) => {
                self.settle();
                Some(self.end(reason))
            }
        }
    }

    /// Applies all that is at hand, which is whole revisions, and shows it at once.
    fn apply(&mut self) -> Option<Step> {
        let batch = self.watcher.try_recv_batch().ok()?;
        let revision = batch.last_revision();
        let mut events = 0;
        for event in &batch {
            // The snapshot has it.
            if event.revision() <= self.view.revision {
                continue;
            }
            self.view.apply(event);
            events += 1;
        }
        drop(batch);
        if events == 0 {
            return None;
        }
        self.view.revision = revision;
        self.shared.publish(self.view.clone());
        Some(Step::Applied { events, revision })
    }

    /// Takes the view's revision to where the watcher is, as nothing in between concerns it.
    fn settle(&mut self) {
        let progress = self.watcher.progress();
        if progress > self.view.revision {
            self.view.revision = progress;
            self.shared.publish(self.view.clone());
        }
    }

    /// With nothing at hand: sees to it that this task is woken when what readers wait for is
    /// dispatched, whether it concerns the mirror or not.
    fn poll_waits(&mut self, cx: &mut Context<'_>) {
        while let Some(wanted) = self.shared.asked().wanted {
            let (_, reached) = match self.reached.take() {
                Some(waiting) if waiting.0 == wanted => self.reached.insert(waiting),
                _ => self.reached.insert((wanted, self.hub.reached(wanted))),
            };
            if Pin::new(reached).poll(cx).is_pending() {
                return;
            }
            self.settle();
            if self.view.revision < wanted {
                // What was dispatched, or the end, is with the watcher by now, and that has woken
                // this task.
                break;
            }
        }
        self.reached = None;
    }

    /// Shows readers another state; the old one is dropped where nobody waits for it.
    fn show(&mut self, view: View) {
        let old = mem::replace(&mut self.view, view);
        self.shared.publish(self.view.clone());
        drop(old);
    }

    fn end(&mut self, reason: EndReason) -> Result<Step, MirrorError<R::Error>> {
        self.phase = Phase::Ended(reason);
        self.reached = None;
        self.watcher.close();
        self.shared.end(MirrorEnd::Watch(reason));
        ended(reason)
    }
}

impl<R> MirrorDriver<R> {
    /// A handle for readers.
    pub fn mirror(&self) -> Mirror {
        Mirror::new(Arc::clone(&self.shared))
    }

    /// A handle with which to end the mirror from elsewhere, while its driver waits.
    pub fn closer(&self) -> MirrorCloser {
        MirrorCloser {
            shared: Arc::clone(&self.shared),
        }
    }
}

fn ended<E>(reason: EndReason) -> Result<Step, MirrorError<E>> {
    if reason.is_normal() {
        Ok(Step::Ended(reason))
    } else {
        Err(MirrorError::Ended(reason))
    }
}

async fn let_others_run() {
    let mut again = true;
    poll_fn(|cx| {
        if mem::take(&mut again) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    })
    .await;
}

impl<R> Drop for MirrorDriver<R> {
    fn drop(&mut self) {
        self.shared.end(MirrorEnd::Dropped);
    }
}

impl<R> fmt::Debug for MirrorDriver<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MirrorDriver")
            .field("watcher", &self.watcher)
            .field("view", &self.view)
            .field("phase", &self.phase)
            .finish_non_exhaustive()
    }
}

/// Ends a mirror from elsewhere: from [`MirrorDriver::closer`].
///
/// If the driver is not running, it ends when it runs next. After it is gone, closing does
/// nothing.
#[derive(Clone)]
pub struct MirrorCloser {
    shared: Arc<Shared>,
}

impl MirrorCloser {
    /// Ends the mirror: the driver returns [`EndReason::Closed`] once it is done with what it is
    /// doing (a read that blocks, too), and applies nothing more. An async read is given up.
    /// Closing twice does nothing more.
    pub fn close(&self) {
        self.shared.close();
    }
}

impl fmt::Debug for MirrorCloser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MirrorCloser").finish_non_exhaustive()
    }
}

//! The state machine that keeps a mirror up to date.
//!
//! | phase | what a step does | next phase |
//! | --- | --- | --- |
//! | reading | reads the store | following, if the read fits; reading, if it failed; ended, if closed |
//! | following | waits for the watcher or for a request of a reader, and applies the available events | reading, on a lag of events not applied yet; ended, on the end of the watcher or a close |
//! | ended | returns the end again | ended |
//!
//! No event is missed: the watcher is registered before the store is read, and delivers from
//! `at_least + 1` on, or from an earlier revision. A read at `at_least` or later connects to it. For
//! an older read the watcher is replaced by one that starts right after the read, or the read is
//! refused.
//!
//! No event is applied twice: events up to the revision of the view are skipped.

use std::future::{Future, poll_fn};
use std::mem;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use super::error::{MirrorEnd, MirrorError};
use super::options::MirrorOptions;
use super::shared::Shared;
use super::snapshot::{Snapshot, SnapshotReader, SnapshotRequest};
use super::step::Step;
use super::view::View;
use crate::{
    EndReason, Hub, MAX_REVISION, Reached, RecvError, Revision, Selector, WatchError, Watcher,
};

/// Reads the store, follows the watcher and shows the result to readers.
pub(super) struct Updater<R> {
    hub: Hub,
    pub(super) watcher: Watcher,
    selector: Selector,
    options: MirrorOptions,
    reader: R,
    shared: Arc<Shared>,
    /// The state that readers see, and that the next step changes.
    pub(super) view: View,
    pub(super) phase: Phase,
    /// The dispatch of the lowest revision that a reader waits for. The watcher does not report
    /// revisions that its selector does not match.
    dispatched: Option<(Revision, Reached)>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Phase {
    Reading { at_least: Revision, first: bool },
    Following,
    Ended(EndReason),
}

impl<R: SnapshotReader> Updater<R> {
    /// Registers the watcher.
    pub(super) fn new(
        hub: &Hub,
        selector: Selector,
        options: MirrorOptions,
        reader: R,
    ) -> Result<Self, WatchError> {
        let watcher = hub.watch_with(&selector, options.watch_options())?;
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
            dispatched: None,
        })
    }

    /// Waits until there is something to do, and does it. Cancel safe.
    pub(super) async fn step(&mut self) -> Result<Step, MirrorError<R::Error>> {
        match self.phase {
            Phase::Reading { at_least, first } => self.read_store(at_least, first).await,
            _ => poll_fn(|cx| self.poll_following(cx)).await,
        }
    }

    /// Reads the store, unless the mirror is closed during the read.
    async fn read_store(
        &mut self,
        at_least: Revision,
        first: bool,
    ) -> Result<Step, MirrorError<R::Error>> {
        let request = SnapshotRequest::new(self.selector.clone(), at_least);
        let read = {
            let mut reading = pin!(self.reader.read(request));
            poll_fn(|cx| {
                if self.shared.register_driver(cx.waker()) {
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

    /// Shows a snapshot to readers, if it is not older than their view and connects to a watcher.
    fn install(
        &mut self,
        snapshot: Snapshot,
        at_least: Revision,
    ) -> Result<(), MirrorError<R::Error>> {
        let revision = snapshot.revision();
        // 0 before the first read.
        let applied = self.view.revision;
        if revision > MAX_REVISION {
            return Err(MirrorError::Revision { revision });
        }
        if revision < applied {
            return Err(MirrorError::WentBack { revision, applied });
        }
        if revision < at_least {
            self.watcher = self.watch_after(revision, at_least)?;
        }
        self.phase = Phase::Following;
        let old = mem::replace(&mut self.view, snapshot.into_matching(&self.selector));
        self.shared.set_view(self.view.clone());
        // Only now, so that no reader waits while a large map is freed.
        drop(old);
        Ok(())
    }

    /// Registers a watcher that starts right after a read that is older than the current watcher.
    fn watch_after(
        &self,
        revision: Revision,
        at_least: Revision,
    ) -> Result<Watcher, MirrorError<R::Error>> {
        let options = self.options.watch_options().start_revision(revision + 1);
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

    /// One step of the phases following and ended.
    pub(super) fn poll_following(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Step, MirrorError<R::Error>>> {
        loop {
            if let Phase::Ended(reason) = self.phase {
                return Poll::Ready(Step::ended(reason));
            }
            if self.shared.register_driver(cx.waker()) {
                return Poll::Ready(self.end(EndReason::Closed));
            }
            let polled = self.watcher.poll_ready(cx);
            if polled.is_pending() {
                self.advance_to_progress();
                self.poll_dispatched(cx);
            }
            if let Some(step) = self.receive(ready!(polled)) {
                return Poll::Ready(step);
            }
        }
    }

    /// Handles what the watcher reports. `None` if all of it was applied before.
    fn receive(
        &mut self,
        polled: Result<(), RecvError>,
    ) -> Option<Result<Step, MirrorError<R::Error>>> {
        match polled {
            Ok(()) => self.apply_batch().map(Ok),
            Err(RecvError::Lagged(lagged)) if lagged.last <= self.view.revision => None,
            Err(RecvError::Lagged(lagged)) => {
                self.phase = Phase::Reading {
                    at_least: lagged.last,
                    first: false,
                };
                Some(Ok(Step::Lagged(lagged)))
            }
            Err(RecvError::Closed(reason)) => {
                self.advance_to_progress();
                Some(self.end(reason))
            }
        }
    }

    /// Applies the available events, which are whole revisions, and shows them together.
    fn apply_batch(&mut self) -> Option<Step> {
        let batch = self.watcher.try_recv_batch().ok()?;
        let revision = batch.last_revision();
        let mut events = 0;
        for event in &batch {
            // The snapshot contains it.
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
        self.shared.set_view(self.view.clone());
        Some(Step::Applied { events, revision })
    }

    /// Moves the revision of the view to the watcher's progress. The watcher holds no event, so no
    /// revision up to its progress changes the view.
    fn advance_to_progress(&mut self) {
        let progress = self.watcher.progress();
        if progress > self.view.revision {
            self.view.revision = progress;
            self.shared.set_view(self.view.clone());
        }
    }

    /// Polls the dispatch of the revisions that readers wait for, so that this task is woken for a
    /// revision that the selector does not match too. The watcher holds no event at this point.
    fn poll_dispatched(&mut self, cx: &mut Context<'_>) {
        while let Some(wanted) = self.shared.lowest_wanted() {
            let (_, dispatched) = match self.dispatched.take() {
                Some(waiting) if waiting.0 == wanted => self.dispatched.insert(waiting),
                _ => self
                    .dispatched
                    .insert((wanted, self.hub.wait_for_async(wanted))),
            };
            if Pin::new(dispatched).poll(cx).is_pending() {
                return;
            }
            self.advance_to_progress();
            if self.view.revision < wanted {
                // The watcher has received an event or its end since, and has woken this task.
                break;
            }
        }
        self.dispatched = None;
    }

    fn end(&mut self, reason: EndReason) -> Result<Step, MirrorError<R::Error>> {
        self.phase = Phase::Ended(reason);
        self.dispatched = None;
        self.watcher.close();
        self.shared.end(MirrorEnd::Watch(reason));
        Step::ended(reason)
    }
}

impl<R> Updater<R> {
    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

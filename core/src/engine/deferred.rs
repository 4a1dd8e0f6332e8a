//! Work that must not be done under a lock.

use std::sync::Arc;

use crate::change::Revision;
use crate::engine::ingress::Ingress;
use crate::id::WatcherId;
use crate::lagged::Lagged;
use crate::log::segment::Segment;
use crate::registry::queue::Queue;
use crate::sync::wait::Wakes;

/// Collects, under the engine's locks, the work that runs user code or may take long: waking,
/// dropping the store's bytes, and tracing. It is [run](Self::run) once every guard was dropped.
#[derive(Debug, Default)]
pub(crate) struct Deferred {
    pub(crate) wakes: Wakes,
    /// Segments to be dropped: the last reference to the store's bytes may be in them.
    pub(crate) retired: Vec<Segment>,
    /// The queues of watchers that left the registry.
    pub(crate) unregistered: Vec<Arc<Queue>>,
    pub(crate) traces: Vec<TraceEvent>,
}

/// A rare event, for `tracing`.
#[derive(Debug)]
pub(crate) enum TraceEvent {
    Behind(WatcherId, Revision),
    Cancelled(WatcherId, Revision),
    Dropped(Lagged),
}

impl Deferred {
    /// Does the work. No guard may be held.
    pub(crate) fn run(&mut self, ingress: &Ingress) {
        self.wakes.wake_all();
        for segment in self.retired.drain(..) {
            if let Some(spare) = segment.into_spare() {
                ingress.give_back(spare);
            }
        }
        self.unregistered.clear();
        for trace in self.traces.drain(..) {
            match trace {
                TraceEvent::Behind(watcher, revision) => {
                    tracing::debug!(%watcher, revision, "watcher fell behind");
                }
                TraceEvent::Cancelled(watcher, revision) => {
                    tracing::warn!(%watcher, revision, "watcher cancelled by its overflow");
                }
                TraceEvent::Dropped(Lagged { first, last, .. }) => {
                    tracing::warn!(first, last, "revisions dropped by a lossy publish");
                }
            }
        }
    }
}

//! What the builder has set for an engine.

use crate::change::Revision;
use crate::log::segment::SEGMENT_EVENTS;
use crate::replay::Replay;

/// The options of [`Builder`](crate::Builder), checked.
pub(crate) struct Config {
    pub(crate) history_events: usize,
    pub(crate) history_bytes: usize,
    pub(crate) queue_capacity: usize,
    pub(crate) queue_bytes: usize,
    pub(crate) ingress_capacity: usize,
    pub(crate) ingress_bytes: usize,
    pub(crate) max_watchers: usize,
    pub(crate) start_revision: Revision,
    pub(crate) inline_dispatch: bool,
    pub(crate) replay: Option<Box<dyn Replay>>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            history_events: 65_536,
            history_bytes: 32 * 1024 * 1024,
            queue_capacity: 256,
            queue_bytes: 1024 * 1024,
            ingress_capacity: 4096,
            ingress_bytes: 8 * 1024 * 1024,
            max_watchers: usize::MAX,
            start_revision: 0,
            inline_dispatch: true,
            replay: None,
        }
    }
}

impl Config {
    /// The number of events in a segment, unless one transaction is larger. A small history gets
    /// small segments, so that it does not consist of one.
    pub(crate) fn segment_events(&self) -> usize {
        match self.history_events {
            0 => SEGMENT_EVENTS,
            events => (events / 4).clamp(1, SEGMENT_EVENTS),
        }
    }

    /// Whether the engine keeps events that no watcher wants.
    pub(crate) fn keeps_history(&self) -> bool {
        self.history_events > 0
    }
}

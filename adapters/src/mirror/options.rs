//! The options of a mirror's watch.

use crate::WatchOptions;

/// Options for the watch of a mirror, for
/// [`Mirror::watch_with`](super::Mirror::watch_with). The watch always receives puts and deletes,
/// and always catches up from the history when its queue overflows.
///
/// ```
/// use kvwatch::mirror::{Mirror, MirrorOptions, Snapshot, SnapshotRequest};
/// use kvwatch::{Builder, Selector};
///
/// let (_publisher, hub) = Builder::new().spawn()?;
/// let options = MirrorOptions::new().capacity(4_096).capacity_bytes(16 << 20);
/// let read = |_: SnapshotRequest| Ok::<_, std::io::Error>(Snapshot::at(0));
/// let (mirror, _driver) = Mirror::watch_with(&hub, Selector::all(), options, read)?;
/// assert!(mirror.view().is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct MirrorOptions {
    capacity: Option<usize>,
    capacity_bytes: Option<usize>,
}

impl MirrorOptions {
    /// Options with the capacities that the [`Builder`](crate::Builder) sets.
    pub fn new() -> Self {
        Self::default()
    }

    /// The most events that the engine queues for the driver: see [`WatchOptions::capacity`].
    /// Events beyond it are read from the history, as long as the history holds them. Choose it to
    /// hold the events that are published while the store is read.
    pub fn capacity(mut self, events: usize) -> Self {
        self.capacity = Some(events);
        self
    }

    /// The most bytes of memory that the queued events may keep alive: see
    /// [`WatchOptions::capacity_bytes`].
    pub fn capacity_bytes(mut self, bytes: usize) -> Self {
        self.capacity_bytes = Some(bytes);
        self
    }

    pub(super) fn watch_options(&self) -> WatchOptions {
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

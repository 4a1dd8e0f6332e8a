//! Ends a mirror from another thread or task.

use std::fmt;
use std::sync::Arc;

use super::shared::Shared;

/// A handle that ends a mirror from another thread or task: from
/// [`MirrorDriver::closer`](super::MirrorDriver::closer).
///
/// If the driver does not run at the moment, the mirror ends when it runs next. After the driver is
/// dropped, closing has no effect. Dropping a closer has no effect either.
///
/// ```
/// use kvwatch::mirror::{Mirror, Snapshot, SnapshotRequest};
/// use kvwatch::{Builder, EndReason, Selector};
/// use std::thread;
///
/// let (_publisher, hub) = Builder::new().spawn()?;
/// let read = |_: SnapshotRequest| Ok::<_, std::io::Error>(Snapshot::at(0));
/// let (_mirror, mut driver) = Mirror::watch(&hub, Selector::all(), read)?;
/// let closer = driver.closer();
/// let driving = thread::spawn(move || driver.run());
/// closer.close();
/// assert_eq!(driving.join().unwrap()?, EndReason::Closed);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct MirrorCloser {
    shared: Arc<Shared>,
}

impl MirrorCloser {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Ends the mirror. The driver finishes the step that it is in, applies nothing more and
    /// returns [`EndReason::Closed`](crate::EndReason::Closed). A reader that blocks is waited for;
    /// an async read of the store is dropped. Further calls have no effect.
    pub fn close(&self) {
        self.shared.close();
    }
}

impl fmt::Debug for MirrorCloser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MirrorCloser").finish_non_exhaustive()
    }
}

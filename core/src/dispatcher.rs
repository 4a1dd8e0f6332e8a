//! The background half of an engine.

use std::fmt;
use std::sync::Arc;

use crate::engine::Engine;

/// The background half of an engine: [`run`](Self::run) it on a thread of your own, or let
/// [`Builder::spawn`](crate::Builder::spawn) do so.
///
/// - *If I am slow, or not run yet:* the publisher dispatches by itself, unless
///   [`Builder::inline_dispatch`](crate::Builder::inline_dispatch) was turned off; then publishing
///   goes on until the ingress is full.
/// - *If I am dropped before the publisher:* every watcher ends with
///   [`EndReason::Failed`](crate::EndReason::Failed), and publishing is refused from then on.
/// - *If the publisher is gone:* [`run`](Self::run) dispatches what was published, ends the watchers
///   and returns.
///
/// ```
/// # use kvwatch_core as kvwatch;
/// use kvwatch::{Builder, Change};
///
/// let (mut publisher, hub, dispatcher) = Builder::new().build()?;
/// let thread = std::thread::spawn(|| dispatcher.run());
/// let mut watcher = hub.watch("app/port")?;
/// publisher.publish(Change::put("app/port", "80"))?;
/// assert_eq!(watcher.recv()?.value().unwrap(), "80");
/// drop(publisher);
/// thread.join().unwrap();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "without a running dispatcher nothing is delivered in the background"]
pub struct Dispatcher {
    engine: Arc<Engine>,
}

impl Dispatcher {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self { engine }
    }

    /// Dispatches until the publisher is shut down or dropped and everything published is in the
    /// watchers' queues; then ends the watchers and returns.
    ///
    /// It sleeps while there is nothing to do. No user code runs on this thread except wakers and
    /// drops of published bytes; a panic of a waker is caught.
    pub fn run(self) {
        self.engine.run_dispatcher();
    }
}

impl Drop for Dispatcher {
    fn drop(&mut self) {
        if self.engine.ended().is_none() {
            tracing::error!("the dispatcher was dropped before the publisher; every watcher ends");
            self.engine.fail();
        }
    }
}

impl fmt::Debug for Dispatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Dispatcher").field(&self.engine).finish()
    }
}

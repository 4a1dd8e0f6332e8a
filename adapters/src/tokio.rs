//! Receiving and publishing in tokio programs, within tokio's cooperative budget and on its clock.
//! Feature `tokio`.
//!
//! [`WatchStream`], [`BatchStream`] and [`AsyncPublisher`] wrap the types of the same names in
//! [`stream`](crate::stream) and at the crate's root. They keep the same promises, and cancelling
//! them is as safe. tokio adds two things:
//!
//! - Every receive and every publish takes a unit of the task's budget ([`tokio::task::coop`]), so
//!   a task whose watcher is never empty still lets the other tasks of its thread run.
//! - Timeouts ([`WatchStream::recv_timeout`], [`wait_for`]) use tokio's clock. They work under
//!   `tokio::time::pause` and need a runtime with time enabled. Everything else works without a
//!   runtime.
//!
//! No task is started, and no thread is blocked or joined.
//!
//! ```
//! use kvwatch::tokio::{AsyncPublisher, WatchStream};
//! use kvwatch::{Builder, Change, Selector};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (publisher, hub) = Builder::new().spawn()?;
//! let mut publisher = AsyncPublisher::new(publisher);
//! let mut events = WatchStream::new(hub.watch(Selector::prefix("app/"))?);
//!
//! publisher.publish(Change::put("app/a", "1")).await?;
//! let event = events.recv().await?;
//! assert_eq!(event.key(), "app/a");
//! publisher.shutdown().await?;
//! # Ok(())
//! # }
//! ```

mod budget;
mod publisher;
mod stream;

use std::time::Duration;

use ::tokio::time;

use crate::{Hub, Revision, WaitError};
pub use publisher::AsyncPublisher;
pub use stream::{BatchStream, WatchStream};

/// Waits until every event up to `revision` is in the queues of the watchers that match it, for at
/// most `timeout` on tokio's clock. The revision need not be published yet.
///
/// Cancel safe: it only waits.
///
/// ```
/// use kvwatch::{Builder, Change, WaitError};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (mut publisher, hub) = Builder::new().spawn()?;
/// publisher.publish(Change::put("a", "1"))?;
/// kvwatch::tokio::wait_for(&hub, 1, Duration::from_secs(5)).await?;
/// let late = kvwatch::tokio::wait_for(&hub, 2, Duration::from_millis(1)).await;
/// assert_eq!(late, Err(WaitError::Timeout));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Timeout`](WaitError::Timeout) if that takes longer; [`Closed`](WaitError::Closed) if the
/// engine stops before that revision.
///
/// # Panics
/// Panics outside of a tokio runtime and in a runtime without time enabled, as every timer of tokio
/// does.
pub async fn wait_for(hub: &Hub, revision: Revision, timeout: Duration) -> Result<(), WaitError> {
    time::timeout(timeout, hub.wait_for_async(revision))
        .await
        .unwrap_or(Err(WaitError::Timeout))
}

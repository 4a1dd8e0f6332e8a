//! A map of the keys that a selector matches, kept up to date.
//!
//! Many users of a watch write the same loop: watch, read the store, skip the events up to the
//! revision of that read, apply the later ones, and read the store again after a lag. This module
//! is that loop, in two parts. [`Mirror`] is a handle for readers: it is cheap to clone and can be
//! used from any thread. [`MirrorDriver`] does the work while the caller runs it; no task and no
//! thread is started.
//!
//! ```
//! use kvwatch::mirror::{Mirror, Snapshot, SnapshotRequest};
//! use kvwatch::{Builder, Change, EndReason, Selector};
//! use std::thread;
//! use std::time::Duration;
//!
//! let (mut publisher, hub) = Builder::new().start_revision(41).spawn()?;
//! // Reads the store, which here holds one key and is at revision 41.
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
//! In async code, on any executor, use [`run_async`](MirrorDriver::run_async):
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
//! let view = mirror.wait_for_async(written).await?;
//! assert_eq!(view.get("app/host").unwrap(), "localhost");
//! # drop(publisher);
//! # assert_eq!(driving.await??, EndReason::ShutDown);
//! # Ok(())
//! # }
//! ```
//!
//! # What readers see
//!
//! Readers get a [`View`]: the complete state at one revision. The driver applies whole revisions
//! in order, and replaces the state in one step when it has read the store again after a lag. No
//! reader sees a part of a revision or of a read, and the revision of the view never goes back.
//! Not every revision gets a view of its own, because the driver applies all available events
//! together.
//!
//! A view is a persistent map: a change copies only the path to its key. Taking a view costs a
//! short lock and a reference count. Readers and the driver do not wait for each other's work.
//!
//! The driver applies each matching event as soon as it runs. A commit that the selector does not
//! match wakes no thread and no task. It moves the revision of the view when a reader waits for it
//! ([`Mirror::wait_for`]), or together with the next matching event.

mod closer;
mod driver;
mod error;
mod handle;
mod options;
mod shared;
mod snapshot;
mod step;
mod updater;
mod view;

pub use closer::MirrorCloser;
pub use driver::MirrorDriver;
pub use error::{MirrorEnd, MirrorError, MirrorWaitError};
pub use handle::{Applied, Mirror};
pub use options::MirrorOptions;
pub use snapshot::{ReadAsync, Snapshot, SnapshotReader, SnapshotRequest, read_async};
pub use step::Step;
pub use view::{View, ViewIter};

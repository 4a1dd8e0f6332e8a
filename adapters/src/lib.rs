// The README has an example of each feature, so it can be the front page only if all of them are
// enabled.
#![cfg_attr(
    all(feature = "async-std", feature = "tokio"),
    doc = include_str!("../../README.md")
)]
#![cfg_attr(
    not(all(feature = "async-std", feature = "tokio")),
    doc = "A watch engine to put beside any key-value store: see README.md."
)]
#![forbid(unsafe_code)]

mod async_publisher;
#[cfg(feature = "async-std")]
pub mod async_std;
#[cfg(feature = "flume")]
pub mod flume;
pub mod latest;
pub mod mirror;
pub mod stream;
mod thread_waker;
#[cfg(feature = "tokio")]
pub mod tokio;

pub use async_publisher::{AsyncPublisher, Permit, ReserveError};
pub use kvwatch_core::*;
pub use latest::Latest;
pub use mirror::{Mirror, MirrorDriver};
pub use stream::WatcherExt;

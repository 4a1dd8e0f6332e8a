// The README is the front page with any features. Its examples need all of them, so they are tested
// only then.
#![cfg_attr(
    any(not(doctest), all(feature = "async-std", feature = "tokio")),
    doc = include_str!("../README.md")
)]
#![cfg_attr(docsrs, feature(doc_cfg))]
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

//! Watches for any key-value store or replicated state machine: ordered, lossless, replayable.
#![doc = include_str!("../../README.md")]

mod async_publisher;
#[cfg(feature = "async-std")]
pub mod async_std;
#[cfg(feature = "flume")]
pub mod flume;
pub mod stream;
#[cfg(feature = "tokio")]
pub mod tokio;

pub use async_publisher::{AsyncPublisher, Permit, ReserveError};
pub use kvwatch_core::*;

#![doc = include_str!("../../README.md")]
#![forbid(unsafe_code)]

mod async_publisher;
#[cfg(feature = "async-std")]
pub mod async_std;
#[cfg(feature = "etcd-server")]
pub mod etcd;
#[cfg(feature = "flume")]
pub mod flume;
pub mod stream;
#[cfg(feature = "tokio")]
pub mod tokio;

pub use async_publisher::{AsyncPublisher, Permit, ReserveError};
pub use kvwatch_core::*;

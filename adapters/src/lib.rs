//! Watches for any key-value store or replicated state machine: ordered, lossless, replayable.
#![doc = include_str!("../../README.md")]

pub use kvwatch_core::*;

#![doc = include_str!("../../README.md")]
#![forbid(unsafe_code)]

pub use kvwatch_core::*;

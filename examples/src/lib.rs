//! Programs that show kvwatch at work, and what they share: [`store`], a small key-value store
//! that publishes what it commits, and [`input`], where changes come from. [`standalone`] is a
//! server with a store of its own.

pub mod input;
pub mod quickstart;
pub mod standalone;
pub mod store;

/// Whatever went wrong: these are programs, and say it and stop.
pub type AnyError = Box<dyn std::error::Error + Send + Sync>;

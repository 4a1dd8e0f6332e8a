//! Programs that show kvwatch at work, and what they share: [`store`], a small key-value store
//! that publishes what it commits, and [`input`], where changes come from.

pub mod config_reload;
pub mod input;
pub mod quickstart;
pub mod store;

/// Whatever went wrong: these are programs, and say it and stop.
pub type AnyError = Box<dyn std::error::Error + Send + Sync>;

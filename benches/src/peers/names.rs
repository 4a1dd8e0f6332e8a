//! The names of the peers in the table.

/// kvwatch in its default configuration.
pub const OURS: &str = "kvwatch";
/// kvwatch without a history.
pub const OURS_NO_HISTORY: &str = "kvwatch, history(0)";
/// kvwatch whose publisher never dispatches.
pub const OURS_NOT_INLINE: &str = "kvwatch, inline(false)";
/// The watch engine of d-engine-core, in a package of its own.
pub const D_ENGINE: &str = "d-engine";
/// tokio's broadcast channel, with events by value.
pub const BROADCAST: &str = "broadcast";
/// tokio's broadcast channel, with events behind an `Arc`.
pub const BROADCAST_ARC: &str = "broadcast Arc";
/// The async-broadcast channel, with events by value.
pub const ASYNC_BROADCAST: &str = "async-broadcast";
/// sled's `watch_prefix`.
pub const SLED: &str = "sled";
/// The rtrb ring buffer, which never blocks.
pub const RTRB: &str = "rtrb";
/// A crossbeam channel.
pub const CROSSBEAM: &str = "crossbeam";
/// A flume channel.
pub const FLUME: &str = "flume";
/// A tokio mpsc channel.
pub const TOKIO_MPSC: &str = "tokio mpsc";
/// A crossbeam channel of events, a thread that collects them into segments, and a flume channel.
pub const PIPE: &str = "pipe";

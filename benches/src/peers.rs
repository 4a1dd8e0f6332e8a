//! The peers that this workspace can build: kvwatch in its configurations, other watch engines,
//! and raw channels, which match nothing and have one receiver: a limit, not a rival.

mod async_broadcast;
mod broadcast;
mod kvwatch;
mod pipe;
mod raw;
mod sled;

pub use self::async_broadcast::AsyncBroadcast;
pub use broadcast::{Broadcast, Shared};
pub use kvwatch::Kvwatch;
pub use pipe::Pipe;
pub use raw::{Crossbeam, Flume, Rtrb, TokioMpsc};
pub use sled::Sled;

/// The names under which the table knows them.
pub mod names {
    /// In its default configuration.
    pub const OURS: &str = "kvwatch";
    /// Without a history.
    pub const OURS_NO_HISTORY: &str = "kvwatch, history(0)";
    /// Never dispatching on the publisher's thread.
    pub const OURS_NOT_INLINE: &str = "kvwatch, inline(false)";
    /// The watch engine of d-engine-core, in a package of its own.
    pub const D_ENGINE: &str = "d-engine";
    /// tokio's broadcast of events by value.
    pub const BROADCAST: &str = "broadcast";
    /// tokio's broadcast of shared events.
    pub const BROADCAST_ARC: &str = "broadcast Arc";
    /// async-broadcast of events by value.
    pub const ASYNC_BROADCAST: &str = "async-broadcast";
    /// sled's `watch_prefix`.
    pub const SLED: &str = "sled";
    /// A ring without any wait.
    pub const RTRB: &str = "rtrb";
    /// A crossbeam channel.
    pub const CROSSBEAM: &str = "crossbeam";
    /// A flume channel.
    pub const FLUME: &str = "flume";
    /// A tokio channel.
    pub const TOKIO_MPSC: &str = "tokio mpsc";
    /// crossbeam by value, gathered into segments, flume.
    pub const PIPE: &str = "pipe";
}

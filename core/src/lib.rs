//! The engine of kvwatch: watches for any key-value store or replicated state machine.
//!
//! The store's apply path publishes what changed; anybody may watch a key, a prefix, a range or
//! everything, from a plain thread or (through `poll` methods) from any executor, and gets every
//! matching change in order, or is told which revisions it missed. Most programs use it through
//! the `kvwatch` crate, which re-exports all of it.
//!
//! The way of an event, and where each step lives:
//!
//! ```text
//!  Publisher ─▶ ingress ─▶ Dispatcher ─▶ segment ─▶ history ──┐ behind: catch_up
//!  publisher    ingress    dispatcher      │                  │
//!                                          ▼                  ▼
//!                          registry, index ─▶ run ─▶ queue ─▶ Watcher
//! ```
//!
//! [`Builder`] sets an engine up; [`Publisher`] is the store's end; [`Hub`] registers a
//! [`Watcher`].

#![forbid(unsafe_code)]

mod batch;
mod builder;
mod catch_up;
mod chunk;
mod dispatcher;
mod engine;
mod error;
mod event;
mod history;
mod hub;
mod index;
mod ingress;
mod interest;
mod iter;
mod key;
mod milestone;
#[cfg(all(test, any(kvwatch_loom, kvwatch_shuttle)))]
mod models;
mod options;
mod publisher;
mod queue;
#[cfg(test)]
mod random;
mod records;
mod registry;
mod replay;
mod runs;
mod segment;
mod selector;
mod sender;
mod slots;
mod stats;
mod step;
mod sync;
mod wait;
mod watcher;

pub use batch::{Batch, BatchIter};
pub use bstr::BStr;
pub use builder::Builder;
pub use dispatcher::Dispatcher;
pub use error::{
    BuildError, CompactError, EndReason, Entries, Lagged, PublishError, PublishErrorKind,
    RecvError, RecvTimeoutError, ReplayError, TryRecvError, WaitError, WatchError,
};
pub use event::{Change, Event, EventKind, EventRef, MAX_REVISION, PrevValue, Revision};
pub use hub::Hub;
pub use iter::{Iter, TryIter};
pub use milestone::Reached;
pub use options::{Filter, Overflow, WatchOptions};
pub use publisher::{Lossy, Publisher};
pub use queue::WatcherId;
pub use replay::{Replay, Replayed};
pub use selector::Selector;
pub use stats::{HistoryStats, Stats, WatcherCounts};
pub use watcher::{Closer, Watcher};

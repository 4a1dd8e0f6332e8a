//! The engine of kvwatch: watches for any key-value store or replicated state machine.
//!
//! The store's apply path publishes changes. Watchers of a key, a prefix, a range or everything
//! receive every matching change in order, or are told which revisions they missed: on plain
//! threads, or through `poll` methods on any executor. Most programs use the `kvwatch` crate, which
//! re-exports everything here.
//!
//! [`Builder`] sets an engine up; [`Publisher`] is the store's end; [`Hub`] registers a
//! [`Watcher`]. An event passes these files, in this order:
//!
//! ```text
//!  Publisher        publisher.rs
//!    │              engine/sender.rs      room, interest, claim; engine/chunk.rs for publish_many
//!    ▼              registry/interest.rs  does any watcher want the key?
//!  ingress          engine/ingress.rs     batches of records (log/records.rs), bounded
//!    ▼              engine/scheduling.rs  which thread dispatches; engine/parker.rs wakes it
//!  dispatch         engine/dispatch.rs    one segment (log/segment.rs) at a time
//!    ├─▶ history    log/history.rs        bounded by events and bytes
//!    ▼
//!  registry         registry.rs           which watchers match: registry/index.rs
//!    ▼
//!  queue            registry/queue.rs     runs of records (log/runs.rs), bounded
//!    ▼              engine/receiver.rs    engine/catch_up.rs reads on from the history
//!  Watcher          watcher.rs            hands out an Event (event.rs) or a Batch (batch.rs)
//! ```
//!
//! Imports point one way: the public types use `engine`, which uses `event`, `registry` and `log`,
//! which use plain data (`change`, `selector`, `options`, `error`, ..) and `sync`.
//! [docs/design.md](https://github.com/kvwatch/kvwatch/blob/main/docs/design.md) has the
//! architecture, the words used, and the reasons.

#![forbid(unsafe_code)]

// The README's example is tested.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod batch;
mod builder;
mod change;
mod dispatcher;
mod end;
mod engine;
mod error;
mod event;
mod hub;
mod id;
mod lagged;
mod log;
#[cfg(all(test, any(kvwatch_loom, kvwatch_shuttle)))]
mod models;
mod options;
mod publisher;
#[cfg(test)]
mod random;
mod reached;
mod registry;
mod replay;
mod selector;
mod stats;
mod sync;
mod watcher;

pub use batch::{Batch, BatchIter};
pub use bstr::BStr;
pub use builder::Builder;
pub use change::{Change, EventKind, MAX_REVISION, PrevValue, Revision};
pub use dispatcher::Dispatcher;
pub use end::EndReason;
pub use error::{
    BuildError, CompactError, Entries, PublishError, PublishErrorKind, RecvError, RecvTimeoutError,
    ReplayError, TryRecvError, WaitError, WatchError,
};
pub use event::{Event, EventRef};
pub use hub::Hub;
pub use id::WatcherId;
pub use lagged::{LagReason, Lagged};
pub use options::{Filter, Overflow, WatchOptions};
pub use publisher::{Lossy, Publisher};
pub use reached::Reached;
pub use replay::{Replay, ReplayRequest, Replayed};
pub use selector::{Selector, SelectorPart};
pub use stats::{HistoryStats, Stats, WatcherCounts};
pub use watcher::{Closer, Iter, TryIter, Watcher};

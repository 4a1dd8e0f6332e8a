//! A single-node server for etcd's clients, on a redb file.
//!
//! The program is `kvwatch-server`: `cargo install kvwatch-server`, then `kvwatch-server --data
//! DIR`; `--help` lists its options. This library is what the program is made of, for tests and for
//! programs that serve the same store in their own process:
//!
//! - [`Store`] keeps every version of every key until it is compacted, and leases. Writes that wait
//!   at the same time share one durable commit: to a journal, and to redb when the journal is full.
//! - [`serve`] serves a store with the services of [`kvwatch_etcd`], as [`Args`] say.
//!
//! After a crash every answered write is there, revisions continue, and clients resume their
//! watches from the store's log.

#![forbid(unsafe_code)]

mod args;
mod clean;
mod error;
mod journal;
mod queue;
mod replay;
mod serve;
mod snapshot;
mod store;
mod tables;
mod transaction;
mod writer;

pub use self::args::Args;
pub use self::error::AnyError;
pub use self::serve::{main, serve};
pub use self::store::Store;

//! Measurements of kvwatch beside its peers, in one run.
//!
//! ```text
//!   workloads   the comparison groups of w1 .. w7, growth, memory: cases, rows, goals
//!      │
//!    group      runs its cases in interleaved rounds and takes medians
//!      │
//!    jobs       the ways to drive a peer, and the readings that each returns
//!      │
//!    peers      kvwatch, other watch engines and raw channels, behind one trait
//!      │
//!   report      the table as text, Markdown and JSON, and the plots
//! ```
//!
//! These rules hold for every measurement:
//!
//! * Keys have 16 bytes and values 64. Each is allocated separately, before the clock starts.
//! * At most [`OUTSTANDING`] events are published and not yet received.
//! * Every receiver asserts that it gets each event, in order.
//! * A figure is the median over all rounds.
//! * The jobs with one watcher, with one watcher per key and of the publisher's own time fill the
//!   peer's buffers before the clock starts.
//!
//! [`cli::run`] is the whole program. A peer whose dependencies this workspace does not want to
//! build has a package of its own, implements [`Peer`] and joins the list with [`Peers::with`].

pub mod cli;
mod events;
mod group;
mod jobs;
mod peer;
pub mod peers;
mod progress;
mod report;
mod row;
mod statistics;
mod workloads;

pub use events::Event;
pub use peer::{Hub, Input, Output, Peer, Setup, Watch};
pub use peers::Peers;
pub use progress::OUTSTANDING;

//! Measurements of kvwatch beside its peers, in one run.
//!
//! ```text
//!   workloads   which heats are run: jobs, entrants, goals          w1 .. w7, growth
//!      │
//!    heat       rounds in which the entrants take turns; medians
//!      │
//!    jobs       one way to put a peer to work, and what is read off it
//!      │
//!    peers      kvwatch, the other watch engines, and raw channels behind one face
//!      │
//!   report      the table, as text, Markdown and JSON, and the plots
//! ```
//!
//! Rules that hold everywhere: keys of 16 bytes and values of 64, each allocated by itself, before
//! the clock starts; at most [`OUTSTANDING`] events under way; every receiver asserts that it got
//! each event, in order; a figure is the median of its rounds. Where one watcher, one watcher a key or
//! the publisher's own time is measured, what a peer keeps has been filled before.
//!
//! [`cli::run`] is all of it. A peer that needs more than this workspace wants to build with lives
//! in a package of its own, implements [`Peer`] and joins the [`Roster`].

pub mod cli;
mod figures;
mod heat;
mod jobs;
mod load;
mod peer;
pub mod peers;
mod progress;
mod report;
mod roster;
mod workloads;

pub use load::Event;
pub use peer::{Hub, Input, Output, Peer, Stage, Watch};
pub use progress::OUTSTANDING;
pub use roster::Roster;

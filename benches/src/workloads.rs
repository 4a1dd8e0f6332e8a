//! The workloads: the cases that are compared, the rows of the table, and the goals.

mod growth;
mod memory;
mod scale;
mod w1;
mod w2;
mod w3;
mod w4;
mod w5;
mod w6;
mod w7;

use clap::ValueEnum;

use crate::group::Group;
pub(crate) use scale::Scale;

/// A workload, as the command line names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Workload {
    /// One exact watcher
    W1,
    /// One key with 1000 watchers
    W2,
    /// One watcher per key
    W3,
    /// The publisher's cost of an event
    W4,
    /// Latency, with one publish per millisecond
    W5,
    /// Prefixes
    W6,
    /// Watchers that are registered and dropped
    W7,
    /// Events beside watchers that do not match
    Growth,
    /// Resident bytes per watcher
    Memory,
}

impl Workload {
    pub(crate) fn groups(self, scale: Scale) -> Vec<Group> {
        match self {
            Self::W1 => w1::groups(scale),
            Self::W2 => w2::groups(scale),
            Self::W3 => w3::groups(scale),
            Self::W4 => w4::groups(scale),
            Self::W5 => w5::groups(scale),
            Self::W6 => w6::groups(scale),
            Self::W7 => w7::groups(scale),
            Self::Growth => growth::groups(scale),
            Self::Memory => memory::groups(scale),
        }
    }
}

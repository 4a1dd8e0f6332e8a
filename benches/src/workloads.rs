//! What is measured, beside whom, and how far we want to go.

mod growth;
mod memory;
mod w1;
mod w2;
mod w3;
mod w4;
mod w5;
mod w6;
mod w7;

use clap::ValueEnum;

use crate::heat::Heat;

/// How much is done in each round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    pub(crate) quick: bool,
}

impl Scale {
    /// So many, or a tenth.
    pub(crate) fn of(self, count: usize) -> usize {
        if self.quick { count / 10 } else { count }
    }

    /// Those numbers of watchers that are not too many.
    fn watchers(self, counts: &[usize]) -> impl Iterator<Item = usize> {
        let most = if self.quick { 100_000 } else { usize::MAX };
        counts.iter().copied().filter(move |&count| count <= most)
    }
}

/// A group of heats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Workload {
    /// One exact watcher
    W1,
    /// A hot key with 1000 watchers
    W2,
    /// One watcher a key
    W3,
    /// What publishing costs
    W4,
    /// Latency, one publish now and then
    W5,
    /// Prefixes
    W6,
    /// Watchers that come and go
    W7,
    /// Watchers that do not match
    Growth,
    /// Resident bytes a watcher
    Memory,
}

impl Workload {
    pub(crate) fn heats(self, scale: Scale) -> Vec<Heat> {
        match self {
            Self::W1 => w1::heats(scale),
            Self::W2 => w2::heats(scale),
            Self::W3 => w3::heats(scale),
            Self::W4 => w4::heats(scale),
            Self::W5 => w5::heats(scale),
            Self::W6 => w6::heats(scale),
            Self::W7 => w7::heats(scale),
            Self::Growth => growth::heats(scale),
            Self::Memory => memory::heats(scale),
        }
    }
}

/// A count as it is spoken of.
fn spoken(count: usize) -> String {
    match count {
        0..1000 => count.to_string(),
        1000..1_000_000 => format!("{}k", count / 1000),
        _ => format!("{}M", count / 1_000_000),
    }
}

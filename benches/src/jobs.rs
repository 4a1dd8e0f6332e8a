//! The ways to drive a peer. Each job starts a fresh instance, measures once, and returns its
//! readings in the order that its documentation states.

mod churn;
mod fan_out;
mod latency;
mod many_keys;
mod memory;
mod publish;
mod receivers;
mod throughput;

use bytes::Bytes;

pub(crate) use churn::Churn;
pub(crate) use fan_out::{FanOut, Receiving};
pub(crate) use latency::Latency;
pub(crate) use many_keys::ManyKeys;
pub(crate) use memory::Memory;
pub(crate) use publish::{Load, Publish, TimedUntil};
pub(crate) use receivers::{ReceiverKind, WatchKind};
pub(crate) use throughput::{Allocation, Throughput};

use crate::events;
use crate::peer::{Peer, Setup};

/// A job with its parameters.
#[derive(Clone, Debug)]
pub(crate) enum Job {
    Throughput(Throughput),
    FanOut(FanOut),
    ManyKeys(ManyKeys),
    Publish(Publish),
    Latency(Latency),
    Churn(Churn),
    Memory(Memory),
    /// Readings: ns per look-up among this many prefixes; none from peers without an index.
    Lookup {
        prefixes: usize,
        lookups: usize,
    },
}

impl Job {
    pub(crate) fn run<P: Peer>(&self, peer: &P, setup: &Setup) -> Vec<f64> {
        match self {
            Self::Throughput(job) => job.run(peer, setup),
            Self::FanOut(job) => job.run(peer, setup),
            Self::ManyKeys(job) => job.run(peer, setup),
            Self::Publish(job) => job.run(peer, setup),
            Self::Latency(job) => job.run(peer, setup),
            Self::Churn(job) => job.run(peer, setup),
            Self::Memory(job) => job.run(peer),
            Self::Lookup { prefixes, lookups } => {
                let keys = events::random(*prefixes).map(events::key_below);
                let keys: Vec<Bytes> = keys.take(*lookups).collect();
                let prefixes: Vec<Bytes> = (0..*prefixes).map(events::prefix).collect();
                Vec::from_iter(peer.prefix_lookup(setup, &prefixes, &keys))
            }
        }
    }
}

//! The face behind which every peer is measured.

use std::future::Future;
use std::thread;

use bytes::Bytes;
use tokio::runtime::Handle;

use crate::load::Event;

/// What a peer finds when it is set up.
#[derive(Debug)]
pub struct Stage {
    /// For tasks of the peer's own, and for receivers that are tasks: two workers.
    pub runtime: Handle,
    /// How many events must find room in each queue there is.
    pub room: usize,
}

/// What is watched.
#[derive(Clone, Debug)]
pub enum Watch {
    /// One key.
    Exact(Bytes),
    /// Every key that starts with these bytes, which start and end with `/`.
    Prefix(Bytes),
}

impl Watch {
    /// Whether it concerns this key: for peers whose receivers must look themselves.
    #[must_use]
    pub fn matches(&self, key: &[u8]) -> bool {
        match self {
            Self::Exact(own) => own == key,
            Self::Prefix(prefix) => key.starts_with(prefix),
        }
    }
}

/// A watch engine, or a channel, in one configuration.
pub trait Peer: Send + Sync + 'static {
    /// Where events go in.
    type Input: Input;
    /// Where watches are registered.
    type Hub: Hub<Output = Self::Output>;
    /// Where events come out.
    type Output: Output;

    /// As the table calls it.
    fn name(&self) -> &'static str;

    /// A fresh one. It is taken down by dropping all of it.
    fn open(&self, stage: &Stage) -> (Self::Input, Self::Hub);

    /// By how much the peer is too slow for the usual number of events.
    fn slowness(&self) -> usize {
        1
    }

    /// What finding the watchers of a key takes, in ns, where `prefixes` are watched and each of
    /// the `keys` is below one of them. `None` where it does not find them by an index.
    fn prefix_lookup(&self, _stage: &Stage, _prefixes: &[Bytes], _keys: &[Bytes]) -> Option<f64> {
        None
    }
}

/// Where events go in.
pub trait Input: Send {
    /// Publishes one. To be inlined: an event that is handed on in memory instead stalls for 8 ns.
    fn publish(&mut self, event: Event);

    /// Publishes several, in the peer's cheapest way, and leaves the vector empty.
    fn publish_chunk(&mut self, events: &mut Vec<Event>) {
        for event in events.drain(..) {
            self.publish(event);
        }
    }
}

/// Where watches are registered.
pub trait Hub: Send + Sync {
    /// What a registration returns.
    type Output: Output;

    /// Registers a watch for what is published from now on.
    fn watch(&self, watch: Watch) -> Self::Output;
}

/// Where one watch's events come out. Every method returns events' numbers, and panics where the
/// peer says that it lost something.
pub trait Output: Send + 'static {
    /// The next if it is there.
    fn try_recv(&mut self) -> Option<u64>;

    /// Waits on this thread. Peers that cannot wait try until it is there.
    fn recv(&mut self) -> u64 {
        loop {
            match self.try_recv() {
                Some(seq) => return seq,
                None => thread::yield_now(),
            }
        }
    }

    /// Waits as a task. Peers that cannot wait so try until it is there.
    fn recv_async(&mut self) -> impl Future<Output = u64> + Send {
        async {
            loop {
                match self.try_recv() {
                    Some(seq) => return seq,
                    None => tokio::task::yield_now().await,
                }
            }
        }
    }

    /// Takes what is there, in the peer's cheapest way.
    fn drain(&mut self, each: &mut impl FnMut(u64)) {
        while let Some(seq) = self.try_recv() {
            each(seq);
        }
    }
}

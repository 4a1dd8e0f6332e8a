//! The traits through which every peer is measured.

use std::future::Future;
use std::thread;

use bytes::Bytes;
use tokio::runtime::Handle;

use crate::events::Event;

/// The environment in which a peer is started.
#[derive(Debug)]
pub struct Setup {
    /// A runtime with two workers, for the peer's own tasks and for receivers that are tasks.
    pub runtime: Handle,
    /// The number of events that each of the peer's queues must hold.
    pub capacity: usize,
}

/// The keys that a watcher selects.
#[derive(Clone, Debug)]
pub enum Watch {
    /// One key.
    Exact(Bytes),
    /// Every key that starts with these bytes, which start and end with `/`.
    Prefix(Bytes),
}

impl Watch {
    /// Whether it selects this key: for peers whose receivers filter the events themselves.
    #[must_use]
    pub fn matches(&self, key: &[u8]) -> bool {
        match self {
            Self::Exact(own) => own == key,
            Self::Prefix(prefix) => key.starts_with(prefix),
        }
    }
}

/// A watch engine or a channel, in one configuration.
pub trait Peer: Send + Sync + 'static {
    /// The publishing end.
    type Input: Input;
    /// The end that registers watches.
    type Hub: Hub<Output = Self::Output>;
    /// The receiving end of one watch.
    type Output: Output;

    /// Its name in the table.
    fn name(&self) -> &'static str;

    /// Starts a fresh instance. Dropping all of its ends stops it.
    fn start(&self, setup: &Setup) -> (Self::Input, Self::Hub);

    /// Divides the usual number of events, for a peer that is too slow for it.
    fn event_divisor(&self) -> usize {
        1
    }

    /// The time to look up the watchers of a key, in ns, while `prefixes` are watched and each of
    /// the `keys` is below one of them. `None` for a peer that has no index of watchers.
    fn prefix_lookup(&self, _setup: &Setup, _prefixes: &[Bytes], _keys: &[Bytes]) -> Option<f64> {
        None
    }
}

/// The publishing end of a peer.
pub trait Input: Send {
    /// Publishes one event. Implementations are `#[inline]`, because passing an event through
    /// memory stalls the publisher.
    fn publish(&mut self, event: Event);

    /// Publishes several events by the peer's cheapest method, and leaves the vector empty.
    fn publish_chunk(&mut self, events: &mut Vec<Event>) {
        for event in events.drain(..) {
            self.publish(event);
        }
    }
}

/// The end of a peer that registers watches.
pub trait Hub: Send + Sync {
    /// The receiving end of one watch.
    type Output: Output;

    /// Registers a watch for all events published from now on.
    fn watch(&self, watch: Watch) -> Self::Output;
}

/// The receiving end of one watch.
///
/// Each method returns the [`seq`](Event::seq) of events, and panics if the peer reports a loss.
pub trait Output: Send + 'static {
    /// Takes the next event, if there is one.
    fn try_recv(&mut self) -> Option<u64>;

    /// Blocks this thread until the next event. The default polls, for peers without a blocking
    /// receive.
    fn recv(&mut self) -> u64 {
        loop {
            match self.try_recv() {
                Some(seq) => return seq,
                None => thread::yield_now(),
            }
        }
    }

    /// Waits for the next event. The default polls, for peers without an async receive.
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

    /// Takes all events that are queued, by the peer's cheapest method.
    fn drain(&mut self, each: &mut impl FnMut(u64)) {
        while let Some(seq) = self.try_recv() {
            each(seq);
        }
    }
}

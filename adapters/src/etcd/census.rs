//! How many streams and watches there are, and of which connections.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::error::Refusal;
use super::limits::Limits;

/// Counts what is open. What it admits leaves when its seat is dropped.
#[derive(Debug, Default)]
pub(crate) struct Census {
    watches: AtomicUsize,
    streams: Mutex<Streams>,
}

#[derive(Debug, Default)]
struct Streams {
    all: usize,
    /// By the peer's address and port, which is one connection's alone.
    by_peer: HashMap<SocketAddr, usize>,
}

/// A stream that is counted, with its watches.
#[derive(Debug)]
pub(crate) struct Seat {
    census: Arc<Census>,
    /// Unknown where the transport has no addresses: then only the total counts.
    peer: Option<SocketAddr>,
    watches: usize,
}

impl Census {
    fn streams(&self) -> MutexGuard<'_, Streams> {
        // Nothing in here panics half-way.
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn admit(
        self: &Arc<Self>,
        peer: Option<SocketAddr>,
        limits: &Limits,
    ) -> Result<Seat, Refusal> {
        let mut streams = self.streams();
        let of_peer = peer.and_then(|peer| streams.by_peer.get(&peer)).copied();
        if streams.all >= limits.streams || of_peer.unwrap_or(0) >= limits.streams_per_connection {
            return Err(Refusal::TooManyStreams);
        }
        streams.all += 1;
        if let Some(peer) = peer {
            *streams.by_peer.entry(peer).or_default() += 1;
        }
        Ok(Seat {
            census: Arc::clone(self),
            peer,
            watches: 0,
        })
    }
}

impl Seat {
    pub(crate) fn add_watch(&mut self, limits: &Limits) -> Result<(), Refusal> {
        if self.watches >= limits.watches_per_stream {
            return Err(Refusal::TooManyWatches);
        }
        let all = &self.census.watches;
        if all.fetch_add(1, Ordering::Relaxed) >= limits.watches {
            all.fetch_sub(1, Ordering::Relaxed);
            return Err(Refusal::ServerFull);
        }
        self.watches += 1;
        Ok(())
    }

    pub(crate) fn remove_watch(&mut self) {
        self.watches -= 1;
        self.census.watches.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.census
            .watches
            .fetch_sub(self.watches, Ordering::Relaxed);
        let mut streams = self.census.streams();
        streams.all -= 1;
        if let Some(peer) = self.peer
            && let Some(count) = streams.by_peer.get_mut(&peer)
        {
            *count -= 1;
            if *count == 0 {
                streams.by_peer.remove(&peer);
            }
        }
    }
}

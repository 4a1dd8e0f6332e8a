//! How many streams and watches there are, and of which connections.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::RequestError;
use crate::limits::Limits;

/// Counts what is open. What it admits leaves when its permit is dropped.
#[derive(Debug, Default)]
pub(crate) struct StreamQuota {
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
pub(crate) struct StreamPermit {
    quota: Arc<StreamQuota>,
    /// Unknown where the transport has no addresses: then only the total counts.
    peer: Option<SocketAddr>,
    watches: usize,
}

impl StreamQuota {
    fn streams(&self) -> MutexGuard<'_, Streams> {
        // Nothing in here panics half-way.
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn acquire(
        self: &Arc<Self>,
        peer: Option<SocketAddr>,
        limits: &Limits,
    ) -> Result<StreamPermit, RequestError> {
        let mut streams = self.streams();
        let of_peer = peer.and_then(|peer| streams.by_peer.get(&peer)).copied();
        if streams.all >= limits.streams || of_peer.unwrap_or(0) >= limits.streams_per_connection {
            return Err(RequestError::TooManyStreams);
        }
        streams.all += 1;
        if let Some(peer) = peer {
            *streams.by_peer.entry(peer).or_default() += 1;
        }
        Ok(StreamPermit {
            quota: Arc::clone(self),
            peer,
            watches: 0,
        })
    }
}

impl StreamPermit {
    pub(crate) fn add_watch(&mut self, limits: &Limits) -> Result<(), RequestError> {
        if self.watches >= limits.watches_per_stream {
            return Err(RequestError::TooManyWatches);
        }
        let all = &self.quota.watches;
        if all.fetch_add(1, Ordering::Relaxed) >= limits.watches {
            all.fetch_sub(1, Ordering::Relaxed);
            return Err(RequestError::ServerFull);
        }
        self.watches += 1;
        Ok(())
    }

    pub(crate) fn remove_watch(&mut self) {
        self.watches -= 1;
        self.quota.watches.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        self.quota
            .watches
            .fetch_sub(self.watches, Ordering::Relaxed);
        let mut streams = self.quota.streams();
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

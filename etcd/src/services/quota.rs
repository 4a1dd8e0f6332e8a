//! Limits on open watch streams and watches, in total and per connection.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::RequestError;
use crate::limits::Limits;

/// Counts the open streams and watches of a server.
#[derive(Debug, Default)]
pub(crate) struct StreamQuota {
    watches: AtomicUsize,
    streams: Mutex<Streams>,
}

#[derive(Debug, Default)]
struct Streams {
    total: usize,
    /// By the peer's address and port, which identify a connection.
    by_peer: HashMap<SocketAddr, usize>,
}

/// The place of one stream and of its watches in the quota, returned on drop.
#[derive(Debug)]
pub(crate) struct StreamPermit {
    quota: Arc<StreamQuota>,
    /// `None` if the transport has no addresses: then only the total is limited.
    peer: Option<SocketAddr>,
    watches: usize,
}

impl StreamQuota {
    fn streams(&self) -> MutexGuard<'_, Streams> {
        // No code under the lock panics half-way.
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one more stream.
    pub(crate) fn acquire(
        self: &Arc<Self>,
        peer: Option<SocketAddr>,
        limits: &Limits,
    ) -> Result<StreamPermit, RequestError> {
        let mut streams = self.streams();
        let from_peer = peer.and_then(|peer| streams.by_peer.get(&peer)).copied();
        if streams.total >= limits.streams
            || from_peer.unwrap_or(0) >= limits.streams_per_connection
        {
            return Err(RequestError::TooManyStreams);
        }
        streams.total += 1;
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
    /// Counts one more watch of this stream.
    pub(crate) fn add_watch(&mut self, limits: &Limits) -> Result<(), RequestError> {
        if self.watches >= limits.watches_per_stream {
            return Err(RequestError::TooManyWatches);
        }
        let total = &self.quota.watches;
        if total.fetch_add(1, Ordering::Relaxed) >= limits.watches {
            total.fetch_sub(1, Ordering::Relaxed);
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
        streams.total -= 1;
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

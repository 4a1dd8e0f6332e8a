//! The watch engine of d-engine-core as a peer. Events go through a tokio broadcast channel to a
//! dispatcher task, which looks up their watchers in a registry and sends to a tokio channel for
//! each.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use bytes::Bytes;
use d_engine_core::watch::{WatchDispatcher, WatchEventType, WatchRegistry, WatcherHandle};
use d_engine_proto::client::{WatchEventType as ProtoType, WatchResponse};
use dashmap::DashMap;
use kvwatch_benches::peers::names;
use kvwatch_benches::{Event, Hub, Input, Output, Peer, Setup, Watch};
use tokio::sync::{broadcast, mpsc};

/// d-engine's watch engine, with a dispatcher on the setup's runtime and without heartbeats.
#[derive(Debug)]
pub struct DEngine;

/// The publishing end.
#[derive(Debug)]
pub struct Sender(broadcast::Sender<WatchResponse>);

/// The end that registers watches.
pub struct Registry(Arc<WatchRegistry>);

/// The receiving end of one watch.
pub struct Watcher(WatcherHandle);

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Registry")
    }
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watcher").field(&self.0.id()).finish()
    }
}

impl Peer for DEngine {
    type Input = Sender;
    type Hub = Registry;
    type Output = Watcher;

    fn name(&self) -> &'static str {
        names::D_ENGINE
    }

    fn start(&self, setup: &Setup) -> (Sender, Registry) {
        let (events, received) = broadcast::channel(setup.capacity);
        let (unregister, unregistered) = mpsc::unbounded_channel();
        let registry = Arc::new(WatchRegistry::new(setup.capacity, unregister));
        let (applied, no_heartbeat) = (Arc::new(AtomicU64::new(0)), 0);
        let dispatcher = WatchDispatcher::new(
            Arc::clone(&registry),
            received,
            unregistered,
            applied,
            no_heartbeat,
        );
        // The task ends when the sender is dropped.
        setup.runtime.spawn(dispatcher.run());
        (Sender(events), Registry(registry))
    }

    /// d-engine's index is private. This is a table of the same kind with the same look-ups: one
    /// for the key, and one for each prefix of the key that ends with `/`.
    fn prefix_lookup(&self, _setup: &Setup, prefixes: &[Bytes], keys: &[Bytes]) -> Option<f64> {
        let table: DashMap<Bytes, Vec<u64>, RandomState> = DashMap::default();
        for (id, prefix) in (0..).zip(prefixes) {
            table.entry(prefix.clone()).or_default().push(id);
        }
        let exact: DashMap<Bytes, Vec<u64>, RandomState> = DashMap::default();
        let mut found = 0;
        let start = Instant::now();
        for key in keys {
            found += exact.get(key).map_or(0, |ids| ids.len());
            let ends = key.iter().enumerate().filter(|&(_, &byte)| byte == b'/');
            let key_prefixes: Vec<Bytes> = ends.map(|(index, _)| key.slice(..=index)).collect();
            for prefix in key_prefixes {
                found += table.get(&prefix).map_or(0, |ids| ids.len());
            }
        }
        let elapsed = start.elapsed();
        assert_eq!(black_box(found), keys.len());
        Some(elapsed.as_nanos() as f64 / keys.len() as f64)
    }
}

impl Input for Sender {
    #[inline]
    fn publish(&mut self, event: Event) {
        let response = WatchResponse {
            key: event.key,
            value: event.value,
            prev_value: Bytes::new(),
            event_type: ProtoType::Put as i32,
            error: 0,
            revision: event.seq,
        };
        self.0.send(response).expect("the dispatcher runs");
    }
}

impl Hub for Registry {
    type Output = Watcher;

    fn watch(&self, watch: Watch) -> Watcher {
        let registered = match watch {
            Watch::Exact(key) => self.0.register(key, false),
            Watch::Prefix(prefix) => self.0.register_prefix(prefix, false),
        };
        Watcher(registered.expect("there is no limit"))
    }
}

fn seq(event: &d_engine_core::watch::WatchEvent) -> u64 {
    assert_eq!(event.event_type, WatchEventType::Put, "nothing is lost");
    event.revision
}

impl Output for Watcher {
    fn try_recv(&mut self) -> Option<u64> {
        let received = self.0.receiver_mut().try_recv();
        received.ok().map(|event| seq(&event))
    }

    fn recv(&mut self) -> u64 {
        let received = self.0.receiver_mut().blocking_recv();
        seq(&received.expect("the dispatcher runs"))
    }

    async fn recv_async(&mut self) -> u64 {
        let received = self.0.receiver_mut().recv().await;
        seq(&received.expect("the dispatcher runs"))
    }
}

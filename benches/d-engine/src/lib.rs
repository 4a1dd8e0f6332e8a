//! The watch engine of d-engine-core as a peer: events go into a tokio broadcast channel, a
//! dispatcher task looks each up in a registry, and every watcher has a tokio channel.

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
use kvwatch_benches::{Event, Hub, Input, Output, Peer, Stage, Watch};
use tokio::sync::{broadcast, mpsc};

/// Its watch engine, with a dispatcher on the stage's runtime and without heartbeats.
#[derive(Debug)]
pub struct DEngine;

/// Where events go in.
#[derive(Debug)]
pub struct Sender(broadcast::Sender<WatchResponse>);

/// The registry.
pub struct Registry(Arc<WatchRegistry>);

/// One watcher.
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

    fn open(&self, stage: &Stage) -> (Sender, Registry) {
        let (events, received) = broadcast::channel(stage.room);
        let (unregister, unregistered) = mpsc::unbounded_channel();
        let registry = Arc::new(WatchRegistry::new(stage.room, unregister));
        let (applied, no_heartbeat) = (Arc::new(AtomicU64::new(0)), 0);
        let dispatcher = WatchDispatcher::new(
            Arc::clone(&registry),
            received,
            unregistered,
            applied,
            no_heartbeat,
        );
        // Ends when the sender is dropped.
        stage.runtime.spawn(dispatcher.run());
        (Sender(events), Registry(registry))
    }

    /// Its index is out of reach, so this is a table of the same kind asked the same questions: one
    /// for the key, and one for each of its beginnings that end with `/`.
    fn prefix_lookup(&self, _stage: &Stage, prefixes: &[Bytes], keys: &[Bytes]) -> Option<f64> {
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
            let beginnings: Vec<Bytes> = ends.map(|(at, _)| key.slice(..=at)).collect();
            for beginning in beginnings {
                found += table.get(&beginning).map_or(0, |ids| ids.len());
            }
        }
        let took = start.elapsed();
        assert_eq!(black_box(found), keys.len());
        Some(took.as_nanos() as f64 / keys.len() as f64)
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

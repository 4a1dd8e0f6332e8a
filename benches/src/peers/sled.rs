//! sled's `watch_prefix`. A publish is a write to the store, and thus far slower than with the
//! other peers. It shows the cost of a watch that is built into a store instead of a separate
//! layer.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use sled::{Config, Db, Subscriber};

use super::names;
use crate::events::Event;
use crate::peer::{Hub, Input, Output, Peer, Setup, Watch};

/// A temporary store.
#[derive(Debug)]
pub struct Sled;

/// The subscription of one watch.
pub struct Subscribed(Subscriber);

impl fmt::Debug for Subscribed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Subscribed")
    }
}

impl Peer for Sled {
    type Input = Db;
    type Hub = Db;
    type Output = Subscribed;

    fn name(&self) -> &'static str {
        names::SLED
    }

    fn start(&self, _setup: &Setup) -> (Db, Db) {
        let config = Config::new().temporary(true).flush_every_ms(None);
        let db = config.open().expect("a temporary store opens");
        (db.clone(), db)
    }

    fn event_divisor(&self) -> usize {
        20
    }
}

impl Input for Db {
    #[inline]
    fn publish(&mut self, event: Event) {
        // sled has no revisions: the number replaces the first bytes of the value.
        let mut value = event.value.to_vec();
        value[..8].copy_from_slice(&event.seq.to_le_bytes());
        self.insert(&event.key, value).expect("the store is open");
    }
}

impl Hub for Db {
    type Output = Subscribed;

    fn watch(&self, watch: Watch) -> Subscribed {
        // sled watches prefixes only. All keys have the same length, so that a whole key as the
        // prefix matches exactly.
        let (Watch::Exact(prefix) | Watch::Prefix(prefix)) = watch;
        Subscribed(self.watch_prefix(prefix))
    }
}

fn seq(event: &sled::Event) -> u64 {
    let sled::Event::Insert { value, .. } = event else {
        unreachable!("nothing is removed");
    };
    u64::from_le_bytes(value[..8].try_into().expect("eight bytes"))
}

impl Output for Subscribed {
    fn try_recv(&mut self) -> Option<u64> {
        let received = self.0.next_timeout(Duration::ZERO);
        received.ok().map(|event| seq(&event))
    }

    fn recv(&mut self) -> u64 {
        seq(&self.0.next().expect("the store is open"))
    }

    async fn recv_async(&mut self) -> u64 {
        let received = Pin::new(&mut self.0).await;
        seq(&received.expect("the store is open"))
    }
}

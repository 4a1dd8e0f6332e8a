//! sled's `watch_prefix`. Publishing there is writing to the store, so it is far slower; what it
//! shows is what a watch costs that is not a layer of its own.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use sled::{Config, Db, Subscriber};

use super::names;
use crate::load::Event;
use crate::peer::{Hub, Input, Output, Peer, Stage, Watch};

/// A store in memory.
#[derive(Debug)]
pub struct Sled;

/// One subscription.
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

    fn open(&self, _stage: &Stage) -> (Db, Db) {
        let config = Config::new().temporary(true).flush_every_ms(None);
        let db = config.open().expect("a temporary store opens");
        (db.clone(), db)
    }

    fn slowness(&self) -> usize {
        20
    }
}

impl Input for Db {
    #[inline]
    fn publish(&mut self, event: Event) {
        // It numbers nothing, so the number goes with the value, which stays as long as it was.
        let mut value = event.value.to_vec();
        value[..8].copy_from_slice(&event.seq.to_le_bytes());
        self.insert(&event.key, value).expect("the store is open");
    }
}

impl Hub for Db {
    type Output = Subscribed;

    fn watch(&self, watch: Watch) -> Subscribed {
        // It knows prefixes only; the keys here are of one length, so a whole key is exact.
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

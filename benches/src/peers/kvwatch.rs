//! kvwatch itself.

use std::future::poll_fn;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kvwatch::{Builder, Change, Filter, Publisher, Selector, TryRecvError, WatchOptions, Watcher};

use super::names;
use crate::jobs::WARM_UP;
use crate::load::{self, Event};
use crate::peer::{Hub, Input, Output, Peer, Stage, Watch};

/// Transactions in a chunk where the lookup is measured.
const CHUNK: usize = 64;
/// Nothing here takes that long.
const TIMEOUT: Duration = Duration::from_secs(60);

/// One configuration of it.
#[derive(Debug)]
pub struct Kvwatch {
    name: &'static str,
    configure: fn(Builder) -> Builder,
}

impl Kvwatch {
    /// As it comes.
    #[must_use]
    pub fn by_default() -> Self {
        Self {
            name: names::OURS,
            configure: |builder| builder,
        }
    }

    /// Without a history.
    #[must_use]
    pub fn without_history() -> Self {
        Self {
            name: names::OURS_NO_HISTORY,
            configure: |builder| builder.history(0),
        }
    }

    /// With a publisher that only hands over.
    #[must_use]
    pub fn not_inline() -> Self {
        Self {
            name: names::OURS_NOT_INLINE,
            configure: |builder| builder.inline(false),
        }
    }

    fn builder(&self) -> Builder {
        (self.configure)(Builder::new())
    }
}

impl Peer for Kvwatch {
    type Input = Publisher;
    type Hub = kvwatch::Hub;
    type Output = Watcher;

    fn name(&self) -> &'static str {
        self.name
    }

    fn open(&self, _stage: &Stage) -> (Publisher, kvwatch::Hub) {
        self.builder().spawn().expect("the defaults are valid")
    }

    /// What the prefixes add to publishing and dispatching: their watchers want only deletes, so
    /// each put is looked up, found to concern one of them, and delivered to nobody. Nobody runs
    /// the dispatcher, so it is all done by this thread: with a second one, that did part of it
    /// meanwhile or did not, the figure was 40 or 150 ns.
    fn prefix_lookup(&self, _stage: &Stage, prefixes: &[Bytes], keys: &[Bytes]) -> Option<f64> {
        let dispatch = |watched: &[Bytes]| {
            let built = self.builder().build();
            let (mut publisher, hub, _dispatcher) = built.expect("the defaults are valid");
            let deletes = || WatchOptions::new().filter(Filter::Deletes);
            let watchers: Vec<Watcher> = watched
                .iter()
                .map(|prefix| hub.watch_with(Selector::prefix(prefix), deletes()))
                .collect::<Result<_, _>>()
                .expect("prefixes can be watched");
            let warm_up = keys.iter().cycle().take(WARM_UP);
            let events = load::events(1, warm_up.chain(keys).cloned());
            let mut chunks = load::chunks(events, CHUNK);
            let (warm_up, chunks) = chunks.split_at_mut(WARM_UP / CHUNK);
            for chunk in warm_up {
                publisher.publish_chunk(chunk);
            }
            let start = Instant::now();
            for chunk in chunks {
                publisher.publish_chunk(chunk);
            }
            publisher.flush(TIMEOUT).expect("it is all dispatched here");
            let took = start.elapsed();
            drop(watchers);
            took.as_nanos() as f64 / keys.len() as f64
        };
        Some(dispatch(prefixes) - dispatch(&[]))
    }
}

impl Input for Publisher {
    #[inline]
    fn publish(&mut self, event: Event) {
        let published = Publisher::publish(self, Change::put(event.key, event.value));
        assert_eq!(published.expect("the dispatcher runs"), event.seq);
    }

    fn publish_chunk(&mut self, events: &mut Vec<Event>) {
        let entries = events
            .drain(..)
            .map(|event| (event.seq, [Change::put(event.key, event.value)]));
        self.publish_many(entries).expect("the numbers grow");
    }
}

impl Hub for kvwatch::Hub {
    type Output = Watcher;

    fn watch(&self, watch: Watch) -> Watcher {
        let selector = match watch {
            Watch::Exact(key) => Selector::exact(key),
            Watch::Prefix(prefix) => Selector::prefix(prefix),
        };
        kvwatch::Hub::watch(self, selector).expect("the engine runs")
    }
}

impl Output for Watcher {
    fn try_recv(&mut self) -> Option<u64> {
        match Watcher::try_recv(self) {
            Ok(event) => Some(event.revision()),
            Err(TryRecvError::Empty) => None,
            Err(lost) => panic!("{lost}"),
        }
    }

    fn recv(&mut self) -> u64 {
        Watcher::recv(self).expect("nothing is lost").revision()
    }

    async fn recv_async(&mut self) -> u64 {
        let received = poll_fn(|cx| self.poll_recv(cx)).await;
        received.expect("nothing is lost").revision()
    }

    fn drain(&mut self, each: &mut impl FnMut(u64)) {
        match self.try_recv_batch() {
            Ok(batch) => batch.iter().for_each(|event| each(event.revision())),
            Err(TryRecvError::Empty) => {}
            Err(lost) => panic!("{lost}"),
        }
    }
}

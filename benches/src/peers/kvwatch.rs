//! kvwatch.

use std::future::poll_fn;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kvwatch::{Builder, Change, Filter, Publisher, Selector, TryRecvError, WatchOptions, Watcher};

use super::names;
use crate::events::{self, Event, WARM_UP};
use crate::peer::{Hub, Input, Output, Peer, Setup, Watch};

/// Transactions in a chunk while the look-up is measured.
const CHUNK: usize = 64;
/// Longer than any operation here takes.
const TIMEOUT: Duration = Duration::from_secs(60);

/// kvwatch in one configuration.
#[derive(Debug)]
pub struct Kvwatch {
    name: &'static str,
    configure: fn(Builder) -> Builder,
}

impl Kvwatch {
    /// The default configuration.
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
            configure: |builder| builder.history_events(0),
        }
    }

    /// With a publisher that never dispatches: it leaves every event to the dispatcher's thread.
    #[must_use]
    pub fn not_inline() -> Self {
        Self {
            name: names::OURS_NOT_INLINE,
            configure: |builder| builder.inline_dispatch(false),
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

    fn start(&self, _setup: &Setup) -> (Publisher, kvwatch::Hub) {
        self.builder().spawn().expect("the defaults are valid")
    }

    /// The time that the prefixes add to publishing and dispatching. Their watchers filter for
    /// deletes: each put is looked up and matches one of them, but is not delivered. The dispatcher
    /// does not run, so that this thread does all of the work: beside a dispatcher's thread, the
    /// share of each would differ from run to run.
    fn prefix_lookup(&self, _setup: &Setup, prefixes: &[Bytes], keys: &[Bytes]) -> Option<f64> {
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
            let events = events::from_keys(1, warm_up.chain(keys).cloned());
            let mut chunks = events::chunks(events, CHUNK);
            let (warm_up, chunks) = chunks.split_at_mut(WARM_UP / CHUNK);
            for chunk in warm_up {
                publisher.publish_chunk(chunk);
            }
            let start = Instant::now();
            for chunk in chunks {
                publisher.publish_chunk(chunk);
            }
            publisher.flush(TIMEOUT).expect("this thread dispatches");
            let elapsed = start.elapsed();
            drop(watchers);
            elapsed.as_nanos() as f64 / keys.len() as f64
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
        self.publish_many(entries).expect("revisions increase");
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

//! A client that watches across restarts of the server, and resumes its watches.

use std::collections::BTreeSet;
use std::sync::Arc;

use kvwatch::{Filter, Revision};
use kvwatch_etcd::wire::etcdserverpb::{WatchCreateRequest, WatchResponse};

use super::super::event::seen;
use super::super::{Client, WatchStream};
use super::world::World;
use super::write::{PREFIXES, key};
use crate::record::{Item, Trace};
use crate::selector::NaiveSelector;
use crate::{HANG, Rng};

/// Milliseconds of silence after which a client requests progress.
const SILENCE_MILLIS: u64 = 20;

/// How a client reads its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Fast,
    /// Stays many revisions behind.
    Slow,
    /// Drops its connection after a few responses.
    Dropping,
}

/// One client: a stream of watches.
pub(super) struct Follower {
    world: Arc<World>,
    rng: Rng,
    manner: Manner,
    watches: Vec<Watched>,
    pub(super) figures: Figures,
}

/// Counts of one client, or of all.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Figures {
    pub(super) events: usize,
    pub(super) streams: usize,
    pub(super) compacted: usize,
    pub(super) progress: usize,
    pub(super) fragments: usize,
    pub(super) unknown: usize,
}

impl Figures {
    /// Adds the counts of another client.
    pub(super) fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.streams += other.streams;
        self.compacted += other.compacted;
        self.progress += other.progress;
        self.fragments += other.fragments;
        self.unknown += other.unknown;
    }
}

/// One watch, over all streams.
pub(super) struct Watched {
    request: WatchCreateRequest,
    pub(super) trace: Trace,
    /// The client has every event up to here. `None` before the watch was first created.
    synced: Option<Revision>,
    /// Whether the watch was created on the current stream.
    created: bool,
    /// The fragments of the current revision so far.
    parts: Vec<crate::record::Seen>,
    /// Whether the client creates the watch again when it is cancelled as compacted.
    resumes: bool,
    pub(super) over: bool,
}

impl Follower {
    /// The follower of number 0 is the witness: it watches everything from the start.
    pub(super) fn new(world: &Arc<World>, number: u64) -> Self {
        let mut rng = Rng::new(number + 1);
        let manner = match number % 3 {
            0 => Manner::Fast,
            1 => Manner::Slow,
            _ => Manner::Dropping,
        };
        let watches = match number {
            0 => vec![Watched::witness()],
            _ => {
                let count = 1 + rng.next_below(3);
                let name = |nth| format!("{number}.{nth} ({manner:?})");
                (0..count)
                    .map(|nth| Watched::random(&mut rng, name(nth), world.written()))
                    .collect()
            }
        };
        Self {
            world: Arc::clone(world),
            rng,
            manner,
            watches,
            figures: Figures::default(),
        }
    }

    /// Follows until all watches are over or synced up to the last revision, or the server is
    /// silent.
    pub(super) async fn follow(mut self) -> (Vec<Watched>, Figures) {
        while !self.is_done() && self.may_receive() {
            let client = Client::connect(&self.world.address).await;
            let Ok(mut stream) = client.watch().await else {
                continue;
            };
            self.figures.streams += 1;
            self.read(&mut stream).await;
        }
        (self.watches, self.figures)
    }

    fn is_done(&self) -> bool {
        let last = self.world.last();
        last.is_some_and(|last| self.watches.iter().all(|watch| watch.is_done(last)))
    }

    /// Whether the server may still have something to send: not long after the last write.
    fn may_receive(&self) -> bool {
        self.world
            .ended()
            .is_none_or(|ended| ended.elapsed() < HANG / 2)
    }

    /// Reads one stream until it breaks, the client drops it, or the client is done.
    async fn read(&mut self, stream: &mut WatchStream) {
        for (index, watch) in self.watches.iter_mut().enumerate() {
            if !watch.over {
                stream.create(watch.resumed(index));
            }
        }
        let mut responses = match self.manner {
            Manner::Dropping => self.rng.next_below(60),
            Manner::Fast | Manner::Slow => u64::MAX,
        };
        while responses > 0 && !self.is_done() && self.may_receive() {
            responses -= 1;
            if self.manner == Manner::Slow && self.rng.next_below(8) == 0 {
                self.world
                    .wait_for_more(100 + self.rng.next_below(1500))
                    .await;
            }
            if self.rng.next_below(50) == 0 {
                stream.progress();
            }
            match stream.next_within(SILENCE_MILLIS).await {
                Ok(Some(response)) => self.take(stream, response),
                Ok(None) => stream.progress(),
                Err(_) => return,
            }
        }
    }

    fn take(&mut self, stream: &WatchStream, response: WatchResponse) {
        if response.watch_id == -1 {
            assert!(!response.created, "refused: {response:?}");
            let created = self.watches.iter_mut().filter(|watch| watch.created);
            created.for_each(|watch| watch.progressed(revision(&response)));
            self.figures.progress += 1;
            return;
        }
        let index = usize::try_from(response.watch_id - 1).expect("an id of ours");
        let watch = &mut self.watches[index];
        if response.created {
            watch.confirm(revision(&response));
        } else if response.canceled {
            self.figures.compacted += 1;
            watch.compacted(response.compact_revision, &self.world.compactions());
            if !watch.over {
                stream.create(watch.resumed(index));
            }
        } else if response.events.is_empty() {
            self.figures.progress += 1;
            watch.progressed(revision(&response));
        } else {
            self.figures.events += response.events.len();
            self.figures.fragments += usize::from(response.fragment);
            self.figures.unknown += watch.events(response);
            if index == 0 && watch.trace.name == WITNESS {
                self.world.witness(watch.synced.unwrap_or(0));
            }
        }
    }
}

/// The name of the watch of everything.
const WITNESS: &str = "the witness";

fn revision(response: &WatchResponse) -> Revision {
    let header = response.header.as_ref().expect("every response has one");
    header.revision.cast_unsigned()
}

impl Watched {
    fn witness() -> Self {
        let request = WatchCreateRequest {
            prev_kv: true,
            fragment: true,
            ..keys(&NaiveSelector::All)
        };
        let trace = trace(WITNESS.to_owned(), NaiveSelector::All, &request, Some(1));
        Self::new(request, trace)
    }

    fn random(rng: &mut Rng, name: String, written: Revision) -> Self {
        let selector = selector(rng);
        let request = WatchCreateRequest {
            filters: match rng.next_below(6) {
                0 => vec![0],
                1 => vec![1],
                _ => vec![],
            },
            prev_kv: rng.next_below(2) == 0,
            fragment: rng.next_below(2) == 0,
            progress_notify: rng.next_below(2) == 0,
            ..keys(&selector)
        };
        let start = match rng.next_below(3) {
            0 => None,
            1 => Some(1),
            // A revision in the future, mostly.
            _ => Some(written + rng.next_below(200)),
        };
        let resumes = rng.next_below(4) > 0;
        let trace = trace(name, selector, &request, start);
        Self {
            resumes,
            ..Self::new(request, trace)
        }
    }

    fn new(request: WatchCreateRequest, trace: Trace) -> Self {
        Self {
            synced: trace.requested_start.map(|start| start - 1),
            request,
            trace,
            created: false,
            parts: Vec::new(),
            resumes: true,
            over: false,
        }
    }

    pub(super) fn is_done(&self, last: Revision) -> bool {
        self.over || (self.created && self.synced >= Some(last))
    }

    /// The request that resumes the watch, on a new stream or after a compaction.
    fn resumed(&mut self, index: usize) -> WatchCreateRequest {
        // A client that lost its connection between fragments requests the whole revision again.
        self.parts.clear();
        self.created = false;
        let start = self.synced.map_or(0, |synced| synced + 1);
        WatchCreateRequest {
            watch_id: index as i64 + 1,
            start_revision: start.cast_signed(),
            ..self.request.clone()
        }
    }

    fn confirm(&mut self, current: Revision) {
        self.created = true;
        if self.synced.is_none() {
            self.synced = Some(current);
            self.trace.start = current + 1;
        }
    }

    fn reached(&mut self, revision: Revision) {
        self.trace.items.push(Item::Progress(revision));
        self.synced = self.synced.max(Some(revision));
    }

    fn progressed(&mut self, revision: Revision) {
        let name = &self.trace.name;
        assert!(self.parts.is_empty(), "{name}: progress between fragments");
        self.reached(revision);
    }

    /// Returns the number of unavailable previous values.
    fn events(&mut self, response: WatchResponse) -> usize {
        let earlier = self.parts.len();
        let with_prev = self.request.prev_kv;
        let events = response.events.into_iter();
        self.parts
            .extend(events.map(|event| seen(event, with_prev)));
        let unknown = |event: &&crate::record::Seen| {
            with_prev && event.prev == kvwatch::PrevValue::Unavailable
        };
        let unknown = self.parts[earlier..].iter().filter(unknown).count();
        if !response.fragment {
            let parts = std::mem::take(&mut self.parts);
            let last = parts.last().map_or(0, |event| event.revision);
            self.trace.items.push(Item::Batch(parts));
            self.reached(last);
        }
        unknown
    }

    fn compacted(&mut self, oldest: i64, compactions: &BTreeSet<Revision>) {
        let oldest = oldest.cast_unsigned();
        let first = self.synced.map_or(self.trace.start, |synced| synced + 1);
        let last = oldest.saturating_sub(1);
        self.trace
            .items
            .push(Item::Lagged(crate::removed(first, last)));
        let floor = compactions.last().copied().unwrap_or(0);
        self.trace.floors.push(floor);
        self.synced = Some(last);
        self.created = false;
        self.over = !self.resumes;
    }
}

fn trace(
    name: String,
    selector: NaiveSelector,
    request: &WatchCreateRequest,
    start: Option<Revision>,
) -> Trace {
    Trace {
        name,
        selector,
        filter: match request.filters[..] {
            [] => Filter::All,
            [0] => Filter::Deletes,
            _ => Filter::Puts,
        },
        prev: request.prev_kv,
        start: start.unwrap_or(0),
        requested_start: start,
        items: Vec::new(),
        floors: Vec::new(),
    }
}

fn selector(rng: &mut Rng) -> NaiveSelector {
    match rng.next_below(6) {
        0 | 1 => NaiveSelector::Exact(key(rng).into()),
        2 => NaiveSelector::Prefix(format!("k{}/", rng.next_below(PREFIXES)).into()),
        3 => {
            let (a, b) = (key(rng), key(rng));
            let end = format!("{}\0", a.clone().max(b.clone()));
            NaiveSelector::Range(a.min(b).into(), end.into())
        }
        4 => NaiveSelector::From(key(rng).into()),
        _ => NaiveSelector::All,
    }
}

/// The selector as a request.
fn keys(selector: &NaiveSelector) -> WatchCreateRequest {
    let (key, range_end) = match selector.clone() {
        NaiveSelector::Exact(key) => (key, Vec::new()),
        NaiveSelector::Prefix(prefix) => {
            let mut end = prefix.clone();
            *end.last_mut().expect("no prefix here is empty") += 1;
            (prefix, end)
        }
        NaiveSelector::Range(start, end) => (start, end),
        NaiveSelector::From(start) => (start, vec![0]),
        NaiveSelector::All | NaiveSelector::Any(_) => (vec![0], vec![0]),
    };
    WatchCreateRequest {
        key: key.into(),
        range_end: range_end.into(),
        ..WatchCreateRequest::default()
    }
}

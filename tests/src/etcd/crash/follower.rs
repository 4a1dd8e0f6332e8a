//! A client that watches, over every restart of the server, and resumes where it was.

use std::collections::BTreeSet;
use std::sync::Arc;

use kvwatch::{Filter, Lagged, Revision};
use kvwatch_etcd::wire::etcdserverpb::{WatchCreateRequest, WatchResponse};

use super::super::event::seen;
use super::super::{Client, WatchStream};
use super::world::World;
use super::write::{ROOMS, key};
use crate::record::{Item, Trace};
use crate::want::Want;
use crate::{HANG, Rng};

/// After so many milliseconds of silence a client asks for progress.
const PATIENCE: u64 = 20;

/// What a client does between two responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Quick,
    /// Reads only what is many revisions old.
    Slow,
    /// Drops its connection after a few responses.
    Hasty,
}

/// One client: a stream of watches.
pub(super) struct Follower {
    world: Arc<World>,
    rng: Rng,
    manner: Manner,
    watches: Vec<Watched>,
    pub(super) figures: Figures,
}

/// What happened to a client, or to all.
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
    /// Adds another client's.
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
    /// It knows everything up to here; `None` before it was created for the first time.
    known: Option<Revision>,
    /// It was created on the present stream.
    begun: bool,
    /// The fragments of a revision so far.
    parts: Vec<crate::record::Seen>,
    /// Whether it goes on behind what was compacted.
    resumes: bool,
    pub(super) over: bool,
}

impl Follower {
    /// The first of all sees everything, from the beginning.
    pub(super) fn new(world: &Arc<World>, number: u64) -> Self {
        let mut rng = Rng::new(number + 1);
        let manner = match number % 3 {
            0 => Manner::Quick,
            1 => Manner::Slow,
            _ => Manner::Hasty,
        };
        let watches = match number {
            0 => vec![Watched::witness()],
            _ => {
                let count = 1 + rng.below(3);
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

    /// Follows until all watches are over or know the last revision, or hear nothing any more.
    pub(super) async fn follow(mut self) -> (Vec<Watched>, Figures) {
        while !self.is_done() && self.heard_lately() {
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

    /// A server that says nothing for so long after the last write will not say it.
    fn heard_lately(&self) -> bool {
        self.world
            .ended()
            .is_none_or(|ended| ended.elapsed() < HANG / 2)
    }

    /// Reads one stream until it breaks, or is dropped, or nothing more is wanted.
    async fn read(&mut self, stream: &mut WatchStream) {
        for (at, watch) in self.watches.iter_mut().enumerate() {
            if !watch.over {
                stream.create(watch.resumed(at));
            }
        }
        let mut left = match self.manner {
            Manner::Hasty => self.rng.below(60),
            Manner::Quick | Manner::Slow => u64::MAX,
        };
        while left > 0 && !self.is_done() && self.heard_lately() {
            left -= 1;
            if self.manner == Manner::Slow && self.rng.below(8) == 0 {
                self.world.wait_for_more(100 + self.rng.below(1500)).await;
            }
            if self.rng.below(50) == 0 {
                stream.progress();
            }
            match stream.next_within(PATIENCE).await {
                Ok(Some(response)) => self.take(stream, response),
                Ok(None) => stream.progress(),
                Err(_) => return,
            }
        }
    }

    fn take(&mut self, stream: &WatchStream, response: WatchResponse) {
        if response.watch_id == -1 {
            assert!(!response.created, "refused: {response:?}");
            let begun = self.watches.iter_mut().filter(|watch| watch.begun);
            begun.for_each(|watch| watch.progressed(revision(&response)));
            self.figures.progress += 1;
            return;
        }
        let at = usize::try_from(response.watch_id - 1).expect("an id that was asked for");
        let watch = &mut self.watches[at];
        if response.created {
            watch.created(revision(&response));
        } else if response.canceled {
            self.figures.compacted += 1;
            watch.compacted(response.compact_revision, &self.world.compactions());
            if !watch.over {
                stream.create(watch.resumed(at));
            }
        } else if response.events.is_empty() {
            self.figures.progress += 1;
            watch.progressed(revision(&response));
        } else {
            self.figures.events += response.events.len();
            self.figures.fragments += usize::from(response.fragment);
            self.figures.unknown += watch.events(response);
            if at == 0 && watch.trace.name == WITNESS {
                self.world.witness(watch.known.unwrap_or(0));
            }
        }
    }
}

/// The name of who sees everything.
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
            ..keys(&Want::All)
        };
        let trace = trace(WITNESS.to_owned(), Want::All, &request, Some(1));
        Self::new(request, trace)
    }

    fn random(rng: &mut Rng, name: String, written: Revision) -> Self {
        let want = want(rng);
        let request = WatchCreateRequest {
            filters: match rng.below(6) {
                0 => vec![0],
                1 => vec![1],
                _ => vec![],
            },
            prev_kv: rng.below(2) == 0,
            fragment: rng.below(2) == 0,
            progress_notify: rng.below(2) == 0,
            ..keys(&want)
        };
        let start = match rng.below(3) {
            0 => None,
            1 => Some(1),
            // What is yet to be written.
            _ => Some(written + rng.below(200)),
        };
        let resumes = rng.below(4) > 0;
        let trace = trace(name, want, &request, start);
        Self {
            resumes,
            ..Self::new(request, trace)
        }
    }

    fn new(request: WatchCreateRequest, trace: Trace) -> Self {
        Self {
            known: trace.asked.map(|start| start - 1),
            request,
            trace,
            begun: false,
            parts: Vec::new(),
            resumes: true,
            over: false,
        }
    }

    pub(super) fn is_done(&self, last: Revision) -> bool {
        self.over || (self.begun && self.known >= Some(last))
    }

    /// The request by which it goes on, on a new stream or behind what was compacted.
    fn resumed(&mut self, at: usize) -> WatchCreateRequest {
        // A client that lost its connection between fragments asks for all of the revision again.
        self.parts.clear();
        self.begun = false;
        let start = self.known.map_or(0, |known| known + 1);
        WatchCreateRequest {
            watch_id: at as i64 + 1,
            start_revision: start.cast_signed(),
            ..self.request.clone()
        }
    }

    fn created(&mut self, now: Revision) {
        self.begun = true;
        if self.known.is_none() {
            self.known = Some(now);
            self.trace.start = now + 1;
        }
    }

    fn reached(&mut self, revision: Revision) {
        self.trace.items.push(Item::Progress(revision));
        self.known = self.known.max(Some(revision));
    }

    fn progressed(&mut self, revision: Revision) {
        let name = &self.trace.name;
        assert!(self.parts.is_empty(), "{name}: progress between fragments");
        self.reached(revision);
    }

    /// Returns how many previous values were not known.
    fn events(&mut self, response: WatchResponse) -> usize {
        let before = self.parts.len();
        let with_prev = self.request.prev_kv;
        let events = response.events.into_iter();
        self.parts
            .extend(events.map(|event| seen(event, with_prev)));
        let unknown = |event: &&crate::record::Seen| {
            with_prev && event.prev == kvwatch::PrevValue::Unavailable
        };
        let unknown = self.parts[before..].iter().filter(unknown).count();
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
        let from = self.known.map_or(self.trace.start, |known| known + 1);
        let to = oldest.saturating_sub(1);
        self.trace.items.push(Item::Lagged(Lagged { from, to }));
        let floor = compactions.last().copied().unwrap_or(0);
        self.trace.floors.push(floor);
        self.known = Some(to);
        self.begun = false;
        self.over = !self.resumes;
    }
}

fn trace(name: String, want: Want, request: &WatchCreateRequest, start: Option<Revision>) -> Trace {
    Trace {
        name,
        want,
        filter: match request.filters[..] {
            [] => Filter::All,
            [0] => Filter::Deletes,
            _ => Filter::Puts,
        },
        prev: request.prev_kv,
        start: start.unwrap_or(0),
        asked: start,
        items: Vec::new(),
        floors: Vec::new(),
    }
}

fn want(rng: &mut Rng) -> Want {
    match rng.below(6) {
        0 | 1 => Want::Exact(key(rng).into()),
        2 => Want::Prefix(format!("k{}/", rng.below(ROOMS)).into()),
        3 => {
            let (a, b) = (key(rng), key(rng));
            let end = format!("{}\0", a.clone().max(b.clone()));
            Want::Range(a.min(b).into(), end.into())
        }
        4 => Want::From(key(rng).into()),
        _ => Want::All,
    }
}

/// A want as etcd's clients say it.
fn keys(want: &Want) -> WatchCreateRequest {
    let (key, range_end) = match want.clone() {
        Want::Exact(key) => (key, Vec::new()),
        Want::Prefix(prefix) => {
            let mut end = prefix.clone();
            *end.last_mut().expect("no prefix here is empty") += 1;
            (prefix, end)
        }
        Want::Range(start, end) => (start, end),
        Want::From(start) => (start, vec![0]),
        Want::All | Want::Any(_) => (vec![0], vec![0]),
    };
    WatchCreateRequest {
        key: key.into(),
        range_end: range_end.into(),
        ..WatchCreateRequest::default()
    }
}

//! One seeded round of real threads: writers behind one lock, a crowd of watchers that come and
//! go, some slow, stuck, leaked or panicking, and the judge at the end.
//!
//! A short run of it is a test (`threads.rs`), a long one `make soak`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::thread;

use kvwatch::{
    Builder, Change, EndReason, Event, Hub, Lossy, Overflow, Publisher, RecvError, Stats,
    WatchOptions, Watcher,
};

use crate::judge::{Complete, judge};
use crate::record::{Item, Log, Trace};
use crate::want::Want;
use crate::{Counting, HANG, Rng, join_in_time};

/// What one round is like.
#[derive(Clone, Debug)]
pub struct Round {
    /// The same seed makes the same choices; the schedule is the machine's.
    pub seed: u64,
    /// Threads that commit, and how often each of them does.
    pub writers: u64,
    /// Transactions of one to four changes by each writer.
    pub commits: u64,
    /// Watcher threads.
    pub watchers: u64,
    /// How many watchers each of these threads has, one after the other.
    pub lives: u64,
    /// Events in the history.
    pub history: usize,
    /// Messages in the ingress.
    pub ingress: usize,
    /// Whether the publisher may dispatch.
    pub inline: bool,
    /// Whether it drops what finds no room.
    pub lossy: bool,
}

impl Round {
    /// A round of so many watcher threads, everything else drawn from the seed.
    #[must_use]
    pub fn random(seed: u64, watchers: u64, commits: u64) -> Self {
        let mut rng = Rng::new(seed);
        let histories = [0, 64, 2_000, 1_000_000];
        Self {
            seed,
            writers: 1 + rng.below(8),
            commits,
            watchers,
            lives: 4,
            history: histories[rng.below(4) as usize],
            ingress: [2, 64, 1024][rng.below(3) as usize],
            inline: rng.below(2) == 0,
            lossy: rng.below(4) == 0,
        }
    }
}

/// What a round came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// Events that watchers received and the judge saw.
    pub deliveries: u64,
    /// Watchers that came and went.
    pub watchers: u64,
    /// How often a watcher fell behind.
    pub fell_behind: u64,
    /// How often one came to the live path.
    pub caught_up: u64,
    /// Lags reported.
    pub lags: u64,
    /// Watchers that their overflow cancelled.
    pub cancelled: u64,
    /// Watchers that lived until the shutdown, and so were judged for completeness.
    pub complete: u64,
}

impl Figures {
    /// Adds another round's.
    pub fn add(&mut self, other: &Self) {
        self.deliveries += other.deliveries;
        self.watchers += other.watchers;
        self.fell_behind += other.fell_behind;
        self.caught_up += other.caught_up;
        self.lags += other.lags;
        self.cancelled += other.cancelled;
        self.complete += other.complete;
    }

    fn count(&mut self, stats: &Stats) {
        self.fell_behind += stats.fell_behind;
        self.caught_up += stats.caught_up;
        self.cancelled += stats.cancelled;
    }
}

/// A store with many writers publishes inside its commit lock.
struct Store {
    publisher: Publisher,
    log: Log,
    lossy: bool,
}

impl Store {
    fn commit(&mut self, rng: &mut Rng) {
        let change = |rng: &mut Rng| {
            let key = format!("k{}/{}", rng.below(8), rng.below(16));
            match rng.below(4) {
                0 => Change::delete(key),
                value => Change::put(key, value.to_string()),
            }
        };
        let revision = self.publisher.revision() + 1;
        let changes: Vec<_> = (0..=rng.below(3)).map(|_| change(rng)).collect();
        self.log.transactions.push((revision, changes.clone()));
        if !self.lossy {
            self.publisher.publish_batch(changes).expect("it runs");
        } else if let Lossy::Dropped(revision) = self
            .publisher
            .publish_batch_lossy(changes)
            .expect("it runs")
        {
            self.log.dropped.insert(revision);
        }
    }
}

fn random_want(rng: &mut Rng) -> Want {
    let (group, key) = (rng.below(8), rng.below(16));
    match rng.below(6) {
        0 | 1 => Want::Exact(format!("k{group}/{key}").into_bytes()),
        2 => Want::Prefix(format!("k{group}/").into_bytes()),
        3 => Want::Range(b"k2/".to_vec(), format!("k{}/", 3 + group).into_bytes()),
        4 => Want::Any(vec![
            Want::Exact(format!("k{group}/{key}").into_bytes()),
            Want::From(b"k6".to_vec()),
            Want::Prefix(b"k7".to_vec()),
        ]),
        _ => Want::All,
    }
}

fn poll_until_ready(watcher: &mut Watcher) -> Result<Event, RecvError> {
    let (counting, waker) = Counting::here();
    loop {
        let woken = counting.woken();
        match watcher.poll_recv(&mut Context::from_waker(&waker)) {
            Poll::Ready(received) => return received,
            Poll::Pending => counting.park_beyond(woken),
        }
    }
}

/// What a watcher received, and the watcher itself if it was forgotten somewhere.
type Life = (Trace, Option<Watcher>);

/// One watcher's life: in which ways it receives, how slow it is, when it goes, and how.
fn live(hub: &Hub, name: String, rng: &mut Rng) -> Option<Life> {
    let want = random_want(rng);
    let mut options = WatchOptions::new().capacity(1 + rng.below(64) as usize);
    if rng.below(8) == 0 {
        options = options.overflow(Overflow::Cancel);
    }
    let mut asked = None;
    if rng.below(3) == 0 {
        let oldest = hub.stats().history.oldest;
        let start = oldest + rng.below((hub.revision() + 2).max(oldest + 1) - oldest);
        asked = Some(start.max(1));
        options = options.start_revision(start);
    }
    // Refused if it is compacted by now, or the engine has ended.
    let mut watcher = hub.watch_with(want.selector(), options).ok()?;
    let mut trace = Trace::new(name, want, &watcher);
    trace.asked = asked;
    let patience = match rng.below(4) {
        0 => rng.below(200),
        _ => u64::MAX,
    };
    let slowness = rng.below(8) * rng.below(8);
    for _ in 0..patience {
        for _ in 0..slowness {
            thread::yield_now();
        }
        let received = match rng.below(6) {
            0 => watcher.recv().map(|event| Item::Event((&event).into())),
            1 => poll_until_ready(&mut watcher).map(|event| Item::Event((&event).into())),
            _ => {
                let batch = watcher.recv_batch();
                batch.map(|batch| Item::Batch(batch.iter().map(Into::into).collect()))
            }
        };
        if let Err(RecvError::Lagged(_)) = received {
            trace.floors.push(hub.stats().history.oldest);
        }
        let goes_on = trace.write(received);
        trace.items.push(Item::Progress(watcher.progress()));
        if !goes_on {
            break;
        }
    }
    let mut left = None;
    match rng.below(16) {
        // Held and never looked at again, until the round is over.
        0 => left = Some(watcher),
        1 => {
            let panicked = catch_unwind(AssertUnwindSafe(move || {
                let _watcher = watcher;
                std::panic::resume_unwind(Box::new("on purpose, with a watcher in hand"));
            }));
            assert!(panicked.is_err());
        }
        2 => watcher.close(),
        _ => drop(watcher),
    }
    Some((trace, left))
}

impl Round {
    /// Runs it and judges every watcher.
    ///
    /// # Errors
    /// The promise broken, by which watcher, where, and the round with its seed.
    ///
    /// # Panics
    /// If a thread hangs.
    pub fn run(&self) -> Result<Figures, String> {
        let builder = Builder::new()
            .history(self.history)
            .ingress(self.ingress)
            .inline(self.inline);
        let (publisher, hub) = builder.spawn().expect("valid options");
        let store = Arc::new(Mutex::new(Store {
            publisher,
            log: Log::default(),
            lossy: self.lossy,
        }));
        let traces = Arc::new(Mutex::new(Vec::new()));
        let done = Arc::new(AtomicBool::new(false));
        let watchers: Vec<_> = (0..self.watchers)
            .map(|place| self.watch_thread(place, &hub, &traces, &done))
            .collect();
        let writers: Vec<_> = (0..self.writers)
            .map(|writer| {
                let (store, commits) = (Arc::clone(&store), self.commits);
                let mut rng = Rng::new(self.seed * 77 + writer);
                thread::spawn(move || {
                    for _ in 0..commits {
                        let mut store = store.lock().unwrap_or_else(PoisonError::into_inner);
                        store.commit(&mut rng);
                    }
                })
            })
            .collect();
        writers.into_iter().for_each(join_in_time);
        done.store(true, Ordering::SeqCst);
        let store = Arc::into_inner(store).expect("the writers are gone");
        let store = store.into_inner().expect("no writer panicked");
        store.publisher.shutdown(HANG).expect("it ends");
        watchers.into_iter().for_each(join_in_time);
        let traces = Arc::into_inner(traces).expect("the watchers are gone");
        let traces = traces.into_inner().expect("no watcher panicked");
        let mut figures = self.judge(&store.log, &traces)?;
        let stats = hub.stats();
        figures.count(&stats);
        if (stats.watchers, stats.keys_watched) != Default::default() {
            return Err(format!("{self:?}: gauges are not back to zero: {stats:?}"));
        }
        Ok(figures)
    }

    fn watch_thread(
        &self,
        place: u64,
        hub: &Hub,
        traces: &Arc<Mutex<Vec<Life>>>,
        done: &Arc<AtomicBool>,
    ) -> thread::JoinHandle<()> {
        let (hub, traces, done) = (hub.clone(), Arc::clone(traces), Arc::clone(done));
        let (seed, lives) = (self.seed, self.lives);
        thread::spawn(move || {
            let mut rng = Rng::new(seed * 1000 + place);
            for life in 0..lives {
                let name = format!("{place}, life {life}");
                let life = live(&hub, name, &mut rng);
                traces.lock().expect("nobody panics in here").extend(life);
                if done.load(Ordering::SeqCst) {
                    break;
                }
            }
        })
    }

    fn judge(&self, log: &Log, traces: &[Life]) -> Result<Figures, String> {
        let mut figures = Figures::default();
        for (trace, _) in traces {
            let complete = match trace.end() {
                Some(EndReason::ShutDown) => Complete::UpTo(log.last()),
                _ => Complete::No,
            };
            figures.watchers += 1;
            figures.deliveries += trace.events() as u64;
            figures.lags += trace.lags().len() as u64;
            figures.complete += u64::from(complete != Complete::No);
            judge(log, trace, complete).map_err(|violation| format!("{self:?}: {violation}"))?;
        }
        Ok(figures)
    }
}

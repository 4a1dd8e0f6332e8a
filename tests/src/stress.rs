//! Seeded rounds of real threads: writers behind one lock, and watchers that come and go, some of
//! them slow, stuck, leaked or panicking. At the end of a round every watcher is checked.
//!
//! The tests in `threads.rs` run a few rounds, `make soak` runs rounds for minutes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::thread;
use std::time::Instant;

use kvwatch::{
    Builder, Change, EndReason, Event, Hub, Lossy, Overflow, Publisher, RecvError, Stats,
    WatchOptions, Watcher,
};

use crate::checker::{Complete, check};
use crate::record::{Item, Log, Trace};
use crate::selector::NaiveSelector;
use crate::{CountingWaker, HANG, Rng, eventually, join_in_time};

/// The parameters of one round.
#[derive(Clone, Debug)]
pub struct Round {
    /// The same seed makes the same choices. The schedule still differs from run to run.
    pub seed: u64,
    /// Threads that commit.
    pub writers: u64,
    /// Transactions that each writer commits at least, of one to four changes.
    pub commits: u64,
    /// Threads that watch.
    pub watchers: u64,
    /// Watchers of each of these threads, one after the other.
    pub lives: u64,
    /// Capacity of the history, in events.
    pub history: usize,
    /// Capacity of the ingress, in messages.
    pub ingress: usize,
    /// Whether publishing may dispatch inline.
    pub inline: bool,
    /// Whether publishing drops events that do not fit into the ingress.
    pub lossy: bool,
}

impl Round {
    /// A round with this many watching threads and commits of each writer. The seed determines the
    /// other parameters.
    #[must_use]
    pub fn random(seed: u64, watchers: u64, commits: u64) -> Self {
        let mut rng = Rng::new(seed);
        let histories = [0, 64, 2_000, 1_000_000];
        Self {
            seed,
            writers: 1 + rng.next_below(8),
            commits,
            watchers,
            lives: 4,
            history: histories[rng.next_below(4) as usize],
            ingress: [2, 64, 1024][rng.next_below(3) as usize],
            inline: rng.next_below(2) == 0,
            lossy: rng.next_below(4) == 0,
        }
    }
}

/// Counts of one or several rounds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// Events received and checked.
    pub deliveries: u64,
    /// Watchers registered.
    pub watchers: u64,
    /// Times that a watcher fell behind.
    pub fell_behind: u64,
    /// Times that a watcher caught up.
    pub caught_up: u64,
    /// Lags reported.
    pub lags: u64,
    /// Watchers that an overflow cancelled.
    pub cancelled: u64,
    /// Watchers that lived until the shutdown, and were checked for completeness.
    pub complete: u64,
}

impl Figures {
    /// Adds the counts of another round.
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

/// What has happened in a round so far.
#[derive(Debug)]
pub struct Progress {
    /// Watchers registered.
    pub watchers: u64,
    /// The statistics of the hub.
    pub stats: Stats,
}

/// A store with many writers, which publishes inside its commit lock.
struct Store {
    publisher: Publisher,
    log: Log,
    lossy: bool,
}

impl Store {
    fn commit(&mut self, rng: &mut Rng) {
        let change = |rng: &mut Rng| {
            let key = format!("k{}/{}", rng.next_below(8), rng.next_below(16));
            match rng.next_below(4) {
                0 => Change::delete(key),
                value => Change::put(key, value.to_string()),
            }
        };
        let revision = self.publisher.revision() + 1;
        let changes: Vec<_> = (0..=rng.next_below(3)).map(|_| change(rng)).collect();
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

fn random_selector(rng: &mut Rng) -> NaiveSelector {
    let (group, key) = (rng.next_below(8), rng.next_below(16));
    match rng.next_below(6) {
        0 | 1 => NaiveSelector::Exact(format!("k{group}/{key}").into_bytes()),
        2 => NaiveSelector::Prefix(format!("k{group}/").into_bytes()),
        3 => NaiveSelector::Range(b"k2/".to_vec(), format!("k{}/", 3 + group).into_bytes()),
        4 => NaiveSelector::Any(vec![
            NaiveSelector::Exact(format!("k{group}/{key}").into_bytes()),
            NaiveSelector::From(b"k6".to_vec()),
            NaiveSelector::Prefix(b"k7".to_vec()),
        ]),
        _ => NaiveSelector::All,
    }
}

fn poll_until_ready(watcher: &mut Watcher) -> Result<Event, RecvError> {
    let (counting, waker) = CountingWaker::pair();
    loop {
        let woken = counting.calls();
        match watcher.poll_recv(&mut Context::from_waker(&waker)) {
            Poll::Ready(received) => return received,
            Poll::Pending => counting.park_beyond(woken),
        }
    }
}

/// The trace of a watcher, and the watcher itself if it is never received from again.
type Life = (Trace, Option<Watcher>);

/// The life of one watcher. The generator determines how it receives, how slow it is, and when and
/// how it ends. Returns nothing if the watch is refused.
fn live(hub: &Hub, name: String, rng: &mut Rng, registered: &AtomicU64) -> Option<Life> {
    let selector = random_selector(rng);
    let mut options = WatchOptions::new().capacity(1 + rng.next_below(64) as usize);
    if rng.next_below(8) == 0 {
        options = options.overflow(Overflow::Cancel);
    }
    let mut requested_start = None;
    if rng.next_below(3) == 0 {
        let oldest = hub.stats().history.oldest;
        let start = oldest + rng.next_below((hub.revision() + 2).max(oldest + 1) - oldest);
        requested_start = Some(start.max(1));
        options = options.start_revision(start);
    }
    // Refused if the start is compacted by now, or the engine has ended.
    let mut watcher = hub.watch_with(selector.to_selector(), options).ok()?;
    registered.fetch_add(1, Ordering::SeqCst);
    let mut trace = Trace::new(name, selector, &watcher);
    trace.requested_start = requested_start;
    let receives = match rng.next_below(4) {
        0 => rng.next_below(200),
        _ => u64::MAX,
    };
    let slowness = rng.next_below(8) * rng.next_below(8);
    for _ in 0..receives {
        for _ in 0..slowness {
            thread::yield_now();
        }
        let received = match rng.next_below(6) {
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
        let is_open = trace.record(received);
        trace.items.push(Item::Progress(watcher.progress()));
        if !is_open {
            break;
        }
    }
    let mut left = None;
    match rng.next_below(16) {
        // Kept until the round is over, and never received from again.
        0 => left = Some(watcher),
        1 => {
            let panicked = catch_unwind(AssertUnwindSafe(move || {
                let _watcher = watcher;
                std::panic::resume_unwind(Box::new("on purpose, with a watcher"));
            }));
            assert!(panicked.is_err());
        }
        2 => {
            watcher.close();
            receive_to_the_end(&mut watcher, &mut trace, hub);
        }
        3..6 => {
            let closer = watcher.closer();
            let closing = thread::spawn(move || closer.close());
            receive_to_the_end(&mut watcher, &mut trace, hub);
            join_in_time(closing);
        }
        _ => drop(watcher),
    }
    Some((trace, left))
}

/// Receives from a watcher that is closed, or will be soon.
fn receive_to_the_end(watcher: &mut Watcher, trace: &mut Trace, hub: &Hub) {
    let mut is_open = trace.end().is_none();
    while is_open {
        trace.items.push(Item::Progress(watcher.progress()));
        let received = watcher.recv();
        if let Err(RecvError::Lagged(_)) = received {
            trace.floors.push(hub.stats().history.oldest);
        }
        is_open = trace.received(&received, watcher);
    }
}

impl Round {
    /// Runs the round and checks every watcher.
    ///
    /// # Errors
    /// The first broken promise, with the watcher, the item, and the round with its seed.
    ///
    /// # Panics
    /// If a thread hangs.
    pub fn run(&self) -> Result<Figures, String> {
        self.run_until(|_| true)
    }

    /// Runs the round until `enough` holds too: the writers commit their number of transactions,
    /// and then go on until `enough` returns true.
    ///
    /// The writers start once every thread has a watcher, so that the first watcher of each
    /// thread sees all of the round.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    ///
    /// # Panics
    /// If a thread hangs, or `enough` never returns true.
    pub fn run_until(
        &self,
        enough: impl Fn(&Progress) -> bool + Clone + Send + 'static,
    ) -> Result<Figures, String> {
        let builder = Builder::new()
            .history_events(self.history)
            .ingress_capacity(self.ingress)
            .inline_dispatch(self.inline);
        let (publisher, hub) = builder.spawn().expect("valid options");
        let store = Arc::new(Mutex::new(Store {
            publisher,
            log: Log::default(),
            lossy: self.lossy,
        }));
        let traces = Arc::new(Mutex::new(Vec::new()));
        let registered = Arc::new(AtomicU64::new(0));
        let done = Arc::new(AtomicBool::new(false));
        let watchers: Vec<_> = (0..self.watchers)
            .map(|number| self.watch_thread(number, &hub, &traces, &registered, &done))
            .collect();
        eventually("every thread has a watcher", || {
            registered.load(Ordering::SeqCst) >= self.watchers
        });
        let progress = {
            let (hub, registered) = (hub.clone(), Arc::clone(&registered));
            move || Progress {
                watchers: registered.load(Ordering::SeqCst),
                stats: hub.stats(),
            }
        };
        let writers: Vec<_> = (0..self.writers)
            .map(|writer| {
                let (progress, enough) = (progress.clone(), enough.clone());
                self.write_thread(writer, &store, move || enough(&progress()))
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
        let mut figures = self.check(&store.log, &traces)?;
        let stats = hub.stats();
        figures.count(&stats);
        if (stats.watchers, stats.keys_watched) != Default::default() {
            return Err(format!("{self:?}: gauges are not back to zero: {stats:?}"));
        }
        Ok(figures)
    }

    fn write_thread(
        &self,
        writer: u64,
        store: &Arc<Mutex<Store>>,
        enough: impl Fn() -> bool + Send + 'static,
    ) -> thread::JoinHandle<()> {
        let (store, commits) = (Arc::clone(store), self.commits);
        let mut rng = Rng::new(self.seed * 77 + writer);
        thread::spawn(move || {
            let mut commit = || {
                let mut store = store.lock().unwrap_or_else(PoisonError::into_inner);
                store.commit(&mut rng);
            };
            (0..commits).for_each(|_| commit());
            let deadline = Instant::now() + HANG;
            while !enough() {
                assert!(
                    Instant::now() < deadline,
                    "never happened: enough for this round"
                );
                (0..100).for_each(|_| commit());
            }
        })
    }

    fn watch_thread(
        &self,
        number: u64,
        hub: &Hub,
        traces: &Arc<Mutex<Vec<Life>>>,
        registered: &Arc<AtomicU64>,
        done: &Arc<AtomicBool>,
    ) -> thread::JoinHandle<()> {
        let (hub, traces, done) = (hub.clone(), Arc::clone(traces), Arc::clone(done));
        let registered = Arc::clone(registered);
        let (seed, lives) = (self.seed, self.lives);
        thread::spawn(move || {
            let mut rng = Rng::new(seed * 1000 + number);
            for life in 0..lives {
                let name = format!("{number}, life {life}");
                let life = live(&hub, name, &mut rng, &registered);
                traces
                    .lock()
                    .expect("no panic while it is locked")
                    .extend(life);
                if done.load(Ordering::SeqCst) {
                    break;
                }
            }
        })
    }

    fn check(&self, log: &Log, traces: &[Life]) -> Result<Figures, String> {
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
            check(log, trace, complete).map_err(|violation| format!("{self:?}: {violation}"))?;
        }
        Ok(figures)
    }
}

//! Replay: a store serves the events that the history no longer holds.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use kvwatch::{
    Builder, Change, Entries, Lagged, PublishErrorKind, RecvError, Replay, ReplayError,
    ReplayRequest, Replayed, Revision, Selector, WatchError, WatchOptions, Watcher,
};
use kvwatch_tests::checker::{Complete, assert_kept};
use kvwatch_tests::record::{Log, Trace};
use kvwatch_tests::selector::NaiveSelector;
use kvwatch_tests::{HANG, in_time, inline_engine, put, ready_revisions, removed, replay_failed};

/// The log of a store, and the way in which it fails.
#[derive(Clone, Default)]
struct Store {
    log: Arc<Mutex<Entries>>,
    reads: Arc<AtomicUsize>,
    oldest: Revision,
    broken: Broken,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Broken {
    #[default]
    No,
    Fails,
    /// So many reads.
    FailsAtFirst(usize),
    /// Whatever is asked for, with this as the oldest revision.
    Compacted(Revision),
    GoesBack,
    BeyondWhatWasAsked,
    NoProgress,
}

impl Store {
    fn of(revisions: impl IntoIterator<Item = Revision>) -> Self {
        let store = Self::default();
        for revision in revisions {
            store.commit(revision);
        }
        store
    }

    fn commit(&self, revision: Revision) -> (Revision, Vec<Change>) {
        let key = ["k", "other"][usize::from(revision.is_multiple_of(3))];
        let entry = (revision, vec![put(key), put(key)]);
        self.log.lock().unwrap().push(entry.clone());
        entry
    }
}

impl Replay for Store {
    fn oldest(&self) -> Revision {
        self.oldest
    }

    fn read(&self, request: ReplayRequest<'_>) -> Result<Replayed, ReplayError> {
        let ReplayRequest { from, to, .. } = request;
        let reads = self.reads.fetch_add(1, Ordering::SeqCst);
        assert!(from <= to && request.max_events > 0 && request.max_bytes > 0);
        let upto = match self.broken {
            Broken::Fails => return Err(ReplayError::Failed("the disk is gone".into())),
            Broken::FailsAtFirst(times) if reads < times => {
                return Err(ReplayError::Failed("the disk is busy".into()));
            }
            Broken::Compacted(oldest) => return Err(ReplayError::Compacted { oldest }),
            Broken::GoesBack => {
                let transactions = vec![(from + 1, vec![]), (from, vec![])];
                return Ok(Replayed {
                    transactions,
                    upto: to,
                });
            }
            Broken::BeyondWhatWasAsked => to + 1,
            Broken::NoProgress => from - 1,
            Broken::No | Broken::FailsAtFirst(_) => to,
        };
        if from < self.oldest {
            return Err(ReplayError::Compacted {
                oldest: self.oldest,
            });
        }
        let log = self.log.lock().unwrap();
        let asked = log.iter().filter(|entry| (from..=to).contains(&entry.0));
        let transactions: Vec<_> = asked.take(request.max_events.min(10)).cloned().collect();
        let upto = match transactions.last() {
            Some(last) if transactions.len() == 10 && upto == to => last.0,
            _ => upto,
        };
        Ok(Replayed { transactions, upto })
    }
}

fn from(start: Revision) -> WatchOptions {
    WatchOptions::new().start_revision(start)
}

/// The lag that comes first, and the revisions after it.
fn lag_and_rest(watcher: &mut Watcher) -> (Lagged, Vec<Revision>) {
    let Some(Err(RecvError::Lagged(lagged))) = watcher.try_iter().next() else {
        panic!("no lag");
    };
    (lagged, ready_revisions(watcher))
}

#[test]
fn resumable_replay_starts_before_the_engine_did() {
    let store = Store::of((1..=100).filter(|revision| revision % 7 != 0));
    let builder = Builder::new().start_revision(100).replay(store.clone());
    let (mut publisher, hub) = builder.history_events(20).spawn().unwrap();
    let mut log = Log::default();
    log.transactions.clone_from(&store.log.lock().unwrap());
    let selectors = [
        (NaiveSelector::Exact(b"k".to_vec()), 1),
        (NaiveSelector::Prefix(b"oth".to_vec()), 35),
        (NaiveSelector::All, 90),
    ];
    let watchers: Vec<_> = selectors
        .into_iter()
        .map(|(selector, start)| {
            let watcher = hub.watch_with(selector.to_selector(), from(start)).unwrap();
            (
                Trace::new(format!("{selector:?}"), selector, &watcher),
                watcher,
            )
        })
        .collect();
    for revision in 101..=500 {
        let entry = store.commit(revision);
        log.transactions.push(entry.clone());
        publisher.publish_many([entry]).unwrap();
    }
    publisher.shutdown(HANG).unwrap();
    for (mut trace, mut watcher) in watchers {
        trace.drain(&mut watcher);
        assert_kept(&log, &trace, Complete::UpTo(500));
        assert_eq!(trace.lags(), [], "the store has it all");
    }
    assert!(store.reads.load(Ordering::SeqCst) > 30, "in bounded steps");
}

#[test]
fn resumable_replay_works_without_a_history_in_memory() {
    let store = Store::of(1..=30);
    let builder = Builder::new()
        .history_events(0)
        .start_revision(30)
        .replay(store.clone());
    let (mut publisher, hub, _dispatcher) = inline_engine(builder);
    let mut watcher = hub.watch_with("k", from(25).capacity(2)).unwrap();
    for revision in 31..=40 {
        let entry = store.commit(revision);
        publisher.publish_many([entry]).unwrap();
    }
    let revisions = [25, 26, 28, 29, 31, 32, 34, 35, 37, 38, 40];
    let expected: Vec<_> = revisions.into_iter().flat_map(|r| [r, r]).collect();
    assert_eq!(ready_revisions(&mut watcher), expected);
}

#[test]
fn resumable_replay_reads_everything_that_was_not_sent_before_the_watch() {
    // Without a history, what no watcher wants is not sent. The store returns ten transactions at
    // a time, and nothing is dispatched before the watcher has read the first ten.
    let store = Store::default();
    let builder = Builder::new()
        .history_events(0)
        .inline_dispatch(false)
        .replay(store.clone());
    let (mut publisher, hub, dispatcher) = inline_engine(builder);
    for revision in 1..=25 {
        publisher.publish_many([store.commit(revision)]).unwrap();
    }
    let mut watcher = hub.watch_with(Selector::all(), from(1)).unwrap();
    let expected: Vec<_> = (1..=25).flat_map(|revision| [revision; 2]).collect();
    assert_eq!(ready_revisions(&mut watcher), expected);
    publisher.publish_many([store.commit(26)]).unwrap();
    drop(publisher);
    in_time(|| dispatcher.run());
    assert_eq!(ready_revisions(&mut watcher), [26, 26]);
}

#[test]
fn resumable_start_is_refused_only_when_the_store_has_forgotten_it_too() {
    let mut store = Store::of(1..=50);
    store.oldest = 20;
    let builder = Builder::new().start_revision(50).replay(store);
    let (_publisher, hub, _dispatcher) = inline_engine(builder);
    let refused = WatchError::Compacted {
        requested: 19,
        oldest: 20,
    };
    assert_eq!(hub.watch_with("k", from(19)).unwrap_err(), refused);
    assert_eq!(
        ready_revisions(&mut hub.watch_with("k", from(20)).unwrap())[0],
        20
    );
}

#[test]
fn reliable_lag_is_reported_when_the_store_forgets_between_two_reads() {
    // The store claims to reach back to revision 1, but a read finds that it does not.
    struct Forgetful(Store);
    impl Replay for Forgetful {
        fn oldest(&self) -> Revision {
            1
        }
        fn read(&self, request: ReplayRequest<'_>) -> Result<Replayed, ReplayError> {
            self.0.read(request)
        }
    }
    let mut store = Store::of(1..=50);
    store.oldest = 49;
    let builder = Builder::new().start_revision(50).replay(Forgetful(store));
    let (_publisher, hub, _dispatcher) = inline_engine(builder);
    let mut watcher = hub.watch_with(Selector::all(), from(1)).unwrap();
    let lag = removed(1, 48);
    assert_eq!(lag_and_rest(&mut watcher), (lag, vec![49, 49, 50, 50]));
}

#[test]
fn reliable_lag_is_reported_when_the_store_fails_or_answers_wrongly() {
    for broken in [
        Broken::Fails,
        Broken::GoesBack,
        Broken::BeyondWhatWasAsked,
        Broken::NoProgress,
        Broken::Compacted(0),
        Broken::Compacted(1),
    ] {
        let mut store = Store::of(1..=50);
        store.broken = broken;
        let builder = Builder::new().start_revision(50).replay(store.clone());
        let (mut publisher, hub, _dispatcher) = inline_engine(builder);
        let mut watcher = hub.watch_with("k", from(1)).unwrap();
        publisher.publish_many([store.commit(52)]).unwrap();
        let lag = replay_failed(1, 50);
        assert_eq!(lag_and_rest(&mut watcher), (lag, vec![52, 52]));
        let stats = hub.stats();
        assert_eq!((stats.lagged, stats.replay_failures), (1, 3), "{broken:?}");
        assert_eq!(store.reads.load(Ordering::SeqCst), 3, "it is tried again");
    }
}

#[test]
fn resumable_replay_goes_on_when_the_store_failed_for_a_moment() {
    for times in [1, 2] {
        let mut store = Store::of(1..=50);
        store.broken = Broken::FailsAtFirst(times);
        let builder = Builder::new().start_revision(50).replay(store);
        let (_publisher, hub, _dispatcher) = inline_engine(builder);
        let mut watcher = hub.watch_with("k", from(49)).unwrap();
        assert_eq!(ready_revisions(&mut watcher), [49, 49, 50, 50]);
        let stats = hub.stats();
        assert_eq!((stats.lagged, stats.replay_failures), (0, times as u64));
    }
}

/// Keeps one change of a key for each revision, as most stores do.
struct Versions(Store);

impl Replay for Versions {
    fn oldest(&self) -> Revision {
        1
    }

    fn read(&self, request: ReplayRequest<'_>) -> Result<Replayed, ReplayError> {
        self.0.read(request)
    }

    fn keeps_every_change(&self) -> bool {
        false
    }
}

#[test]
fn reliable_transaction_that_a_replay_would_change_is_refused() {
    let builder = Builder::new().replay(Versions(Store::default()));
    let (mut publisher, hub, _dispatcher) = inline_engine(builder);
    let mut watcher = hub.watch(Selector::all()).unwrap();
    let twice = vec![put("k"), put("other"), Change::delete("k")];
    let refused = publisher.publish_batch(twice.clone()).unwrap_err();
    let kind = PublishErrorKind::DuplicateKey { revision: 1 };
    assert_eq!((refused.kind(), refused.into_input()), (kind, twice));
    // A key may change once in each of two transactions; nothing of a refused call is published.
    let changes = vec![(1, vec![put("k")]), (2, vec![put("k")])];
    publisher.publish_many(changes).unwrap();
    let several = vec![(3, vec![put("k")]), (4, vec![put("k"), put("k")])];
    let refused = publisher.publish_many(several).unwrap_err();
    let kind = PublishErrorKind::DuplicateKey { revision: 4 };
    assert_eq!(refused.kind(), kind);
    assert_eq!(ready_revisions(&mut watcher), [1, 2]);
    assert_eq!(hub.revision(), 2);
}

/// What each step was asked for.
#[derive(Clone, Default)]
struct Asked {
    steps: Arc<Mutex<Vec<(usize, usize, bool)>>>,
}

impl Replay for Asked {
    fn oldest(&self) -> Revision {
        1
    }

    /// One value of 100 KiB in each revision, none of a key that is not wanted.
    fn read(&self, request: ReplayRequest<'_>) -> Result<Replayed, ReplayError> {
        let mut read = Replayed::default();
        let mut bytes = 0;
        for revision in request.from..=request.to {
            read.upto = revision;
            let key = if revision % 2 == 0 { "even" } else { "odd" };
            if request.selector.matches(key.as_bytes()) {
                read.transactions
                    .push((revision, vec![Change::put(key, vec![0; 100 * 1024])]));
                bytes += 100 * 1024;
            }
            if bytes >= request.max_bytes {
                break;
            }
        }
        let step = (read.transactions.len(), bytes, request.prev_values);
        self.steps.lock().unwrap().push(step);
        Ok(read)
    }
}

#[test]
fn bounded_replay_asks_for_few_bytes_and_for_what_the_watcher_wants() {
    let asked = Asked::default();
    let builder = Builder::new().start_revision(100).replay(asked.clone());
    let (_publisher, hub, _dispatcher) = inline_engine(builder);
    let mut watcher = hub.watch_with("even", from(1).prev_value(true)).unwrap();
    let revisions: Vec<_> = (2..=100).step_by(2).collect();
    assert_eq!(ready_revisions(&mut watcher), revisions);
    let mut nobody = hub.watch_with("neither", from(1)).unwrap();
    assert_eq!(ready_revisions(&mut nobody), []);
    let steps = asked.steps.lock().unwrap();
    assert!(steps.iter().all(|(_, bytes, _)| *bytes < 512 * 1024));
    let events: usize = steps.iter().map(|(events, ..)| events).sum();
    assert_eq!(events, 50, "no event was read twice, and none for nobody");
    assert!(steps[0].2 && !steps.last().unwrap().2);
}

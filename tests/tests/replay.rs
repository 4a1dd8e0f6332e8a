//! Replay: a store serves the events that the history no longer holds.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use kvwatch::{
    Builder, Change, Entries, Lagged, RecvError, Replay, ReplayError, Replayed, Revision, Selector,
    WatchError, WatchOptions, Watcher,
};
use kvwatch_tests::checker::{Complete, assert_kept};
use kvwatch_tests::record::{Log, Trace};
use kvwatch_tests::selector::NaiveSelector;
use kvwatch_tests::{HANG, inline_engine, put, ready_revisions};

/// The log of a store, and the way in which it fails.
#[derive(Clone, Default)]
struct Store {
    log: Arc<Mutex<Entries>>,
    reads: Arc<AtomicUsize>,
    oldest: Revision,
    broken: Broken,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Broken {
    #[default]
    No,
    Fails,
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

    fn read(&self, from: Revision, to: Revision, limit: usize) -> Result<Replayed, ReplayError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        assert!(from <= to && limit > 0);
        let upto = match self.broken {
            Broken::Fails => return Err(ReplayError::Failed("the disk is gone".into())),
            Broken::GoesBack => {
                let transactions = vec![(from + 1, vec![]), (from, vec![])];
                return Ok(Replayed {
                    transactions,
                    upto: to,
                });
            }
            Broken::BeyondWhatWasAsked => to + 1,
            Broken::NoProgress => from - 1,
            Broken::No => to,
        };
        if from < self.oldest {
            return Err(ReplayError::Compacted {
                oldest: self.oldest,
            });
        }
        let log = self.log.lock().unwrap();
        let asked = log.iter().filter(|entry| (from..=to).contains(&entry.0));
        let transactions: Vec<_> = asked.take(limit.min(10)).cloned().collect();
        let upto = match transactions.last() {
            Some(last) if transactions.len() == 10 && self.broken == Broken::No => last.0,
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
        fn read(
            &self,
            from: Revision,
            to: Revision,
            limit: usize,
        ) -> Result<Replayed, ReplayError> {
            self.0.read(from, to, limit)
        }
    }
    let mut store = Store::of(1..=50);
    store.oldest = 49;
    let builder = Builder::new().start_revision(50).replay(Forgetful(store));
    let (_publisher, hub, _dispatcher) = inline_engine(builder);
    let mut watcher = hub.watch_with(Selector::all(), from(1)).unwrap();
    let lag = Lagged { first: 1, last: 48 };
    assert_eq!(lag_and_rest(&mut watcher), (lag, vec![49, 49, 50, 50]));
}

#[test]
fn reliable_lag_is_reported_when_the_store_fails_or_answers_wrongly() {
    for broken in [
        Broken::Fails,
        Broken::GoesBack,
        Broken::BeyondWhatWasAsked,
        Broken::NoProgress,
    ] {
        let mut store = Store::of(1..=50);
        store.broken = broken;
        let builder = Builder::new().start_revision(50).replay(store.clone());
        let (mut publisher, hub, _dispatcher) = inline_engine(builder);
        let mut watcher = hub.watch_with("k", from(1)).unwrap();
        publisher.publish_many([store.commit(52)]).unwrap();
        let lag = Lagged { first: 1, last: 50 };
        assert_eq!(lag_and_rest(&mut watcher), (lag, vec![52, 52]));
        assert_eq!(hub.stats().lagged, 1);
    }
}

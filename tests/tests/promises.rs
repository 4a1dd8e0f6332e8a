//! The ten promises of the README. The name of each test starts with its promise.

use std::time::Duration;

use kvwatch::{
    Builder, Change, EndReason, Overflow, Publisher, RecvError, Selector, TryRecvError, WatchError,
    WatchOptions, Watcher,
};
use kvwatch_tests::checker::{Complete, assert_kept};
use kvwatch_tests::record::{Item, Log, Trace};
use kvwatch_tests::selector::NaiveSelector;
use kvwatch_tests::{
    HANG, Rng, dropped, eventually, in_time, inline_engine, join_in_time, put, ready_revisions,
    removed, revisions,
};

/// Transactions of one to four changes of ten keys, some published in chunks.
fn publish_mixed(publisher: &mut Publisher, log: &mut Log, seed: u64, transactions: u64) {
    let mut rng = Rng::new(seed);
    let mut chunk = Vec::new();
    for _ in 0..transactions {
        let revision = publisher.revision() + chunk.len() as u64 + 1;
        let changes: Vec<Change> = (0..=rng.next_below(4))
            .map(|_| put(&format!("k{}", rng.next_below(10))))
            .collect();
        log.transactions.push((revision, changes.clone()));
        chunk.push((revision, changes));
        if rng.next_below(3) > 0 {
            publisher.publish_many(chunk.drain(..)).expect("it runs");
        }
    }
    publisher.publish_many(chunk).expect("it runs");
}

/// Receives in every way until the watcher ends, and records it.
fn drain_in_every_way(mut watcher: Watcher, name: &str, selector: NaiveSelector) -> Trace {
    let mut trace = Trace::new(name, selector, &watcher);
    let mut rng = Rng::new(7);
    loop {
        let is_open = match rng.next_below(3) {
            0 => {
                let received = watcher.recv();
                trace.received(&received, &watcher)
            }
            1 => {
                let batch = watcher.recv_batch();
                let item = batch.map(|batch| Item::Batch(batch.iter().map(Into::into).collect()));
                trace.record(item)
            }
            _ => match watcher.try_recv() {
                Ok(event) => trace.received(&Ok(event), &watcher),
                Err(TryRecvError::Empty) => true,
                Err(TryRecvError::Lagged(lagged)) => trace.record(Err(RecvError::Lagged(lagged))),
                Err(TryRecvError::Closed(reason)) => trace.record(Err(RecvError::Closed(reason))),
            },
        };
        trace.items.push(Item::Progress(watcher.progress()));
        if !is_open {
            return trace;
        }
    }
}

/// One run of a publisher and of watchers with each kind of selector. Every queue overflows: the
/// watchers receive nothing until a part is published.
fn run(history: usize) -> (Log, Vec<Trace>) {
    let (mut publisher, hub) = Builder::new().history_events(history).spawn().unwrap();
    let selectors = [
        NaiveSelector::Exact(b"k3".to_vec()),
        NaiveSelector::Prefix(b"k".to_vec()),
        NaiveSelector::Range(b"k2".to_vec(), b"k7".to_vec()),
        NaiveSelector::Any(vec![
            NaiveSelector::From(b"k5".to_vec()),
            NaiveSelector::Prefix(b"k5".to_vec()),
        ]),
        NaiveSelector::All,
    ];
    let watchers: Vec<_> = selectors
        .into_iter()
        .zip([1, 2, 3, 8, 64])
        .map(|(selector, capacity)| {
            let options = WatchOptions::new().capacity(capacity);
            let watcher = hub.watch_with(selector.to_selector(), options).unwrap();
            (
                watcher,
                format!("{selector:?}, capacity {capacity}"),
                selector,
            )
        })
        .collect();
    let mut log = Log::default();
    publish_mixed(&mut publisher, &mut log, 1, 1_000);
    publisher.flush(HANG).unwrap();
    let threads: Vec<_> = watchers
        .into_iter()
        .map(|(watcher, name, selector)| {
            std::thread::spawn(move || drain_in_every_way(watcher, &name, selector))
        })
        .collect();
    publish_mixed(&mut publisher, &mut log, 2, 19_000);
    publisher.shutdown(HANG).unwrap();
    let traces = threads.into_iter().map(join_in_time).collect();
    (log, traces)
}

fn assert_all_kept(history: usize) -> Vec<Trace> {
    let (log, traces) = run(history);
    for trace in &traces {
        assert_kept(&log, trace, Complete::UpTo(log.last()));
        assert_eq!(trace.end(), Some(EndReason::ShutDown), "{}", trace.name);
    }
    traces
}

#[test]
fn ordered_revisions_never_go_back() {
    let traces = assert_all_kept(1_000_000);
    assert!(traces.iter().all(|trace| trace.events() > 1000));
}

#[test]
fn unique_each_event_arrives_once_through_a_union_and_a_catch_up() {
    let (mut publisher, hub, _dispatcher) = inline_engine(Builder::new());
    let any = Selector::any([
        Selector::exact("ab"),
        Selector::prefix("a"),
        Selector::range("aa".."az"),
        Selector::all(),
    ]);
    let mut watcher = hub
        .watch_with(any, WatchOptions::new().capacity(2))
        .unwrap();
    for _ in 0..2 {
        publisher.publish(put("ab")).unwrap();
    }
    // The third event does not fit. The watcher reads it from the history, and is live again.
    publisher.publish(put("ab")).unwrap();
    assert_eq!(ready_revisions(&mut watcher), [1, 2, 3]);
    publisher.publish(put("ab")).unwrap();
    assert_eq!(ready_revisions(&mut watcher), [4]);
    assert_eq!(hub.stats().caught_up, 1);
    // The same with threads: a watcher reads events while the dispatcher is about to queue them.
    for _ in 0..5 {
        assert_all_kept(1_000_000);
    }
}

#[test]
fn reliable_every_event_arrives_or_is_inside_a_lag() {
    for history in [0, 16, 1_000_000] {
        let traces = assert_all_kept(history);
        let lags: usize = traces.iter().map(|trace| trace.lags().len()).sum();
        assert_eq!(lags == 0, history == 1_000_000, "history of {history}");
    }
}

#[test]
fn reliable_gap_is_reported_when_nothing_follows_it() {
    let (mut publisher, hub, dispatcher) =
        inline_engine(Builder::new().inline_dispatch(false).ingress_capacity(2));
    let mut watcher = hub.watch("k").unwrap();
    for _ in 0..5 {
        publisher.publish_lossy(put("k")).unwrap();
    }
    assert_eq!(hub.stats().dropped_events, 3);
    let thread = std::thread::spawn(|| dispatcher.run());
    let (mut watcher, received) = in_time(move || {
        let received: Vec<_> = (0..3).map(|_| watcher.recv()).collect();
        (watcher, received)
    });
    assert_eq!(received[0].as_ref().unwrap().revision(), 1);
    assert_eq!(received[1].as_ref().unwrap().revision(), 2);
    let lag = dropped(3, 5);
    assert_eq!(received[2], Err(RecvError::Lagged(lag)));
    // A replay across the gap reports it, too, and receives what follows.
    publisher.publish(put("k")).unwrap();
    assert_eq!(watcher.recv().unwrap().revision(), 6);
    let mut replay = hub
        .watch_with("k", WatchOptions::new().start_revision(2))
        .unwrap();
    assert_eq!(replay.recv().unwrap().revision(), 2);
    assert_eq!(replay.recv(), Err(RecvError::Lagged(lag)));
    assert_eq!(replay.recv().unwrap().revision(), 6);
    drop(publisher);
    join_in_time(thread);
}

/// While events stream, a receiver dispatches for every watcher, and the dispatcher thread stays
/// idle. Once that receiver stops, the remaining events must not wait for the next publish.
#[test]
fn reliable_events_arrive_when_a_receiver_that_dispatches_stops() {
    const STREAM: u64 = 100_000;
    let (mut publisher, hub) = Builder::new().history_events(1_000_000).spawn().unwrap();
    let mut helping = hub.watch("k").unwrap();
    let mut patient = hub.watch("other").unwrap();
    let helper = std::thread::spawn(move || {
        for revision in 1..=STREAM {
            assert_eq!(helping.recv().unwrap().revision(), revision);
        }
    });
    let waiting = std::thread::spawn(move || patient.recv().unwrap().revision());
    for _ in 0..STREAM {
        publisher.publish(put("k")).unwrap();
    }
    let last = publisher.publish(put("other")).unwrap();
    join_in_time(helper);
    assert_eq!(join_in_time(waiting), last);
}

#[test]
fn atomic_batch_never_splits_a_revision() {
    // `run` checks every batch, with transactions larger than a queue and with lags. Then one
    // transaction that is larger than every bound.
    assert_all_kept(16);
    let builder = Builder::new().history_events(8).queue_capacity(2);
    let (mut publisher, hub, _dispatcher) = inline_engine(builder);
    let mut live = hub.watch(Selector::all()).unwrap();
    publisher
        .publish_batch((0..1000).map(|_| put("k")))
        .unwrap();
    let mut late = hub
        .watch_with(Selector::all(), WatchOptions::new().start_revision(1))
        .unwrap();
    for watcher in [&mut live, &mut late] {
        let batch = watcher.try_recv_batch().unwrap();
        assert_eq!((batch.len(), batch.first_revision()), (1000, 1));
    }
}

#[test]
fn atomic_lag_never_begins_or_ends_inside_a_revision() {
    let (mut publisher, hub, _dispatcher) =
        inline_engine(Builder::new().history_events(5).queue_capacity(1));
    let mut watcher = hub.watch(Selector::all()).unwrap();
    let mut log = Log::default();
    for revision in 1..=20 {
        let changes = vec![put("a"), put("b"), put("c")];
        log.transactions.push((revision, changes.clone()));
        publisher.publish_batch(changes).unwrap();
    }
    drop(publisher);
    let mut trace = Trace::new("slow", NaiveSelector::All, &watcher);
    trace.drain(&mut watcher);
    assert_kept(&log, &trace, Complete::UpTo(20));
    assert_eq!(trace.lags(), [removed(2, 19)]);
}

#[test]
fn resumable_watch_starts_at_any_held_revision_or_is_refused_at_once() {
    let (mut publisher, hub, _dispatcher) =
        inline_engine(Builder::new().history_events(10).start_revision(100));
    let from = |start| hub.watch_with("k", WatchOptions::new().start_revision(start));
    let compacted = |requested, oldest| WatchError::Compacted { requested, oldest };
    assert_eq!(from(100).unwrap_err(), compacted(100, 101));
    let mut first = from(101).expect("the oldest that is named succeeds");
    for _ in 0..25 {
        publisher.publish(put("k")).unwrap();
        publisher.publish(put("other")).unwrap();
    }
    publisher.flush(HANG).unwrap();
    // Of 50 events the history holds the last 10: 141 to 150.
    assert_eq!(from(140).unwrap_err(), compacted(140, 141));
    assert_eq!(
        ready_revisions(&mut from(141).unwrap()),
        [141, 143, 145, 147, 149]
    );
    assert_eq!(ready_revisions(&mut from(146).unwrap()), [147, 149]);
    let expected: Vec<u64> = (101..150).step_by(2).collect();
    assert_eq!(ready_revisions(&mut first), expected);
    publisher.compact(145).unwrap();
    assert_eq!(from(144).unwrap_err(), compacted(144, 145));
    assert_eq!(ready_revisions(&mut from(145).unwrap()), [145, 147, 149]);
}

/// The watch starts before events that wait in the ingress. There was no watcher of them when they
/// were published.
#[test]
fn resumable_watch_receives_events_that_are_not_dispatched_yet() {
    let (mut publisher, hub, dispatcher) = Builder::new().inline_dispatch(false).build().unwrap();
    for _ in 0..3 {
        publisher.publish(put("k")).unwrap();
    }
    let options = WatchOptions::new().start_revision(2);
    let mut late = hub.watch_with("k", options).unwrap();
    assert_eq!(late.try_recv(), Err(TryRecvError::Empty));
    let thread = std::thread::spawn(move || dispatcher.run());
    publisher.flush(HANG).unwrap();
    assert_eq!(ready_revisions(&mut late), [2, 3]);
    publisher.shutdown(HANG).unwrap();
    join_in_time(thread);
}

#[test]
fn resumable_watch_continues_at_its_progress_while_the_store_publishes() {
    let (mut publisher, hub) = Builder::new().spawn().unwrap();
    let watching = hub.clone();
    let watcher = std::thread::spawn(move || {
        let mut next = 1;
        while next <= 20_000 {
            // Every few events a new watch, from the revision after the last one received.
            let options = WatchOptions::new().start_revision(next).capacity(4);
            let mut watcher = watching.watch_with("k", options).unwrap();
            for _ in 0..next % 100 + 1 {
                let Ok(event) = watcher.recv() else { break };
                assert_eq!(event.revision(), next);
                next += 1;
                if next > 20_000 {
                    break;
                }
            }
            assert!(watcher.progress() >= next - 1);
        }
    });
    for _ in 0..20_000 {
        publisher.publish(put("k")).unwrap();
    }
    join_in_time(watcher);
}

#[test]
fn bookmarkable_progress_is_never_ahead_and_never_back() {
    let (mut publisher, hub, _dispatcher) = inline_engine(Builder::new().queue_capacity(2));
    let mut watcher = hub.watch("k").unwrap();
    let quiet = hub.watch("never").unwrap();
    let future = WatchOptions::new().start_revision(50);
    let future = hub.watch_with("k", future).unwrap();
    assert_eq!((watcher.progress(), future.progress()), (0, 49));
    publisher.publish(put("k")).unwrap();
    publisher.publish_batch([put("k"), put("k")]).unwrap();
    publisher.publish_batch([]).unwrap();
    assert_eq!(watcher.progress(), 0, "nothing has been handed out");
    watcher.try_recv().unwrap();
    assert_eq!(watcher.progress(), 1);
    watcher.try_recv().unwrap();
    assert_eq!(
        watcher.progress(),
        1,
        "half of revision 2 is not revision 2"
    );
    watcher.try_recv().unwrap();
    // It fell behind at revision 2, and advances only by catching up.
    assert_eq!(watcher.progress(), 2);
    assert_eq!(watcher.try_recv(), Err(TryRecvError::Empty));
    assert_eq!(watcher.progress(), 3, "a commit without changes counts");
    assert_eq!(
        quiet.progress(),
        3,
        "a watcher that matches nothing has progress too"
    );
    publisher.publish(put("elsewhere")).unwrap();
    assert_eq!(watcher.progress(), 4, "an event without a watcher counts");
    assert_eq!(future.progress(), 49);
}

#[test]
fn bookmarkable_wait_returns_for_a_revision_without_watchers() {
    let (mut publisher, hub) = Builder::new().inline_dispatch(false).spawn().unwrap();
    publisher.publish(put("k")).unwrap();
    hub.wait_for(1, HANG).unwrap();
    let waiting = hub.clone();
    let waiter = std::thread::spawn(move || waiting.wait_for(3, HANG));
    publisher.publish(put("k")).unwrap();
    publisher.publish(put("k")).unwrap();
    join_in_time(waiter).unwrap();
    assert_eq!(hub.dispatched(), 3);
    publisher.publish(put("k")).unwrap();
    publisher.flush(HANG).unwrap();
    assert_eq!(hub.dispatched(), 4);
    assert!(hub.wait_for(5, Duration::from_millis(1)).is_err());
}

#[test]
fn exact_start_delivers_everything_after_the_watch_and_nothing_before() {
    let (mut publisher, hub) = Builder::new().spawn().unwrap();
    let store = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let reading = std::sync::Arc::clone(&store);
    let watching = hub.clone();
    let watcher = std::thread::spawn(move || {
        for _ in 0..3000 {
            // Watch, then read the store, then skip the events up to the read.
            let mut watcher = watching.watch("k").unwrap();
            let read = reading.load(std::sync::atomic::Ordering::SeqCst);
            let start = watcher.start_revision();
            assert!(
                start <= read + 1 || start == read + 2,
                "start {start}, read {read}"
            );
            let Ok(first) = watcher.recv() else { return };
            assert_eq!(first.revision(), start);
            assert!(
                first.revision() <= read + 1,
                "nothing between read and watch is lost"
            );
        }
    });
    let mut revision = 0;
    while !watcher.is_finished() {
        revision += 1;
        store.store(revision, std::sync::atomic::Ordering::SeqCst);
        publisher.publish(put("k")).unwrap();
    }
    join_in_time(watcher);
}

#[test]
fn exact_start_excludes_events_that_are_published_but_not_dispatched() {
    let (mut publisher, hub, dispatcher) = inline_engine(Builder::new().inline_dispatch(false));
    let mut early = hub.watch("k").unwrap();
    for _ in 0..3 {
        publisher.publish(put("k")).unwrap();
    }
    let mut watcher = hub.watch("k").unwrap();
    assert_eq!((hub.dispatched(), watcher.start_revision()), (0, 4));
    publisher.publish(put("k")).unwrap();
    drop(publisher);
    dispatcher.run();
    assert_eq!(ready_revisions(&mut early), [1, 2, 3, 4]);
    assert_eq!(ready_revisions(&mut watcher), [4]);
}

#[test]
fn isolated_healthy_watcher_receives_beside_slow_leaked_and_panicking_ones() {
    let (mut publisher, hub) = Builder::new().history_events(1000).spawn().unwrap();
    let _stuck = hub.watch("k").unwrap();
    std::mem::forget(hub.watch("k").unwrap());
    let panicking = hub.clone();
    std::thread::spawn(move || {
        let _watcher = panicking.watch("k").unwrap();
        panic!("on purpose");
    })
    .join()
    .unwrap_err();
    let mut healthy = hub.watch("k").unwrap();
    let receiver = std::thread::spawn(move || {
        for revision in 1..=50_000 {
            assert_eq!(healthy.recv().unwrap().revision(), revision);
            if revision % 500 == 0 {
                // It keeps up: at most 500 events are outstanding.
                TURN.store(revision, std::sync::atomic::Ordering::SeqCst);
            }
        }
    });
    for revision in 1..=50_000_u64 {
        publisher.publish(put("k")).unwrap();
        if revision % 500 == 0 {
            let turn = || TURN.load(std::sync::atomic::Ordering::SeqCst);
            eventually("the healthy watcher goes on", || {
                turn() >= revision || receiver.is_finished()
            });
        }
    }
    join_in_time(receiver);
    let stats = hub.stats();
    assert_eq!(stats.watchers.total, 2, "the panicking one is gone");
    assert!(stats.history.events <= 1000);
}

static TURN: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

#[test]
fn isolated_queue_is_bounded_in_events_and_bytes() {
    let (mut publisher, hub, _dispatcher) = inline_engine(Builder::new());
    let by_events = WatchOptions::new().capacity(3);
    let by_events = hub.watch_with("k", by_events).unwrap();
    let by_bytes = WatchOptions::new().capacity_bytes(10_000);
    let by_bytes = hub.watch_with("k", by_bytes).unwrap();
    for _ in 0..50 {
        publisher.publish(Change::put("k", vec![0; 1000])).unwrap();
    }
    assert_eq!((by_events.len(), by_events.capacity()), (3, 3));
    assert!((5..10).contains(&by_bytes.len()), "{}", by_bytes.len());
}

#[test]
fn clean_dropped_watcher_is_unregistered_at_once() {
    let (publisher, hub) = Builder::new().spawn().unwrap();
    let any = Selector::any([
        Selector::exact("a"),
        Selector::prefix("b"),
        Selector::from_key("c"),
    ]);
    let watchers = [
        hub.watch("a").unwrap(),
        hub.watch(Selector::prefix("a")).unwrap(),
        hub.watch(Selector::range("a".."b")).unwrap(),
        hub.watch(Selector::from_key("a")).unwrap(),
        hub.watch(Selector::all()).unwrap(),
        hub.watch_with(any, WatchOptions::new().prev_value(true))
            .unwrap(),
    ];
    let stats = hub.stats();
    assert_eq!((stats.watchers.total, stats.keys_watched), (6, 1));
    assert!(hub.wants_prev_value());
    drop(watchers);
    let stats = hub.stats();
    assert_eq!((stats.watchers, stats.keys_watched), Default::default());
    assert!(!hub.wants_prev_value());
    drop(publisher);
}

#[test]
fn clean_every_watcher_is_drained_and_told_the_reason_at_shutdown() {
    let (mut publisher, hub) = Builder::new()
        .history_events(100)
        .queue_capacity(2)
        .spawn()
        .unwrap();
    let mut live = hub.watch("k").unwrap();
    let mut behind = hub.watch("k").unwrap();
    for _ in 0..50 {
        publisher.publish(put("k")).unwrap();
    }
    publisher.shutdown(HANG).unwrap();
    let expected: Vec<u64> = (1..=50).collect();
    for watcher in [&mut live, &mut behind] {
        let events = revisions(watcher.iter().map(Result::unwrap));
        assert_eq!(events, expected);
        assert_eq!(watcher.progress(), 50);
        for _ in 0..2 {
            assert_eq!(watcher.recv(), Err(RecvError::Closed(EndReason::ShutDown)));
        }
    }
    assert_eq!(
        hub.watch("k").unwrap_err(),
        WatchError::Closed(EndReason::ShutDown)
    );
    assert_eq!(hub.stats().watchers.total, 0);
}

#[test]
fn clean_overflow_that_cancels_ends_the_watcher_once() {
    let (mut publisher, hub, _dispatcher) = inline_engine(Builder::new());
    let options = WatchOptions::new().capacity(2).overflow(Overflow::Cancel);
    let mut watcher = hub.watch_with("k", options).unwrap();
    for _ in 0..5 {
        publisher.publish(put("k")).unwrap();
    }
    let stats = hub.stats();
    assert_eq!((stats.cancelled, stats.watchers.total), (1, 0));
    assert_eq!(watcher.end_reason(), Some(EndReason::Overflow));
    let items: Vec<_> = watcher.iter().collect();
    assert_eq!(items.len(), 3);
    assert_eq!(
        revisions(items[..2].iter().map(|item| item.clone().unwrap())),
        [1, 2]
    );
    assert_eq!(items[2], Err(RecvError::Closed(EndReason::Overflow)));
    assert_eq!(watcher.progress(), 2);
}

/// The number of threads of this process with this name.
fn threads_named(name: &str) -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").expect("the tests run on Linux");
    let comm = |task: std::io::Result<std::fs::DirEntry>| {
        std::fs::read_to_string(task.ok()?.path().join("comm")).ok()
    };
    tasks
        .filter_map(comm)
        .filter(|comm| comm.trim() == name)
        .count()
}

#[test]
fn no_hidden_resources_one_thread_runs_and_ends_with_the_publisher() {
    let name = "kvw-only-thread";
    let (mut publisher, hub) = Builder::new().thread_name(name).spawn().unwrap();
    eventually("the dispatcher's thread runs", || threads_named(name) == 1);
    let mut watchers: Vec<_> = (0..100).map(|_| hub.watch("k").unwrap()).collect();
    publisher.publish(put("k")).unwrap();
    for watcher in &mut watchers {
        watcher.recv().unwrap();
    }
    assert_eq!(threads_named(name), 1);
    publisher.shutdown(HANG).unwrap();
    eventually("the dispatcher's thread ends", || threads_named(name) == 0);
}

#[test]
fn no_hidden_resources_dispatcher_runs_on_a_thread_of_the_caller_or_not_at_all() {
    let (mut publisher, hub, dispatcher) = Builder::new().build().unwrap();
    let mut watcher = hub.watch("k").unwrap();
    publisher.publish(put("k")).unwrap();
    assert_eq!(watcher.try_recv().unwrap().revision(), 1);
    let own = std::thread::Builder::new().name("my-own".into());
    let own = own.spawn(|| dispatcher.run()).unwrap();
    publisher.publish(put("k")).unwrap();
    assert_eq!(watcher.recv().unwrap().revision(), 2);
    drop(publisher);
    join_in_time(own);
    eventually("the thread ends with the publisher", || {
        threads_named("my-own") == 0
    });
}

#[test]
fn clean_watchers_are_counted_by_kind_until_they_are_dropped() {
    let (_publisher, hub) = Builder::new().spawn().unwrap();
    let union = Selector::any([Selector::exact("a"), Selector::prefix("b")]);
    let selectors = [
        Selector::exact("a"),
        Selector::prefix("a"),
        Selector::range("a".."b"),
        Selector::from_key("a"),
        Selector::all(),
        union,
    ];
    let counts = || {
        let counts = hub.stats().watchers;
        let by_kind = [
            counts.exact,
            counts.prefix,
            counts.range,
            counts.from_key,
            counts.all,
            counts.union,
        ];
        assert_eq!(counts.total, by_kind.iter().sum::<usize>());
        by_kind
    };
    for (nth, selector) in selectors.iter().enumerate() {
        let watchers = [(); 2].map(|()| hub.watch(selector).unwrap());
        let mut expected = [0; 6];
        expected[nth] = watchers.len();
        assert_eq!(counts(), expected, "{selector:?}");
        drop(watchers);
        assert_eq!(counts(), [0; 6], "{selector:?}");
    }
}

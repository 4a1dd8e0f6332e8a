//! The ten promises, each by name. What each of them means stands in the README.

use std::time::Duration;

use kvwatch::{
    Builder, Change, EndReason, Lagged, Overflow, Publisher, RecvError, Selector, TryRecvError,
    WatchError, WatchOptions, Watcher,
};
use kvwatch_tests::judge::{Complete, assert_kept};
use kvwatch_tests::record::{Item, Log, Trace};
use kvwatch_tests::want::Want;
use kvwatch_tests::{
    HANG, Rng, at_hand, by_hand, eventually, in_time, join_in_time, put, revisions,
};

/// Transactions of one to four changes of ten keys, some published in chunks.
fn publish_mixed(publisher: &mut Publisher, log: &mut Log, seed: u64, transactions: u64) {
    let mut rng = Rng::new(seed);
    let mut chunk = Vec::new();
    for _ in 0..transactions {
        let revision = publisher.revision() + chunk.len() as u64 + 1;
        let changes: Vec<Change> = (0..=rng.below(4))
            .map(|_| put(&format!("k{}", rng.below(10))))
            .collect();
        log.transactions.push((revision, changes.clone()));
        chunk.push((revision, changes));
        if rng.below(3) > 0 {
            publisher.publish_many(chunk.drain(..)).expect("it runs");
        }
    }
    publisher.publish_many(chunk).expect("it runs");
}

/// A watcher of everything with a small queue, judged while it receives in every way there is.
fn drain_in_every_way(mut watcher: Watcher, name: &str, want: Want) -> Trace {
    let mut trace = Trace::new(name, want, &watcher);
    let mut rng = Rng::new(7);
    loop {
        let goes_on = match rng.below(3) {
            0 => {
                let received = watcher.recv();
                trace.received(&received, &watcher)
            }
            1 => {
                let batch = watcher.recv_batch();
                let item = batch.map(|batch| Item::Batch(batch.iter().map(Into::into).collect()));
                trace.write(item)
            }
            _ => match watcher.try_recv() {
                Ok(event) => trace.received(&Ok(event), &watcher),
                Err(TryRecvError::Empty) => true,
                Err(TryRecvError::Lagged(lagged)) => trace.write(Err(RecvError::Lagged(lagged))),
                Err(TryRecvError::Closed(reason)) => trace.write(Err(RecvError::Closed(reason))),
            },
        };
        trace.items.push(Item::Progress(watcher.progress()));
        if !goes_on {
            return trace;
        }
    }
}

/// One run of a publisher and watchers of each kind of selector, with queues that overflow.
fn run(history: usize) -> (Log, Vec<Trace>) {
    let (mut publisher, hub) = Builder::new().history(history).spawn().unwrap();
    let wants = [
        Want::Exact(b"k3".to_vec()),
        Want::Prefix(b"k".to_vec()),
        Want::Range(b"k2".to_vec(), b"k7".to_vec()),
        Want::Any(vec![
            Want::From(b"k5".to_vec()),
            Want::Prefix(b"k5".to_vec()),
        ]),
        Want::All,
    ];
    let threads: Vec<_> = wants
        .into_iter()
        .zip([1, 2, 3, 8, 64])
        .map(|(want, capacity)| {
            let options = WatchOptions::new().capacity(capacity);
            let watcher = hub.watch_with(want.selector(), options).unwrap();
            let name = format!("{want:?}, capacity {capacity}");
            std::thread::spawn(move || drain_in_every_way(watcher, &name, want))
        })
        .collect();
    let mut log = Log::default();
    publish_mixed(&mut publisher, &mut log, 1, 20_000);
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
fn unique_a_union_and_a_catch_up_deliver_each_event_once() {
    let (mut publisher, hub, _dispatcher) = by_hand(Builder::new());
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
    // The third does not fit: from here it reads the history, and comes back live.
    publisher.publish(put("ab")).unwrap();
    assert_eq!(at_hand(&mut watcher), [1, 2, 3]);
    publisher.publish(put("ab")).unwrap();
    assert_eq!(at_hand(&mut watcher), [4]);
    assert_eq!(hub.stats().caught_up, 1);
    // And where a watcher reads what the dispatcher is just about to queue.
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
fn reliable_a_full_ingress_is_reported_even_if_nothing_follows() {
    let (mut publisher, hub, dispatcher) = by_hand(Builder::new().inline(false).ingress(2));
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
    let lag = Lagged { from: 3, to: 5 };
    assert_eq!(received[2], Err(RecvError::Lagged(lag)));
    // Whoever replays across the hole is told too, and what follows arrives.
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

/// In a stream a receiver dispatches, whomever it concerns, and the dispatcher's thread keeps out
/// of its way. What is left lying then must not wait for the next publish.
#[test]
fn reliable_what_a_helping_receiver_leaves_lying_arrives() {
    const STREAM: u64 = 100_000;
    let (mut publisher, hub) = Builder::new().history(1_000_000).spawn().unwrap();
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
fn atomic_a_batch_never_splits_a_revision() {
    // Queues of 1 and 3 under transactions of up to 4, and a history that lags: in `run`, every
    // batch is judged; here, one larger than everything.
    assert_all_kept(16);
    let builder = Builder::new().history(8).queue(2);
    let (mut publisher, hub, _dispatcher) = by_hand(builder);
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
fn atomic_a_lag_never_begins_or_ends_inside_a_revision() {
    let (mut publisher, hub, _dispatcher) = by_hand(Builder::new().history(5).queue(1));
    let mut watcher = hub.watch(Selector::all()).unwrap();
    let mut log = Log::default();
    for revision in 1..=20 {
        let changes = vec![put("a"), put("b"), put("c")];
        log.transactions.push((revision, changes.clone()));
        publisher.publish_batch(changes).unwrap();
    }
    drop(publisher);
    let mut trace = Trace::new("slow", Want::All, &watcher);
    trace.drain(&mut watcher);
    assert_kept(&log, &trace, Complete::UpTo(20));
    assert_eq!(trace.lags(), [Lagged { from: 2, to: 19 }]);
}

#[test]
fn resumable_from_any_revision_or_refused_at_once() {
    let (mut publisher, hub, _dispatcher) = by_hand(Builder::new().history(10).revision(100));
    let from = |start| hub.watch_with("k", WatchOptions::new().start_revision(start));
    let compacted = |requested, oldest| WatchError::Compacted { requested, oldest };
    assert_eq!(from(100).unwrap_err(), compacted(100, 101));
    let mut first = from(101).expect("the oldest that is named succeeds");
    for _ in 0..25 {
        publisher.publish(put("k")).unwrap();
        publisher.publish(put("other")).unwrap();
    }
    publisher.flush(HANG).unwrap();
    // 50 events, of which the last 10 are held: 141 to 150.
    assert_eq!(from(140).unwrap_err(), compacted(140, 141));
    assert_eq!(at_hand(&mut from(141).unwrap()), [141, 143, 145, 147, 149]);
    assert_eq!(at_hand(&mut from(146).unwrap()), [147, 149]);
    let expected: Vec<u64> = (101..150).step_by(2).collect();
    assert_eq!(at_hand(&mut first), expected);
    publisher.compact(145).unwrap();
    assert_eq!(from(144).unwrap_err(), compacted(144, 145));
    assert_eq!(at_hand(&mut from(145).unwrap()), [145, 147, 149]);
}

/// It goes live in front of events that wait in the ingress, of which the publisher found that
/// nobody watched them.
#[test]
fn resumable_in_front_of_what_is_not_dispatched_yet() {
    let (mut publisher, hub, dispatcher) = Builder::new().inline(false).build().unwrap();
    for _ in 0..3 {
        publisher.publish(put("k")).unwrap();
    }
    let options = WatchOptions::new().start_revision(2);
    let mut late = hub.watch_with("k", options).unwrap();
    assert_eq!(late.try_recv(), Err(TryRecvError::Empty));
    let thread = std::thread::spawn(move || dispatcher.run());
    publisher.flush(HANG).unwrap();
    assert_eq!(at_hand(&mut late), [2, 3]);
    publisher.shutdown(HANG).unwrap();
    join_in_time(thread);
}

#[test]
fn resumable_where_it_left_off_while_the_store_goes_on() {
    let (mut publisher, hub) = Builder::new().spawn().unwrap();
    let watching = hub.clone();
    let watcher = std::thread::spawn(move || {
        let mut next = 1;
        while next <= 20_000 {
            // A new watch every few events, from one beyond what was handed out.
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
    let (mut publisher, hub, _dispatcher) = by_hand(Builder::new().queue(2));
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
    // It fell behind at revision 2: what is behind it, it learns by reading on.
    assert_eq!(watcher.progress(), 2);
    assert_eq!(watcher.try_recv(), Err(TryRecvError::Empty));
    assert_eq!(watcher.progress(), 3, "a commit without changes counts");
    assert_eq!(
        quiet.progress(),
        3,
        "a watcher that matches nothing has progress too"
    );
    publisher.publish(put("elsewhere")).unwrap();
    assert_eq!(watcher.progress(), 4, "what nobody watches counts");
    assert_eq!(future.progress(), 49);
}

#[test]
fn bookmarkable_waiting_for_a_revision_that_nobody_watches() {
    let (mut publisher, hub) = Builder::new().inline(false).spawn().unwrap();
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
fn exact_start_nothing_from_before_and_everything_after() {
    let (mut publisher, hub) = Builder::new().spawn().unwrap();
    let store = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let reading = std::sync::Arc::clone(&store);
    let watching = hub.clone();
    let watcher = std::thread::spawn(move || {
        for _ in 0..3000 {
            // Watch, then read the store, then skip up to what was read.
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
fn exact_start_excludes_what_is_published_and_not_yet_dispatched() {
    let (mut publisher, hub, dispatcher) = by_hand(Builder::new().inline(false));
    let mut early = hub.watch("k").unwrap();
    for _ in 0..3 {
        publisher.publish(put("k")).unwrap();
    }
    let mut watcher = hub.watch("k").unwrap();
    assert_eq!((hub.dispatched(), watcher.start_revision()), (0, 4));
    publisher.publish(put("k")).unwrap();
    drop(publisher);
    dispatcher.run();
    assert_eq!(at_hand(&mut early), [1, 2, 3, 4]);
    assert_eq!(at_hand(&mut watcher), [4]);
}

#[test]
fn isolated_slow_leaked_and_panicking_watchers_disturb_nobody() {
    let (mut publisher, hub) = Builder::new().history(1000).spawn().unwrap();
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
                // It keeps up: at most 500 are outstanding.
                TURN.store(revision, std::sync::atomic::Ordering::SeqCst);
            }
        }
    });
    for revision in 1..=50_000_u64 {
        publisher.publish(put("k")).unwrap();
        if revision % 500 == 0 {
            let turn = || TURN.load(std::sync::atomic::Ordering::SeqCst);
            eventually("the healthy one goes on", || {
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
fn isolated_a_queue_is_bounded_in_events_and_bytes() {
    let (mut publisher, hub, _dispatcher) = by_hand(Builder::new());
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
fn clean_a_dropped_watcher_is_gone_at_once() {
    let (publisher, hub) = Builder::new().spawn().unwrap();
    let any = Selector::any([Selector::exact("a"), Selector::prefix("b"), Selector::all()]);
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
fn clean_a_shutdown_drains_everyone_and_names_the_reason() {
    let (mut publisher, hub) = Builder::new().history(100).queue(2).spawn().unwrap();
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
fn clean_one_end_for_an_overflow_that_cancels() {
    let (mut publisher, hub, _dispatcher) = by_hand(Builder::new());
    let options = WatchOptions::new().capacity(2).overflow(Overflow::Cancel);
    let mut watcher = hub.watch_with("k", options).unwrap();
    for _ in 0..5 {
        publisher.publish(put("k")).unwrap();
    }
    let stats = hub.stats();
    assert_eq!((stats.cancelled, stats.watchers.total), (1, 0));
    assert_eq!(watcher.end(), Some(EndReason::Overflow));
    let items: Vec<_> = watcher.iter().collect();
    assert_eq!(items.len(), 3);
    assert_eq!(
        revisions(items[..2].iter().map(|item| item.clone().unwrap())),
        [1, 2]
    );
    assert_eq!(items[2], Err(RecvError::Closed(EndReason::Overflow)));
    assert_eq!(watcher.progress(), 2);
}

/// The threads of this process that have this name.
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
fn no_hidden_resources_one_thread_and_it_ends_with_the_publisher() {
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
fn no_hidden_resources_the_caller_may_run_the_dispatcher_or_nobody() {
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
    assert_eq!(threads_named("my-own"), 0, "it ends with the publisher");
}

#[test]
fn clean_watchers_are_counted_by_kind_while_they_are_there() {
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

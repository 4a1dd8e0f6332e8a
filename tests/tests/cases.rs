//! Defects of other systems, case by case. Each test names the promise that the defect breaks; its
//! comment names the defect and the issues that report it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use kvwatch::{
    Builder, Change, EndReason, Hub, Overflow, PrevValue, RecvError, RecvTimeoutError, Selector,
    TryRecvError, WatchError, WatchOptions, Watcher,
};
use kvwatch_tests::{
    CountingWaker, HANG, dropped, eventually, in_time, inline_engine, join_in_time, put,
    ready_revisions, removed, revisions,
};

fn from(start: u64) -> WatchOptions {
    WatchOptions::new().start_revision(start)
}

fn of_capacity(events: usize) -> WatchOptions {
    WatchOptions::new().capacity(events)
}

/// etcd #15220, d-engine: progress ahead of queued events, or below an earlier one, or in a slot of
/// the queue.
#[test]
fn bookmarkable_progress_stays_below_queued_events_and_takes_no_slot() {
    let (mut publisher, hub, _dispatcher) = inline_engine(Builder::new());
    let mut watcher = hub.watch_with("k", of_capacity(1)).unwrap();
    publisher.publish(put("k")).unwrap();
    for _ in 0..1000 {
        publisher.publish(put("elsewhere")).unwrap();
        assert_eq!(watcher.progress(), 0, "revision 1 is queued");
    }
    assert_eq!(watcher.try_recv().unwrap().revision(), 1);
    assert_eq!(watcher.progress(), 1001);
    let stats = hub.stats();
    assert_eq!(stats.fell_behind, 0, "progress takes no room");
}

/// d-engine: an overflow of the ingress is only logged. Here the loss is at the end of a burst, with
/// no later event to report it with.
#[test]
fn reliable_gap_is_reported_to_every_watcher_when_the_ingress_overflows() {
    report_gaps(Builder::new());
    report_gaps(Builder::new().history_events(0));
}

fn report_gaps(builder: Builder) {
    let (mut publisher, hub, dispatcher) =
        inline_engine(builder.inline_dispatch(false).ingress_capacity(1));
    let matching = hub.watch("k").unwrap();
    let other = hub.watch("other").unwrap();
    let future = hub.watch_with("k", from(3)).unwrap();
    let beyond = hub.watch_with("k", from(5)).unwrap();
    publisher.publish_lossy(put("k")).unwrap();
    publisher.publish_batch_lossy([put("k"), put("k")]).unwrap();
    publisher
        .publish_many_lossy([(3, vec![put("k")]), (4, vec![])])
        .unwrap();
    assert_eq!(hub.stats().dropped_events, 3);
    let thread = thread::spawn(|| dispatcher.run());
    let told = |mut watcher: Watcher| {
        in_time(move || {
            loop {
                match watcher.recv() {
                    Ok(event) => assert_eq!(event.revision(), 1),
                    Err(RecvError::Lagged(lagged)) => return lagged,
                    Err(other) => panic!("{other:?}"),
                }
            }
        })
    };
    assert_eq!(told(matching), dropped(2, 4));
    assert_eq!(told(other), dropped(2, 4));
    assert_eq!(told(future), dropped(3, 4));
    publisher.publish(put("k")).unwrap();
    let mut beyond = beyond;
    assert_eq!(beyond.recv().unwrap().revision(), 5, "it missed nothing");
    drop(publisher);
    join_in_time(thread);
}

/// d-engine: a slow watcher is silently dropped from the registry.
#[test]
fn reliable_slow_watcher_stays_registered_when_its_queue_overflows() {
    let (mut publisher, hub, _dispatcher) = inline_engine(Builder::new());
    let mut slow = hub.watch_with("k", of_capacity(1)).unwrap();
    for _ in 0..10_000 {
        publisher.publish(put("k")).unwrap();
    }
    assert_eq!(hub.stats().watchers.total, 1);
    assert_eq!(ready_revisions(&mut slow).len(), 10_000);
    publisher.publish(put("k")).unwrap();
    assert_eq!(ready_revisions(&mut slow), [10_001]);
}

/// sled #1152, #1162: a slow watcher blocks the writer, and its drop deadlocks with a registration.
#[test]
fn isolated_publisher_is_not_blocked_when_watchers_come_and_go_unread() {
    let (mut publisher, hub) = Builder::new().queue_capacity(1).spawn().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let dropped = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let (hub, stop, dropped) = (hub.clone(), Arc::clone(&stop), Arc::clone(&dropped));
            thread::spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    // Never received from, and dropped during a publish.
                    let watchers: Vec<_> = (0..8).map(|_| hub.watch("k").unwrap()).collect();
                    thread::yield_now();
                    drop(watchers);
                    dropped.fetch_add(8, Ordering::SeqCst);
                }
            })
        })
        .collect();
    // At least 50,000 events, and until watchers have come and gone meanwhile.
    for _ in 0..50_000 {
        publisher.publish(put("k")).unwrap();
    }
    eventually("watchers come and go", || {
        publisher.publish(put("k")).unwrap();
        dropped.load(Ordering::SeqCst) > 0
    });
    stop.store(true, Ordering::SeqCst);
    threads.into_iter().for_each(join_in_time);
    assert_eq!(hub.stats().watchers.total, 0);
}

/// sled #1380, #1368: the queue is found empty, and the waker stored without another look.
#[test]
fn reliable_wake_up_arrives_when_an_event_comes_just_before_the_wait() {
    let (mut publisher, hub) = Builder::new().spawn().unwrap();
    let turn = Arc::new(AtomicUsize::new(0));
    let (mut watcher, seen) = (hub.watch("k").unwrap(), Arc::clone(&turn));
    let receiver = thread::spawn(move || {
        for _ in 0..50_000 {
            watcher.recv_timeout(HANG).expect("a wake-up was lost");
            seen.fetch_add(1, Ordering::SeqCst);
        }
    });
    for round in 0..50_000 {
        // The watcher has just become empty, and is about to wait.
        publisher.publish(put("k")).unwrap();
        eventually("the watcher is woken", || {
            turn.load(Ordering::SeqCst) > round || receiver.is_finished()
        });
    }
    join_in_time(receiver);
}

/// etcd #17529: a full queue skips the notice of the end, then events. tokio #2425: a close needs a
/// free slot.
#[test]
fn clean_end_is_delivered_when_the_queue_is_full() {
    let (mut publisher, hub, _dispatcher) = inline_engine(Builder::new());
    let mut shut_down = hub.watch_with("k", of_capacity(2)).unwrap();
    let mut cancelled = hub
        .watch_with("k", of_capacity(2).overflow(Overflow::Cancel))
        .unwrap();
    let mut closed = hub.watch_with("k", of_capacity(2)).unwrap();
    for _ in 0..2 {
        publisher.publish(put("k")).unwrap();
    }
    closed.closer().close();
    assert_eq!(
        closed.try_recv(),
        Err(TryRecvError::Closed(EndReason::Closed))
    );
    publisher.publish(put("k")).unwrap();
    assert_eq!(cancelled.end_reason(), Some(EndReason::Overflow));
    publisher.shutdown(HANG).unwrap();
    let received = |watcher: &mut Watcher| {
        let events = revisions(std::iter::from_fn(|| watcher.try_recv().ok()));
        (events, watcher.try_recv().unwrap_err())
    };
    let end = TryRecvError::Closed;
    assert_eq!(
        received(&mut cancelled),
        (vec![1, 2], end(EndReason::Overflow))
    );
    assert_eq!(
        received(&mut shut_down),
        (vec![1, 2, 3], end(EndReason::ShutDown))
    );
}

/// etcd #15271, #8411, #17247: a catch-up sends events again, or none.
#[test]
fn unique_each_event_arrives_once_when_a_watcher_catches_up_repeatedly() {
    let (mut publisher, hub, _dispatcher) = inline_engine(Builder::new());
    let mut watcher = hub.watch_with("k", of_capacity(2)).unwrap();
    let mut expected = Vec::new();
    let mut received = Vec::new();
    for round in 0..200 {
        for _ in 0..round % 7 {
            expected.push(publisher.publish(put("k")).unwrap());
        }
        for _ in 0..round % 5 {
            received.extend(watcher.try_recv().ok().map(|event| event.revision()));
        }
    }
    received.extend(ready_revisions(&mut watcher));
    assert_eq!(received, expected);
    assert!(hub.stats().caught_up > 10, "it came and went");
}

/// etcd #20655: a bad start revision makes other watchers skip events.
#[test]
fn isolated_other_watchers_miss_nothing_when_a_start_revision_is_refused() {
    let (mut publisher, hub, _dispatcher) = inline_engine(Builder::new().start_revision(10));
    let mut healthy = hub.watch("k").unwrap();
    publisher.publish(put("k")).unwrap();
    assert!(hub.watch_with("k", from(0)).is_err());
    assert!(hub.watch_with("k", from(10)).is_err());
    let last = hub.watch_with("k", from(u64::MAX)).unwrap();
    publisher.publish(put("k")).unwrap();
    assert_eq!(ready_revisions(&mut healthy), [11, 12]);
    assert_eq!(last.progress(), u64::MAX - 1);
    assert_eq!(hub.stats().watchers.total, 2);
}

/// etcd #20221: a start in the future delivers older events or progress.
#[test]
fn resumable_nothing_older_is_delivered_when_the_start_is_in_the_future() {
    let (mut publisher, hub, _dispatcher) = inline_engine(Builder::new());
    let mut watcher = hub.watch_with("k", from(5).capacity(1)).unwrap();
    for revision in 1..=4 {
        publisher.publish(put("k")).unwrap();
        assert_eq!((watcher.len(), watcher.progress()), (0, 4), "at {revision}");
    }
    for _ in 5..=7 {
        publisher.publish(put("k")).unwrap();
    }
    assert_eq!(ready_revisions(&mut watcher), [5, 6, 7]);
}

/// Kubernetes #49992: off by one with an empty history, or an oldest revision that is refused.
#[test]
fn resumable_the_named_oldest_revision_succeeds_for_every_history() {
    for revision in [0, 1, 1000] {
        for history in [0, 1, 10] {
            let builder = Builder::new()
                .start_revision(revision)
                .history_events(history);
            let (mut publisher, hub, _dispatcher) = inline_engine(builder);
            let mut first = hub.watch_with("k", from(revision + 1)).unwrap();
            for _ in 0..30 {
                let start = hub.watch_with("k", from(1));
                match start {
                    Err(WatchError::Compacted { oldest, requested }) => {
                        assert_eq!(requested, 1);
                        let below = hub.watch_with("k", from(oldest - 1));
                        assert!(matches!(below, Err(WatchError::Compacted { .. })));
                        let mut watcher = hub.watch_with("k", from(oldest)).unwrap();
                        let expected: Vec<u64> = (oldest..=publisher.revision()).collect();
                        assert_eq!(ready_revisions(&mut watcher), expected);
                    }
                    Ok(mut watcher) => {
                        let expected: Vec<u64> = (1..=publisher.revision()).collect();
                        assert_eq!(ready_revisions(&mut watcher), expected);
                    }
                    Err(other) => panic!("{other}"),
                }
                let published = publisher.publish(put("k")).unwrap();
                assert_eq!(ready_revisions(&mut first), [published]);
            }
        }
    }
}

/// Kubernetes #116122: registrations during start-up or shutdown.
#[test]
fn clean_every_watcher_ends_when_it_registers_during_start_or_shutdown() {
    for _ in 0..300 {
        let (mut publisher, hub, dispatcher) = Builder::new().build().unwrap();
        let early = hub.watch("k").unwrap();
        let registering = thread::spawn(move || {
            let mut watchers = vec![early];
            loop {
                match hub.watch("k") {
                    Ok(watcher) => watchers.push(watcher),
                    Err(WatchError::Closed(EndReason::ShutDown)) => return watchers,
                    Err(other) => panic!("{other}"),
                }
                if watchers.len() > 500 {
                    watchers.truncate(1);
                }
            }
        });
        let running = thread::spawn(|| dispatcher.run());
        for _ in 0..20 {
            publisher.publish(put("k")).unwrap();
        }
        drop(publisher);
        join_in_time(running);
        for mut watcher in join_in_time(registering) {
            let expected: Vec<u64> = (watcher.start_revision()..=20).collect();
            assert_eq!(ready_revisions(&mut watcher), expected);
            assert_eq!(
                watcher.recv(),
                Err(RecvError::Closed(EndReason::ShutDown)),
                "every registered watcher ends"
            );
        }
    }
}

/// Any bounded design: a transaction larger than a queue.
#[test]
fn atomic_transaction_is_delivered_whole_when_it_exceeds_the_queue() {
    let (mut publisher, hub, _dispatcher) =
        inline_engine(Builder::new().history_events(2).queue_capacity(2));
    let mut watcher = hub.watch("k").unwrap();
    let mut cancelling = hub
        .watch_with("k", WatchOptions::new().overflow(Overflow::Cancel))
        .unwrap();
    for revision in 1..=3_u64 {
        let large = (0..500).map(|_| Change::put("k", vec![0; 10_000]));
        publisher.publish_batch(large).unwrap();
        for watcher in [&mut watcher, &mut cancelling] {
            assert_eq!(ready_revisions(watcher), [revision; 500]);
        }
    }
    assert_eq!((cancelling.end_reason(), hub.stats().lagged), (None, 0));
}

/// etcd #16839: many slow watchers catch up without a bound on memory.
#[test]
fn isolated_memory_is_bounded_when_many_slow_watchers_catch_up() {
    let builder = Builder::new()
        .history_events(100_000)
        .history_bytes(1 << 20);
    let (mut publisher, hub, _dispatcher) = inline_engine(builder.queue_capacity(4));
    let mut slow: Vec<_> = (0..500)
        .map(|_| hub.watch(Selector::all()).unwrap())
        .collect();
    for _ in 0..20_000 {
        publisher.publish(Change::put("k", vec![0; 100])).unwrap();
    }
    let history = hub.stats().history;
    assert!(history.bytes <= 1 << 20, "{history:?}");
    for watcher in &mut slow {
        assert_eq!(watcher.len(), 4);
        // A step of catching up reads at most one segment, however far behind the watcher is.
        for _ in 0..5 {
            drop(watcher.try_recv());
            assert!(watcher.len() <= 256, "{}", watcher.len());
        }
    }
}

/// etcd #18879: slow watchers are cancelled in bulk, and healthy ones with them.
#[test]
fn isolated_healthy_watcher_lives_when_slow_ones_are_cancelled() {
    let (mut publisher, hub, _dispatcher) = inline_engine(Builder::new().queue_capacity(4));
    let cancelling = WatchOptions::new().overflow(Overflow::Cancel);
    let slow: Vec<_> = (0..100)
        .map(|_| hub.watch_with("k", cancelling.clone()).unwrap())
        .collect();
    let mut healthy = hub.watch_with("k", cancelling).unwrap();
    for revision in 1..=100 {
        publisher.publish(put("k")).unwrap();
        assert_eq!(ready_revisions(&mut healthy), [revision]);
    }
    assert_eq!(healthy.end_reason(), None);
    let overflown = |watcher: &Watcher| watcher.end_reason() == Some(EndReason::Overflow);
    assert!(slow.iter().all(overflown));
}

/// etcd #20067, #11850: a gauge is decremented twice, or a cancelled watcher leaks.
#[test]
fn clean_watcher_is_counted_out_once_however_it_ends() {
    let (mut publisher, hub, _dispatcher) = inline_engine(Builder::new().queue_capacity(1));
    let cancelling = WatchOptions::new()
        .overflow(Overflow::Cancel)
        .prev_value(true);
    for _ in 0..3 {
        let any = Selector::any([Selector::exact("k"), Selector::prefix("k/")]);
        let mut closed = hub.watch(any.clone()).unwrap();
        let closer = closed.closer();
        let cancelled = hub.watch_with(any, cancelling.clone()).unwrap();
        let dropped = hub.watch_with("k", cancelling.clone()).unwrap();
        publisher.publish_batch([put("k")]).unwrap();
        publisher.publish(put("k")).unwrap();
        assert_eq!(hub.stats().watchers.total, 1, "two were cancelled");
        assert!(!hub.wants_prev_value());
        // Every way to end, twice.
        closed.close();
        closer.close();
        closer.close();
        drop((closed, cancelled, dropped));
        let stats = hub.stats();
        assert_eq!((stats.watchers, stats.keys_watched), Default::default());
    }
    let survivor = hub.watch_with("k", cancelling).unwrap();
    publisher.shutdown(HANG).unwrap();
    assert_eq!(hub.stats().watchers.total, 0);
    drop(survivor);
    assert_eq!(hub.stats().watchers.total, 0);
    assert!(!hub.wants_prev_value());
}

/// async-broadcast #55: a lag is swallowed, or turned into a normal end.
#[test]
fn reliable_lag_is_an_item_when_a_watcher_is_iterated() {
    let (mut publisher, hub, _dispatcher) =
        inline_engine(Builder::new().history_events(2).queue_capacity(1));
    let mut watcher = hub.watch("k").unwrap();
    for _ in 0..10 {
        publisher.publish(put("k")).unwrap();
    }
    publisher.shutdown(HANG).unwrap();
    let mut items = watcher.iter();
    let mut next = || items.next().map(|item| item.map(|event| event.revision()));
    assert_eq!(next(), Some(Ok(1)));
    let lag = removed(2, 8);
    assert_eq!(next(), Some(Err(RecvError::Lagged(lag))));
    assert_eq!(next(), Some(Ok(9)));
    assert_eq!(next(), Some(Ok(10)));
    assert_eq!((next(), next()), (None, None));
}

/// kanal #24, flume #104, async-channel #87: a cancelled receive loses an item or a wake-up.
#[test]
fn reliable_event_and_wake_up_are_kept_when_a_receive_is_cancelled() {
    let (mut publisher, hub, _dispatcher) = inline_engine(Builder::new());
    let mut watcher = hub.watch("k").unwrap();
    for revision in 1..=100 {
        let (first, first_waker) = CountingWaker::pair();
        let (second, second_waker) = CountingWaker::pair();
        let poll = |watcher: &mut Watcher, waker: &Waker| {
            watcher.poll_recv(&mut Context::from_waker(waker))
        };
        // Only the last poll is woken.
        assert!(poll(&mut watcher, &first_waker).is_pending());
        assert!(poll(&mut watcher, &second_waker).is_pending());
        publisher.publish(put("k")).unwrap();
        assert_eq!((first.calls(), second.calls()), (0, 1));
        // The woken receive is cancelled. The next one has the event.
        match poll(&mut watcher, &first_waker) {
            Poll::Ready(Ok(event)) => assert_eq!(event.revision(), revision),
            other => panic!("{other:?}"),
        }
    }
}

/// tokio #6042: a capacity is silently rounded up.
#[test]
fn isolated_capacities_are_exact() {
    let (mut publisher, hub, _dispatcher) =
        inline_engine(Builder::new().inline_dispatch(false).ingress_capacity(5));
    for _ in 0..5 {
        publisher.try_publish(put("k")).unwrap();
    }
    publisher.try_publish(put("k")).unwrap_err();
    drop(hub);
    for capacity in [1, 3, 7, 100] {
        let (mut publisher, hub, _dispatcher) = inline_engine(Builder::new());
        let watcher = hub.watch_with("k", of_capacity(capacity)).unwrap();
        for _ in 0..200 {
            publisher.publish(put("k")).unwrap();
        }
        assert_eq!(
            (watcher.len(), watcher.capacity()),
            (capacity.min(200), capacity)
        );
    }
}

/// A waker that uses every lock of the engine when it is called and when it is dropped.
struct LockingWaker {
    hub: Hub,
    victim: Mutex<Option<Watcher>>,
    calls: Arc<AtomicUsize>,
}

impl LockingWaker {
    fn use_every_lock(&self) {
        let victim = self.victim.lock().unwrap().take();
        drop(victim);
        let watcher = self.hub.watch("k");
        assert!(self.hub.stats().watchers.total < 100);
        let waited = self.hub.wait_for(u64::MAX, Duration::ZERO);
        assert!(waited.is_err());
        drop(watcher);
        self.calls.fetch_add(1, Ordering::SeqCst);
    }
}

impl Wake for LockingWaker {
    fn wake(self: Arc<Self>) {
        self.use_every_lock();
    }
}

impl Drop for LockingWaker {
    fn drop(&mut self) {
        self.use_every_lock();
    }
}

/// tokio #5429, #5578, and any queue that calls a waker under a lock: the waker drops a watcher
/// inside `wake()`.
#[test]
fn isolated_wakers_are_called_and_dropped_without_a_lock_held() {
    for inline in [false, true] {
        in_time(move || {
            let (mut publisher, hub) = Builder::new().inline_dispatch(inline).spawn().unwrap();
            let calls = Arc::new(AtomicUsize::new(0));
            let locking = |victim| {
                Waker::from(Arc::new(LockingWaker {
                    hub: hub.clone(),
                    victim: Mutex::new(victim),
                    calls: Arc::clone(&calls),
                }))
            };
            let poll = |watcher: &mut Watcher, waker: &Waker| {
                assert!(
                    watcher
                        .poll_recv(&mut Context::from_waker(waker))
                        .is_pending()
                );
            };
            let count = |at_least| {
                eventually("the waker is called and dropped", || {
                    calls.load(Ordering::SeqCst) >= at_least
                });
            };
            // Called for an event. It drops another watcher that waits for the same event.
            let mut watcher = hub.watch("k").unwrap();
            poll(&mut watcher, &locking(hub.watch("k").ok()));
            publisher.publish(put("k")).unwrap();
            count(2);
            // Replaced by another waker, and dropped.
            watcher.recv().unwrap();
            poll(&mut watcher, &locking(None));
            poll(&mut watcher, Waker::noop());
            count(3);
            // Dropped with its watcher.
            poll(&mut watcher, &locking(hub.watch("k").ok()));
            drop(watcher);
            count(4);
            // Called for a close, and for the shutdown.
            let mut closed = hub.watch("k").unwrap();
            poll(&mut closed, &locking(None));
            closed.closer().close();
            count(6);
            let mut ended = hub.watch("k").unwrap();
            poll(&mut ended, &locking(None));
            publisher.shutdown(HANG).unwrap();
            count(8);
        });
    }
}

/// A value whose memory belongs to the store. Its drop uses the engine.
struct Owned {
    hub: Hub,
    dropped: Arc<AtomicUsize>,
    value: &'static [u8],
}

impl AsRef<[u8]> for Owned {
    fn as_ref(&self) -> &[u8] {
        self.value
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        drop(self.hub.watch("k"));
        let before = self.dropped.fetch_add(1, Ordering::SeqCst) as u64;
        assert!(self.hub.stats().published_events >= before);
    }
}

/// The same defect with values instead of wakers.
#[test]
fn isolated_values_are_dropped_without_a_lock_held() {
    // The engine copies short values and drops them at once. It shares long ones.
    let cases = [
        (0, &[7; 5][..]),
        (10, &[7; 5]),
        (0, &[7; 1024]),
        (10, &[7; 1024]),
    ];
    for (history, value) in cases {
        in_time(move || {
            let builder = Builder::new().history_events(history).queue_capacity(2);
            let (mut publisher, hub) = builder.spawn().unwrap();
            let dropped = Arc::new(AtomicUsize::new(0));
            let mut watchers: Vec<_> = (0..3).map(|_| hub.watch("k").unwrap()).collect();
            for _ in 0..1000 {
                let value = Bytes::from_owner(Owned {
                    hub: hub.clone(),
                    dropped: Arc::clone(&dropped),
                    value,
                });
                publisher.publish(Change::put("k", value)).unwrap();
            }
            publisher.compact(500).unwrap();
            drop(watchers.pop());
            watchers[0].close();
            publisher.shutdown(HANG).unwrap();
            drop((watchers, hub));
            // The values in the history stay: each holds a hub, and the hub the history. So does
            // the rest of the oldest segment, which is at most a quarter of the history. The last
            // dispatch drops evicted values after it has ended the watchers, so wait for that.
            let held = history + (history / 4).max(1);
            eventually("the values are dropped", || {
                1000 - dropped.load(Ordering::SeqCst) <= held
            });
        });
    }
}

/// A publish drops the values that it copied. A panic in such a drop is a bug of the store, and
/// leaves the order of revisions intact. A single change is published by then, a chunk is not.
#[test]
fn ordered_revisions_go_on_when_a_value_panics_in_its_drop() {
    struct Panicking;
    impl AsRef<[u8]> for Panicking {
        fn as_ref(&self) -> &[u8] {
            b"v"
        }
    }
    impl Drop for Panicking {
        fn drop(&mut self) {
            panic!("on purpose, inside a drop");
        }
    }
    let change = || Change::put("k", Bytes::from_owner(Panicking));
    let (mut publisher, hub) = Builder::new().spawn().unwrap();
    let mut watcher = hub.watch("k").unwrap();
    let one = catch_unwind(AssertUnwindSafe(|| publisher.publish(change())));
    assert!(one.is_err());
    let many = catch_unwind(AssertUnwindSafe(|| {
        publisher.publish_many([(2, [change()])])
    }));
    assert!(many.is_err());
    assert_eq!(publisher.publish(put("k")).unwrap(), 2);
    for revision in 1..=2 {
        assert_eq!(watcher.recv().unwrap().revision(), revision);
    }
}

/// The last reference to a value may be dropped by any thread: by a watcher that takes the next
/// batch, by the dispatcher that shortens the history. No panic of its drop comes out there.
#[test]
fn isolated_receivers_and_dispatcher_go_on_when_a_value_panics_in_its_drop() {
    struct Panicking(bool);
    impl AsRef<[u8]> for Panicking {
        fn as_ref(&self) -> &[u8] {
            // Too large to be copied.
            &[0; 4096]
        }
    }
    impl Drop for Panicking {
        fn drop(&mut self) {
            assert!(!self.0, "on purpose, inside a drop");
        }
    }
    for history in [0, 1, 1_000] {
        let builder = Builder::new().history_events(history);
        let (mut publisher, hub) = builder.spawn().unwrap();
        let mut watchers = [(); 3].map(|()| hub.watch("k").unwrap());
        for number in 0..100 {
            let value = Bytes::from_owner(Panicking(number % 3 == 0));
            publisher.publish(Change::put("k", value)).unwrap();
        }
        publisher.flush(HANG).unwrap();
        let [first, second, third] = &mut watchers;
        assert_eq!(ready_revisions(first).len(), 100);
        while let Ok(batch) = second.try_recv_batch() {
            drop(batch);
        }
        third.close();
        publisher.shutdown(HANG).unwrap();
        drop((watchers, hub));
    }
}

/// `ShutDown` says that everything published was delivered. A close that drops events makes it untrue.
#[test]
fn clean_end_is_a_close_when_the_close_drops_events_of_an_engine_that_has_ended() {
    for (capacity, received) in [(16, 0), (16, 1), (1, 0), (1, 3), (16, 3)] {
        let (mut publisher, hub) = Builder::new().spawn().unwrap();
        let options = WatchOptions::new().capacity(capacity);
        let mut watcher = hub.watch_with("k", options).unwrap();
        for _ in 0..3 {
            publisher.publish(put("k")).unwrap();
        }
        publisher.shutdown(HANG).unwrap();
        assert_eq!(watcher.end_reason(), Some(EndReason::ShutDown));
        for revision in 1..=received {
            assert_eq!(watcher.recv().unwrap().revision(), revision);
        }
        watcher.close();
        let end = match received {
            3 => EndReason::ShutDown,
            _ => EndReason::Closed,
        };
        assert_eq!(watcher.recv(), Err(RecvError::Closed(end)), "{capacity}");
        assert_eq!(watcher.progress(), received);
    }
}

/// A publisher that is dropped while its thread panics has not been shut down in order.
#[test]
fn clean_end_tells_a_panic_of_the_publisher_from_a_shutdown() {
    for inline in [true, false] {
        let (mut publisher, hub) = Builder::new().inline_dispatch(inline).spawn().unwrap();
        let mut watcher = hub.watch("k").unwrap();
        let publishing = thread::spawn(move || {
            publisher.publish(put("k")).unwrap();
            panic!("on purpose, beside a publisher");
        });
        assert_eq!(watcher.recv().unwrap().revision(), 1);
        let end = EndReason::PublisherPanicked;
        assert_eq!(watcher.recv(), Err(RecvError::Closed(end)));
        assert_eq!(watcher.end_reason(), Some(end));
        assert_eq!(hub.watch("k").unwrap_err(), WatchError::Closed(end));
        publishing.join().unwrap_err();
    }
}

/// A panic in a waker is a bug of its owner. It affects no other watcher.
#[test]
fn isolated_other_watchers_receive_when_a_waker_panics() {
    struct Panicking;
    impl Wake for Panicking {
        fn wake(self: Arc<Self>) {
            panic!("on purpose, inside a waker");
        }
    }
    let (mut publisher, hub) = Builder::new().inline_dispatch(false).spawn().unwrap();
    let waker = Waker::from(Arc::new(Panicking));
    let mut bad = hub.watch("k").unwrap();
    let mut good = hub.watch("k").unwrap();
    assert!(bad.poll_recv(&mut Context::from_waker(&waker)).is_pending());
    for revision in 1..=3 {
        publisher.publish(put("k")).unwrap();
        assert_eq!(good.recv_timeout(HANG).unwrap().revision(), revision);
    }
    assert_eq!(ready_revisions(&mut bad), [1, 2, 3]);
}

/// d-engine: an empty previous value stands for an absent one, or for one that was never read.
#[test]
fn previous_value_tells_empty_absent_and_unavailable_apart() {
    let (mut publisher, hub, _dispatcher) = inline_engine(Builder::new());
    let mut asking = hub
        .watch_with("k", WatchOptions::new().prev_value(true))
        .unwrap();
    let mut not_asking = hub.watch("k").unwrap();
    let prevs = [
        PrevValue::Absent,
        PrevValue::Value(Bytes::new()),
        PrevValue::Unavailable,
    ];
    for prev in prevs.clone() {
        publisher.publish(put("k").with_prev_value(prev)).unwrap();
    }
    for prev in prevs {
        assert_eq!(asking.try_recv().unwrap().prev_value(), prev.as_ref());
        let unasked = not_asking.try_recv().unwrap();
        assert_eq!(unasked.prev_value(), PrevValue::Unavailable);
        assert_eq!(unasked.value().unwrap(), "v");
    }
}

/// d-engine: the revision of a snapshot is read after the snapshot. Here the watch has its start
/// revision before the store is read, so that events up to the read can be skipped exactly.
#[test]
fn exact_start_nothing_is_lost_when_the_store_is_read_after_the_watch() {
    let (mut publisher, hub) = Builder::new().spawn().unwrap();
    let store = Arc::new(Mutex::new((0_u64, 0_u64)));
    let (reading, watching) = (Arc::clone(&store), hub);
    let mirror = thread::spawn(move || {
        for _ in 0..500 {
            let mut watcher = watching.watch("k").unwrap();
            let (revision, mut value) = *reading.lock().unwrap();
            let last = loop {
                let Ok(event) = watcher.recv() else { return };
                if event.revision() > revision {
                    value += 1;
                    assert_eq!(event.value().unwrap(), &value.to_string());
                }
                if event.revision() > revision + 3 {
                    break event.revision();
                }
            };
            assert_eq!(last, value, "one change a revision");
        }
    });
    while !mirror.is_finished() {
        let (revision, value) = {
            let mut store = store.lock().unwrap();
            *store = (store.0 + 1, store.1 + 1);
            *store
        };
        let change = Change::put("k", value.to_string());
        assert_eq!(publisher.publish(change).unwrap(), revision);
    }
    join_in_time(mirror);
}

/// flume 0.12: a message taken by a try leaves the polled hook listed, and a wake-up is lost.
/// `volume.rs` runs a million rounds.
#[test]
fn reliable_no_wake_up_is_lost_when_one_watcher_is_polled_and_tried() {
    let (mut publisher, hub, _dispatcher) = inline_engine(Builder::new());
    let mut watcher = hub.watch("k").unwrap();
    let (counting, waker) = CountingWaker::pair();
    let mut cx = Context::from_waker(&waker);
    for round in 0..1000 {
        let woken = counting.calls();
        assert!(watcher.poll_recv(&mut cx).is_pending());
        // A try takes the event of the wake-up. The next poll must wait for the next event.
        publisher.publish(put("k")).unwrap();
        assert_eq!(counting.calls(), woken + 1, "in round {round}");
        watcher.try_recv().unwrap();
        assert_eq!(watcher.try_recv(), Err(TryRecvError::Empty));
        assert!(watcher.poll_recv(&mut cx).is_pending());
        let timed_out = watcher.recv_timeout(Duration::ZERO);
        assert_eq!(timed_out, Err(RecvTimeoutError::Timeout));
        assert!(watcher.poll_recv(&mut cx).is_pending());
        publisher.publish(put("k")).unwrap();
        assert_eq!(counting.calls(), woken + 2, "in round {round}");
        watcher.recv().unwrap();
    }
}

/// Any log in memory: the engine restarts at revision 0 while the store is at 1000.
#[test]
fn resumable_old_revisions_are_compacted_when_the_engine_restarts() {
    let (mut publisher, hub, _dispatcher) = inline_engine(Builder::new().start_revision(1000));
    assert_eq!((publisher.revision(), hub.revision()), (1000, 1000));
    for old in [1, 500, 1000] {
        let refused = WatchError::Compacted {
            requested: old,
            oldest: 1001,
        };
        assert_eq!(hub.watch_with("k", from(old)).unwrap_err(), refused);
    }
    let mut resumed = hub.watch_with("k", from(1001)).unwrap();
    assert_eq!(hub.watch("k").unwrap().start_revision(), 1001);
    assert_eq!(publisher.publish(put("k")).unwrap(), 1001);
    assert_eq!(ready_revisions(&mut resumed), [1001]);
}

//! Memory: what is allocated is freed, and a running engine is bounded.

use std::alloc::System;
use std::sync::Mutex;

use cap::Cap;
use kvwatch::{Builder, Change, Selector, WatchOptions};
use kvwatch_tests::{HANG, eventually};

#[global_allocator]
static HEAP: Cap<System> = Cap::new(System, usize::MAX);

/// What a thread keeps allocated once it has run, and the test runner between two tests.
const SLACK: usize = 16 * 1024;

/// The allocator counts for the whole process, so the tests run one at a time.
static ALONE: Mutex<()> = Mutex::new(());

#[track_caller]
fn assert_back_to(start: usize, what: &str) {
    let now = HEAP.allocated();
    assert!(
        now <= start + SLACK,
        "{what}: {start} bytes before, {now} after"
    );
}

fn selector(number: u64) -> Selector {
    let key = format!("key/{number:08}");
    match number % 5 {
        0 => Selector::exact(key),
        1 => Selector::prefix(key),
        2 => Selector::range(key.clone()..format!("{key}~")),
        3 => Selector::from_key(key),
        _ => Selector::any([Selector::exact(key), Selector::all()]),
    }
}

#[test]
fn clean_a_million_dropped_watchers_leave_nothing_allocated() {
    let _alone = ALONE.lock();
    let (mut publisher, hub) = Builder::new().history_events(1).spawn().unwrap();
    // Watchers of each kind stay, so that no part of the registry is ever empty.
    let stay = || {
        [
            Selector::exact("stays"),
            Selector::prefix("stays"),
            Selector::range("stays".."stayt"),
            Selector::any([Selector::exact("stays"), Selector::all()]),
        ]
        .map(|selector| hub.watch(selector).unwrap())
    };
    let mut stay = [stay(), stay()];
    let mut publish = || {
        publisher.publish(Change::put("key/00000000", "")).unwrap();
        publisher.flush(HANG).unwrap();
        for watcher in stay.as_flattened_mut() {
            drop(watcher.try_recv());
        }
    };
    let cycle = |numbers: std::ops::Range<u64>| {
        for number in numbers {
            drop(hub.watch(selector(number)).unwrap());
        }
    };
    cycle(0..1_000);
    publish();
    let start = HEAP.allocated();
    cycle(1_000..1_001_000);
    assert_back_to(start, "one after the other");
    for _ in 0..3 {
        let crowd: Vec<_> = (0..50_000)
            .map(|n| hub.watch(selector(n)).unwrap())
            .collect();
        publish();
        drop(crowd);
    }
    publish();
    assert_back_to(start, "a crowd");
}

#[test]
fn clean_a_shutdown_frees_everything() {
    let _alone = ALONE.lock();
    let round = || {
        let (mut publisher, hub) = Builder::new().history_events(1000).spawn().unwrap();
        let capacity = |events| WatchOptions::new().capacity(events);
        let mut watchers: Vec<_> = (0..50)
            .map(|n| hub.watch_with(Selector::all(), capacity(1 + n)).unwrap())
            .collect();
        for number in 0..5_000_u64 {
            let change = Change::put(format!("key/{number}"), vec![0; 100]);
            publisher.publish(change).unwrap();
        }
        for watcher in &mut watchers[..25] {
            drop(watcher.try_recv());
        }
        publisher.shutdown(HANG).unwrap();
        drop(watchers);
    };
    round();
    let start = HEAP.allocated();
    for _ in 0..10 {
        round();
    }
    eventually("everything is freed", || HEAP.allocated() <= start + SLACK);
}

#[test]
fn isolated_memory_is_bounded_while_the_engine_runs() {
    let _alone = ALONE.lock();
    let builder = Builder::new()
        .history_events(2_000)
        .queue_capacity(16)
        .ingress_capacity(512);
    let (mut publisher, hub) = builder.spawn().unwrap();
    let stuck: Vec<_> = (0..20)
        .map(|_| hub.watch(Selector::all()).unwrap())
        .collect();
    let mut publish = |count: u64| {
        for number in 0..count {
            let change = Change::put(format!("key/{:08}", number % 64), vec![0; 100]);
            publisher.publish(change).unwrap();
        }
        publisher.flush(HANG).unwrap();
    };
    publish(20_000);
    let start = HEAP.allocated();
    publish(300_000);
    // The thread that dispatches decides how many events share a segment, and so what the history
    // takes: up to 2,000 segments, or less than ten. Half a megabyte covers that. Two bytes leaked
    // for each event would not fit.
    let now = HEAP.allocated();
    assert!(
        now < start + 512 * 1024,
        "{start} bytes before, {now} after"
    );
    drop(stuck);
}

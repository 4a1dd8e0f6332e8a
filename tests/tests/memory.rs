//! Memory: what is allocated is freed, and a running engine is bounded.

use std::alloc::System;
use std::sync::Mutex;
use std::time::Instant;

use cap::Cap;
use kvwatch::{
    Builder, Change, Hub, Publisher, Replay, ReplayError, ReplayRequest, Replayed, Revision,
    Selector, WatchOptions, Watcher,
};
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
        _ => Selector::any([Selector::prefix(format!("{key}/")), Selector::exact(key)]),
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
            Selector::any([Selector::exact("stays"), Selector::from_key("t")]),
            // So that each event is matched, and the scratch for that shrinks.
            Selector::all(),
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

const MIB: usize = 1024 * 1024;

/// The most memory above what the configured bounds add up to.
const ABOVE_BOUNDS: usize = 64 * MIB;

/// Publishes one change after the other. Returns the most bytes that were allocated after one of
/// them, above `start`.
fn peak_while_publishing(
    publisher: &mut Publisher,
    changes: impl Iterator<Item = Change>,
    start: usize,
) -> usize {
    let mut peak = 0;
    for change in changes {
        publisher.publish(change).unwrap();
        peak = peak.max(HEAP.allocated().saturating_sub(start));
    }
    peak
}

#[test]
fn bounded_memory_holds_what_its_bounds_say_when_nobody_watches() {
    let _alone = ALONE.lock();
    for inline in [true, false] {
        let start = HEAP.allocated();
        let (mut publisher, hub) = Builder::new().inline_dispatch(inline).spawn().unwrap();
        // The defaults: 32 MiB of history and 8 MiB in the ingress.
        let values = (0..1_500).map(|_| Change::put("k", vec![0; MIB]));
        let peak = peak_while_publishing(&mut publisher, values, start);
        println!(
            "1,500 values of 1 MiB, inline {inline}: at most {} MiB",
            peak / MIB
        );
        assert!(peak < 40 * MIB + ABOVE_BOUNDS, "{peak}");
        publisher.shutdown(HANG).unwrap();
        drop(hub);
        eventually("everything is freed", || HEAP.allocated() <= start + SLACK);
    }
}

/// A thousand watchers of a prefix, and ten that watch another key.
fn crowd(hub: &Hub) -> Vec<Watcher> {
    (0..1_010)
        .map(|number| match number {
            0..1_000 => hub.watch(Selector::prefix("many/")).unwrap(),
            _ => hub.watch("other").unwrap(),
        })
        .collect()
}

#[test]
fn bounded_large_transaction_is_shared_by_all_of_its_watchers() {
    let _alone = ALONE.lock();
    let change = |number: usize| Change::put(format!("many/{number}"), vec![0; 500]);
    let timed = |transactions: usize, events: usize| {
        let start = HEAP.allocated();
        let (mut publisher, hub) = Builder::new().spawn().unwrap();
        let watchers = crowd(&hub);
        let begun = Instant::now();
        let mut peak = 0;
        for _ in 0..transactions {
            publisher.publish_batch((0..events).map(change)).unwrap();
            peak = peak.max(HEAP.allocated().saturating_sub(start));
        }
        publisher.flush(HANG).unwrap();
        let time = begun.elapsed();
        peak = peak.max(HEAP.allocated().saturating_sub(start));
        println!(
            "{transactions} transactions of {events} changes of 500 bytes, 1,000 watchers: {} ms, \
             at most {} MiB",
            time.as_millis(),
            peak / MIB
        );
        publisher.shutdown(HANG).unwrap();
        drop((watchers, hub));
        eventually("everything is freed", || HEAP.allocated() <= start + SLACK);
        peak
    };
    // 40 MiB of the bounds above, and a queue for each watcher of what is not shared.
    for (transactions, events) in [(1_000, 10), (1, 2_500), (1, 10_000)] {
        let peak = timed(transactions, events);
        assert!(peak < 40 * MIB + ABOVE_BOUNDS, "{peak}");
    }
}

/// A store with a value of 1 MiB in each revision.
struct Large;

impl Replay for Large {
    fn oldest(&self) -> Revision {
        1
    }

    fn read(&self, request: ReplayRequest<'_>) -> Result<Replayed, ReplayError> {
        let (mut read, mut bytes) = (Replayed::default(), 0);
        for revision in request.from..=request.to {
            read.upto = revision;
            if request.selector.matches(b"k") {
                let change = Change::put("k", vec![0; MIB]);
                read.transactions.push((revision, vec![change]));
                bytes += MIB;
            }
            if bytes >= request.max_bytes {
                break;
            }
        }
        Ok(read)
    }
}

#[test]
fn bounded_replay_holds_one_step_for_each_watcher() {
    let _alone = ALONE.lock();
    let start = HEAP.allocated();
    let builder = Builder::new().start_revision(260).replay(Large);
    let (_publisher, hub) = builder.spawn().unwrap();
    let from = |start| WatchOptions::new().start_revision(start);
    let mut nobody = hub.watch_with("neither", from(1)).unwrap();
    assert!(nobody.try_recv().is_err());
    let mut slow: Vec<_> = (0..6)
        .map(|_| hub.watch_with("k", from(1)).unwrap())
        .collect();
    let mut peak = 0;
    for revision in 1..=100 {
        for watcher in &mut slow {
            assert_eq!(watcher.recv().unwrap().revision(), revision);
            peak = peak.max(HEAP.allocated() - start);
        }
    }
    println!(
        "six watchers that replay values of 1 MiB: at most {} MiB",
        peak / MIB
    );
    assert!(peak < 6 * 2 * MIB + MIB, "{peak}");
    drop((slow, nobody));
    assert!(HEAP.allocated() < start + MIB);
}

#[test]
fn bounded_union_of_overlapping_ranges_costs_what_its_keys_need() {
    let _alone = ALONE.lock();
    let (_publisher, hub) = Builder::new().spawn().unwrap();
    // Before, each took an entry of the index and 3 s went by in all.
    let union = |number: usize| {
        Selector::any((0..1_000).map(|part| {
            let start = (number * 7 + part * 13) % 100_000;
            Selector::range(format!("k{start:06}")..format!("k{:06}", start + 500))
        }))
    };
    let unions: Vec<_> = (0..400).map(union).collect();
    let start = HEAP.allocated();
    let begun = Instant::now();
    let watchers: Vec<_> = unions.iter().map(|union| hub.watch(union)).collect();
    let time = begun.elapsed();
    let bytes = HEAP.allocated() - start;
    println!(
        "400 watchers on unions of 1,000 overlapping ranges: {} ms, {} KiB",
        time.as_millis(),
        bytes / 1024
    );
    assert!(bytes < 2 * MIB, "{bytes}");
    drop(watchers);
}

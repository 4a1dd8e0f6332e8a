//! Large numbers: what small tests cannot see.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::thread;

use kvwatch::{Builder, Change, EndReason, Filter, RecvTimeoutError, TryRecvError, WatchOptions};
use kvwatch_tests::judge::{Complete, assert_kept};
use kvwatch_tests::record::{Item, Log, Trace};
use kvwatch_tests::want::Want;
use kvwatch_tests::{Counting, HANG, Rng, by_hand, eventually, join_in_time, put};

#[test]
fn a_million_events_are_delivered_or_inside_a_reported_lag() {
    const EVENTS: u64 = 1_000_000;
    let (mut publisher, hub) = Builder::new().history(8192).spawn().unwrap();
    let keys = ["app/a", "app/b", "other"];
    let watch = |name: &'static str, want: Want, options| {
        let watcher = hub.watch_with(want.selector(), options).unwrap();
        (Trace::new(name, want, &watcher), watcher)
    };
    let ample = WatchOptions::new().capacity(8192);
    let exact = watch("exact", Want::Exact(b"app/a".to_vec()), ample.clone());
    let prefix = watch("prefix", Want::Prefix(b"app/".to_vec()), ample);
    let slow = watch("slow", Want::All, WatchOptions::new().capacity(64));
    let drains = [exact, prefix].map(|(mut trace, mut watcher)| {
        thread::spawn(move || {
            trace.drain(&mut watcher);
            trace
        })
    });
    let watching = hub.clone();
    let slow = thread::spawn(move || {
        let (mut trace, mut watcher) = slow;
        let mut rng = Rng::new(3);
        loop {
            let batch = watcher.recv_batch();
            let item = batch.map(|batch| Item::Batch(batch.iter().map(Into::into).collect()));
            let goes_on = trace.write(item);
            trace.items.push(Item::Progress(watcher.progress()));
            if !goes_on {
                return trace;
            }
            // Now and then it is held up until the world has moved on, more or less far.
            if rng.below(50) == 0 {
                let until = (watching.revision() + rng.below(12_000)).min(EVENTS);
                eventually("the publisher goes on", || watching.revision() >= until);
            }
        }
    });
    let mut log = Log::default();
    for revision in 1..=EVENTS {
        let change = Change::put(keys[revision as usize % 3], revision.to_le_bytes().to_vec());
        log.transactions.push((revision, vec![change.clone()]));
        publisher.publish(change).unwrap();
    }
    publisher.shutdown(HANG).unwrap();
    for thread in drains.into_iter().chain([slow]) {
        let trace = join_in_time(thread);
        assert_kept(&log, &trace, Complete::UpTo(EVENTS));
        assert_eq!(trace.end(), Some(EndReason::ShutDown));
        let missed: u64 = trace.lags().iter().map(|lag| lag.to - lag.from + 1).sum();
        println!(
            "{}: {} events, {} lags over {missed} revisions",
            trace.name,
            trace.events(),
            trace.lags().len()
        );
        if trace.name == "slow" {
            assert!(!trace.lags().is_empty(), "it was slow");
            assert_eq!(trace.events() as u64 + missed, EVENTS);
        }
    }
    assert!(hub.stats().caught_up > 0);
}

#[test]
fn a_million_rounds_of_mixed_receiving_lose_no_wake_up() {
    const ROUNDS: u64 = 1_000_000;
    let (mut publisher, hub) = Builder::new().spawn().unwrap();
    let mut watcher = hub.watch("k").unwrap();
    let received = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&received);
    let receiver = thread::spawn(move || {
        let (counting, waker) = Counting::here();
        let mut rng = Rng::new(11);
        let mut ways = [0_u64; 4];
        for round in 1..=ROUNDS {
            let revision = loop {
                let way = rng.below(4);
                ways[way as usize] += 1;
                match way {
                    0 => match watcher.try_recv() {
                        Ok(event) => break event.revision(),
                        Err(TryRecvError::Empty) => {}
                        Err(other) => panic!("{other}"),
                    },
                    1 => match watcher.recv_timeout(HANG) {
                        Ok(event) => break event.revision(),
                        Err(RecvTimeoutError::Timeout) => panic!("a wake-up was lost"),
                        Err(other) => panic!("{other}"),
                    },
                    poll => {
                        let woken = counting.woken();
                        match watcher.poll_recv(&mut Context::from_waker(&waker)) {
                            Poll::Ready(event) => break event.unwrap().revision(),
                            // Wait to be woken, or give up waiting and come back another way.
                            Poll::Pending if poll == 2 => counting.park_beyond(woken),
                            Poll::Pending => {}
                        }
                    }
                }
            };
            assert_eq!(revision, round);
            seen.store(round, Ordering::SeqCst);
        }
        ways
    });
    let mut rng = Rng::new(12);
    for round in 1..=ROUNDS {
        publisher.publish(put("k")).unwrap();
        // The receiver is empty most of the time: at most two events are under way.
        let ahead = rng.below(3);
        eventually("the receiver goes on", || {
            received.load(Ordering::SeqCst) + ahead >= round || receiver.is_finished()
        });
    }
    let ways = join_in_time(receiver);
    assert!(ways.iter().all(|&way| way > ROUNDS / 8), "{ways:?}");
}

/// The engine looks many watchers up in another way than few, and a large transaction in portions.
#[test]
fn a_crowd_beyond_the_caches_gets_what_a_scan_finds() {
    let mut rng = Rng::new(11);
    let (mut publisher, hub, _dispatcher) = by_hand(Builder::new());
    let key = |rng: &mut Rng| format!("k{:03}", rng.below(1000)).into_bytes();
    let crowd: Vec<_> = (0..20_000)
        .map(|_| {
            let want = match rng.below(200) {
                // Few, as each of them wants half of all.
                0 => Want::Range(key(&mut rng), b"k999~".to_vec()),
                1..50 => Want::Prefix(key(&mut rng)),
                50..100 => Want::Any(vec![
                    Want::Exact(key(&mut rng)),
                    Want::Prefix(key(&mut rng)),
                ]),
                _ => Want::Exact(key(&mut rng)),
            };
            let filter = [Filter::All, Filter::Puts, Filter::Deletes][rng.below(3) as usize];
            let options = WatchOptions::new().filter(filter).capacity(8192);
            let watcher = hub.watch_with(want.selector(), options).unwrap();
            let mut trace = Trace::new(format!("{want:?}"), want, &watcher);
            trace.filter = filter;
            (trace, watcher)
        })
        .collect();
    let mut log = Log::default();
    for round in 0..20 {
        let before = publisher.revision();
        let chunk = (1..=20).map(|nth| {
            let changes = if round + nth == 20 {
                600
            } else {
                1 + rng.below(4)
            };
            let changes = (0..changes).map(|_| match rng.below(2) {
                0 => Change::put(key(&mut rng), "value"),
                _ => Change::delete(key(&mut rng)),
            });
            (before + nth, changes.collect())
        });
        let chunk: Vec<(u64, Vec<Change>)> = chunk.collect();
        log.transactions.extend(chunk.iter().cloned());
        publisher.publish_many(chunk).unwrap();
        publisher.flush(HANG).unwrap();
    }
    let last = publisher.revision();
    publisher.shutdown(HANG).unwrap();
    for (mut trace, mut watcher) in crowd {
        trace.drain(&mut watcher);
        assert_kept(&log, &trace, Complete::UpTo(last));
    }
}

//! Volume: what shows only with large numbers of events, rounds or watchers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::thread;

use kvwatch::{Builder, Change, EndReason, Filter, RecvTimeoutError, TryRecvError, WatchOptions};
use kvwatch_tests::checker::{Complete, assert_kept};
use kvwatch_tests::record::{Item, Log, Trace};
use kvwatch_tests::selector::NaiveSelector;
use kvwatch_tests::{CountingWaker, HANG, Rng, eventually, inline_engine, join_in_time, put};

#[test]
fn reliable_a_million_events_are_delivered_or_inside_a_lag() {
    const EVENTS: u64 = 1_000_000;
    const HALF: u64 = EVENTS / 2;
    let (mut publisher, hub) = Builder::new().history_events(8192).spawn().unwrap();
    let keys = ["app/a", "app/b", "other"];
    let watch = |name: &'static str, selector: NaiveSelector, options| {
        let watcher = hub.watch_with(selector.to_selector(), options).unwrap();
        (Trace::new(name, selector, &watcher), watcher)
    };
    let ample = WatchOptions::new().capacity(8192);
    let exact = watch(
        "exact",
        NaiveSelector::Exact(b"app/a".to_vec()),
        ample.clone(),
    );
    let prefix = watch("prefix", NaiveSelector::Prefix(b"app/".to_vec()), ample);
    let slow = watch("slow", NaiveSelector::All, WatchOptions::new().capacity(64));
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
        // Longer than queue, history and ingress together: the first lag is certain.
        eventually("the publisher goes on", || watching.revision() >= 20_000);
        loop {
            let batch = watcher.recv_batch();
            let item = batch.map(|batch| Item::Batch(batch.iter().map(Into::into).collect()));
            let is_open = trace.record(item);
            trace.items.push(Item::Progress(watcher.progress()));
            if !is_open {
                return trace;
            }
            // Now and then this watcher pauses until the publisher is further on. The publisher
            // itself waits at the half.
            if rng.next_below(50) == 0 {
                let now = watching.revision();
                let last = if now <= HALF { HALF } else { EVENTS };
                let until = (now + rng.next_below(12_000)).min(last);
                eventually("the publisher goes on", || watching.revision() >= until);
            }
        }
    });
    let mut log = Log::default();
    for revision in 1..=EVENTS {
        let change = Change::put(keys[revision as usize % 3], revision.to_le_bytes().to_vec());
        log.transactions.push((revision, vec![change.clone()]));
        publisher.publish(change).unwrap();
        if revision == HALF {
            eventually("the slow watcher catches up", || hub.stats().caught_up > 0);
        }
    }
    publisher.shutdown(HANG).unwrap();
    for thread in drains.into_iter().chain([slow]) {
        let trace = join_in_time(thread);
        assert_kept(&log, &trace, Complete::UpTo(EVENTS));
        assert_eq!(trace.end(), Some(EndReason::ShutDown));
        let missed: u64 = trace
            .lags()
            .iter()
            .map(|lag| lag.last - lag.first + 1)
            .sum();
        println!(
            "{}: {} events, {} lags over {missed} revisions",
            trace.name,
            trace.events(),
            trace.lags().len()
        );
        if trace.name == "slow" {
            assert!(!trace.lags().is_empty());
            assert_eq!(trace.events() as u64 + missed, EVENTS);
        }
    }
}

#[test]
fn reliable_no_wake_up_is_lost_in_a_million_rounds_of_mixed_receiving() {
    const ROUNDS: u64 = 1_000_000;
    let (mut publisher, hub) = Builder::new().spawn().unwrap();
    let mut watcher = hub.watch("k").unwrap();
    let received = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&received);
    let receiver = thread::spawn(move || {
        let (counting, waker) = CountingWaker::pair();
        let mut rng = Rng::new(11);
        let mut ways = [0_u64; 4];
        for round in 1..=ROUNDS {
            let revision = loop {
                let way = rng.next_below(4);
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
                        let woken = counting.calls();
                        match watcher.poll_recv(&mut Context::from_waker(&waker)) {
                            Poll::Ready(event) => break event.unwrap().revision(),
                            // Wait for the wake-up, or receive in another way.
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
        // At most two events are ahead of the receiver, so that its queue is mostly empty.
        let ahead = rng.next_below(3);
        eventually("the receiver goes on", || {
            received.load(Ordering::SeqCst) + ahead >= round || receiver.is_finished()
        });
    }
    let ways = join_in_time(receiver);
    assert!(ways.iter().all(|&way| way > ROUNDS / 8), "{ways:?}");
}

/// The engine looks up many watchers differently than few, and a large transaction in parts.
#[test]
fn reliable_twenty_thousand_watchers_receive_the_events_that_a_scan_finds() {
    let mut rng = Rng::new(11);
    let (mut publisher, hub, _dispatcher) = inline_engine(Builder::new());
    let key = |rng: &mut Rng| format!("k{:03}", rng.next_below(1000)).into_bytes();
    let crowd: Vec<_> = (0..20_000)
        .map(|_| {
            let selector = match rng.next_below(200) {
                // Few of them, since each matches half of all keys.
                0 => NaiveSelector::Range(key(&mut rng), b"k999~".to_vec()),
                1..50 => NaiveSelector::Prefix(key(&mut rng)),
                50..100 => NaiveSelector::Any(vec![
                    NaiveSelector::Exact(key(&mut rng)),
                    NaiveSelector::Prefix(key(&mut rng)),
                ]),
                _ => NaiveSelector::Exact(key(&mut rng)),
            };
            let filter = [Filter::All, Filter::Puts, Filter::Deletes][rng.next_below(3) as usize];
            let options = WatchOptions::new().filter(filter).capacity(8192);
            let watcher = hub.watch_with(selector.to_selector(), options).unwrap();
            let mut trace = Trace::new(format!("{selector:?}"), selector, &watcher);
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
                1 + rng.next_below(4)
            };
            let changes = (0..changes).map(|_| match rng.next_below(2) {
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

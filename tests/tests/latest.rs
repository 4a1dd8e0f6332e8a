//! The newest event of each key only, in every runtime.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::channel::oneshot;
use futures::stream::FusedStream;
use kvwatch::latest::LatestEvent;
use kvwatch::stream::WatcherExt;
use kvwatch::{
    Builder, Change, EndReason, EventKind, Hub, Latest, Overflow, PrevValue, RecvError,
    RecvTimeoutError, Selector, TryRecvError, WatchOptions,
};
use kvwatch_tests::mirrors::MirrorRuntime;
use kvwatch_tests::runtimes::{AsyncRuntime, Publish, yield_now};
use kvwatch_tests::shared::{inline_engine, poll_once, running};
use kvwatch_tests::{CountingWaker, Rng, in_every_runtime, put, removed};

in_every_runtime![
    reliable_newest_event_of_each_key_is_received,
    reliable_lag_comes_in_order_when_the_history_is_short,
    clean_end_comes_after_every_event,
    bookmarkable_nothing_is_missed_when_a_watch_resumes_at_the_progress,
    reliable_slow_consumer_ends_with_the_state_of_the_store,
];

fn latest(hub: &Hub, options: WatchOptions) -> Latest {
    let watcher = hub.watch_with(Selector::all(), options);
    watcher.expect("it runs").latest()
}

/// The revision, the key, and the number of events that this one replaced.
fn summary(event: &LatestEvent) -> (u64, &str, u64) {
    let key = std::str::from_utf8(event.key()).expect("text");
    (event.revision(), key, event.replaced())
}

async fn reliable_newest_event_of_each_key_is_received<Rt: MirrorRuntime>() {
    let (mut publisher, hub, _dispatcher) = inline_engine::<Rt>(Builder::new().queue_capacity(4));
    let mut latest = latest(&hub, WatchOptions::new().prev_value(true));
    for key in ["a", "b", "a", "c"] {
        publisher.publish(put(key)).await.expect("it runs");
    }
    let prev = PrevValue::Value("v".into());
    let deletion = Change::delete("b").with_prev_value(prev.clone());
    let transaction = vec![put("d"), deletion, put("d")];
    publisher.publish_batch(transaction).await.expect("it runs");

    assert_eq!(
        summary(&Rt::latest(&mut latest).await.unwrap()),
        (3, "a", 1)
    );
    assert_eq!(latest.buffered_keys(), 3);
    // An event that comes meanwhile counts, too.
    publisher.publish(put("c")).await.expect("it runs");
    let deleted = Rt::latest_item(&mut latest).await.unwrap().unwrap();
    assert_eq!(summary(&deleted), (5, "b", 1));
    assert_eq!((deleted.kind(), deleted.value()), (EventKind::Delete, None));
    assert_eq!(deleted.prev_value(), &prev);
    assert_eq!(
        summary(&Rt::latest(&mut latest).await.unwrap()),
        (5, "d", 1)
    );
    assert_eq!(summary(&latest.try_recv().unwrap()), (6, "c", 1));
    assert_eq!(latest.try_recv(), Err(TryRecvError::Empty));
    let nothing = Err(RecvTimeoutError::Timeout);
    assert_eq!(latest.recv_timeout(Duration::ZERO), nothing);
    assert_eq!(latest.recv_deadline(Instant::now()), nothing);
    // A received event is no longer counted as replaced.
    publisher.publish(put("c")).await.expect("it runs");
    let again = latest.recv_timeout(Duration::ZERO).unwrap();
    assert_eq!(summary(&again), (7, "c", 0));
    assert_eq!(again.into_change(), put("c"));
}

async fn reliable_lag_comes_in_order_when_the_history_is_short<Rt: MirrorRuntime>() {
    let (mut publisher, hub, _dispatcher) = inline_engine::<Rt>(Builder::new().history_events(2));
    let mut latest = latest(&hub, WatchOptions::new().capacity(3));
    for key in ["a", "b", "a", "b", "c", "a", "d", "a", "a"] {
        publisher.publish(put(key)).await.expect("it runs");
    }
    // Events before the lag are not replaced by events after it.
    assert_eq!(
        summary(&Rt::latest(&mut latest).await.unwrap()),
        (2, "b", 0)
    );
    assert_eq!(latest.progress(), 2);
    assert_eq!(
        summary(&Rt::latest(&mut latest).await.unwrap()),
        (3, "a", 1)
    );
    assert_eq!(latest.progress(), 3);
    let lagged = RecvError::Lagged(removed(4, 7));
    assert_eq!(Rt::latest_item(&mut latest).await, Some(Err(lagged)));
    assert_eq!(latest.progress(), 7);
    assert_eq!(
        summary(&Rt::latest(&mut latest).await.unwrap()),
        (9, "a", 1)
    );
    assert_eq!(latest.try_recv(), Err(TryRecvError::Empty));
    assert_eq!(latest.progress(), 9);
}

async fn clean_end_comes_after_every_event<Rt: MirrorRuntime>() {
    for reason in [EndReason::Overflow, EndReason::ShutDown, EndReason::Failed] {
        let (mut publisher, hub, dispatcher) = inline_engine::<Rt>(Builder::new());
        let options = WatchOptions::new().capacity(2).overflow(Overflow::Cancel);
        let mut latest = latest(&hub, options);
        for _ in 0..2 {
            publisher.publish(put("k")).await.expect("it runs");
        }
        match reason {
            EndReason::Overflow => _ = publisher.publish(put("k")).await.expect("it runs"),
            EndReason::ShutDown => drop(publisher),
            _ => drop(dispatcher),
        }
        assert!(!latest.is_terminated());
        let event = Rt::latest_item(&mut latest).await.unwrap().unwrap();
        assert_eq!(summary(&event), (2, "k", 1));
        if !reason.is_normal() {
            let closed = Some(Err(RecvError::Closed(reason)));
            assert_eq!(Rt::latest_item(&mut latest).await, closed);
        }
        for _ in 0..2 {
            assert_eq!(Rt::latest_item(&mut latest).await, None);
            assert!(latest.is_terminated());
            assert_eq!(
                Rt::latest(&mut latest).await,
                Err(RecvError::Closed(reason))
            );
            assert_eq!(latest.try_recv(), Err(TryRecvError::Closed(reason)));
        }
    }
}

async fn bookmarkable_nothing_is_missed_when_a_watch_resumes_at_the_progress<Rt: MirrorRuntime>() {
    let (mut publisher, hub, _dispatcher) = inline_engine::<Rt>(Builder::new());
    let _keeps_everything = hub.watch(Selector::all()).expect("it runs");
    let mut first = latest(&hub, WatchOptions::new());
    assert_eq!(first.progress(), 0);
    let transaction = vec![put("c"), put("d")];
    for key in ["a", "b", "a"] {
        publisher.publish(put(key)).await.expect("it runs");
    }
    publisher.publish_batch(transaction).await.expect("it runs");
    publisher.publish_batch(vec![]).await.expect("it runs");
    let mut got = Vec::new();
    for known in [2, 3, 3, 5] {
        got.push(Rt::latest(&mut first).await.unwrap());
        assert_eq!(first.progress(), known);
        // A watch that resumes there receives the events that are still to come.
        let mut resumed = latest(&hub, WatchOptions::new().start_revision(known + 1));
        let mut keys: Vec<_> = got.iter().map(|event| event.key().clone()).collect();
        while let Ok(event) = resumed.try_recv() {
            keys.push(event.key().clone());
        }
        keys.sort();
        keys.dedup();
        assert_eq!(keys, ["a", "b", "c", "d"]);
    }
}

async fn reliable_slow_consumer_ends_with_the_state_of_the_store<Rt: MirrorRuntime>() {
    const EVENTS: u64 = 200_000;
    for history in [2 * EVENTS as usize, 0] {
        let (mut publisher, hub) =
            running::<Rt>(Builder::new().history_events(history).queue_capacity(8));
        let mut latest = latest(&hub, WatchOptions::new());
        let (halfway, half_written) = oneshot::channel();
        let writing = Rt::spawn(async move {
            let mut halfway = Some(halfway);
            let mut rng = Rng::new(13);
            let mut state = BTreeMap::new();
            for number in 0..EVENTS {
                let key = format!("k{}", rng.next_below(50));
                let change = if rng.next_below(3) == 0 {
                    state.remove(&key);
                    Change::delete(key)
                } else {
                    state.insert(key.clone(), number.to_string());
                    Change::put(key, number.to_string())
                };
                publisher.publish(change).await.expect("it runs");
                if number % 1000 == 0 {
                    yield_now().await;
                }
                if number == EVENTS / 2 {
                    let halfway = halfway.take().expect("once");
                    halfway.send(()).expect("the consumer waits");
                }
            }
            publisher.shutdown().await.expect("it ran");
            state
        });
        // Slow: it receives nothing before half of the events are there to be replaced.
        half_written.await.expect("the writer comes that far");
        let (mut state, mut last, mut progress) = (BTreeMap::new(), 0, 0);
        // One event is one revision here, so that every event can be accounted for.
        let (mut received, mut replaced, mut missed) = (0, 0, 0);
        while let Some(item) = Rt::latest_item(&mut latest).await {
            match item {
                Ok(event) => {
                    assert!(event.revision() > last, "{event:?} after {last}");
                    last = event.revision();
                    received += 1;
                    replaced += event.replaced();
                    let key = String::from_utf8(event.key().to_vec()).expect("text");
                    match event.value() {
                        Some(value) => {
                            let value = String::from_utf8(value.to_vec()).expect("text");
                            state.insert(key, value);
                        }
                        None => _ = state.remove(&key),
                    }
                }
                Err(RecvError::Lagged(lagged)) => {
                    assert!(lagged.first > last);
                    last = lagged.last;
                    missed += lagged.last - lagged.first + 1;
                }
                Err(error) => panic!("{error}"),
            }
            assert!(
                latest.buffered_keys() <= 50,
                "bounded by the number of keys"
            );
            assert!(latest.progress() >= progress);
            progress = latest.progress();
            if received % 16 == 0 {
                yield_now().await;
            }
        }
        let written = writing.await;
        println!("history {history}: {received} received, {replaced} replaced, {missed} missed");
        assert_eq!(received + replaced + missed, EVENTS);
        if history > 0 {
            assert_eq!(missed, 0);
            assert!(replaced > 0);
            assert_eq!(state, written);
        }
    }
}

mod cancelled {
    use super::*;

    kvwatch_tests::in_every_async_runtime![reliable_nothing_is_lost_when_a_receive_is_cancelled];

    async fn reliable_nothing_is_lost_when_a_receive_is_cancelled<
        Rt: AsyncRuntime + MirrorRuntime,
    >() {
        let (mut publisher, hub, _dispatcher) =
            inline_engine::<Rt>(Builder::new().queue_capacity(20_000));
        let mut latest = latest(&hub, WatchOptions::new());
        let (cancelled, cancelled_waker) = CountingWaker::pair();
        let (waiting, waker) = CountingWaker::pair();
        assert!(poll_once(latest.recv_async(), &cancelled_waker).is_pending());
        assert!(poll_once(latest.recv_async(), &waker).is_pending());
        publisher.publish(put("a")).await.expect("it runs");
        assert_eq!((cancelled.calls(), waiting.calls()), (0, 1));
        let event = latest.recv_async().now_or_never().unwrap().unwrap();
        assert_eq!(summary(&event), (1, "a", 0));
        // A receive that is cancelled while it gathers goes on where it was.
        publisher.publish(put("b")).await.expect("it runs");
        for _ in 0..10 {
            let many = (0..1000).map(|_| put("a")).collect();
            publisher.publish_batch(many).await.expect("it runs");
        }
        let mut polls = 0;
        while poll_once(latest.recv_async(), &waker).is_pending() {
            polls += 1;
            assert_eq!(waiting.calls(), 1 + polls, "it goes on by itself");
        }
        assert!(polls > 0, "there was enough for several polls");
        let event = latest.recv_async().await.unwrap();
        assert_eq!(summary(&event), (12, "a", 9_999));
    }
}

#[test]
fn isolated_receive_gathers_a_bounded_number_of_events() {
    let builder = Builder::new()
        .history_events(200_000)
        .history_bytes(usize::MAX);
    let (mut publisher, hub, _dispatcher) = kvwatch_tests::inline_engine(builder);
    let mut latest = latest(&hub, WatchOptions::new());
    for _ in 0..100_000 {
        publisher.publish(put("k")).expect("it runs");
    }
    let first = latest.try_recv().unwrap();
    let (stands_for, rest) = (first.replaced() + 1, latest.try_recv().unwrap());
    assert!((65_536..66_000).contains(&stands_for), "{stands_for}");
    assert_eq!(stands_for + rest.replaced() + 1, 100_000);
    assert_eq!(
        (rest.revision(), latest.try_recv()),
        (100_000, Err(TryRecvError::Empty))
    );
}

//! One set of test bodies for every runtime: plain threads, a futures executor, tokio on one thread
//! and on several, async-std, smol.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use futures::{FutureExt, StreamExt};
use kvwatch::{Builder, Change, EndReason, RecvError, WaitError, WatchError, WatchOptions};
use kvwatch_tests::checker::{Complete, assert_kept};
use kvwatch_tests::record::{Item, Log, Trace};
use kvwatch_tests::runtimes::{
    AsyncStd, Publish, Receive, Runtime, TokioCurrent, TokioMulti, yield_now,
};
use kvwatch_tests::selector::NaiveSelector;
use kvwatch_tests::shared::{
    WAYS, Way, ending_stream, inline_engine, on_a_thread, receive, revisions, running, watch,
};
use kvwatch_tests::{Rng, in_every_runtime, in_time, join_in_time, put, removed};

in_every_runtime![
    every_promise_holds_with_a_long_and_a_short_history,
    reliable_lag_comes_in_order_when_the_history_is_short,
    clean_stream_just_ends_when_the_publisher_shuts_down,
    clean_abnormal_end_is_an_error,
    clean_waiting_receive_ends_when_the_watcher_is_closed,
    reliable_every_stream_is_woken_when_streams_are_short_lived,
    reliable_nothing_is_lost_when_a_watcher_moves_between_thread_and_task,
    reliable_publish_waits_when_the_ingress_is_full,
    clean_shutdown_returns_when_everything_is_dispatched,
];

/// Publishes transactions of one to three changes of ten keys, in every way.
async fn publish_mixed<P: Publish>(mut publisher: P, transactions: u64) -> Log {
    let mut log = Log::default();
    let mut rng = Rng::new(3);
    while publisher.revision() < transactions {
        let next = publisher.revision() + 1;
        let changes: Vec<Change> = (0..=rng.next_below(3))
            .map(|_| put(&format!("k{}", rng.next_below(10))))
            .collect();
        let entries = match rng.next_below(3) {
            0 => vec![(next, vec![changes[0].clone()])],
            1 => vec![(next, changes)],
            _ => vec![(next, changes.clone()), (next + 2, changes)],
        };
        log.transactions.extend(entries.iter().cloned());
        let published = match &entries[..] {
            [(_, one)] if one.len() == 1 => publisher.publish(one[0].clone()).await.ok(),
            [(_, batch)] => publisher.publish_batch(batch.clone()).await.ok(),
            _ => publisher.publish_many(entries).await.ok(),
        };
        assert_eq!(published, Some(log.last()));
    }
    publisher.flush().await.expect("it runs");
    publisher.shutdown().await.expect("it ran");
    log
}

async fn every_promise_holds_with_a_long_and_a_short_history<Rt: Runtime>() {
    // One history holds everything. The other is so short that there are lags.
    for history in [100_000, 64] {
        let (publisher, hub) =
            running::<Rt>(Builder::new().history_events(history).ingress_capacity(16));
        let selectors = [
            (NaiveSelector::All, 4),
            (NaiveSelector::Prefix(b"k".to_vec()), 256),
            (NaiveSelector::Exact(b"k3".to_vec()), 1),
        ];
        let mut tasks = Vec::new();
        for (selector, capacity) in selectors {
            let options = WatchOptions::new().capacity(capacity);
            let watcher = hub
                .watch_with(selector.to_selector(), options)
                .expect("it runs");
            tasks.push(Rt::spawn(async move {
                let mut trace = Trace::new(format!("{selector:?}"), selector, &watcher);
                let mut stream = Rt::Stream::of(watcher);
                let mut rng = Rng::new(5);
                loop {
                    let way = WAYS[rng.next_below(3) as usize];
                    let received = receive(&mut stream, way).await;
                    let item = received.map(|events| match way {
                        Way::Batch => Item::Batch(events.iter().map(Into::into).collect()),
                        _ => Item::Event((&events[0]).into()),
                    });
                    let is_open = trace.record(item);
                    trace
                        .items
                        .push(Item::Progress(stream.watcher().progress()));
                    if !is_open {
                        return trace;
                    }
                }
            }));
        }
        let log = Rt::spawn(publish_mixed(publisher, 10_000)).await;
        for task in tasks {
            let trace = task.await;
            assert_kept(&log, &trace, Complete::UpTo(log.last()));
            assert_eq!(trace.end(), Some(EndReason::ShutDown));
        }
    }
}

async fn reliable_lag_comes_in_order_when_the_history_is_short<Rt: Runtime>() {
    for way in WAYS {
        let (mut publisher, hub, _dispatcher) =
            inline_engine::<Rt>(Builder::new().history_events(4));
        let mut stream = watch::<Rt>(&hub, WatchOptions::new().capacity(2));
        for _ in 0..10 {
            publisher.publish(put("k")).await.expect("it runs");
        }
        let mut got = Vec::new();
        while got.len() < 2 {
            got.extend(revisions(&mut stream, way).await.expect("the queue"));
        }
        let lagged = revisions(&mut stream, way).await;
        assert_eq!(lagged, Err(RecvError::Lagged(removed(3, 6))));
        while got.len() < 6 {
            got.extend(revisions(&mut stream, way).await.expect("the history"));
        }
        assert_eq!(got, [1, 2, 7, 8, 9, 10], "{way:?}");
    }
}

async fn clean_stream_just_ends_when_the_publisher_shuts_down<Rt: Runtime>() {
    let (mut publisher, hub) = running::<Rt>(Builder::new());
    let mut stream = watch::<Rt>(&hub, WatchOptions::new());
    publisher.publish(put("k")).await.expect("it runs");
    publisher.shutdown().await.expect("it ran");
    let shut_down = Err(RecvError::Closed(EndReason::ShutDown));
    assert_eq!(revisions(&mut stream, Way::Item).await, Ok(vec![1]));
    assert_eq!(stream.item().await, None);
    assert_eq!(revisions(&mut stream, Way::Recv).await, shut_down);
    assert_eq!(revisions(&mut stream, Way::Batch).await, shut_down);
    assert_eq!(stream.item().await, None);
    assert_eq!(stream.watcher().progress(), 1);
}

async fn clean_abnormal_end_is_an_error<Rt: Runtime>() {
    for reason in [EndReason::Overflow, EndReason::Failed] {
        let closed = Err(RecvError::Closed(reason));
        for way in WAYS {
            let mut stream = ending_stream::<Rt>(reason).await;
            assert_eq!(revisions(&mut stream, way).await, Ok(vec![1]));
            assert_eq!(revisions(&mut stream, way).await, closed, "{way:?}");
            assert_eq!(revisions(&mut stream, Way::Recv).await, closed);
            assert_eq!(revisions(&mut stream, Way::Recv).await, closed);
        }
    }
}

async fn clean_waiting_receive_ends_when_the_watcher_is_closed<Rt: Runtime>() {
    let (_publisher, hub) = running::<Rt>(Builder::new());
    for way in WAYS {
        let mut stream = watch::<Rt>(&hub, WatchOptions::new());
        let closer = stream.watcher().closer();
        let received = Rt::spawn(async move { revisions(&mut stream, way).await });
        for _ in 0..10 {
            yield_now().await;
        }
        closer.close();
        assert_eq!(received.await, Err(RecvError::Closed(EndReason::Closed)));
    }
    assert_eq!(hub.stats().watchers.total, 0);
}

async fn reliable_every_stream_is_woken_when_streams_are_short_lived<Rt: Runtime>() {
    let (mut publisher, hub) = running::<Rt>(Builder::new());
    let enough = Arc::new(AtomicBool::new(false));
    let publishing = {
        let enough = Arc::clone(&enough);
        Rt::spawn(async move {
            while !enough.load(Ordering::Relaxed) {
                publisher.publish(put("k")).await.expect("it runs");
                yield_now().await;
            }
            publisher
        })
    };
    let lives = (0..4).map(|_| {
        let hub = hub.clone();
        Rt::spawn(async move {
            for life in 0..1000 {
                let mut stream = watch::<Rt>(&hub, WatchOptions::new());
                let start = stream.watcher().start_revision();
                let first = revisions(&mut stream, WAYS[life % 3])
                    .await
                    .expect("no lag");
                assert_eq!(first[0], start);
            }
        })
    });
    for life in lives.collect::<Vec<_>>() {
        life.await;
    }
    enough.store(true, Ordering::Relaxed);
    drop(publishing.await);
    assert_eq!(hub.stats().watchers.total, 0);
}

async fn reliable_nothing_is_lost_when_a_watcher_moves_between_thread_and_task<Rt: Runtime>() {
    let (mut publisher, hub) = running::<Rt>(Builder::new());
    let mut watcher = watch::<Rt>(&hub, WatchOptions::new()).into_watcher();
    let publishing = Rt::spawn(async move {
        for _ in 0..6000 {
            publisher.publish(put("k")).await.expect("it runs");
        }
        publisher
    });
    let mut next = 1;
    while next <= 6000 {
        let mut stream = Rt::Stream::of(watcher);
        // Leaves a waker in the watcher if no event is queued.
        if next % 2 == 0
            && let Some(received) = stream.recv().now_or_never()
        {
            assert_eq!(received.expect("no lag").revision(), next);
            next += 1;
        }
        watcher = stream.into_watcher();
        if next <= 6000 {
            (watcher, next) = on_a_thread(move || {
                assert_eq!(watcher.recv().expect("no lag").revision(), next);
                (watcher, next + 1)
            })
            .await;
        }
        if next <= 6000 {
            (watcher, next) = Rt::spawn(async move {
                let mut stream = Rt::Stream::of(watcher);
                for revision in revisions(&mut stream, Way::Batch).await.expect("no lag") {
                    assert_eq!(revision, next);
                    next += 1;
                }
                (stream.into_watcher(), next)
            })
            .await;
        }
    }
    drop(publishing.await);
}

async fn reliable_publish_waits_when_the_ingress_is_full<Rt: Runtime>() {
    for inline in [true, false] {
        let (mut publisher, hub) =
            running::<Rt>(Builder::new().ingress_capacity(1).inline_dispatch(inline));
        let mut stream = watch::<Rt>(&hub, WatchOptions::new().capacity(16));
        let publishing = Rt::spawn(async move {
            for revision in 1..=3000 {
                assert_eq!(publisher.publish(put("k")).await, Ok(revision));
            }
            publisher.shutdown().await
        });
        let mut next = 1;
        while let Ok(got) = revisions(&mut stream, Way::Batch).await {
            for revision in got {
                assert_eq!(revision, next);
                next += 1;
            }
        }
        assert_eq!(next, 3001);
        assert_eq!(publishing.await, Ok(()));
    }
}

async fn clean_shutdown_returns_when_everything_is_dispatched<Rt: Runtime>() {
    let (mut publisher, hub) = running::<Rt>(Builder::new().inline_dispatch(false));
    let mut stream = watch::<Rt>(&hub, WatchOptions::new().capacity(8));
    for _ in 0..500 {
        publisher.publish(put("k")).await.expect("it runs");
    }
    publisher.shutdown().await.expect("it ran");
    assert_eq!(hub.dispatched(), 500);
    let refused = hub.watch("k").map(|_| ());
    assert_eq!(refused, Err(WatchError::Closed(EndReason::ShutDown)));
    let mut last = 0;
    while let Some(event) = stream.item().await {
        let revision = event.expect("no lag").revision();
        assert_eq!(revision, last + 1);
        last = revision;
    }
    assert_eq!(last, 500);

    let (publisher, _hub, dispatcher) = inline_engine::<Rt>(Builder::new());
    drop(dispatcher);
    let failed = Err(WaitError::Closed(EndReason::Failed));
    assert_eq!(publisher.shutdown().await, failed);
}

#[test]
fn reliable_each_stream_receives_everything_when_tokio_and_async_std_share_a_hub() {
    in_time(|| {
        let (publisher, hub) = Builder::new().spawn().unwrap();
        let mut for_tokio = kvwatch::tokio::WatchStream::new(hub.watch("k").unwrap());
        let mut for_async_std = kvwatch::async_std::WatchStream::new(hub.watch("k").unwrap());
        let in_tokio = thread::spawn(|| {
            TokioMulti::block_on(async move {
                for revision in 1..=4000 {
                    let event = for_tokio.next().await.unwrap().unwrap();
                    assert_eq!(event.revision(), revision);
                }
                assert_eq!(for_tokio.next().await, None);
            });
        });
        let in_async_std = AsyncStd::spawn(async move {
            for revision in 1..=4000 {
                let event = for_async_std.next().await.unwrap().unwrap();
                assert_eq!(event.revision(), revision);
            }
            assert_eq!(for_async_std.next().await, None);
        });
        // One half is published in each runtime.
        let publisher = AsyncStd::block_on(async {
            let mut publisher = kvwatch::async_std::AsyncPublisher::new(publisher);
            for revision in 1..=2000 {
                assert_eq!(publisher.publish(put("k")).await, Ok(revision));
            }
            publisher.into_inner()
        });
        TokioCurrent::block_on(async {
            let mut publisher = kvwatch::tokio::AsyncPublisher::new(publisher);
            for revision in 2001..=4000 {
                assert_eq!(publisher.publish(put("k")).await, Ok(revision));
            }
            publisher.shutdown().await.unwrap();
        });
        AsyncStd::block_on(in_async_std);
        join_in_time(in_tokio);
    });
}

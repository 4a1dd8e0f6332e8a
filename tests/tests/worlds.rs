//! One body of tests for each way in which kvwatch is used: threads, any executor, tokio on one
//! thread and on several, async-std, smol.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use futures::{FutureExt, StreamExt};
use kvwatch::{Builder, Change, EndReason, Lagged, RecvError, WaitError, WatchError, WatchOptions};
use kvwatch_tests::bodies::{
    WAYS, Way, by_hand, on_a_thread, receive, revisions, running, that_ends, watch,
};
use kvwatch_tests::judge::{Complete, assert_kept};
use kvwatch_tests::record::{Item, Log, Trace};
use kvwatch_tests::want::Want;
use kvwatch_tests::worlds::{AsyncStd, Publish, Receive, TokioCurrent, TokioMulti, World, breathe};
use kvwatch_tests::{Rng, in_every_world, in_time, join_in_time, put};

in_every_world![
    every_promise_is_kept,
    reliable_a_lag_comes_in_its_place,
    clean_a_shutdown_just_ends,
    clean_an_end_that_nobody_asked_for_is_an_error,
    clean_a_closer_ends_a_waiting_receive,
    reliable_short_lived_streams_are_all_woken,
    reliable_a_watcher_moves_between_a_thread_and_a_task,
    reliable_a_small_ingress_makes_a_publish_wait,
    clean_a_shutdown_is_awaited,
];

/// Publishes transactions of one to three changes of ten keys, in every way there is.
async fn publish_mixed<P: Publish>(mut publisher: P, transactions: u64) -> Log {
    let mut log = Log::default();
    let mut rng = Rng::new(3);
    while publisher.revision() < transactions {
        let next = publisher.revision() + 1;
        let changes: Vec<Change> = (0..=rng.below(3))
            .map(|_| put(&format!("k{}", rng.below(10))))
            .collect();
        let entries = match rng.below(3) {
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

async fn every_promise_is_kept<W: World>() {
    // Room for all, and for so little that there are lags.
    for history in [100_000, 64] {
        let (publisher, hub) = running::<W>(Builder::new().history(history).ingress(16));
        let wants = [
            (Want::All, 4),
            (Want::Prefix(b"k".to_vec()), 256),
            (Want::Exact(b"k3".to_vec()), 1),
        ];
        let mut tasks = Vec::new();
        for (want, capacity) in wants {
            let options = WatchOptions::new().capacity(capacity);
            let watcher = hub.watch_with(want.selector(), options).expect("it runs");
            tasks.push(W::spawn(async move {
                let mut trace = Trace::new(format!("{want:?}"), want, &watcher);
                let mut stream = W::Stream::of(watcher);
                let mut rng = Rng::new(5);
                loop {
                    let way = WAYS[rng.below(3) as usize];
                    let received = receive(&mut stream, way).await;
                    let item = received.map(|events| match way {
                        Way::Batch => Item::Batch(events.iter().map(Into::into).collect()),
                        _ => Item::Event((&events[0]).into()),
                    });
                    let goes_on = trace.write(item);
                    trace
                        .items
                        .push(Item::Progress(stream.watcher().progress()));
                    if !goes_on {
                        return trace;
                    }
                }
            }));
        }
        let log = W::spawn(publish_mixed(publisher, 10_000)).await;
        for task in tasks {
            let trace = task.await;
            assert_kept(&log, &trace, Complete::UpTo(log.last()));
            assert_eq!(trace.end(), Some(EndReason::ShutDown));
        }
    }
}

async fn reliable_a_lag_comes_in_its_place<W: World>() {
    for way in WAYS {
        let (mut publisher, hub, _dispatcher) = by_hand::<W>(Builder::new().history(4));
        let mut stream = watch::<W>(&hub, WatchOptions::new().capacity(2));
        for _ in 0..10 {
            publisher.publish(put("k")).await.expect("it runs");
        }
        let mut got = Vec::new();
        while got.len() < 2 {
            got.extend(revisions(&mut stream, way).await.expect("the queue"));
        }
        let lagged = revisions(&mut stream, way).await;
        assert_eq!(lagged, Err(RecvError::Lagged(Lagged { from: 3, to: 6 })));
        while got.len() < 6 {
            got.extend(revisions(&mut stream, way).await.expect("the history"));
        }
        assert_eq!(got, [1, 2, 7, 8, 9, 10], "{way:?}");
    }
}

async fn clean_a_shutdown_just_ends<W: World>() {
    let (mut publisher, hub) = running::<W>(Builder::new());
    let mut stream = watch::<W>(&hub, WatchOptions::new());
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

async fn clean_an_end_that_nobody_asked_for_is_an_error<W: World>() {
    for reason in [EndReason::Overflow, EndReason::Failed] {
        let closed = Err(RecvError::Closed(reason));
        for way in WAYS {
            let mut stream = that_ends::<W>(reason).await;
            assert_eq!(revisions(&mut stream, way).await, Ok(vec![1]));
            assert_eq!(revisions(&mut stream, way).await, closed, "{way:?}");
            assert_eq!(revisions(&mut stream, Way::Recv).await, closed);
            assert_eq!(revisions(&mut stream, Way::Recv).await, closed);
        }
    }
}

async fn clean_a_closer_ends_a_waiting_receive<W: World>() {
    let (_publisher, hub) = running::<W>(Builder::new());
    for way in WAYS {
        let mut stream = watch::<W>(&hub, WatchOptions::new());
        let closer = stream.watcher().closer();
        let received = W::spawn(async move { revisions(&mut stream, way).await });
        for _ in 0..10 {
            breathe().await;
        }
        closer.close();
        assert_eq!(received.await, Err(RecvError::Closed(EndReason::Closed)));
    }
    assert_eq!(hub.stats().watchers.total, 0);
}

async fn reliable_short_lived_streams_are_all_woken<W: World>() {
    let (mut publisher, hub) = running::<W>(Builder::new());
    let enough = Arc::new(AtomicBool::new(false));
    let publishing = {
        let enough = Arc::clone(&enough);
        W::spawn(async move {
            while !enough.load(Ordering::Relaxed) {
                publisher.publish(put("k")).await.expect("it runs");
                breathe().await;
            }
            publisher
        })
    };
    let lives = (0..4).map(|_| {
        let hub = hub.clone();
        W::spawn(async move {
            for life in 0..1000 {
                let mut stream = watch::<W>(&hub, WatchOptions::new());
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

async fn reliable_a_watcher_moves_between_a_thread_and_a_task<W: World>() {
    let (mut publisher, hub) = running::<W>(Builder::new());
    let mut watcher = watch::<W>(&hub, WatchOptions::new()).into_watcher();
    let publishing = W::spawn(async move {
        for _ in 0..6000 {
            publisher.publish(put("k")).await.expect("it runs");
        }
        publisher
    });
    let mut next = 1;
    while next <= 6000 {
        let mut stream = W::Stream::of(watcher);
        // Leaves a waker behind, where there is nothing at hand.
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
            (watcher, next) = W::spawn(async move {
                let mut stream = W::Stream::of(watcher);
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

async fn reliable_a_small_ingress_makes_a_publish_wait<W: World>() {
    for inline in [true, false] {
        let (mut publisher, hub) = running::<W>(Builder::new().ingress(1).inline(inline));
        let mut stream = watch::<W>(&hub, WatchOptions::new().capacity(16));
        let publishing = W::spawn(async move {
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

async fn clean_a_shutdown_is_awaited<W: World>() {
    let (mut publisher, hub) = running::<W>(Builder::new().inline(false));
    let mut stream = watch::<W>(&hub, WatchOptions::new().capacity(8));
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

    let (publisher, _hub, dispatcher) = by_hand::<W>(Builder::new());
    drop(dispatcher);
    let failed = Err(WaitError::Closed(EndReason::Failed));
    assert_eq!(publisher.shutdown().await, failed);
}

#[test]
fn reliable_tokio_and_async_std_share_one_hub() {
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
        // One half is published in one runtime, the other in the other.
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

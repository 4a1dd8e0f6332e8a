//! What only tokio has: its cooperative budget, its clock, its runtimes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt;
use kvwatch::tokio::{AsyncPublisher, WatchStream, wait_for};
use kvwatch::{
    Builder, Dispatcher, EndReason, Hub, Publisher, RecvError, RecvTimeoutError, Selector,
    WaitError,
};
use kvwatch_tests::worlds::{AsyncStd, TokioCurrent, TokioMulti, World, breathe};
use kvwatch_tests::{eventually, in_time, put};

const HOUR: Duration = Duration::from_secs(60 * 60);

/// On one thread, with the dispatcher in the publisher's hand.
fn on_one_thread<F>(body: impl FnOnce(Publisher, Hub, Dispatcher) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let (publisher, hub, dispatcher) = Builder::new().build().unwrap();
    let body = body(publisher, hub, dispatcher);
    in_time(|| TokioCurrent::block_on(body));
}

/// The same on a clock that moves as soon as every task waits for it.
fn on_a_paused_clock<F>(body: impl FnOnce(Publisher, Hub, Dispatcher) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    on_one_thread(|publisher, hub, dispatcher| {
        let body = body(publisher, hub, dispatcher);
        async {
            tokio::time::pause();
            body.await;
        }
    });
}

/// Another task of the same thread, which says that it ran.
fn neighbour() -> Arc<AtomicBool> {
    let ran = Arc::new(AtomicBool::new(false));
    let sees = Arc::clone(&ran);
    drop(tokio::spawn(async move {
        sees.store(true, Ordering::SeqCst);
    }));
    ran
}

/// Receives that never wait: each finds what was published just before.
macro_rules! busy {
    ($name:ident, $stream:ident => $prepare:expr, $receive:expr) => {
        #[test]
        fn $name() {
            on_one_thread(|mut publisher, hub, dispatcher| async move {
                let $stream = WatchStream::new(hub.watch("k").unwrap());
                let mut $stream = $prepare;
                let neighbour = neighbour();
                for _ in 0..1000 {
                    publisher.try_publish(put("k")).unwrap();
                    $receive;
                }
                assert!(neighbour.load(Ordering::SeqCst), "the neighbour starved");
                drop(dispatcher);
            });
        }
    };
}

busy!(isolated_a_busy_recv_lets_others_run, stream => stream, {
    stream.recv().await.unwrap();
});
busy!(isolated_a_busy_stream_lets_others_run, stream => stream, {
    stream.next().await.unwrap().unwrap();
});
busy!(isolated_a_busy_recv_batch_lets_others_run, stream => stream, {
    stream.recv_batch().await.unwrap();
});
busy!(isolated_a_busy_batch_stream_lets_others_run, stream => stream.batches(), {
    stream.next().await.unwrap().unwrap();
});
busy!(isolated_a_busy_recv_timeout_lets_others_run, stream => stream, {
    stream.recv_timeout(HOUR).await.unwrap();
});

#[test]
fn isolated_a_busy_task_that_falls_behind_lets_others_run() {
    on_one_thread(|mut publisher, hub, dispatcher| async move {
        let mut stream = WatchStream::new(hub.watch("k").unwrap());
        for _ in 0..10_000 {
            publisher.publish(put("k")).unwrap();
        }
        let neighbour = neighbour();
        for revision in 1..=10_000 {
            assert_eq!(stream.recv().await.unwrap().revision(), revision);
        }
        assert!(neighbour.load(Ordering::SeqCst), "the neighbour starved");
        drop(dispatcher);
    });
}

#[test]
fn isolated_a_busy_publisher_lets_others_run() {
    on_one_thread(|publisher, _hub, dispatcher| async move {
        let mut publisher = AsyncPublisher::new(publisher);
        let neighbour = neighbour();
        for _ in 0..1000 {
            publisher.publish(put("k")).await.unwrap();
        }
        assert!(neighbour.load(Ordering::SeqCst), "the neighbour starved");
        drop(dispatcher);
    });
}

#[test]
fn reliable_a_timeout_runs_on_tokios_clock_and_takes_nothing() {
    on_a_paused_clock(|mut publisher, hub, dispatcher| async move {
        let mut stream = WatchStream::new(hub.watch("k").unwrap());
        let before = tokio::time::Instant::now();
        let nothing = stream.recv_timeout(HOUR).await;
        assert_eq!(nothing, Err(RecvTimeoutError::Timeout));
        assert!(before.elapsed() >= HOUR);

        // What is at hand is returned however short the time.
        publisher.publish(put("k")).unwrap();
        let event = stream.recv_timeout(Duration::ZERO).await.unwrap();
        assert_eq!(event.revision(), 1);

        // What comes in time is returned in time.
        let publishing = tokio::spawn(async move {
            tokio::time::sleep(HOUR / 2).await;
            publisher.publish(put("k")).unwrap();
            publisher
        });
        let before = tokio::time::Instant::now();
        let event = stream.recv_timeout(HOUR).await.unwrap();
        assert_eq!(event.revision(), 2);
        assert!(before.elapsed() < HOUR);

        drop(publishing.await.unwrap());
        let closed = RecvTimeoutError::Closed(EndReason::ShutDown);
        assert_eq!(stream.recv_timeout(HOUR).await, Err(closed));
        drop(dispatcher);
    });
}

#[test]
fn a_wait_for_a_revision_runs_on_tokios_clock() {
    on_a_paused_clock(|mut publisher, hub, dispatcher| async move {
        let before = tokio::time::Instant::now();
        assert_eq!(wait_for(&hub, 1, HOUR).await, Err(WaitError::Timeout));
        assert!(before.elapsed() >= HOUR);
        let publishing = tokio::spawn(async move {
            tokio::time::sleep(HOUR / 2).await;
            publisher.publish(put("k")).unwrap();
            publisher
        });
        assert_eq!(wait_for(&hub, 1, HOUR).await, Ok(()));
        drop(publishing.await.unwrap());
        let closed = WaitError::Closed(EndReason::ShutDown);
        assert_eq!(wait_for(&hub, 2, HOUR).await, Err(closed));
        drop(dispatcher);
    });
}

/// Receives with timeouts that mostly are up at once, while somebody publishes.
macro_rules! short_timeouts {
    ($name:ident, $world:ty, $face:ident) => {
        #[test]
        fn $name() {
            const EVENTS: u64 = 10_000;
            in_time(|| {
                <$world>::block_on(async {
                    let (publisher, hub) = Builder::new().spawn().unwrap();
                    let watcher = hub.watch(Selector::all()).unwrap();
                    let mut stream = kvwatch::$face::WatchStream::new(watcher);
                    let publishing = <$world>::spawn(async move {
                        let mut publisher = kvwatch::$face::AsyncPublisher::new(publisher);
                        for _ in 0..EVENTS {
                            publisher.publish(put("k")).await.unwrap();
                        }
                        publisher.shutdown().await.unwrap();
                    });
                    let mut next = 1;
                    for round in 0.. {
                        let timeout = Duration::from_micros(round % 3 * 20);
                        match stream.recv_timeout(timeout).await {
                            Ok(event) => {
                                assert_eq!(event.revision(), next);
                                next += 1;
                            }
                            Err(RecvTimeoutError::Timeout) => breathe().await,
                            Err(error) => {
                                let end = RecvTimeoutError::Closed(EndReason::ShutDown);
                                assert_eq!(error, end);
                                break;
                            }
                        }
                    }
                    assert_eq!(next, EVENTS + 1);
                    let far = Duration::from_secs(1);
                    let waited = kvwatch::$face::wait_for(&hub, EVENTS, far).await;
                    assert_eq!(waited, Ok(()));
                    publishing.await;
                });
            });
        }
    };
}

short_timeouts!(
    reliable_short_timeouts_lose_nothing_on_one_thread,
    TokioCurrent,
    tokio
);
short_timeouts!(
    reliable_short_timeouts_lose_nothing_on_several,
    TokioMulti,
    tokio
);
short_timeouts!(
    reliable_short_timeouts_lose_nothing_in_async_std,
    AsyncStd,
    async_std
);

#[test]
fn reliable_a_select_against_a_ticker_loses_nothing() {
    in_time(|| {
        TokioMulti::block_on(async {
            let (publisher, hub) = Builder::new().spawn().unwrap();
            let mut stream = WatchStream::new(hub.watch("k").unwrap());
            let publishing = tokio::spawn(async {
                let mut publisher = AsyncPublisher::new(publisher);
                for _ in 0..10_000 {
                    publisher.publish(put("k")).await.unwrap();
                }
                publisher.shutdown().await.unwrap();
            });
            let mut ticker = tokio::time::interval(Duration::from_micros(50));
            let mut next = 1;
            loop {
                tokio::select! {
                    _ = ticker.tick() => {}
                    () = breathe() => {}
                    event = stream.recv() => match event {
                        Ok(event) => {
                            assert_eq!(event.revision(), next);
                            next += 1;
                        }
                        Err(error) => {
                            assert_eq!(error, RecvError::Closed(EndReason::ShutDown));
                            break;
                        }
                    },
                }
            }
            assert_eq!(next, 10_001);
            publishing.await.unwrap();
        });
    });
}

#[test]
fn clean_a_runtime_that_is_dropped_unregisters_its_streams() {
    in_time(|| {
        let (mut publisher, hub) = Builder::new().spawn().unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        for i in 0..100 {
            let mut stream = WatchStream::new(hub.watch(format!("k{i}")).unwrap());
            drop(runtime.spawn(async move { while stream.next().await.is_some() {} }));
        }
        publisher.publish(put("k1")).unwrap();
        assert_eq!(hub.stats().watchers.total, 100);
        drop(runtime);
        eventually("all streams are gone", || hub.stats().watchers.total == 0);
        publisher.publish(put("k1")).unwrap();
    });
}

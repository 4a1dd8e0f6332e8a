//! Properties of tokio: its cooperative budget, its clock, its runtimes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt;
use kvwatch::tokio::{AsyncPublisher, WatchStream, wait_for};
use kvwatch::{
    Builder, Dispatcher, EndReason, Hub, Publisher, RecvError, RecvTimeoutError, Selector,
    WaitError,
};
use kvwatch_tests::runtimes::{AsyncStd, Runtime, TokioCurrent, TokioMulti, yield_now};
use kvwatch_tests::{HANG, eventually, in_time, put};

const HOUR: Duration = Duration::from_secs(60 * 60);

/// Runs a body on one thread, with an engine that dispatches inline.
fn on_one_thread<F>(body: impl FnOnce(Publisher, Hub, Dispatcher) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let (publisher, hub, dispatcher) = Builder::new().build().unwrap();
    let body = body(publisher, hub, dispatcher);
    in_time(|| TokioCurrent::block_on(body));
}

/// Runs a body on one thread with a paused clock: it advances once every task waits for it.
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

/// Spawns another task on the same thread, and returns a flag that the task sets.
fn neighbour() -> Arc<AtomicBool> {
    let ran = Arc::new(AtomicBool::new(false));
    let sees = Arc::clone(&ran);
    drop(tokio::spawn(async move {
        sees.store(true, Ordering::SeqCst);
    }));
    ran
}

/// A test of receives that never wait: each finds the event published just before.
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

busy!(isolated_other_tasks_run_when_recv_never_waits, stream => stream, {
    stream.recv().await.unwrap();
});
busy!(isolated_other_tasks_run_when_a_stream_never_waits, stream => stream, {
    stream.next().await.unwrap().unwrap();
});
busy!(isolated_other_tasks_run_when_recv_batch_never_waits, stream => stream, {
    stream.recv_batch().await.unwrap();
});
busy!(isolated_other_tasks_run_when_a_batch_stream_never_waits, stream => stream.batches(), {
    stream.next().await.unwrap().unwrap();
});
busy!(isolated_other_tasks_run_when_recv_timeout_never_waits, stream => stream, {
    stream.recv_timeout(HOUR).await.unwrap();
});

#[test]
fn isolated_other_tasks_run_when_a_busy_task_falls_behind() {
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
fn isolated_other_tasks_run_when_a_publisher_never_waits() {
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
fn reliable_no_event_is_lost_when_a_receive_times_out_on_tokios_clock() {
    on_a_paused_clock(|mut publisher, hub, dispatcher| async move {
        let mut stream = WatchStream::new(hub.watch("k").unwrap());
        let before = tokio::time::Instant::now();
        let nothing = stream.recv_timeout(HOUR).await;
        assert_eq!(nothing, Err(RecvTimeoutError::Timeout));
        assert!(before.elapsed() >= HOUR);

        // A queued event is received whatever the timeout.
        publisher.publish(put("k")).unwrap();
        let event = stream.recv_timeout(Duration::ZERO).await.unwrap();
        assert_eq!(event.revision(), 1);

        // An event that comes before the timeout is received at once.
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
fn wait_for_times_out_on_tokios_clock() {
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

/// A test of receives with timeouts that mostly expire at once, beside a publisher.
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
                            Err(RecvTimeoutError::Timeout) => yield_now().await,
                            Err(error) => {
                                let end = RecvTimeoutError::Closed(EndReason::ShutDown);
                                assert_eq!(error, end);
                                break;
                            }
                        }
                    }
                    assert_eq!(next, EVENTS + 1);
                    let waited = kvwatch::$face::wait_for(&hub, EVENTS, HANG).await;
                    assert_eq!(waited, Ok(()));
                    publishing.await;
                });
            });
        }
    };
}

short_timeouts!(
    reliable_nothing_is_lost_with_short_timeouts_on_one_thread,
    TokioCurrent,
    tokio
);
short_timeouts!(
    reliable_nothing_is_lost_with_short_timeouts_on_several_threads,
    TokioMulti,
    tokio
);
short_timeouts!(
    reliable_nothing_is_lost_with_short_timeouts_in_async_std,
    AsyncStd,
    async_std
);

#[test]
fn reliable_nothing_is_lost_when_a_receive_is_selected_against_a_ticker() {
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
                    () = yield_now() => {}
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
fn clean_streams_are_unregistered_when_their_runtime_is_dropped() {
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

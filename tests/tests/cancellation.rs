//! Cancellation: every future can be dropped without a loss, in every runtime. And what holds for
//! streams only.

use std::collections::HashSet;
use std::pin::pin;
use std::task::Poll;
use std::thread;

use futures::future::{Either, ready, select};
use futures::stream::FusedStream;
use futures::{FutureExt, StreamExt};
use kvwatch::{
    Builder, Change, Dispatcher, EndReason, Hub, PublishErrorKind, RecvError, Selector, WaitError,
    WatchOptions, Watcher,
};
use kvwatch_tests::runtimes::{AsyncRuntime, Publish, Receive, Reserve, yield_now};
use kvwatch_tests::shared::{
    WAYS, ending_stream, inline_engine, on_a_thread, poll_once, receive, revisions, running, watch,
};
use kvwatch_tests::{CountingWaker, eventually, in_every_async_runtime, put};

in_every_async_runtime![
    reliable_next_receive_has_event_and_wake_up_when_a_receive_is_cancelled,
    reliable_nothing_is_lost_when_receives_are_cancelled_under_load,
    clean_stream_stays_ended_once_it_has_ended,
    isolated_ten_thousand_streams_receive_on_one_runtime,
    reliable_nothing_is_published_when_a_publish_is_cancelled,
    reliable_nothing_is_lost_when_publishes_are_cancelled_under_load,
    isolated_no_thread_is_blocked_when_a_publish_waits,
    isolated_no_thread_is_blocked_when_a_shutdown_waits,
    clean_waiting_publish_is_refused_when_the_engine_ends,
    clean_shutdown_goes_on_when_its_future_is_dropped,
];

async fn clean_stream_stays_ended_once_it_has_ended<Rt: AsyncRuntime>() {
    for reason in [EndReason::Overflow, EndReason::Failed] {
        let mut stream = ending_stream::<Rt>(reason).await;
        assert_eq!(stream.next().await.unwrap().unwrap().revision(), 1);
        assert!(!stream.is_terminated());
        let closed = RecvError::Closed(reason);
        assert_eq!(stream.next().await, Some(Err(closed)));
        assert!(stream.is_terminated());
        assert_eq!(stream.next().await, None);
        assert_eq!(stream.next().await, None);

        let mut batches = Rt::batches(ending_stream::<Rt>(reason).await);
        assert_eq!(batches.next().await.unwrap().unwrap().len(), 1);
        assert_eq!(batches.next().await, Some(Err(closed)));
        assert!(batches.is_terminated());
        assert_eq!(batches.next().await, None);
        assert_eq!(batches.next().await, None);
    }
    let (publisher, hub) = running::<Rt>(Builder::new());
    let mut stream = watch::<Rt>(&hub, WatchOptions::new());
    let mut batches = Rt::batches(watch::<Rt>(&hub, WatchOptions::new()));
    publisher.shutdown().await.expect("it ran");
    assert_eq!((stream.next().await, stream.next().await), (None, None));
    assert_eq!((batches.next().await, batches.next().await), (None, None));
    assert!(stream.is_terminated() && batches.is_terminated());
}

async fn reliable_next_receive_has_event_and_wake_up_when_a_receive_is_cancelled<
    Rt: AsyncRuntime,
>() {
    for first in WAYS {
        for second in WAYS {
            let (mut publisher, hub, _dispatcher) = inline_engine::<Rt>(Builder::new());
            let mut stream = watch::<Rt>(&hub, WatchOptions::new());
            let (cancelled, cancelled_waker) = CountingWaker::pair();
            let (waiting, waiting_waker) = CountingWaker::pair();
            let ways = format!("{first:?}, {second:?}");

            // The last poll is woken, and finds the event.
            assert!(poll_once(receive(&mut stream, first), &cancelled_waker).is_pending());
            assert!(poll_once(receive(&mut stream, second), &waiting_waker).is_pending());
            publisher.publish(put("k")).await.expect("it runs");
            assert_eq!((cancelled.calls(), waiting.calls()), (0, 1), "{ways}");
            let polled = poll_once(revisions(&mut stream, second), &waiting_waker);
            assert_eq!(polled, Poll::Ready(Ok(vec![1])), "{ways}");

            // A receive that is woken and then cancelled leaves the event to the next one.
            assert!(poll_once(receive(&mut stream, first), &cancelled_waker).is_pending());
            publisher.publish(put("k")).await.expect("it runs");
            assert_eq!((cancelled.calls(), waiting.calls()), (1, 1), "{ways}");
            let polled = poll_once(revisions(&mut stream, second), &waiting_waker);
            assert_eq!(polled, Poll::Ready(Ok(vec![2])), "{ways}");
        }
    }
}

async fn reliable_nothing_is_lost_when_receives_are_cancelled_under_load<Rt: AsyncRuntime>() {
    const EVENTS: u64 = 30_000;
    let (mut publisher, hub) = running::<Rt>(Builder::new());
    let mut stream = watch::<Rt>(&hub, WatchOptions::new().capacity(4));
    let publishing = Rt::spawn(async move {
        for _ in 0..EVENTS {
            publisher.publish(put("k")).await.expect("it runs");
        }
        publisher
    });
    let mut next = 1;
    for round in 0.. {
        let way = WAYS[round % 3];
        let received = if round % 4 == 3 {
            revisions(&mut stream, way).await
        } else {
            let receiving = pin!(revisions(&mut stream, way));
            match select(receiving, ready(())).await {
                Either::Left((received, _)) => received,
                Either::Right(_) => {
                    yield_now().await;
                    continue;
                }
            }
        };
        for revision in received.expect("no lag") {
            assert_eq!(revision, next);
            next += 1;
        }
        if next > EVENTS {
            break;
        }
    }
    drop(publishing.await);
}

async fn isolated_ten_thousand_streams_receive_on_one_runtime<Rt: AsyncRuntime>() {
    const STREAMS: usize = 10_000;
    let (mut publisher, hub) = running::<Rt>(Builder::new());
    let mut tasks = Vec::new();
    for i in 0..STREAMS {
        let mut stream = Rt::Stream::of(hub.watch(format!("k{i}")).expect("it runs"));
        tasks.push(Rt::spawn(async move {
            let first = stream.next().await.expect("no end").expect("no lag");
            let second = stream.next().await.expect("no end").expect("no lag");
            assert_eq!(first.key(), second.key());
            assert!(stream.next().await.is_none());
            first.key_bytes()
        }));
    }
    assert_eq!(hub.stats().watchers.total, STREAMS);
    for _ in 0..2 {
        for i in 0..STREAMS {
            let change = put(&format!("k{i}"));
            publisher.publish(change).await.expect("it runs");
        }
    }
    publisher.shutdown().await.expect("it ran");
    let mut keys = HashSet::new();
    for task in tasks {
        keys.insert(task.await);
    }
    assert_eq!(keys.len(), STREAMS);
    assert_eq!(hub.stats().watchers.total, 0);
}

/// An engine whose ingress of one message is full. Its dispatcher does not run yet.
async fn full<Rt: AsyncRuntime>() -> (Rt::Publisher, Hub, Dispatcher, Watcher) {
    let (mut publisher, hub, dispatcher) =
        inline_engine::<Rt>(Builder::new().ingress_capacity(1).inline_dispatch(false));
    let watcher = hub.watch(Selector::all()).expect("it runs");
    publisher.publish(put("k")).await.expect("there is room");
    (publisher, hub, dispatcher, watcher)
}

async fn reliable_nothing_is_published_when_a_publish_is_cancelled<Rt: AsyncRuntime>() {
    let (mut publisher, _hub, dispatcher, watcher) = full::<Rt>().await;
    let (cancelled, cancelled_waker) = CountingWaker::pair();
    let (waiting, waiting_waker) = CountingWaker::pair();
    let batch = || vec![put("k")];
    assert!(poll_once(publisher.reserve(), &cancelled_waker).is_pending());
    assert!(poll_once(publisher.publish(put("k")), &cancelled_waker).is_pending());
    assert!(poll_once(publisher.publish_batch(batch()), &cancelled_waker).is_pending());
    let many = publisher.publish_many(vec![(9, batch())]);
    assert!(poll_once(many, &cancelled_waker).is_pending());
    assert_eq!(publisher.revision(), 1);
    assert!(poll_once(publisher.reserve(), &waiting_waker).is_pending());

    let dispatching = thread::spawn(|| dispatcher.run());
    on_a_thread(move || eventually("a wake-up", || waiting.calls() > 0)).await;
    assert_eq!(cancelled.calls(), 0);
    // Dropping a permit frees its room.
    drop(publisher.reserve().await.expect("it runs"));
    let permit = publisher.reserve().await.expect("it runs");
    assert_eq!(permit.publish(put("k")), Ok(2));
    publisher.shutdown().await.expect("it ran");
    let got: Vec<u64> = { watcher }
        .iter()
        .map(|item| item.expect("no lag").revision())
        .collect();
    assert_eq!(got, [1, 2]);
    on_a_thread(|| dispatching.join().expect("no panic")).await;
}

async fn reliable_nothing_is_lost_when_publishes_are_cancelled_under_load<Rt: AsyncRuntime>() {
    const EVENTS: u64 = 5_000;
    let (mut publisher, hub) =
        running::<Rt>(Builder::new().ingress_capacity(1).inline_dispatch(false));
    let mut stream = watch::<Rt>(&hub, WatchOptions::new());
    let publishing = Rt::spawn(async move {
        let mut refused = 0_u64;
        for round in 0_u64.. {
            if publisher.revision() == EVENTS {
                break;
            }
            // The value is the number of the change, so that a second publish of it shows.
            let change = Change::put("k", (publisher.revision() + 1).to_string());
            let cancelled = if round % 2 == 0 {
                let reserving = pin!(publisher.reserve());
                match select(reserving, ready(())).await {
                    Either::Left((permit, _)) => {
                        permit.expect("it runs").publish(change).expect("it runs");
                        false
                    }
                    Either::Right(_) => true,
                }
            } else {
                let publishing = pin!(publisher.publish(change));
                match select(publishing, ready(())).await {
                    Either::Left((published, _)) => published.is_err(),
                    Either::Right(_) => true,
                }
            };
            if cancelled {
                refused += 1;
                if refused.is_multiple_of(2) {
                    drop(publisher.reserve().await.expect("it runs"));
                }
            }
        }
        publisher.shutdown().await.expect("it ran");
    });
    let mut next = 1;
    while let Some(item) = stream.next().await {
        let event = item.expect("no lag");
        assert_eq!(event.revision(), next);
        assert_eq!(event.value().unwrap(), &next.to_string());
        next += 1;
    }
    assert_eq!(next, EVENTS + 1);
    publishing.await;
}

async fn isolated_no_thread_is_blocked_when_a_publish_waits<Rt: AsyncRuntime>() {
    let (mut publisher, _hub, dispatcher, watcher) = full::<Rt>().await;
    // On the same thread: the dispatcher starts only if the waiting publish lets other tasks run.
    let publishing = async {
        publisher.publish(put("k")).await.expect("it runs");
        publisher.publish(put("k")).await.expect("it runs");
    };
    let dispatching = async {
        yield_now().await;
        thread::spawn(|| dispatcher.run())
    };
    let ((), dispatching) = futures::join!(publishing, dispatching);
    publisher.shutdown().await.expect("it ran");
    on_a_thread(|| dispatching.join().expect("no panic")).await;
    assert_eq!({ watcher }.iter().count(), 3);
}

async fn isolated_no_thread_is_blocked_when_a_shutdown_waits<Rt: AsyncRuntime>() {
    let (publisher, _hub, dispatcher, mut watcher) = full::<Rt>().await;
    let dispatching = async {
        yield_now().await;
        thread::spawn(|| dispatcher.run())
    };
    let (shut_down, dispatching) = futures::join!(publisher.shutdown(), dispatching);
    assert_eq!(shut_down, Ok(()));
    on_a_thread(|| dispatching.join().expect("no panic")).await;
    assert_eq!(watcher.iter().count(), 1);
}

async fn clean_waiting_publish_is_refused_when_the_engine_ends<Rt: AsyncRuntime>() {
    let (mut publisher, _hub, dispatcher, _watcher) = full::<Rt>().await;
    let (waiting, waker) = CountingWaker::pair();
    assert!(poll_once(publisher.reserve(), &waker).is_pending());
    drop(dispatcher);
    assert_eq!(waiting.calls(), 1);
    let refused = publisher.reserve().await.map(|_| ()).unwrap_err();
    assert_eq!(refused.reason(), EndReason::Failed);
    let change = put("precious");
    let refused = publisher.publish(change.clone()).await.unwrap_err();
    assert_eq!(refused.kind(), PublishErrorKind::Closed(EndReason::Failed));
    assert_eq!(refused.into_input(), change);
    let batch = publisher.publish_batch(vec![change.clone()]).await;
    assert_eq!(batch.unwrap_err().into_input(), vec![change.clone()]);
    let entries = vec![(7, vec![change])];
    let many = publisher.publish_many(entries.clone()).await;
    assert_eq!(many.unwrap_err().into_input(), entries);
}

async fn clean_shutdown_goes_on_when_its_future_is_dropped<Rt: AsyncRuntime>() {
    for polled in [false, true] {
        let (mut publisher, hub) = running::<Rt>(Builder::new().inline_dispatch(false));
        let mut stream = watch::<Rt>(&hub, WatchOptions::new());
        publisher.publish(put("k")).await.expect("it runs");
        let shutdown = publisher.shutdown();
        if polled {
            let _ = shutdown.now_or_never();
        } else {
            drop(shutdown);
        }
        assert_eq!(stream.next().await.unwrap().unwrap().revision(), 1);
        assert_eq!(stream.next().await, None);
        let ended = hub.wait_for_async(2).await;
        assert_eq!(ended, Err(WaitError::Closed(EndReason::ShutDown)));
    }
}

//! What can be polled can be cancelled: with nothing lost, in every runtime. And what else is
//! true of streams alone.

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
use kvwatch_tests::bodies::{
    WAYS, by_hand, on_a_thread, poll_once, receive, revisions, running, that_ends, watch,
};
use kvwatch_tests::worlds::{AsyncWorld, Publish, Receive, Reserve, breathe};
use kvwatch_tests::{Counting, eventually, in_every_async_world, put};

in_every_async_world![
    reliable_a_cancelled_receive_leaves_item_and_wake_up_to_the_next,
    reliable_receives_cancelled_under_load_lose_nothing,
    clean_a_stream_ends_once_and_for_ever,
    isolated_ten_thousand_streams_on_one_runtime,
    reliable_a_cancelled_publish_publishes_nothing,
    reliable_publishes_cancelled_under_load_lose_nothing,
    isolated_a_publish_that_waits_blocks_no_thread,
    isolated_a_shutdown_that_waits_blocks_no_thread,
    clean_a_publish_that_waits_is_woken_by_the_end,
    clean_a_shutdown_that_is_cancelled_goes_on,
];

async fn clean_a_stream_ends_once_and_for_ever<W: AsyncWorld>() {
    for reason in [EndReason::Overflow, EndReason::Failed] {
        let mut stream = that_ends::<W>(reason).await;
        assert_eq!(stream.next().await.unwrap().unwrap().revision(), 1);
        assert!(!stream.is_terminated());
        let closed = RecvError::Closed(reason);
        assert_eq!(stream.next().await, Some(Err(closed)));
        assert!(stream.is_terminated());
        assert_eq!(stream.next().await, None);
        assert_eq!(stream.next().await, None);

        let mut batches = W::batches(that_ends::<W>(reason).await);
        assert_eq!(batches.next().await.unwrap().unwrap().len(), 1);
        assert_eq!(batches.next().await, Some(Err(closed)));
        assert!(batches.is_terminated());
        assert_eq!(batches.next().await, None);
        assert_eq!(batches.next().await, None);
    }
    let (publisher, hub) = running::<W>(Builder::new());
    let mut stream = watch::<W>(&hub, WatchOptions::new());
    let mut batches = W::batches(watch::<W>(&hub, WatchOptions::new()));
    publisher.shutdown().await.expect("it ran");
    assert_eq!((stream.next().await, stream.next().await), (None, None));
    assert_eq!((batches.next().await, batches.next().await), (None, None));
    assert!(stream.is_terminated() && batches.is_terminated());
}

async fn reliable_a_cancelled_receive_leaves_item_and_wake_up_to_the_next<W: AsyncWorld>() {
    for first in WAYS {
        for second in WAYS {
            let (mut publisher, hub, _dispatcher) = by_hand::<W>(Builder::new());
            let mut stream = watch::<W>(&hub, WatchOptions::new());
            let (cancelled, cancelled_waker) = Counting::here();
            let (waiting, waiting_waker) = Counting::here();
            let ways = format!("{first:?}, {second:?}");

            // Whoever polled last is woken, and finds the item.
            assert!(poll_once(receive(&mut stream, first), &cancelled_waker).is_pending());
            assert!(poll_once(receive(&mut stream, second), &waiting_waker).is_pending());
            publisher.publish(put("k")).await.expect("it runs");
            assert_eq!((cancelled.woken(), waiting.woken()), (0, 1), "{ways}");
            let polled = poll_once(revisions(&mut stream, second), &waiting_waker);
            assert_eq!(polled, Poll::Ready(Ok(vec![1])), "{ways}");

            // Woken and then cancelled, it leaves the item to the next.
            assert!(poll_once(receive(&mut stream, first), &cancelled_waker).is_pending());
            publisher.publish(put("k")).await.expect("it runs");
            assert_eq!((cancelled.woken(), waiting.woken()), (1, 1), "{ways}");
            let polled = poll_once(revisions(&mut stream, second), &waiting_waker);
            assert_eq!(polled, Poll::Ready(Ok(vec![2])), "{ways}");
        }
    }
}

async fn reliable_receives_cancelled_under_load_lose_nothing<W: AsyncWorld>() {
    const EVENTS: u64 = 30_000;
    let (mut publisher, hub) = running::<W>(Builder::new());
    let mut stream = watch::<W>(&hub, WatchOptions::new().capacity(4));
    let publishing = W::spawn(async move {
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
                    breathe().await;
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

async fn isolated_ten_thousand_streams_on_one_runtime<W: AsyncWorld>() {
    const STREAMS: usize = 10_000;
    let (mut publisher, hub) = running::<W>(Builder::new());
    let mut tasks = Vec::new();
    for i in 0..STREAMS {
        let mut stream = W::Stream::of(hub.watch(format!("k{i}")).expect("it runs"));
        tasks.push(W::spawn(async move {
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

/// An engine whose ingress of one message is full, and its dispatcher, which does not run yet.
async fn full<W: AsyncWorld>() -> (W::Publisher, Hub, Dispatcher, Watcher) {
    let (mut publisher, hub, dispatcher) = by_hand::<W>(Builder::new().ingress(1).inline(false));
    let watcher = hub.watch(Selector::all()).expect("it runs");
    publisher.publish(put("k")).await.expect("there is room");
    (publisher, hub, dispatcher, watcher)
}

async fn reliable_a_cancelled_publish_publishes_nothing<W: AsyncWorld>() {
    let (mut publisher, _hub, dispatcher, watcher) = full::<W>().await;
    let (cancelled, cancelled_waker) = Counting::here();
    let (waiting, waiting_waker) = Counting::here();
    let batch = || vec![put("k")];
    assert!(poll_once(publisher.reserve(), &cancelled_waker).is_pending());
    assert!(poll_once(publisher.publish(put("k")), &cancelled_waker).is_pending());
    assert!(poll_once(publisher.publish_batch(batch()), &cancelled_waker).is_pending());
    let many = publisher.publish_many(vec![(9, batch())]);
    assert!(poll_once(many, &cancelled_waker).is_pending());
    assert_eq!(publisher.revision(), 1);
    assert!(poll_once(publisher.reserve(), &waiting_waker).is_pending());

    let dispatching = thread::spawn(|| dispatcher.run());
    on_a_thread(move || eventually("a wake-up", || waiting.woken() > 0)).await;
    assert_eq!(cancelled.woken(), 0);
    // A permit that is dropped gives the room back.
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

async fn reliable_publishes_cancelled_under_load_lose_nothing<W: AsyncWorld>() {
    const EVENTS: u64 = 5_000;
    let (mut publisher, hub) = running::<W>(Builder::new().ingress(1).inline(false));
    let mut stream = watch::<W>(&hub, WatchOptions::new());
    let publishing = W::spawn(async move {
        let mut refused = 0_u64;
        for round in 0_u64.. {
            if publisher.revision() == EVENTS {
                break;
            }
            // Its number goes along, so that one that is published twice would show.
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

async fn isolated_a_publish_that_waits_blocks_no_thread<W: AsyncWorld>() {
    let (mut publisher, _hub, dispatcher, watcher) = full::<W>().await;
    // On the same thread: what makes room runs only if waiting lets it.
    let publishing = async {
        publisher.publish(put("k")).await.expect("it runs");
        publisher.publish(put("k")).await.expect("it runs");
    };
    let dispatching = async {
        breathe().await;
        thread::spawn(|| dispatcher.run())
    };
    let ((), dispatching) = futures::join!(publishing, dispatching);
    publisher.shutdown().await.expect("it ran");
    on_a_thread(|| dispatching.join().expect("no panic")).await;
    assert_eq!({ watcher }.iter().count(), 3);
}

async fn isolated_a_shutdown_that_waits_blocks_no_thread<W: AsyncWorld>() {
    let (publisher, _hub, dispatcher, mut watcher) = full::<W>().await;
    let dispatching = async {
        breathe().await;
        thread::spawn(|| dispatcher.run())
    };
    let (shut_down, dispatching) = futures::join!(publisher.shutdown(), dispatching);
    assert_eq!(shut_down, Ok(()));
    on_a_thread(|| dispatching.join().expect("no panic")).await;
    assert_eq!(watcher.iter().count(), 1);
}

async fn clean_a_publish_that_waits_is_woken_by_the_end<W: AsyncWorld>() {
    let (mut publisher, _hub, dispatcher, _watcher) = full::<W>().await;
    let (waiting, waker) = Counting::here();
    assert!(poll_once(publisher.reserve(), &waker).is_pending());
    drop(dispatcher);
    assert_eq!(waiting.woken(), 1);
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

async fn clean_a_shutdown_that_is_cancelled_goes_on<W: AsyncWorld>() {
    for polled in [false, true] {
        let (mut publisher, hub) = running::<W>(Builder::new().inline(false));
        let mut stream = watch::<W>(&hub, WatchOptions::new());
        publisher.publish(put("k")).await.expect("it runs");
        let shutdown = publisher.shutdown();
        if polled {
            let _ = shutdown.now_or_never();
        } else {
            drop(shutdown);
        }
        assert_eq!(stream.next().await.unwrap().unwrap().revision(), 1);
        assert_eq!(stream.next().await, None);
        let ended = hub.reached(2).await;
        assert_eq!(ended, Err(WaitError::Closed(EndReason::ShutDown)));
    }
}

//! Forwarding of watchers into flume channels.

use std::collections::HashSet;
use std::pin::pin;
use std::task::{Context, Poll};
use std::thread;

use futures::FutureExt;
use futures::future::{Either, FusedFuture, ready, select};
use kvwatch::flume::{Forward, Item, Undelivered, forward, forward_async};
use kvwatch::{
    Builder, EndReason, Hub, Overflow, Publisher, RecvError, Selector, WatchOptions, Watcher,
};
use kvwatch_tests::runtimes::{AsyncRuntime, yield_now};
use kvwatch_tests::shared::on_a_thread;
use kvwatch_tests::{
    CountingWaker, HANG, eventually, in_every_async_runtime, in_time, join_in_time, put, removed,
};

in_every_async_runtime![
    reliable_each_event_goes_to_one_task_when_a_pool_shares_a_watch,
    reliable_nothing_is_lost_when_a_forward_is_interrupted,
    reliable_watcher_catches_up_when_the_channel_is_full,
];

fn watch(hub: &Hub, capacity: usize) -> Watcher {
    let options = WatchOptions::new().capacity(capacity);
    hub.watch_with(Selector::all(), options).unwrap()
}

fn publish(publisher: &mut Publisher, events: u64) {
    for _ in 0..events {
        publisher.publish(put("k")).unwrap();
    }
}

fn revision(item: &Item) -> u64 {
    item.as_ref().expect("an event").revision()
}

/// Polls the forward once.
fn poll(forward: &mut Forward) -> Poll<Result<EndReason, Undelivered>> {
    forward.poll_unpin(&mut Context::from_waker(futures::task::noop_waker_ref()))
}

/// Checks that each share is in order and that together they hold each event once.
fn assert_shared(shares: Vec<Vec<u64>>, events: u64) {
    assert!(shares.iter().all(|share| share.is_sorted()));
    let all: HashSet<u64> = shares.iter().flatten().copied().collect();
    assert_eq!(shares.iter().map(Vec::len).sum::<usize>(), all.len());
    assert_eq!(all, (1..=events).collect());
}

#[test]
fn reliable_each_event_goes_to_one_thread_when_a_pool_shares_a_watch() {
    in_time(|| {
        for channel in [flume::bounded(0), flume::bounded(4), flume::unbounded()] {
            let (sender, receiver) = channel;
            let (mut publisher, hub) = Builder::new().spawn().unwrap();
            let watcher = watch(&hub, 16);
            let forwarding = thread::spawn(|| forward(watcher, sender));
            let workers: Vec<_> = (0..4)
                .map(|_| {
                    let receiver = receiver.clone();
                    thread::spawn(move || receiver.iter().map(|item| revision(&item)).collect())
                })
                .collect();
            publish(&mut publisher, 5000);
            publisher.shutdown(HANG).unwrap();
            let ended = join_in_time(forwarding).unwrap();
            assert_eq!(ended, EndReason::ShutDown);
            assert_shared(workers.into_iter().map(join_in_time).collect(), 5000);
        }
    });
}

async fn reliable_each_event_goes_to_one_task_when_a_pool_shares_a_watch<Rt: AsyncRuntime>() {
    for channel in [flume::bounded(0), flume::bounded(4), flume::unbounded()] {
        let (sender, receiver) = channel;
        let (mut publisher, hub) = Builder::new().spawn().unwrap();
        let forwarding = Rt::spawn(forward_async(watch(&hub, 16), sender));
        let workers: Vec<_> = (0..4)
            .map(|_| {
                let receiver = receiver.clone();
                Rt::spawn(async move {
                    let mut share = Vec::new();
                    while let Ok(item) = receiver.recv_async().await {
                        share.push(revision(&item));
                    }
                    share
                })
            })
            .collect();
        drop(receiver);
        on_a_thread(move || {
            publish(&mut publisher, 5000);
            publisher.shutdown(HANG).unwrap();
        })
        .await;
        assert_eq!(forwarding.await.unwrap(), EndReason::ShutDown);
        let mut shares = Vec::new();
        for worker in workers {
            shares.push(worker.await);
        }
        assert_shared(shares, 5000);
    }
}

#[test]
fn ordered_each_watch_keeps_its_order_when_watches_share_a_receiver() {
    in_time(|| {
        let (mut publisher, hub) = Builder::new().spawn().unwrap();
        let (sender, receiver) = flume::bounded(8);
        let forwards: Vec<_> = ["a", "b", "c"]
            .into_iter()
            .map(|key| {
                let (watcher, sender) = (hub.watch(key).unwrap(), sender.clone());
                thread::spawn(|| forward(watcher, sender))
            })
            .collect();
        drop(sender);
        let publishing = thread::spawn(move || {
            for key in ["a", "b", "c"].repeat(1000) {
                publisher.publish(put(key)).unwrap();
            }
        });
        // Each watch keeps its order and receives no event of another.
        let mut last = [0_u64; 3];
        let mut count = 0;
        for item in receiver {
            let event = item.unwrap();
            let nth = usize::from(event.key()[0] - b'a');
            assert_eq!(event.revision() % 3, (nth as u64 + 1) % 3);
            assert!(event.revision() > last[nth]);
            last[nth] = event.revision();
            count += 1;
        }
        assert_eq!((count, last), (3000, [2998, 2999, 3000]));
        join_in_time(publishing);
        for forward in forwards {
            assert_eq!(join_in_time(forward).unwrap(), EndReason::ShutDown);
        }
    });
}

async fn reliable_watcher_catches_up_when_the_channel_is_full<Rt: AsyncRuntime>() {
    let (mut publisher, hub) = Builder::new().spawn().unwrap();
    let (sender, receiver) = flume::bounded(1);
    let forwarding = Rt::spawn(forward_async(watch(&hub, 1), sender));
    // Nothing is received until everything is published. The publisher does not wait for it.
    on_a_thread(move || {
        publish(&mut publisher, 3000);
        publisher.shutdown(HANG).unwrap();
    })
    .await;
    assert!(hub.stats().fell_behind > 0);
    for due in 1..=3000 {
        let item = receiver.recv_async().await.unwrap();
        assert_eq!(revision(&item), due);
    }
    assert_eq!(forwarding.await.unwrap(), EndReason::ShutDown);
    assert!(receiver.recv_async().await.is_err());
}

async fn reliable_nothing_is_lost_when_a_forward_is_interrupted<Rt: AsyncRuntime>() {
    const EVENTS: u64 = 10_000;
    for capacity in [0, 1, 3] {
        let (mut publisher, hub) = Builder::new().spawn().unwrap();
        let (sender, receiver) = flume::bounded(capacity);
        let mut forwarding = forward_async(watch(&hub, 16), sender);
        let publishing = thread::spawn(move || publish(&mut publisher, EVENTS));
        let receiving = Rt::spawn(async move {
            for due in 1..=EVENTS {
                let item = receiver.recv_async().await.unwrap();
                assert_eq!(revision(&item), due);
            }
            assert!(receiver.recv_async().await.is_err());
        });
        for round in 0.. {
            // The forward loses against another future, and is polled again later.
            match select(&mut forwarding, ready(())).await {
                Either::Left((ended, _)) => {
                    assert_eq!(ended.unwrap(), EndReason::ShutDown);
                    break;
                }
                Either::Right(_) if round % 2 == 0 => yield_now().await,
                Either::Right(_) => {}
            }
            if round % 3 == 0 {
                // Take the forward apart, possibly during a send, and put it together again.
                let mut parts = forwarding.into_parts().unwrap();
                if round % 4 < 2
                    && let Some(sending) = parts.sending.take()
                {
                    sending.await.unwrap();
                }
                forwarding = parts.into();
            }
        }
        assert!(forwarding.is_terminated());
        drop(forwarding);
        receiving.await;
        on_a_thread(|| publishing.join().unwrap()).await;
    }
}

/// A watcher with events 1 and 2 queued, then a lag of revisions 3 to 6.
fn lagging() -> (Publisher, kvwatch::Dispatcher, Watcher) {
    let (mut publisher, hub, dispatcher) = Builder::new().history_events(4).build().unwrap();
    let watcher = watch(&hub, 2);
    publish(&mut publisher, 10);
    (publisher, dispatcher, watcher)
}

#[test]
fn reliable_lag_is_an_item_in_order_when_events_are_forwarded() {
    let lag = Err(RecvError::Lagged(removed(3, 6)));
    for blocking in [true, false] {
        let (publisher, _dispatcher, watcher) = lagging();
        drop(publisher);
        let (sender, receiver) = flume::unbounded();
        let ended = if blocking {
            forward(watcher, sender)
        } else {
            futures::executor::block_on(forward_async(watcher, sender))
        };
        assert_eq!(ended.unwrap(), EndReason::ShutDown);
        let items: Vec<Result<u64, RecvError>> = receiver
            .iter()
            .map(|item| item.map(|event| event.revision()))
            .collect();
        assert_eq!(items, [Ok(1), Ok(2), lag, Ok(7), Ok(8), Ok(9), Ok(10)]);
    }
}

#[test]
fn clean_abnormal_end_is_the_last_item_when_events_are_forwarded() {
    for blocking in [true, false] {
        let (mut publisher, hub, _dispatcher) = Builder::new().build().unwrap();
        let options = WatchOptions::new().capacity(1).overflow(Overflow::Cancel);
        let watcher = hub.watch_with("k", options).unwrap();
        publish(&mut publisher, 2);
        let (sender, receiver) = flume::unbounded();
        let ended = if blocking {
            forward(watcher, sender)
        } else {
            futures::executor::block_on(forward_async(watcher, sender))
        };
        assert_eq!(ended.unwrap(), EndReason::Overflow);
        let items: Vec<Item> = receiver.iter().collect();
        assert_eq!(revision(&items[0]), 1);
        assert_eq!(items[1..], [Err(RecvError::Closed(EndReason::Overflow))]);
    }
}

#[test]
fn clean_end_is_sent_once_when_it_waits_for_room() {
    let (mut publisher, hub, _dispatcher) = Builder::new().build().unwrap();
    let options = WatchOptions::new().capacity(1).overflow(Overflow::Cancel);
    let watcher = hub.watch_with("k", options).unwrap();
    publish(&mut publisher, 2);
    let (sender, receiver) = flume::bounded(1);
    let mut forwarding = forward_async(watcher, sender);
    assert!(poll(&mut forwarding).is_pending());
    let mut forwarding = Forward::from(forwarding.into_parts().unwrap());
    assert_eq!(revision(&receiver.recv().unwrap()), 1);
    assert!(matches!(
        poll(&mut forwarding),
        Poll::Ready(Ok(EndReason::Overflow))
    ));
    let closed = Err(RecvError::Closed(EndReason::Overflow));
    assert_eq!(receiver.recv().unwrap(), closed);
    assert!(receiver.recv().is_err());
    // A finished forward stays finished.
    assert!(forwarding.is_terminated() && poll(&mut forwarding).is_pending());
    assert!(forwarding.into_parts().is_none());
}

/// The revisions that came back: of the item, and then of the watcher.
fn remaining(undelivered: Undelivered) -> Vec<u64> {
    let (mut watcher, item) = undelivered.into_parts();
    let rest = watcher.try_iter();
    item.into_iter()
        .chain(rest)
        .map(|item| revision(&item))
        .collect()
}

#[test]
fn reliable_watcher_and_item_come_back_when_all_receivers_are_gone() {
    in_time(|| {
        for capacity in [1, 2] {
            let (mut publisher, hub, _dispatcher) = Builder::new().build().unwrap();
            let (sender, receiver) = flume::bounded(capacity);
            let watcher = watch(&hub, 16);
            publish(&mut publisher, 5);
            let full = sender.clone();
            let forwarding = thread::spawn(|| forward(watcher, sender));
            eventually("the channel is full", || full.is_full());
            drop(receiver);
            // The items that the channel accepted stay there.
            let undelivered = join_in_time(forwarding).unwrap_err();
            let due: Vec<u64> = (capacity as u64 + 1..=5).collect();
            assert_eq!(remaining(undelivered), due);
        }
        for capacity in [0, 1, 2] {
            let (mut publisher, hub, _dispatcher) = Builder::new().build().unwrap();
            let (sender, receiver) = flume::bounded(capacity);
            let mut forwarding = forward_async(watch(&hub, 16), sender);
            publish(&mut publisher, 5);
            assert!(poll(&mut forwarding).is_pending());
            drop(receiver);
            let Poll::Ready(Err(undelivered)) = poll(&mut forwarding) else {
                panic!("the forward must fail");
            };
            let due: Vec<u64> = (capacity as u64 + 1..=5).collect();
            assert_eq!(undelivered.item().map(revision), Some(due[0]));
            assert_eq!(remaining(undelivered), due);
        }
    });
}

#[test]
fn reliable_watcher_comes_back_when_all_receivers_are_gone_before_an_event() {
    let (mut publisher, hub, _dispatcher) = Builder::new().build().unwrap();
    let (sender, receiver) = flume::bounded(1);
    drop(receiver);
    let undelivered = forward(watch(&hub, 16), sender.clone()).unwrap_err();
    assert!(undelivered.item().is_none());
    let (watcher, _) = undelivered.into_parts();
    let mut forwarding = forward_async(watcher, sender);
    let Poll::Ready(Err(undelivered)) = poll(&mut forwarding) else {
        panic!("the forward must fail");
    };
    let (mut watcher, item) = undelivered.into_parts();
    assert!(item.is_none());
    publish(&mut publisher, 1);
    assert_eq!(watcher.recv().unwrap().revision(), 1);
}

#[test]
fn reliable_waiting_forward_is_woken_when_the_last_receiver_goes() {
    let (mut publisher, hub, _dispatcher) = Builder::new().build().unwrap();
    let (sender, receiver) = flume::bounded(1);
    let mut forwarding = forward_async(watch(&hub, 16), sender);
    publish(&mut publisher, 2);
    let (woken, waker) = CountingWaker::pair();
    let polled = forwarding.poll_unpin(&mut Context::from_waker(&waker));
    assert!(polled.is_pending());
    drop(receiver);
    assert_eq!(woken.calls(), 1);
}

#[test]
fn isolated_other_tasks_run_when_the_channel_is_unbounded() {
    let (mut publisher, hub, _dispatcher) = Builder::new().build().unwrap();
    let (sender, receiver) = flume::unbounded();
    let mut forwarding = pin!(forward_async(watch(&hub, 10_000), sender));
    publish(&mut publisher, 10_000);
    let (woken, waker) = CountingWaker::pair();
    let polled = forwarding.poll_unpin(&mut Context::from_waker(&waker));
    assert!(polled.is_pending());
    assert_eq!(woken.calls(), 1);
    assert!((1..1000).contains(&receiver.len()));
    drop(publisher);
    futures::executor::block_on(forwarding).unwrap();
    assert_eq!(receiver.len(), 10_000);
}

#[test]
fn clean_watcher_is_unregistered_when_its_forward_is_dropped() {
    let (mut publisher, hub, _dispatcher) = Builder::new().build().unwrap();
    let (sender, receiver) = flume::bounded(1);
    let mut forwarding = forward_async(watch(&hub, 16), sender);
    publish(&mut publisher, 3);
    assert!(poll(&mut forwarding).is_pending());
    drop(forwarding);
    assert_eq!(hub.stats().watchers.total, 0);
    assert_eq!(revision(&receiver.recv().unwrap()), 1);
    assert!(receiver.recv().is_err());
}

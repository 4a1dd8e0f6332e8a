//! Random schedules over the whole engine.

use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use ::shuttle::sync::Arc as CheckedArc;
use ::shuttle::sync::atomic::{AtomicBool, Ordering};
use ::shuttle::thread;

use crate::{
    Builder, Change, EndReason, Publisher, RecvError, Selector, TryRecvError, WaitError,
    WatchError, WatchOptions, Watcher,
};

/// The number of schedules of each kind. `KVWATCH_SCHEDULES` sets another one.
const SCHEDULES: usize = 2_000;
/// The number of priority changes in a PCT schedule, which bounds the depth of the bugs it finds.
const DEPTH: usize = 4;

/// Runs `body` under random schedules: first uniform ones, then ones by priorities.
fn check(body: impl Fn() + Send + Sync + Clone + 'static) {
    let asked = std::env::var("KVWATCH_SCHEDULES").ok();
    let schedules = asked.map_or(SCHEDULES, |asked| asked.parse().expect("a number"));
    ::shuttle::check_random(body.clone(), schedules);
    ::shuttle::check_pct(body, schedules, DEPTH);
}

/// How a watcher receives.
#[derive(Clone, Copy)]
enum Receiving {
    Blocking,
    Polling,
    Mixed,
}

/// Wakes a thread of the checker.
struct Unpark(thread::Thread, AtomicBool);

impl Wake for Unpark {
    fn wake(self: std::sync::Arc<Self>) {
        self.1.store(true, Ordering::SeqCst);
        self.0.unpark();
    }
}

fn poll_once(watcher: &mut Watcher) -> Result<u64, RecvError> {
    let unpark = std::sync::Arc::new(Unpark(thread::current(), AtomicBool::new(false)));
    let waker = Waker::from(std::sync::Arc::clone(&unpark));
    let mut cx = Context::from_waker(&waker);
    loop {
        match watcher.poll_recv(&mut cx) {
            Poll::Ready(received) => return received.map(|event| event.revision()),
            Poll::Pending => {
                while !unpark.1.swap(false, Ordering::SeqCst) {
                    thread::park();
                }
            }
        }
    }
}

/// Receives to the end, and checks that each revision from the start on comes once, as an event or
/// in a lag.
fn receive_all(mut watcher: Watcher, receiving: Receiving) -> u64 {
    let mut next = watcher.start_revision();
    for round in 0_u32.. {
        let received = match receiving {
            Receiving::Blocking => watcher.recv().map(|event| event.revision()),
            Receiving::Polling => poll_once(&mut watcher),
            Receiving::Mixed => match watcher.try_recv() {
                Ok(event) => Ok(event.revision()),
                Err(TryRecvError::Lagged(lagged)) => Err(RecvError::Lagged(lagged)),
                Err(TryRecvError::Closed(reason)) => Err(RecvError::Closed(reason)),
                Err(TryRecvError::Empty) if round % 2 == 0 => poll_once(&mut watcher),
                Err(TryRecvError::Empty) => watcher.recv().map(|event| event.revision()),
            },
        };
        match received {
            Ok(revision) => {
                assert_eq!(revision, next);
                next += 1;
            }
            Err(RecvError::Lagged(lagged)) => {
                assert_eq!(lagged.first, next);
                next = lagged.last + 1;
            }
            Err(RecvError::Closed(reason)) => {
                assert_eq!(reason, EndReason::ShutDown);
                break;
            }
        }
        // Every revision matches, so the progress must not be ahead of what was received.
        assert_eq!(watcher.progress(), next - 1);
    }
    next
}

fn publish(publisher: &mut Publisher, count: u64) {
    for _ in 0..count {
        publisher.publish(Change::put("k", "v")).unwrap();
    }
}

/// A publisher, its dispatcher, a watcher registered before and one registered meanwhile.
fn engine(builder: impl Fn() -> Builder + Send + Sync + Clone + 'static, receiving: Receiving) {
    check(move || {
        let (mut publisher, hub, dispatcher) = builder().build().unwrap();
        let dispatcher = thread::spawn(|| dispatcher.run());
        let early = hub.watch("k").unwrap();
        let early = thread::spawn(move || receive_all(early, receiving));
        let late = thread::spawn(move || match hub.watch(Selector::prefix("k")) {
            Ok(late) => receive_all(late, receiving),
            Err(_) => 7,
        });
        publish(&mut publisher, 6);
        drop(publisher);
        assert_eq!(early.join().unwrap(), 7);
        assert_eq!(late.join().unwrap(), 7);
        dispatcher.join().unwrap();
    });
}

#[test]
fn reliable_events_arrive_on_the_live_path() {
    engine(
        || Builder::new().inline_dispatch(false),
        Receiving::Blocking,
    );
    engine(Builder::new, Receiving::Polling);
    // Each event is a full batch, so receivers dispatch and spin too.
    engine(|| Builder::new().history_events(3), Receiving::Blocking);
}

#[test]
fn reliable_events_arrive_when_watchers_fall_behind() {
    engine(
        || Builder::new().queue_capacity(1).history_events(100),
        Receiving::Mixed,
    );
    engine(
        || {
            Builder::new()
                .queue_capacity(2)
                .history_events(3)
                .inline_dispatch(false)
        },
        Receiving::Blocking,
    );
}

#[test]
fn reliable_lags_are_exact_without_a_history() {
    engine(
        || Builder::new().queue_capacity(1).history_events(0),
        Receiving::Blocking,
    );
}

#[test]
fn reliable_events_arrive_through_a_full_ingress() {
    engine(
        || Builder::new().ingress_capacity(1).inline_dispatch(false),
        Receiving::Polling,
    );
    engine(|| Builder::new().ingress_capacity(1), Receiving::Blocking);
}

#[test]
fn reliable_gaps_are_exact_when_the_ingress_overflows() {
    check(|| {
        let builder = Builder::new().ingress_capacity(1).inline_dispatch(false);
        let (mut publisher, hub, dispatcher) = builder.build().unwrap();
        let dispatcher = thread::spawn(|| dispatcher.run());
        let watcher = hub.watch("k").unwrap();
        let watcher = thread::spawn(|| receive_all(watcher, Receiving::Blocking));
        for _ in 0..6 {
            publisher.publish_lossy(Change::put("k", "v")).unwrap();
        }
        drop(publisher);
        assert_eq!(watcher.join().unwrap(), 7);
        dispatcher.join().unwrap();
    });
}

#[test]
fn clean_watcher_ends_when_closed_from_another_thread() {
    check(|| {
        let (mut publisher, hub, dispatcher) = Builder::new().build().unwrap();
        let dispatcher = thread::spawn(|| dispatcher.run());
        let mut watcher = hub.watch("k").unwrap();
        let closer = watcher.closer();
        let receiver = thread::spawn(move || {
            loop {
                if let Err(error) = watcher.recv() {
                    break error;
                }
            }
        });
        publish(&mut publisher, 1);
        closer.close();
        let end = receiver.join().unwrap();
        assert_eq!(end, RecvError::Closed(EndReason::Closed));
        assert_eq!(hub.stats().watchers.total, 0);
        drop(publisher);
        dispatcher.join().unwrap();
    });
}

#[test]
fn resumable_from_a_revision_published_before_any_watch() {
    for history in [0, 100] {
        check(move || {
            let builder = Builder::new()
                .inline_dispatch(false)
                .history_events(history);
            let (mut publisher, hub, dispatcher) = builder.build().unwrap();
            let dispatcher = thread::spawn(|| dispatcher.run());
            let watcher = thread::spawn(move || {
                let options = WatchOptions::new().start_revision(2);
                let mut watcher = match hub.watch_with("k", options) {
                    Ok(watcher) => watcher,
                    Err(WatchError::Compacted { oldest, .. }) => {
                        assert!(history == 0 && oldest > 2);
                        return;
                    }
                    Err(error) => panic!("{error}"),
                };
                match watcher.recv() {
                    Ok(event) => assert_eq!(event.revision(), 2),
                    Err(RecvError::Lagged(lagged)) => {
                        assert_eq!((history, lagged.first), (0, 2));
                    }
                    Err(error) => panic!("{error}"),
                }
            });
            publish(&mut publisher, 2);
            // Nothing is published after it, and the shutdown waits until it has arrived.
            watcher.join().unwrap();
            drop(publisher);
            dispatcher.join().unwrap();
        });
    }
}

#[test]
fn bookmarkable_waiters_are_not_missed() {
    for history in [0, 100] {
        waiters_are_not_missed_with_history(history);
    }
}

fn waiters_are_not_missed_with_history(history: usize) {
    check(move || {
        let built = Builder::new()
            .history_events(history)
            .inline_dispatch(false)
            .build();
        let (mut publisher, hub, dispatcher) = built.unwrap();
        let dispatcher = thread::spawn(|| dispatcher.run());
        let waiting = CheckedArc::new(hub);
        let hub = CheckedArc::clone(&waiting);
        let waiter = thread::spawn(move || {
            ::shuttle::future::block_on(hub.wait_for_async(2)).unwrap();
            assert!(hub.dispatched() >= 2);
        });
        // No watcher is registered: only the wait wakes the dispatcher.
        publish(&mut publisher, 2);
        waiter.join().unwrap();
        drop(publisher);
        dispatcher.join().unwrap();
    });
}

#[test]
fn reliable_every_event_is_dispatched_without_a_dispatcher_thread() {
    check(|| {
        let (mut publisher, hub, _dispatcher) = Builder::new().build().unwrap();
        let mut watcher = hub.watch("k").unwrap();
        // Dispatches what waits, once.
        let other = thread::spawn(move || hub.wait_for(9, Duration::ZERO));
        publish(&mut publisher, 1);
        assert_eq!(other.join().unwrap(), Err(WaitError::Timeout));
        assert_eq!(watcher.try_recv().unwrap().revision(), 1);
    });
}

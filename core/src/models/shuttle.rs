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

/// Of each kind. `KVWATCH_SCHEDULES` asks for more.
const SCHEDULES: usize = 2_000;
/// How many changes of priority a PCT schedule has: so deep a bug it finds.
const DEPTH: usize = 4;

/// Walks random schedules, half of them with every choice alike, half by priorities.
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

/// Receives to the end: every revision once, as an event or inside a lag, from the start on.
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
                assert_eq!(lagged.from, next);
                next = lagged.to + 1;
            }
            Err(RecvError::Closed(reason)) => {
                assert_eq!(reason, EndReason::ShutDown);
                break;
            }
        }
        // Every revision concerns it: none can be known before it has been received.
        assert_eq!(watcher.progress(), next - 1);
    }
    next
}

fn publish(publisher: &mut Publisher, count: u64) {
    for _ in 0..count {
        publisher.publish(Change::put("k", "v")).unwrap();
    }
}

/// A publisher, its dispatcher, a watcher that was there and one that comes meanwhile.
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
fn reliable_on_the_live_path() {
    engine(|| Builder::new().inline(false), Receiving::Blocking);
    engine(Builder::new, Receiving::Polling);
    // Each event is a batch: receivers dispatch too, and look out.
    engine(|| Builder::new().history(3), Receiving::Blocking);
}

#[test]
fn reliable_between_live_and_behind() {
    engine(|| Builder::new().queue(1).history(100), Receiving::Mixed);
    engine(
        || Builder::new().queue(2).history(3).inline(false),
        Receiving::Blocking,
    );
}

#[test]
fn reliable_without_a_history() {
    engine(|| Builder::new().queue(1).history(0), Receiving::Blocking);
}

#[test]
fn reliable_through_a_full_ingress() {
    engine(
        || Builder::new().ingress(1).inline(false),
        Receiving::Polling,
    );
    engine(|| Builder::new().ingress(1), Receiving::Blocking);
}

#[test]
fn reliable_when_the_ingress_overflows() {
    check(|| {
        let builder = Builder::new().ingress(1).inline(false);
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
fn clean_when_closed_from_elsewhere() {
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
fn resumable_from_what_nobody_watched_when_it_was_published() {
    for history in [0, 100] {
        check(move || {
            let builder = Builder::new().inline(false).history(history);
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
                        assert_eq!((history, lagged.from), (0, 2));
                    }
                    Err(error) => panic!("{error}"),
                }
            });
            publish(&mut publisher, 2);
            // Nothing is published after it, and nobody shuts down before it has arrived.
            watcher.join().unwrap();
            drop(publisher);
            dispatcher.join().unwrap();
        });
    }
}

#[test]
fn bookmarkable_waits_are_not_missed() {
    for history in [0, 100] {
        bookmarkable_waits_are_not_missed_with(history);
    }
}

fn bookmarkable_waits_are_not_missed_with(history: usize) {
    check(move || {
        let built = Builder::new().history(history).inline(false).build();
        let (mut publisher, hub, dispatcher) = built.unwrap();
        let dispatcher = thread::spawn(|| dispatcher.run());
        let waiting = CheckedArc::new(hub);
        let hub = CheckedArc::clone(&waiting);
        let waiter = thread::spawn(move || {
            ::shuttle::future::block_on(hub.reached(2)).unwrap();
            assert!(hub.dispatched() >= 2);
        });
        // Nobody watches: without the wait, nothing would wake the dispatcher.
        publish(&mut publisher, 2);
        waiter.join().unwrap();
        drop(publisher);
        dispatcher.join().unwrap();
    });
}

#[test]
fn reliable_without_a_dispatchers_thread_nothing_is_left_lying() {
    check(|| {
        let (mut publisher, hub, _dispatcher) = Builder::new().build().unwrap();
        let mut watcher = hub.watch("k").unwrap();
        // Dispatches what it finds, once.
        let other = thread::spawn(move || hub.wait_for(9, Duration::ZERO));
        publish(&mut publisher, 1);
        assert_eq!(other.join().unwrap(), Err(WaitError::Timeout));
        assert_eq!(watcher.try_recv().unwrap().revision(), 1);
    });
}

//! All schedules of the parts that carry a wake-up or hand events over.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use ::loom::model::Builder as Model;
use ::loom::thread;

use crate::change::{Change, Revision};
use crate::end::EndReason;
use crate::engine::ingress::Ingress;
use crate::engine::parker::DispatcherParker;
use crate::id::WatcherId;
use crate::log::history::{History, Step};
use crate::log::runs::Runs;
use crate::log::segment::{Picking, Run, Segment};
use crate::options::{Filter, Overflow};
use crate::registry::queue::{Queue, Taken};
use crate::sync::wait::{Waiter, park_until};
use crate::sync::{AtomicU64, RwLock};

/// Runs `body` under all schedules, with any number of preemptions.
fn check(body: impl Fn() + Send + Sync + 'static) {
    check_bounded(None, body);
}

/// Runs `body` under all schedules with at most this number of preemptions.
fn check_bounded(preemptions: Option<usize>, body: impl Fn() + Send + Sync + 'static) {
    let schedules = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counting = Arc::clone(&schedules);
    let mut model = Model::new();
    model.preemption_bound = preemptions;
    model.check(move || {
        counting.fetch_add(1, SeqCst);
        body();
    });
    println!("{} schedules", schedules.load(SeqCst));
}

fn segment(revisions: &[Revision]) -> Segment {
    let change = |&revision| (revision, Change::put("k", "v"));
    Segment::new(revisions.iter().map(change).collect())
}

fn queue(capacity: usize) -> Queue {
    let id = WatcherId(0);
    let (filter, overflow) = (Filter::All, Overflow::CatchUp);
    let queue = Queue::new(id, filter, false, overflow, capacity, 1 << 20);
    queue.start_at(1, false);
    queue
}

/// The part of an engine that dispatcher and watcher share.
struct Shared {
    queue: Queue,
    history: RwLock<History>,
    appended: AtomicU64,
    dispatched: AtomicU64,
}

impl Shared {
    fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self {
            queue: queue(capacity),
            history: RwLock::new(History::new(100, usize::MAX, 0)),
            appended: AtomicU64::new(0),
            dispatched: AtomicU64::new(0),
        })
    }

    /// One step of the dispatcher: history first, then the queue, then the wake.
    fn dispatch(&self, revisions: &[Revision]) {
        let segment = segment(revisions);
        let last = segment.last();
        self.history
            .write()
            .append(Some(&segment), last, &mut Vec::new());
        self.appended.store(last, SeqCst);
        let picking = Picking::new(0..revisions.len() as u32);
        let enqueued = self.queue.enqueue(Run::new(&segment, picking));
        self.dispatched.store(last, SeqCst);
        if let Some(waiter) = enqueued.waiter {
            waiter.wake();
        }
    }

    /// As the watcher's `progress()` asks for it.
    fn progress(&self) -> Revision {
        let dispatched = self.dispatched.load(SeqCst);
        self.queue.progress(dispatched)
    }

    fn close(&self) {
        let dispatched = || self.dispatched.load(SeqCst);
        let (waiter, _runs) = self.queue.close(dispatched, None);
        if let Some(waiter) = waiter {
            waiter.wake();
        }
    }

    fn end(&self) {
        if let Some(waiter) = self.queue.end(EndReason::ShutDown) {
            waiter.wake();
        }
    }

    /// Receives to the end: tries, reads on if behind, registers a waiter, checks again, parks.
    fn receive_all(&self) -> Vec<Revision> {
        self.receive_with(|_| ())
    }

    /// Receives to the end, and shows what was received so far before each step.
    fn receive_with(&self, mut show: impl FnMut(&[Revision])) -> Vec<Revision> {
        let mut received = Vec::new();
        let mut ready = Runs::default();
        let mut cursor = 0;
        loop {
            show(&received);
            match self.queue.take(&mut ready, None) {
                Taken::Runs => {
                    while let Some(run) = ready.pop_front() {
                        received.extend((0..run.len()).map(|nth| run.revision(nth)));
                    }
                }
                Taken::Behind(next) => {
                    let step = self.history.read().read(next, &mut cursor);
                    let upto = match step {
                        Step::Head(head) => head,
                        Step::Segments(segments, skip) => {
                            let records = segments.iter().flat_map(|s| s.records.iter());
                            received.extend(records.skip(skip).map(|record| record.revision));
                            segments[segments.len() - 1].last()
                        }
                        Step::Lagged(lagged) => panic!("{lagged}"),
                    };
                    let next = (upto + 1).max(next);
                    self.queue.advance(next, || self.appended.load(SeqCst));
                }
                Taken::Ended(_) => return received,
                Taken::Empty { .. } => {
                    if self.queue.wait(Waiter::this_thread()) {
                        park_until(None);
                    }
                }
            }
        }
    }
}

#[test]
fn reliable_no_wake_up_is_lost_on_a_live_queue() {
    check(|| {
        let shared = Shared::new(10);
        let dispatching = Arc::clone(&shared);
        let dispatcher = thread::spawn(move || {
            dispatching.dispatch(&[1]);
            dispatching.dispatch(&[2]);
            dispatching.dispatch(&[3]);
            dispatching.end();
        });
        assert_eq!(shared.receive_all(), [1, 2, 3]);
        dispatcher.join().unwrap();
    });
}

#[test]
fn reliable_and_unique_when_a_watcher_falls_behind_and_comes_back() {
    check(|| {
        let shared = Shared::new(1);
        let dispatching = Arc::clone(&shared);
        let dispatcher = thread::spawn(move || {
            // The second transaction does not fit behind the first. The watcher may read the third
            // from the history, or find it queued.
            dispatching.dispatch(&[1, 2]);
            dispatching.dispatch(&[3]);
            dispatching.end();
        });
        assert_eq!(shared.receive_all(), [1, 2, 3]);
        dispatcher.join().unwrap();
    });
}

#[test]
fn clean_waiting_receiver_is_woken_when_closed_from_another_thread() {
    check(|| {
        let shared = Shared::new(1);
        let (dispatching, closing) = (Arc::clone(&shared), Arc::clone(&shared));
        let dispatcher = thread::spawn(move || dispatching.dispatch(&[1]));
        let closer = thread::spawn(move || closing.close());
        let received = shared.receive_all();
        assert!(received.is_empty() || received == [1]);
        dispatcher.join().unwrap();
        closer.join().unwrap();
    });
}

/// Receives to the end while another thread closes the watcher. Its progress never goes back, and
/// what was received by then is up to it, and what is received later above it.
fn receive_while_closed(shared: &Arc<Shared>) -> Vec<Revision> {
    let closing = Arc::clone(shared);
    let closer = thread::spawn(move || closing.close());
    let (mut progress, mut count) = (0, 0);
    let mut judge = |received: &[Revision]| {
        let now = shared.progress();
        assert!(now >= progress, "progress went from {progress} to {now}");
        assert!(received[count..].iter().all(|&later| later > progress));
        assert!(received.last().is_none_or(|&last| last <= now));
        (progress, count) = (now, received.len());
    };
    let received = shared.receive_with(&mut judge);
    judge(&received);
    closer.join().unwrap();
    received
}

#[test]
fn bookmarkable_progress_never_goes_back_when_a_live_watcher_is_closed() {
    // All schedules are 94,942, which take ten seconds.
    check_bounded(Some(4), || {
        let shared = Shared::new(10);
        let dispatching = Arc::clone(&shared);
        let dispatcher = thread::spawn(move || {
            dispatching.dispatch(&[1]);
            // A commit that the watcher does not want.
            dispatching.dispatched.store(2, SeqCst);
        });
        let received = receive_while_closed(&shared);
        assert!(received.is_empty() || received == [1]);
        dispatcher.join().unwrap();
    });
}

#[test]
fn bookmarkable_progress_never_goes_back_when_a_watcher_is_closed_that_reads_on() {
    check(|| {
        let shared = Shared::new(1);
        shared.dispatch(&[1, 2]);
        shared.dispatch(&[3]);
        let received = receive_while_closed(&shared);
        assert!([1, 2, 3].starts_with(&received), "{received:?}");
    });
}

#[test]
fn reliable_dispatcher_never_parks_while_work_waits() {
    check(|| {
        let parker = Arc::new(DispatcherParker::new());
        let work = Arc::new(AtomicU64::new(0));
        let (sleeping, looking) = (Arc::clone(&parker), Arc::clone(&work));
        let dispatcher = thread::spawn(move || {
            sleeping.adopt();
            loop {
                sleeping.begin();
                if looking.load(SeqCst) == 2 {
                    return;
                }
                sleeping.park();
            }
        });
        for _ in 0..2 {
            work.fetch_add(1, SeqCst);
            parker.notify();
        }
        dispatcher.join().unwrap();
    });
}

#[test]
fn reliable_publisher_that_waits_for_room_is_woken() {
    // All schedules are 378,241, which take half a minute.
    check_bounded(Some(4), || {
        let ingress = Arc::new(Ingress::new(1, usize::MAX, 1));
        let send = |ingress: &Ingress, revision| {
            let change = Change::put("k", "v");
            ingress.send(1, true, |batch| batch.push(revision, &change));
        };
        send(&ingress, 1);
        let sending = Arc::clone(&ingress);
        let publisher = thread::spawn(move || {
            while sending.room().is_empty() {
                sending.wait_for_room(Waiter::this_thread());
                if sending.room().is_empty() {
                    park_until(None);
                }
            }
            send(&sending, 2);
        });
        assert!(ingress.receive().is_some());
        if let Some(waiter) = ingress.room_made() {
            waiter.wake();
        }
        publisher.join().unwrap();
        assert!(ingress.receive().is_some());
    });
}

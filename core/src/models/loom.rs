//! Every schedule of the parts that carry a wake-up or hand events over.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use ::loom::model::Builder as Model;
use ::loom::thread;

use crate::error::EndReason;
use crate::event::{Change, Revision};
use crate::history::{History, Step};
use crate::ingress::Ingress;
use crate::options::{Filter, Overflow};
use crate::queue::{Queue, Taken, WatcherId};
use crate::runs::Runs;
use crate::segment::{Picking, Run, Segment};
use crate::sync::{AtomicU64, RwLock};
use crate::wait::{Parker, Waiter, park_until};

/// Walks every schedule, however often threads are preempted in it.
fn check(body: impl Fn() + Send + Sync + 'static) {
    let schedules = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counting = Arc::clone(&schedules);
    Model::new().check(move || {
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
    queue.place(1, false);
    queue
}

/// What dispatcher and watcher share of an engine.
struct Shared {
    queue: Queue,
    history: RwLock<History>,
    appended: AtomicU64,
}

impl Shared {
    fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self {
            queue: queue(capacity),
            history: RwLock::new(History::new(100, usize::MAX, 0)),
            appended: AtomicU64::new(0),
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
        let offered = self.queue.offer(Run::new(&segment, picking));
        if let Some(waiter) = offered.waiter {
            waiter.wake();
        }
    }

    fn end(&self) {
        if let Some(waiter) = self.queue.end(EndReason::ShutDown) {
            waiter.wake();
        }
    }

    /// Receives to the end: try, read on where it is behind, leave word, look again, park.
    fn receive_all(&self) -> Vec<Revision> {
        let mut received = Vec::new();
        let mut ready = Runs::default();
        let mut cursor = 0;
        loop {
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
fn reliable_and_unique_from_live_to_behind_and_back() {
    check(|| {
        let shared = Shared::new(1);
        let dispatching = Arc::clone(&shared);
        let dispatcher = thread::spawn(move || {
            // The second transaction does not fit behind the first; the third may be read from
            // the history, or queued, or both be tried.
            dispatching.dispatch(&[1, 2]);
            dispatching.dispatch(&[3]);
            dispatching.end();
        });
        assert_eq!(shared.receive_all(), [1, 2, 3]);
        dispatcher.join().unwrap();
    });
}

#[test]
fn clean_a_close_from_elsewhere_reaches_whoever_waits() {
    check(|| {
        let shared = Shared::new(1);
        let (dispatching, closing) = (Arc::clone(&shared), Arc::clone(&shared));
        let dispatcher = thread::spawn(move || dispatching.dispatch(&[1]));
        let closer = thread::spawn(move || {
            let (waiter, _runs) = closing.queue.close(0, None);
            if let Some(waiter) = waiter {
                waiter.wake();
            }
        });
        let received = shared.receive_all();
        assert!(received.is_empty() || received == [1]);
        dispatcher.join().unwrap();
        closer.join().unwrap();
    });
}

#[test]
fn reliable_the_dispatcher_sleeps_through_no_work() {
    check(|| {
        let parker = Arc::new(Parker::new());
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
fn reliable_whoever_waits_for_room_gets_it() {
    check(|| {
        let ingress = Arc::new(Ingress::new(1, 1));
        let send = |ingress: &Ingress, revision| {
            let change = Change::put("k", "v");
            ingress.send(1, true, |batch| batch.push(revision, &change));
        };
        send(&ingress, 1);
        let sending = Arc::clone(&ingress);
        let publisher = thread::spawn(move || {
            while sending.room() == 0 {
                sending.wait_for_room(Waiter::this_thread());
                if sending.room() == 0 {
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

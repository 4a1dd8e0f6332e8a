//! What publisher, dispatcher, hub and watchers share.
//!
//! Locks, in the order in which one thread may take them: dispatch, registry, then one of history,
//! a queue, the ingress' open batch, milestones. The lookout's is only tried, and comes before a
//! queue's. From opening a revision to settling it the publisher takes none but the open batch's,
//! and waits for nobody else. No user's code runs under any of them: wakers, replay sources,
//! `tracing` and the drop of a user's bytes come when every guard is gone ([`Aftermath`]).
//!
//! Four revisions say how far things are, each written by one side only:
//!
//! | revision | written by | everything up to it |
//! | --- | --- | --- |
//! | `opened` | the publisher, before it asks who is interested | may have been published |
//! | `settled` | the publisher, after it has sent | has been sent, or found uninteresting |
//! | `appended` | whoever dispatches | is in the history |
//! | `dispatched` | whoever dispatches | is in the queues of those it concerns |

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Release, SeqCst};
use std::time::{Duration, Instant};

use crate::builder::Builder;
use crate::error::{End, EndReason};
use crate::event::Revision;
use crate::history::History;
use crate::index::KeyHasher;
use crate::ingress::Ingress;
use crate::interest::Interest;
use crate::milestone::Milestones;
use crate::queue::{Queue, WatcherId};
use crate::registry::Registry;
use crate::replay::Replay;
use crate::segment::{SEGMENT_EVENTS, Segment};
use crate::selector::Selector;
use crate::slots::Slot;
use crate::stats::{Counter, Counters};
use crate::step::Dispatching;
use crate::sync::{self, AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Mutex, RwLock};
use crate::wait::{Parker, Wakes};

pub(crate) struct Engine {
    pub(crate) config: Builder,
    pub(crate) ingress: Ingress,
    /// Under this lock messages are received, until they are in the queues: so their order is the
    /// publisher's, whoever dispatches.
    pub(crate) dispatch: Mutex<Dispatching>,
    pub(crate) history: RwLock<History>,
    pub(crate) registry: RwLock<Registry>,
    pub(crate) interest: Interest,
    pub(crate) hasher: KeyHasher,
    pub(crate) milestones: Milestones,
    pub(crate) parker: Parker,
    /// How often a receiver has dispatched a batch: while they do, others keep out of their way.
    pub(crate) helped: Counter,
    /// Held by the receiver that [looks out](Self::look_out) for the next batch.
    pub(crate) lookout: Mutex<()>,
    /// Wakes that the publisher leaves to the dispatcher's thread.
    pub(crate) handed_over: Mutex<Wakes>,
    pub(crate) counters: Counters,
    next_watcher: AtomicU64,
    /// Watchers that want previous values.
    prev_wanted: AtomicUsize,
    opened: AtomicU64,
    settled: AtomicU64,
    appended: AtomicU64,
    dispatched: AtomicU64,
    /// Up to here a watcher may want what nobody watched when it was published.
    doubted: AtomicU64,
    /// The publisher is gone, or about to go.
    closing: AtomicBool,
    /// An [`End`].
    ended: AtomicU8,
}

/// For so long a revision that was opened is waited for until it is settled. A publish mostly
/// settles in nanoseconds, as it waits for nobody but whoever takes the open batch. One that takes
/// longer than this was stopped in between, and sees who waits when it goes on; one that a bug has
/// stopped never does, and must not stop anybody else.
const SETTLING: Duration = Duration::from_secs(1);

/// What is left to do once every guard is gone.
#[derive(Debug, Default)]
pub(crate) struct Aftermath {
    pub(crate) wakes: Wakes,
    /// To be dropped: their last bytes may be the user's.
    pub(crate) trash: Vec<Segment>,
    pub(crate) gone: Vec<Arc<Queue>>,
    pub(crate) notes: Vec<Note>,
}

/// Something rare, for `tracing`.
#[derive(Debug)]
pub(crate) enum Note {
    Behind(WatcherId, Revision),
    Cancelled(WatcherId, Revision),
    Dropped(Revision, Revision),
}

impl Aftermath {
    /// To be called without any guard.
    pub(crate) fn settle(&mut self, ingress: &Ingress) {
        self.wakes.wake_all();
        for segment in self.trash.drain(..) {
            if let Some(spare) = segment.into_spare() {
                ingress.give_back(spare);
            }
        }
        self.gone.clear();
        for note in self.notes.drain(..) {
            match note {
                Note::Behind(watcher, revision) => {
                    tracing::debug!(%watcher, revision, "watcher fell behind");
                }
                Note::Cancelled(watcher, revision) => {
                    tracing::warn!(%watcher, revision, "watcher cancelled by its overflow");
                }
                Note::Dropped(from, to) => {
                    tracing::warn!(from, to, "revisions dropped by a lossy publish");
                }
            }
        }
    }
}

impl Engine {
    pub(crate) fn new(config: Builder) -> Self {
        let revision = config.revision;
        // Few enough that a small history does not consist of one segment.
        let segment_events = match config.history {
            0 => SEGMENT_EVENTS,
            events => (events / 4).clamp(1, SEGMENT_EVENTS),
        };
        Self {
            ingress: Ingress::new(config.ingress, segment_events),
            dispatch: Mutex::new(Dispatching::new(segment_events)),
            history: RwLock::new(History::new(config.history, config.history_bytes, revision)),
            registry: RwLock::new(Registry::new(config.watchers)),
            interest: Interest::new(),
            hasher: KeyHasher::default(),
            milestones: Milestones::new(),
            parker: Parker::new(),
            helped: Counter::default(),
            lookout: Mutex::new(()),
            handed_over: Mutex::default(),
            counters: Counters::default(),
            next_watcher: AtomicU64::new(0),
            prev_wanted: AtomicUsize::new(0),
            opened: AtomicU64::new(revision),
            settled: AtomicU64::new(revision),
            appended: AtomicU64::new(revision),
            dispatched: AtomicU64::new(revision),
            doubted: AtomicU64::new(0),
            closing: AtomicBool::new(false),
            ended: AtomicU8::new(End::NONE.0),
            config,
        }
    }

    pub(crate) fn opened(&self) -> Revision {
        self.opened.load(SeqCst)
    }

    /// From the publisher, before it asks who is interested.
    pub(crate) fn open(&self, revision: Revision) {
        self.opened.store(revision, SeqCst);
    }

    /// From the publisher, where it does not ask: what is sent next is looked up when it is
    /// dispatched, and who registers before that needs no order but that of the registry's lock.
    pub(crate) fn open_wanted(&self, revision: Revision) {
        self.opened.store(revision, Release);
    }

    pub(crate) fn settled(&self) -> Revision {
        self.settled.load(Acquire)
    }

    /// From the publisher, once everything up to `revision` has been sent, or found uninteresting.
    pub(crate) fn settle(&self, revision: Revision) {
        self.settled.store(revision, Release);
    }

    /// From whoever dispatches and has found nothing: where somebody waits for what the publisher
    /// has opened, and that is not dispatched, waits until it is settled. Returns whether it is, and
    /// so is to be looked for again.
    ///
    /// The publisher looks who waits after it has settled, but no fence lies between the two: that
    /// would take a fifth of publishing what nobody watches. So it may miss who came meanwhile. As
    /// it has opened the revision before, and a fence lies behind that, whoever dispatches for the
    /// one who was missed finds it opened, and about to be settled.
    pub(crate) fn awaits_settling(&self) -> bool {
        let opened = self.opened();
        if !self.milestones.wanted_by(opened) || self.dispatched() >= opened {
            return false;
        }
        let is_settled = || self.settled() >= opened;
        let end = Instant::now() + SETTLING;
        sync::wait_while(|| !is_settled() && !self.is_closing() && Instant::now() < end);
        is_settled()
    }

    pub(crate) fn appended(&self) -> Revision {
        self.appended.load(SeqCst)
    }

    pub(crate) fn set_appended(&self, revision: Revision) {
        self.appended.store(revision, SeqCst);
    }

    pub(crate) fn dispatched(&self) -> Revision {
        self.dispatched.load(SeqCst)
    }

    pub(crate) fn set_dispatched(&self, revision: Revision) {
        self.dispatched.store(revision, SeqCst);
    }

    /// From a watcher that starts in the past, while it is being registered: it may go live before
    /// what had been opened then is dispatched, and the publisher asked who is interested when it
    /// was not there.
    pub(crate) fn doubt(&self, opened: Revision) {
        self.doubted.fetch_max(opened, SeqCst);
    }

    /// Whether who dispatches may not rely on what the publisher found: asked after a segment was
    /// appended, so that who is not registered by then finds it in the history.
    pub(crate) fn is_doubted(&self, first: Revision) -> bool {
        first <= self.doubted.load(SeqCst)
    }

    pub(crate) fn close_soon(&self) {
        self.closing.store(true, SeqCst);
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(SeqCst)
    }

    /// Why the engine has ended, if it has.
    pub(crate) fn ended(&self) -> Option<EndReason> {
        End(self.ended.load(SeqCst)).reason()
    }

    pub(crate) fn replay(&self) -> Option<&dyn Replay> {
        self.config.replay.as_deref()
    }

    pub(crate) fn next_watcher(&self) -> WatcherId {
        WatcherId(self.next_watcher.fetch_add(1, SeqCst))
    }

    pub(crate) fn wants_prev_value(&self) -> bool {
        self.prev_wanted.load(SeqCst) > 0
    }

    /// Registers a watcher while `registry` is locked.
    pub(crate) fn insert(
        &self,
        registry: &mut Registry,
        queue: &Arc<Queue>,
        selector: &Selector,
    ) -> Slot {
        if queue.with_prev {
            self.prev_wanted.fetch_add(1, SeqCst);
        }
        registry.insert(queue, selector, &self.interest, &self.hasher)
    }

    /// Takes a watcher out of the registry, unless that has been done.
    pub(crate) fn unregister(&self, slot: Slot, id: WatcherId) -> Option<Arc<Queue>> {
        let gone = self
            .registry
            .write()
            .remove(slot, id, &self.interest, &self.hasher);
        self.forget_prev(gone.as_slice());
        gone
    }

    fn forget_prev(&self, gone: &[Arc<Queue>]) {
        let wanted = gone.iter().filter(|queue| queue.with_prev).count();
        if wanted > 0 {
            self.prev_wanted.fetch_sub(wanted, SeqCst);
        }
    }

    /// Ends the engine and, behind what is queued, every watcher. Takes the registry's lock.
    pub(crate) fn end(&self, reason: EndReason, after: &mut Aftermath) {
        let end = End::of(reason);
        let ended = self
            .ended
            .compare_exchange(End::NONE.0, end.0, SeqCst, SeqCst);
        if ended.is_err() {
            return;
        }
        let watchers = self
            .registry
            .write()
            .close(reason, &self.interest, &self.hasher);
        for queue in &watchers {
            after.wakes.push(queue.end(reason));
        }
        self.forget_prev(&watchers);
        after.gone.extend(watchers);
        self.milestones.reached(Revision::MAX, &mut after.wakes);
        after.wakes.push(self.ingress.give_up());
    }

    /// Has everything that waits dispatched, by the dispatcher's thread; or by this one, if nobody
    /// runs the dispatcher.
    pub(crate) fn rouse(&self) {
        if self.parker.is_absent() && self.config.inline {
            self.drain();
        }
        self.parker.notify();
    }

    /// Wants everything up to `revision` dispatched soon.
    pub(crate) fn hasten(&self, revision: Revision) {
        if self.dispatched() < revision && self.ended().is_none() {
            self.milestones.want(revision);
            self.rouse();
        }
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("opened", &self.opened())
            .field("dispatched", &self.dispatched())
            .field("ended", &self.ended())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(any(kvwatch_loom, kvwatch_shuttle))))]
mod tests {
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::{Context, Poll, Waker};
    use std::thread;
    use std::time::Duration;

    use super::Engine;
    use crate::Builder;
    use crate::hub::Hub;

    #[test]
    fn bookmarkable_what_the_publisher_is_about_to_settle_is_waited_for() {
        let engine = Arc::new(Engine::new(Builder::new().history(0)));
        let hub = Hub::new(Arc::clone(&engine));
        engine.open(1);
        thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                let mut cx = Context::from_waker(Waker::noop());
                pin!(hub.reached(1)).as_mut().poll(&mut cx)
            });
            while !engine.milestones.wanted_by(1) && !waiting.is_finished() {
                thread::yield_now();
            }
            // Now it looks what is settled; the publisher has missed that somebody waits.
            thread::sleep(Duration::from_millis(1));
            engine.settle(1);
            assert_eq!(waiting.join().unwrap(), Poll::Ready(Ok(())));
        });
    }

    #[test]
    fn bookmarkable_what_was_settled_since_the_last_look_is_looked_for_again() {
        let engine = Engine::new(Builder::new().history(0));
        engine.open(1);
        engine.settle(1);
        assert!(!engine.awaits_settling(), "nobody waits for it");
        engine.milestones.want(1);
        assert!(engine.awaits_settling(), "it is not dispatched yet");
        engine.drain();
        assert!(!engine.awaits_settling(), "it is dispatched");
    }
}

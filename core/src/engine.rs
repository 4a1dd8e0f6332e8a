//! What publisher, dispatcher, hub and watchers share.
//!
//! An event passes the files of this folder in this order: `sender` and `chunk` (the publisher's
//! side), `ingress`, `dispatch` with `scratch`, and `receiver` with `catch_up` (the watcher's
//! side). `scheduling` and `parker` decide which thread dispatches, and when; `revisions` and
//! `waiters` tell how far dispatching is.
//!
//! A thread takes locks in this order: dispatch, registry, then one of: history, a queue, the
//! ingress' open batch, revision waiters. The spinner's lock is only tried, and comes before a
//! queue's. Between claiming and publishing a revision the publisher takes no lock but the open
//! batch's, and waits for no other thread. No user code runs under a lock: wakers, replay sources,
//! `tracing` and drops of the store's bytes run after every guard was dropped
//! ([`Deferred`](deferred::Deferred)).

pub(crate) mod catch_up;
pub(crate) mod chunk;
pub(crate) mod config;
pub(crate) mod deferred;
pub(crate) mod dispatch;
pub(crate) mod ingress;
pub(crate) mod parker;
pub(crate) mod receiver;
pub(crate) mod revisions;
pub(crate) mod scheduling;
pub(crate) mod scratch;
pub(crate) mod sender;
pub(crate) mod waiters;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use crate::change::Revision;
use crate::end::{End, EndReason};
use crate::engine::config::Config;
use crate::engine::deferred::Deferred;
use crate::engine::ingress::Ingress;
use crate::engine::parker::DispatcherParker;
use crate::engine::revisions::Revisions;
use crate::engine::scratch::DispatchState;
use crate::engine::waiters::RevisionWaiters;
use crate::id::WatcherId;
use crate::log::history::History;
use crate::registry::Registry;
use crate::registry::interest::Interest;
use crate::registry::key_hash::KeyHasher;
use crate::registry::queue::Queue;
use crate::registry::slab::Slot;
use crate::replay::Replay;
use crate::selector::Selector;
use crate::stats::{Counter, Counters};
use crate::sync::wait::Wakes;
use crate::sync::{self, AtomicU8, AtomicU64, AtomicUsize, Mutex, RwLock};

/// The shared state of one engine.
pub(crate) struct Engine {
    pub(crate) config: Config,
    pub(crate) ingress: Ingress,
    /// Held from receiving a message until its events are in the queues, so that the events keep
    /// the publisher's order whichever thread dispatches.
    pub(crate) dispatch: Mutex<DispatchState>,
    pub(crate) history: RwLock<History>,
    pub(crate) registry: RwLock<Registry>,
    pub(crate) interest: Interest,
    pub(crate) hasher: KeyHasher,
    pub(crate) waiters: RevisionWaiters,
    pub(crate) parker: DispatcherParker,
    /// The number of batches that receivers have dispatched. While it grows, the dispatcher's
    /// thread leaves the work to them.
    pub(crate) receiver_dispatches: Counter,
    /// Held by the receiver that [spins for a batch](Self::spin_for_batch).
    pub(crate) spinner: Mutex<()>,
    /// Wakes that the publisher leaves to the dispatcher's thread.
    pub(crate) handed_over: Mutex<Wakes>,
    pub(crate) counters: Counters,
    pub(crate) revisions: Revisions,
    next_watcher: AtomicU64,
    /// The number of watchers that want previous values.
    prev_wanted: AtomicUsize,
    /// The [`End`] that follows once everything published is dispatched: the publisher is gone, or
    /// about to go.
    closing: AtomicU8,
    /// An [`End`].
    ended: AtomicU8,
}

/// The longest wait for a claimed revision to be published. A publish normally takes nanoseconds
/// from the claim, because it waits for no thread but one that takes the open batch. A publisher
/// that was preempted for longer sees the waiter when it goes on. One that a bug has stopped never
/// publishes, and must not stop other threads.
const CLAIM_TIMEOUT: Duration = Duration::from_secs(1);

impl Engine {
    pub(crate) fn new(config: Config) -> Self {
        let start = config.start_revision;
        let segment_events = config.segment_events();
        let history = History::new(config.history_events, config.history_bytes, start);
        Self {
            ingress: Ingress::new(
                config.ingress_capacity,
                config.ingress_bytes,
                segment_events,
            ),
            dispatch: Mutex::new(DispatchState::new(segment_events)),
            history: RwLock::new(history),
            registry: RwLock::new(Registry::new(config.max_watchers)),
            interest: Interest::new(),
            hasher: KeyHasher::default(),
            waiters: RevisionWaiters::new(),
            parker: DispatcherParker::new(),
            receiver_dispatches: Counter::default(),
            spinner: Mutex::new(()),
            handed_over: Mutex::default(),
            counters: Counters::default(),
            revisions: Revisions::new(start),
            next_watcher: AtomicU64::new(0),
            prev_wanted: AtomicUsize::new(0),
            closing: AtomicU8::new(End::NONE.0),
            ended: AtomicU8::new(End::NONE.0),
            config,
        }
    }

    /// Waits until a claimed revision is published, if a thread waits for it and it was not
    /// dispatched. Returns whether it is published, so that the caller looks for it again. Called
    /// by a thread that dispatches and has found nothing.
    ///
    /// The publisher checks for waiters after it has published, without a fence in between: the
    /// fence would be a large part of a publish that no watcher wants. So the publisher may miss a
    /// thread that starts to wait at that moment. The claim comes before, with a fence. So the
    /// thread that dispatches for the missed waiter sees the claim, and waits here for the publish.
    pub(crate) fn wait_for_claimed(&self) -> bool {
        let claimed = self.revisions.claimed();
        if !self.waiters.any_up_to(claimed) || self.revisions.dispatched() >= claimed {
            return false;
        }
        let is_published = || self.revisions.published() >= claimed;
        let end = Instant::now() + CLAIM_TIMEOUT;
        sync::wait_while(|| !is_published() && self.closing().is_none() && Instant::now() < end);
        is_published()
    }

    pub(crate) fn close_soon(&self, reason: EndReason) {
        self.closing.store(End::of(reason).0, SeqCst);
    }

    /// The reason for which the engine will end, if the publisher is gone.
    pub(crate) fn closing(&self) -> Option<EndReason> {
        End(self.closing.load(SeqCst)).reason()
    }

    /// The reason for which the engine has ended, if it has.
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
    pub(crate) fn register(
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

    /// Removes a watcher from the registry, unless that was done before.
    pub(crate) fn unregister(&self, slot: Slot, id: WatcherId) -> Option<Arc<Queue>> {
        let removed = self
            .registry
            .write()
            .remove(slot, id, &self.interest, &self.hasher);
        self.release_prev_wanted(removed.as_slice());
        removed
    }

    fn release_prev_wanted(&self, removed: &[Arc<Queue>]) {
        let wanted = removed.iter().filter(|queue| queue.with_prev).count();
        if wanted > 0 {
            self.prev_wanted.fetch_sub(wanted, SeqCst);
        }
    }

    /// Ends the engine and, after everything queued, every watcher. Takes the registry's lock.
    pub(crate) fn end(&self, reason: EndReason, deferred: &mut Deferred) {
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
            deferred.wakes.push(queue.end(reason));
        }
        self.release_prev_wanted(&watchers);
        deferred.unregistered.extend(watchers);
        self.waiters.reached(Revision::MAX, &mut deferred.wakes);
        deferred.wakes.push(self.ingress.take_waiter());
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("revisions", &self.revisions)
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
    use crate::engine::config::Config;
    use crate::reached::Reached;

    fn engine() -> Engine {
        Engine::new(Config {
            history_events: 0,
            ..Config::default()
        })
    }

    #[test]
    fn bookmarkable_wait_completes_when_a_claimed_revision_is_published() {
        let engine = Arc::new(engine());
        engine.revisions.claim(1);
        thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                let mut cx = Context::from_waker(Waker::noop());
                let reached = Reached::new(Arc::clone(&engine), 1);
                pin!(reached).as_mut().poll(&mut cx)
            });
            while !engine.waiters.any_up_to(1) && !waiting.is_finished() {
                thread::yield_now();
            }
            // By now it checks what is published; the publisher has missed the waiter.
            thread::sleep(Duration::from_millis(1));
            engine.revisions.mark_published(1);
            assert_eq!(waiting.join().unwrap(), Poll::Ready(Ok(())));
        });
    }

    #[test]
    fn bookmarkable_revision_published_since_the_last_look_is_looked_for_again() {
        let engine = engine();
        engine.revisions.claim(1);
        engine.revisions.mark_published(1);
        assert!(!engine.wait_for_claimed(), "no thread waits for it");
        engine.waiters.request(1);
        assert!(engine.wait_for_claimed(), "it is not dispatched yet");
        engine.drain();
        assert!(!engine.wait_for_claimed(), "it is dispatched");
    }
}

//! One watcher's queue, between the dispatcher and the watcher.
//!
//! | mode | the dispatcher | the watcher | left |
//! | --- | --- | --- | --- |
//! | live | queues each run, less the records below `next` | takes runs, waits if there are none | to behind, by the dispatcher: a run does not fit, or revisions never came in |
//! | behind | queues nothing | takes the queued runs, then reads on from the history at `next` | to live, by the watcher: `next` is above everything that the history holds |
//!
//! The end is independent of the mode, and is set by any thread: once, unless a close drops events that
//! a shutdown would have delivered. A watcher reports it when
//! its queue is empty and its mode is live. So the mode at the end decides what is still
//! delivered: an overflow and a close leave the watcher live, so nothing more is read; a shutdown
//! leaves it behind if it was, so it reads to the history's end.
//!
//! No event is lost between the modes. The dispatcher appends to the history and then takes this
//! lock; the watcher takes this lock and then checks whether the history holds more
//! ([`Queue::advance`]). So a segment is either seen by the watcher, which stays behind and reads
//! it, or queued after the watcher went live. No event is delivered twice, because the dispatcher
//! drops the records below `next`.

use std::mem;
use std::task::Waker;

use crate::change::Revision;
use crate::end::{End, EndReason};
use crate::id::WatcherId;
use crate::lagged::Lagged;
use crate::log::runs::Runs;
use crate::log::segment::Run;
use crate::options::{Filter, Overflow};
use crate::sync::SpinThenSleepMutex;
use crate::sync::wait::Waiter;

/// Shared by the watcher, its closers and the registry.
///
/// The fields are in the order in which [`enqueue`](Self::enqueue) reads them: with very many
/// watchers, each cache line is waited for.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Queue {
    state: SpinThenSleepMutex<State>,
    /// The bytes that the queued runs may keep in memory.
    pub(crate) capacity_bytes: usize,
    /// The number of events that may be queued.
    pub(crate) capacity: u32,
    pub(crate) overflow: Overflow,
    pub(crate) filter: Filter,
    pub(crate) with_prev: bool,
    pub(crate) id: WatcherId,
}

#[derive(Debug)]
#[repr(C)]
struct State {
    behind: bool,
    end: End,
    /// Events at or above `next` were dispatched without this watcher, because it ended first.
    cut_off: bool,
    /// The number of queued events.
    events: u32,
    /// The first revision that was neither queued nor read from the history.
    next: Revision,
    /// The bytes that the queued runs keep in memory.
    bytes: usize,
    runs: Runs,
    waiter: Option<Waiter>,
}

impl State {
    /// Whether there is nothing to take, nothing to read and no end to report.
    fn is_idle(&self) -> bool {
        self.runs.is_empty() && !self.behind && self.end == End::NONE
    }
}

/// What a watcher finds in its queue.
#[derive(Debug)]
pub(crate) enum Taken {
    /// All queued runs.
    Runs,
    /// Nothing is queued; the watcher reads on from the history at this revision.
    Behind(Revision),
    /// Nothing is queued, and nothing will be.
    Ended(EndReason),
    /// Nothing is queued yet. `registered` tells whether the waker handed in is the one that will
    /// be woken.
    Empty { registered: bool },
}

/// The result of queueing a run.
#[derive(Debug)]
pub(crate) struct Enqueued {
    /// To be woken without any guard.
    pub(crate) waiter: Option<Waiter>,
    /// The number of events queued.
    pub(crate) queued: usize,
    /// The revision at which the queue overflowed, if it did just now.
    pub(crate) overflowed: Option<Revision>,
}

impl Enqueued {
    const NOTHING: Self = Self {
        waiter: None,
        queued: 0,
        overflowed: None,
    };
}

/// A queue may share segments of which it needs little for up to this fraction of its bytes.
/// Copying each event out of its segment would cost a watcher that keeps up most of its time.
const SHARED_FRACTION: usize = 4;

impl Queue {
    /// A live queue that starts at the very beginning, until [`start_at`](Self::start_at).
    pub(crate) fn new(
        id: WatcherId,
        filter: Filter,
        with_prev: bool,
        overflow: Overflow,
        capacity: usize,
        capacity_bytes: usize,
    ) -> Self {
        Self {
            id,
            filter,
            with_prev,
            overflow,
            // More than this are never queued.
            capacity: u32::try_from(capacity).unwrap_or(u32::MAX),
            capacity_bytes,
            state: SpinThenSleepMutex::new(State {
                runs: Runs::default(),
                events: 0,
                bytes: 0,
                next: 0,
                behind: false,
                end: End::NONE,
                cut_off: false,
                waiter: None,
            }),
        }
    }

    /// Sets the start of the watcher. Called while it is being registered.
    pub(crate) fn start_at(&self, next: Revision, behind: bool) {
        let mut state = self.state.lock();
        state.next = next;
        state.behind = behind;
    }

    /// Reads from the memory that [`enqueue`](Self::enqueue) will read.
    pub(crate) fn prefetch(&self) -> usize {
        usize::from(self.state.is_locked()) ^ self.capacity_bytes
    }

    /// Queues what this watcher matched of a segment. Called by the dispatcher.
    pub(crate) fn enqueue(&self, run: Run) -> Enqueued {
        let mut state = self.state.lock();
        if state.behind || state.end != End::NONE {
            return Enqueued::NOTHING;
        }
        let skip = run.count_before(state.next);
        if skip == run.len() {
            // All of it is below `next`: this watcher starts later.
            return Enqueued::NOTHING;
        }
        let fits = self.count_fitting(&run, skip, &state);
        let overflowed = (skip + fits < run.len()).then(|| run.revision(skip + fits));
        state.next = overflowed.unwrap_or(run.last() + 1);
        if let Some(mut run) = run.slice(skip..skip + fits) {
            let held = state.bytes.saturating_add(run.bytes());
            if held > self.capacity_bytes {
                // What fits in an empty queue may be much larger than its bytes.
                run = if state.runs.is_empty() {
                    run.detach_unless_dense()
                } else {
                    run.detach()
                };
            } else if held > self.capacity_bytes / SHARED_FRACTION {
                run = run.detach_if_sparse();
            }
            state.events += run.len() as u32;
            state.bytes += run.bytes();
            state.runs.push_back(run);
        }
        if overflowed.is_some() {
            match self.overflow {
                Overflow::CatchUp => state.behind = true,
                Overflow::Cancel => {
                    state.end = End::of(EndReason::Overflow);
                    state.cut_off = true;
                }
            }
        }
        Enqueued {
            waiter: state.waiter.take(),
            queued: fits,
            overflowed,
        }
    }

    /// The number of events from `skip` on that fit: whole revisions, and at least one revision
    /// into an empty queue.
    fn count_fitting(&self, run: &Run, skip: usize, state: &State) -> usize {
        let room = self.capacity.saturating_sub(state.events) as usize;
        let room_bytes = self.capacity_bytes.saturating_sub(state.bytes);
        let due = run.len() - skip;
        if due <= room && run.bytes() <= room_bytes {
            return due;
        }
        let (mut fits, mut bytes) = (0, 0);
        while fits < due {
            let start = skip + fits;
            let end = run.revision_end(start);
            let must_fit = fits == 0 && state.runs.is_empty();
            if end - skip > room {
                return if must_fit { end - skip } else { fits };
            }
            bytes += (start..end).map(|nth| run.bytes_of(nth)).sum::<usize>();
            if bytes > room_bytes && !must_fit {
                return fits;
            }
            fits = end - skip;
        }
        fits
    }

    /// Makes the watcher read the history at revisions that never came in, and find the gap there.
    /// Called by the dispatcher.
    pub(crate) fn fall_behind(&self, gap: Lagged) -> Option<Waiter> {
        let mut state = self.state.lock();
        if state.behind || state.end != End::NONE || state.next > gap.last {
            return None;
        }
        state.behind = true;
        state.next = state.next.max(gap.first);
        state.waiter.take()
    }

    /// Ends this watcher after everything that is still to be delivered, unless it has ended.
    pub(crate) fn end(&self, reason: EndReason) -> Option<Waiter> {
        let mut state = self.state.lock();
        if state.end != End::NONE {
            return None;
        }
        state.end = End::of(reason);
        state.waiter.take()
    }

    /// Ends this watcher at once. `dispatched` reads the revision dispatched so far; it is called
    /// under the lock, so that it is not below what an earlier [`progress`](Self::progress) has
    /// seen. `dropped` is the first revision that the watcher has taken and drops without delivering
    /// it. Returns the waiter to wake, and the queued runs, to be dropped without any guard.
    pub(crate) fn close(
        &self,
        dispatched: impl Fn() -> Revision,
        dropped: Option<Revision>,
    ) -> (Option<Waiter>, Runs) {
        let mut state = self.state.lock();
        let first_dropped = dropped.or(state.runs.front().map(Run::first));
        let drops_events = state.behind || first_dropped.is_some();
        let is_broken = |end: EndReason| drops_events && end.follows_everything();
        if state.end.reason().is_none_or(is_broken) {
            state.end = End::of(EndReason::Closed);
        }
        if let Some(first) = first_dropped {
            state.next = first;
        } else if !state.behind && !state.cut_off {
            state.next = state.next.max(dispatched() + 1);
        }
        state.cut_off = true;
        state.behind = false;
        state.events = 0;
        state.bytes = 0;
        (state.waiter.take(), mem::take(&mut state.runs))
    }

    /// Moves all queued runs into `ready`, which must be empty. Called by the watcher.
    pub(crate) fn take(&self, ready: &mut Runs, waker: Option<&Waker>) -> Taken {
        let mut state = self.state.lock();
        if !state.runs.is_empty() {
            mem::swap(&mut state.runs, ready);
            state.events = 0;
            state.bytes = 0;
            return Taken::Runs;
        }
        if state.behind {
            return Taken::Behind(state.next);
        }
        if let Some(reason) = state.end.reason() {
            return Taken::Ended(reason);
        }
        let registered = match (&state.waiter, waker) {
            (Some(waiter), Some(waker)) => waiter.will_wake(waker),
            _ => false,
        };
        Taken::Empty { registered }
    }

    /// Whether the watcher has to wait.
    pub(crate) fn is_idle(&self) -> bool {
        self.state.lock().is_idle()
    }

    /// Registers a waiter if the queue is idle. Returns whether it was registered.
    pub(crate) fn wait(&self, waiter: Waiter) -> bool {
        let mut state = self.state.lock();
        if !state.is_idle() {
            drop(state);
            drop(waiter);
            return false;
        }
        let old = state.waiter.replace(waiter);
        drop(state);
        drop(old);
        true
    }

    /// Removes the waiter that [`wait`](Self::wait) registered.
    pub(crate) fn stop_waiting(&self) {
        let old = self.state.lock().waiter.take();
        drop(old);
    }

    /// Records that the watcher has read the history below `next`. The watcher goes live if `next`
    /// is above `appended()`, which is called under the lock. Returns whether it went live.
    pub(crate) fn advance(&self, next: Revision, appended: impl Fn() -> Revision) -> bool {
        let mut state = self.state.lock();
        if !state.behind {
            // Closed while the watcher was reading. It delivers what it has read, so its progress
            // must not stay below that.
            state.next = state.next.max(next);
            return false;
        }
        state.next = next;
        state.behind = appended() >= next;
        !state.behind
    }

    /// The number of queued events.
    pub(crate) fn len(&self) -> usize {
        self.state.lock().events as usize
    }

    pub(crate) fn end_reason(&self) -> Option<EndReason> {
        self.state.lock().end.reason()
    }

    /// The revision up to which every matching event was taken. `head` is the revision dispatched
    /// before the call.
    pub(crate) fn progress(&self, head: Revision) -> Revision {
        let state = self.state.lock();
        if let Some(run) = state.runs.front() {
            return run.first() - 1;
        }
        let own = state.next.saturating_sub(1);
        if state.behind || state.cut_off {
            own
        } else {
            own.max(head)
        }
    }
}

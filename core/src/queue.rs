//! One watcher's queue: what the dispatcher hands over and the watcher takes.
//!
//! | mode | the dispatcher | the watcher | left |
//! | --- | --- | --- | --- |
//! | live | queues each run, cut below `next` | takes runs, waits when there are none | to behind, by the dispatcher: a run does not fit, or revisions never came in |
//! | behind | queues nothing | takes what is queued, then reads on from the history at `next` | to live, by the watcher: `next` is past what the history holds |
//!
//! Beside the mode there is the end, set once by anybody. A watcher reaches it when its queue is
//! empty and it is live. So whoever ends a watcher decides what is still delivered: an overflow
//! and the user's close leave it live, and a shutdown leaves it behind where it is, to read to
//! the history's end.
//!
//! Why nothing is lost between the modes: the dispatcher appends to the history first and takes
//! this lock then; the watcher takes this lock first and looks then whether the history holds more
//! ([`Queue::advance`]). So a segment is either seen by the watcher, which stays behind and reads
//! it, or queued after the watcher went live. Why nothing comes twice: the dispatcher cuts what
//! lies below `next`.

use std::mem;
use std::task::Waker;

use crate::error::{End, EndReason, Lagged};
use crate::event::Revision;
use crate::options::{Filter, Overflow};
use crate::runs::Runs;
use crate::segment::Run;
use crate::sync::BriefMutex;
use crate::wait::Waiter;

/// The name of a watcher within its engine. None is used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WatcherId(pub(crate) u64);

impl std::fmt::Display for WatcherId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Shared by the watcher, its closers and the registry.
///
/// Laid out in the order in which an offer uses it: among very many watchers each cache line is
/// waited for. One watcher a key gets a seventh more events by it, of 100,000 keys.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Queue {
    state: BriefMutex<State>,
    /// In bytes that the queued runs keep in memory, and in events.
    pub(crate) capacity_bytes: usize,
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
    /// Events at or above `next` were dispatched without this watcher: it ended before them.
    cut_off: bool,
    events: u32,
    /// The first revision neither queued nor read from the history.
    next: Revision,
    bytes: usize,
    runs: Runs,
    waiter: Option<Waiter>,
}

impl State {
    /// Nothing to take, nothing to read on from, no end to report.
    fn is_idle(&self) -> bool {
        self.runs.is_empty() && !self.behind && self.end == End::NONE
    }
}

/// What a watcher finds in its queue.
#[derive(Debug)]
pub(crate) enum Taken {
    /// All that was queued.
    Runs,
    /// Nothing; read on from the history, here.
    Behind(Revision),
    /// Nothing, and nothing will come.
    Ended(EndReason),
    /// Nothing yet. `awaited` if the waker handed in is already the one to be woken.
    Empty { awaited: bool },
}

/// What became of a run.
#[derive(Debug)]
pub(crate) struct Offered {
    /// To be woken once every guard is gone.
    pub(crate) waiter: Option<Waiter>,
    /// How many events were queued.
    pub(crate) queued: usize,
    /// The watcher's queue overflowed just now, at this revision.
    pub(crate) overflowed: Option<Revision>,
}

impl Offered {
    const NOTHING: Self = Self {
        waiter: None,
        queued: 0,
        overflowed: None,
    };
}

/// Up to this share of its bytes a queue may hold by sharing segments of which it needs little:
/// copying each event out of its segment costs a watcher that keeps up most of its time (one
/// watcher a key, 10,000 keys: 0.8 M events/s instead of 3).
const SHARED: usize = 4;

impl Queue {
    /// Live, from the very beginning, until [`place`](Self::place) says otherwise.
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
            // That many will never be queued.
            capacity: u32::try_from(capacity).unwrap_or(u32::MAX),
            capacity_bytes,
            state: BriefMutex::new(State {
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

    /// Where the watcher starts, said while it is being registered.
    pub(crate) fn place(&self, next: Revision, behind: bool) {
        let mut state = self.state.lock();
        state.next = next;
        state.behind = behind;
    }

    /// Reads from where an offer will read.
    pub(crate) fn glance(&self) -> usize {
        usize::from(self.state.is_locked()) ^ self.capacity_bytes
    }

    /// From the dispatcher: what this watcher matched of a segment.
    pub(crate) fn offer(&self, run: Run) -> Offered {
        let mut state = self.state.lock();
        if state.behind || state.end != End::NONE {
            return Offered::NOTHING;
        }
        let skip = run.below(state.next);
        if skip == run.len() {
            // It lies below `next` altogether: this watcher starts later.
            return Offered::NOTHING;
        }
        let fits = self.fitting(&run, skip, &state);
        let overflowed = (skip + fits < run.len()).then(|| run.revision(skip + fits));
        state.next = overflowed.unwrap_or(run.last() + 1);
        if let Some(mut run) = run.slice(skip..skip + fits) {
            let held = state.bytes.saturating_add(run.bytes());
            if held > self.capacity_bytes {
                run = run.copy_out();
            } else if held > self.capacity_bytes / SHARED {
                run = run.lean();
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
        Offered {
            waiter: state.waiter.take(),
            queued: fits,
            overflowed,
        }
    }

    /// How many of the events from `skip` on fit: whole revisions, and at least one revision into
    /// an empty queue.
    fn fitting(&self, run: &Run, skip: usize, state: &State) -> usize {
        let room = self.capacity.saturating_sub(state.events) as usize;
        let room_bytes = self.capacity_bytes.saturating_sub(state.bytes);
        let due = run.len() - skip;
        if due <= room && run.bytes() <= room_bytes {
            return due;
        }
        let (mut fits, mut at, mut bytes) = (0, skip, 0);
        while at < run.len() {
            let revision = run.revision(at);
            while at < run.len() && run.revision(at) == revision {
                bytes += run.cost(at);
                at += 1;
            }
            let must_fit = fits == 0 && state.runs.is_empty();
            if !must_fit && (at - skip > room || bytes > room_bytes) {
                break;
            }
            fits = at - skip;
        }
        fits
    }

    /// From the dispatcher: these revisions never came in, and the history says so.
    pub(crate) fn fall_behind(&self, hole: Lagged) -> Option<Waiter> {
        let mut state = self.state.lock();
        if state.behind || state.end != End::NONE || state.next > hole.to {
            return None;
        }
        state.behind = true;
        state.next = state.next.max(hole.from);
        state.waiter.take()
    }

    /// Ends this watcher after what is still to be delivered, unless it has ended.
    pub(crate) fn end(&self, reason: EndReason) -> Option<Waiter> {
        let mut state = self.state.lock();
        if state.end != End::NONE {
            return None;
        }
        state.end = End::of(reason);
        state.waiter.take()
    }

    /// Ends this watcher at once; `head` is what had been dispatched before the call, `dropped`
    /// the first revision that the watcher had taken and not handed out, if it drops that.
    /// Returns what is to be woken, and what was queued, to be dropped outside of locks.
    pub(crate) fn close(
        &self,
        head: Revision,
        dropped: Option<Revision>,
    ) -> (Option<Waiter>, Runs) {
        let mut state = self.state.lock();
        let queued = state.runs.front().map(Run::first);
        if let Some(first) = dropped.or(queued) {
            state.next = first;
        } else if !state.behind && !state.cut_off {
            state.next = state.next.max(head + 1);
        }
        if state.end == End::NONE {
            state.end = End::of(EndReason::Closed);
        }
        state.cut_off = true;
        state.behind = false;
        state.events = 0;
        state.bytes = 0;
        (state.waiter.take(), mem::take(&mut state.runs))
    }

    /// From the watcher, which hands in an empty `ready`.
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
        let awaited = match (&state.waiter, waker) {
            (Some(waiter), Some(waker)) => waiter.will_wake(waker),
            _ => false,
        };
        Taken::Empty { awaited }
    }

    /// Whether its watcher has to wait.
    pub(crate) fn is_idle(&self) -> bool {
        self.state.lock().is_idle()
    }

    /// Leaves a waiter, unless there is something to take. Returns whether it was left.
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

    /// Takes back what [`wait`](Self::wait) left.
    pub(crate) fn stop_waiting(&self) {
        let old = self.state.lock().waiter.take();
        drop(old);
    }

    /// From the watcher: it has read the history up to below `next`. Goes live if that is past
    /// what the history holds, asked for under the lock; returns whether it did.
    pub(crate) fn advance(&self, next: Revision, appended: impl Fn() -> Revision) -> bool {
        let mut state = self.state.lock();
        if !state.behind {
            // Closed meanwhile.
            return false;
        }
        state.next = next;
        state.behind = appended() >= next;
        !state.behind
    }

    /// How many events are queued.
    pub(crate) fn len(&self) -> usize {
        self.state.lock().events as usize
    }

    pub(crate) fn ended(&self) -> Option<EndReason> {
        self.state.lock().end.reason()
    }

    /// Up to where everything that matches has been taken; `head` is what had been dispatched
    /// before the call.
    pub(crate) fn position(&self, head: Revision) -> Revision {
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

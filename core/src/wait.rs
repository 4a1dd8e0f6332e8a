//! Waiting and waking, for threads and for tasks alike.
//!
//! A [`Waiter`] is whoever waits for one thing: a parked thread or a task's waker. It is kept
//! under the lock of what it waits for, taken out under that lock, and woken only after every
//! guard is gone ([`Wakes`]): a waker is the user's code, and may do anything.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::SeqCst;
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::sync::{self, AtomicU8, Mutex, Thread};

/// Who waits: there is at most one for each thing.
#[derive(Debug)]
pub(crate) enum Waiter {
    Thread(Thread),
    Task(Waker),
}

impl Waiter {
    pub(crate) fn this_thread() -> Self {
        Self::Thread(sync::current())
    }

    /// Wakes it. A waker that panics is its owner's bug and must not take anybody else down.
    pub(crate) fn wake(self) {
        match self {
            Self::Thread(thread) => thread.unpark(),
            Self::Task(waker) => {
                if catch_unwind(AssertUnwindSafe(|| waker.wake())).is_err() {
                    tracing::error!("a waker panicked; the watcher it belongs to may not be woken");
                }
            }
        }
    }

    /// Whether waking `self` already wakes that task.
    pub(crate) fn will_wake(&self, waker: &Waker) -> bool {
        matches!(self, Self::Task(own) if own.will_wake(waker))
    }
}

/// Parks this thread until it is woken or the deadline is over; may return early for no reason.
/// Returns whether there is time left.
pub(crate) fn park_until(deadline: Option<Instant>) -> bool {
    let Some(deadline) = deadline else {
        sync::park();
        return true;
    };
    match deadline.checked_duration_since(Instant::now()) {
        Some(left) if !left.is_zero() => {
            sync::park_timeout(left);
            true
        }
        _ => false,
    }
}

/// Those to be woken once every guard is gone.
#[derive(Debug, Default)]
pub(crate) struct Wakes(Vec<Waiter>);

impl Wakes {
    pub(crate) fn push(&mut self, waiter: Option<Waiter>) {
        // Not `extend`: to copy what may be a waiter, and mostly is none, stalls for the parts that
        // were just written, and took a twelfth of dispatching to one watcher a key.
        if let Some(waiter) = waiter {
            self.0.push(waiter);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn append(&mut self, other: &mut Self) {
        self.0.append(&mut other.0);
    }

    pub(crate) fn wake_all(&mut self) {
        for waiter in self.0.drain(..) {
            waiter.wake();
        }
    }
}

/// One waiter at a time, under a lock of its own.
#[derive(Debug, Default)]
pub(crate) struct WaitCell(Mutex<Option<Waiter>>);

impl WaitCell {
    /// Leaves word here. Look again for what you wait for afterwards, and only then park.
    pub(crate) fn register(&self, waiter: Waiter) {
        let old = self.0.lock().replace(waiter);
        drop(old);
    }

    pub(crate) fn take(&self) -> Option<Waiter> {
        self.0.lock().take()
    }
}

/// How the dispatcher thread sleeps.
///
/// | state | meaning | left by |
/// | --- | --- | --- |
/// | `ABSENT` | nobody runs the dispatcher yet | itself, to `RUNNING`, when it starts |
/// | `RUNNING` | it works, and has looked for work or is about to | itself, to `PARKED` or `LINGERING`; anybody, to `ASKED` or `NOTIFIED` |
/// | `ASKED` | it will look for work once more, at once or after lingering | itself, to `RUNNING` or `LINGERING`; anybody, to `NOTIFIED` |
/// | `NOTIFIED` | it will look for work once more, at once | itself, to `RUNNING` |
/// | `LINGERING` | it sleeps, and looks for work by itself after [`LINGER`], or twice that where receivers dispatch | itself, to `RUNNING`; anybody in a hurry, to `NOTIFIED`, who then unparks it |
/// | `PARKED` | it sleeps until it is woken | anybody, to `NOTIFIED`, who then unparks it |
///
/// Whoever has work makes it visible first and asks or notifies then; the dispatcher goes to
/// `RUNNING` first and looks for work then. So none is missed: what was sent is made visible and
/// looked for under the open batch's lock; what was not sent needs somebody to look only where it
/// is waited for, which [`Engine::awaits_settling`](crate::engine::Engine::awaits_settling) sees to.
#[derive(Debug)]
pub(crate) struct Parker {
    state: AtomicU8,
    /// The thread that runs the dispatcher, once there is one.
    thread: Mutex<Option<Thread>>,
}

/// For how long the dispatcher lingers: what is left lying for it waits this long at most, or twice
/// as long where receivers dispatch.
pub(crate) const LINGER: Duration = Duration::from_micros(100);

const ABSENT: u8 = 0;
const RUNNING: u8 = 1;
const PARKED: u8 = 2;
const NOTIFIED: u8 = 3;
const LINGERING: u8 = 4;
const ASKED: u8 = 5;

impl Parker {
    pub(crate) fn new() -> Self {
        Self {
            state: AtomicU8::new(ABSENT),
            thread: Mutex::new(None),
        }
    }

    /// This thread is the dispatcher's from now on.
    pub(crate) fn adopt(&self) {
        *self.thread.lock() = Some(sync::current());
        self.begin();
    }

    /// To be called by the dispatcher before it looks for work. Returns whether it has lingered
    /// to the end: nobody notified it.
    pub(crate) fn begin(&self) -> bool {
        self.state.swap(RUNNING, SeqCst) == LINGERING
    }

    /// Sleeps until notified, unless that has happened since [`begin`](Self::begin).
    pub(crate) fn park(&self) {
        let parked = self.state.compare_exchange(RUNNING, PARKED, SeqCst, SeqCst);
        if parked.is_ok() {
            while self.state.load(SeqCst) == PARKED {
                sync::park();
            }
        }
    }

    /// Sleeps for [`LINGER`] at most, unless somebody is in a hurry.
    pub(crate) fn linger(&self) {
        let lingers = |from| self.state.compare_exchange(from, LINGERING, SeqCst, SeqCst);
        if lingers(RUNNING).is_ok() || lingers(ASKED).is_ok() {
            sync::park_timeout(LINGER);
        }
    }

    /// Makes the dispatcher look for work once more, at once; if nobody runs it yet, it will when
    /// it starts. Waking a sleeping thread costs the caller 5 to 10 µs; otherwise this is one read
    /// where somebody notified before, or one write.
    pub(crate) fn notify(&self) {
        match self.state.load(SeqCst) {
            NOTIFIED => {}
            // It must not look as if somebody were at work; a dispatcher that starts in this
            // moment looks for work anyway, after this read.
            ABSENT => {}
            _ => {
                if let PARKED | LINGERING = self.state.swap(NOTIFIED, SeqCst) {
                    let thread = self.thread.lock().clone();
                    if let Some(thread) = thread {
                        thread.unpark();
                    }
                }
            }
        }
    }

    /// Makes the dispatcher look for work once more, soon: it wakes nobody who looks by himself.
    pub(crate) fn ask(&self) {
        let state = self.state.load(SeqCst);
        let asked = state == RUNNING
            && self
                .state
                .compare_exchange(RUNNING, ASKED, SeqCst, SeqCst)
                .is_ok();
        if !asked && matches!(state, RUNNING | PARKED) {
            self.notify();
        }
    }

    /// Whether the dispatcher sleeps until it is woken: so does the rest of the engine, most
    /// likely.
    pub(crate) fn is_parked(&self) -> bool {
        self.state.load(SeqCst) == PARKED
    }

    /// Whether nobody runs the dispatcher yet.
    pub(crate) fn is_absent(&self) -> bool {
        self.state.load(SeqCst) == ABSENT
    }
}

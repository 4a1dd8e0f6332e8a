//! How the dispatcher's thread sleeps and is woken.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use crate::sync::{self, AtomicU8, Mutex, Thread};

/// The state of the dispatcher's thread.
///
/// | state | meaning | left by |
/// | --- | --- | --- |
/// | `ABSENT` | no thread runs the dispatcher yet | the dispatcher, to `RUNNING`, when it starts |
/// | `RUNNING` | it works, and has looked for work or is about to | the dispatcher, to `PARKED` or `POLLING`; any thread, to `ASKED` or `NOTIFIED` |
/// | `ASKED` | it will look for work again, at once or after [`POLL_INTERVAL`] | the dispatcher, to `RUNNING` or `POLLING`; any thread, to `NOTIFIED` |
/// | `NOTIFIED` | it will look for work again, at once | the dispatcher, to `RUNNING` |
/// | `POLLING` | it sleeps, and looks for work after [`POLL_INTERVAL`] without being woken | the dispatcher, to `RUNNING`; any thread, to `NOTIFIED`, which then unparks it |
/// | `PARKED` | it sleeps until it is woken | any thread, to `NOTIFIED`, which then unparks it |
///
/// A thread with work makes the work visible first and asks or notifies then. The dispatcher goes
/// to `RUNNING` first and looks for work then. So no work is missed: messages become visible, and
/// are looked for, under the open batch's lock. A revision published without a message is looked
/// for only if a thread waits for it: see `Engine::wait_for_claimed`.
#[derive(Debug)]
pub(crate) struct DispatcherParker {
    state: AtomicU8,
    /// The thread that runs the dispatcher, once there is one.
    thread: Mutex<Option<Thread>>,
}

/// The time that the dispatcher sleeps between two looks for work in a stream of events. Messages
/// left for it wait this long at most, or twice as long where receivers dispatch.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_micros(100);

const ABSENT: u8 = 0;
const RUNNING: u8 = 1;
const PARKED: u8 = 2;
const NOTIFIED: u8 = 3;
const POLLING: u8 = 4;
const ASKED: u8 = 5;

impl DispatcherParker {
    pub(crate) fn new() -> Self {
        Self {
            state: AtomicU8::new(ABSENT),
            thread: Mutex::new(None),
        }
    }

    /// Makes this thread the dispatcher's.
    pub(crate) fn adopt(&self) {
        *self.thread.lock() = Some(sync::current());
        self.begin();
    }

    /// Called by the dispatcher before it looks for work. Returns whether its last
    /// [`poll_sleep`](Self::poll_sleep) ran to its end without a notification.
    pub(crate) fn begin(&self) -> bool {
        self.state.swap(RUNNING, SeqCst) == POLLING
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

    /// Sleeps until notified, or for [`POLL_INTERVAL`].
    pub(crate) fn poll_sleep(&self) {
        let polling = |from| self.state.compare_exchange(from, POLLING, SeqCst, SeqCst);
        if polling(RUNNING).is_ok() || polling(ASKED).is_ok() {
            sync::park_timeout(POLL_INTERVAL);
        }
    }

    /// Makes the dispatcher look for work again, at once. A dispatcher that no thread runs yet
    /// looks when it starts. Waking a sleeping thread costs the caller microseconds; otherwise this
    /// is one load if it was notified before, or one exchange.
    pub(crate) fn notify(&self) {
        match self.state.load(SeqCst) {
            NOTIFIED => {}
            // The state must not say that a dispatcher runs. One that starts now looks for work
            // after this load.
            ABSENT => {}
            _ => {
                if let PARKED | POLLING = self.state.swap(NOTIFIED, SeqCst) {
                    let thread = self.thread.lock().clone();
                    if let Some(thread) = thread {
                        thread.unpark();
                    }
                }
            }
        }
    }

    /// Makes the dispatcher look for work again, soon: does not wake a dispatcher that polls.
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

    /// Whether the dispatcher sleeps until it is woken. The rest of the engine is then most likely
    /// idle too.
    pub(crate) fn is_parked(&self) -> bool {
        self.state.load(SeqCst) == PARKED
    }

    /// Whether this thread runs the dispatcher.
    pub(crate) fn is_this_thread(&self) -> bool {
        let thread = self.thread.lock();
        let id = thread.as_ref().map(Thread::id);
        id == Some(sync::current().id())
    }

    /// Whether no thread runs the dispatcher yet.
    pub(crate) fn is_absent(&self) -> bool {
        self.state.load(SeqCst) == ABSENT
    }
}

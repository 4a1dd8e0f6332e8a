//! Which watches of a stream may have something to say.
//!
//! A stream may hold thousands of watches, and is one task: each watch has a bell of its own,
//! which puts it into the queue and wakes the task; only what is in the queue is polled.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

/// The queue of one stream.
#[derive(Debug, Default)]
pub(crate) struct Ready {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// In the order in which they rang: whoever was polled goes to the end.
    rung: VecDeque<Arc<Bell>>,
    task: Option<Waker>,
}

/// One watch's bell.
#[derive(Debug)]
pub(crate) struct Bell {
    /// The watch's id, which a client may use again once the watch is cancelled.
    pub(crate) id: i64,
    /// It is in the queue.
    rung: AtomicBool,
    shared: Arc<Shared>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ready {
    /// A bell for a new watch, rung: it is to be polled once at least.
    pub(crate) fn bell(&self, id: i64) -> Arc<Bell> {
        let bell = Arc::new(Bell {
            id,
            rung: AtomicBool::new(false),
            shared: Arc::clone(&self.shared),
        });
        bell.ring();
        bell
    }

    /// The next to be polled. If there is none, `task` is woken once there is.
    pub(crate) fn next(&self, task: &Waker) -> Option<Arc<Bell>> {
        let mut state = self.shared.state();
        if let Some(bell) = state.rung.pop_front() {
            drop(state);
            // Before it is polled: what comes from then on rings again.
            bell.rung.store(false, Ordering::SeqCst);
            return Some(bell);
        }
        let awaited = state.task.as_ref();
        if awaited.is_some_and(|awaited| awaited.will_wake(task)) {
            return None;
        }
        // No waker is cloned or dropped under the lock; so look again.
        drop(state);
        let task = task.clone();
        let mut state = self.shared.state();
        let old = state.task.replace(task);
        let missed = !state.rung.is_empty();
        drop(state);
        drop(old);
        if missed { self.pop() } else { None }
    }

    fn pop(&self) -> Option<Arc<Bell>> {
        let bell = self.shared.state().rung.pop_front()?;
        bell.rung.store(false, Ordering::SeqCst);
        Some(bell)
    }

    /// How many are to be polled.
    pub(crate) fn len(&self) -> usize {
        self.shared.state().rung.len()
    }
}

impl Bell {
    /// Puts the watch into the queue, unless it is there.
    pub(crate) fn ring(self: &Arc<Self>) {
        if self.rung.swap(true, Ordering::SeqCst) {
            return;
        }
        let mut state = self.shared.state();
        state.rung.push_back(Arc::clone(self));
        let task = state.task.take();
        drop(state);
        if let Some(task) = task {
            task.wake();
        }
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.ring();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ring();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn who_rings_is_polled_once_and_in_turn() {
        let count = Arc::new(Count::default());
        let task = Waker::from(Arc::clone(&count));
        let ready = Ready::default();
        let bells = [1, 2, 3].map(|id| ready.bell(id));
        bells[0].ring();
        let turn = || ready.next(&task).map(|bell| bell.id);
        assert_eq!(
            [turn(), turn(), turn(), turn()],
            [Some(1), Some(2), Some(3), None]
        );
        assert_eq!(count.0.load(Ordering::SeqCst), 0);
        bells[1].ring();
        bells[1].ring();
        bells[0].ring();
        assert_eq!(count.0.load(Ordering::SeqCst), 1, "one wake-up for all");
        assert_eq!(ready.len(), 2);
        assert_eq!([turn(), turn(), turn()], [Some(2), Some(1), None]);
    }

    #[test]
    fn the_last_task_that_looked_is_woken() {
        let (first, last) = (Arc::new(Count::default()), Arc::new(Count::default()));
        let ready = Ready::default();
        assert!(ready.next(&Waker::from(Arc::clone(&first))).is_none());
        assert!(ready.next(&Waker::from(Arc::clone(&last))).is_none());
        let _bell = ready.bell(1);
        let woken = [&first, &last].map(|count| count.0.load(Ordering::SeqCst));
        assert_eq!(woken, [0, 1]);
    }
}

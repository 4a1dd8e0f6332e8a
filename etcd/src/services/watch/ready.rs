//! The watches of a stream that may have something to send.
//!
//! A stream is one task and may have thousands of watches. Each watch's watcher gets a waker of its
//! own, a [`WatchHandle`], which queues the watch and wakes the task. The stream polls only queued
//! watches.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

/// The queue of one stream.
#[derive(Debug, Default)]
pub(crate) struct ReadyQueue {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// First in, first out: a watch that was polled queues at the end.
    queue: VecDeque<Arc<WatchHandle>>,
    task: Option<Waker>,
}

/// One watch in the eyes of the queue, and the waker of its watcher.
#[derive(Debug)]
pub(crate) struct WatchHandle {
    /// The watch's id. A client may reuse it once the watch is cancelled.
    pub(crate) id: i64,
    is_queued: AtomicBool,
    shared: Arc<Shared>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // No code under the lock panics half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReadyQueue {
    /// Adds a watch. It is queued at once, so that it is polled at least once.
    pub(crate) fn add(&self, id: i64) -> Arc<WatchHandle> {
        let handle = Arc::new(WatchHandle {
            id,
            is_queued: AtomicBool::new(false),
            shared: Arc::clone(&self.shared),
        });
        handle.mark_ready();
        handle
    }

    /// Takes the next watch to poll. If there is none, `task` is woken once there is one.
    pub(crate) fn next(&self, task: &Waker) -> Option<Arc<WatchHandle>> {
        let mut state = self.shared.state();
        if let Some(handle) = state.queue.pop_front() {
            drop(state);
            // Cleared before the watch is polled: a wake-up during the poll queues it again.
            handle.is_queued.store(false, Ordering::SeqCst);
            return Some(handle);
        }
        let registered = state.task.as_ref();
        if registered.is_some_and(|registered| registered.will_wake(task)) {
            return None;
        }
        // Wakers are neither cloned nor dropped under the lock. A watch may be queued while the
        // lock is released, so check again after registering.
        drop(state);
        let task = task.clone();
        let mut state = self.shared.state();
        let old = state.task.replace(task);
        let missed = !state.queue.is_empty();
        drop(state);
        drop(old);
        if missed { self.pop() } else { None }
    }

    fn pop(&self) -> Option<Arc<WatchHandle>> {
        let handle = self.shared.state().queue.pop_front()?;
        handle.is_queued.store(false, Ordering::SeqCst);
        Some(handle)
    }

    /// The number of queued watches.
    pub(crate) fn len(&self) -> usize {
        self.shared.state().queue.len()
    }
}

impl WatchHandle {
    /// Queues the watch, unless it is queued already, and wakes the stream's task.
    pub(crate) fn mark_ready(self: &Arc<Self>) {
        if self.is_queued.swap(true, Ordering::SeqCst) {
            return;
        }
        let mut state = self.shared.state();
        state.queue.push_back(Arc::clone(self));
        let task = state.task.take();
        drop(state);
        if let Some(task) = task {
            task.wake();
        }
    }
}

impl Wake for WatchHandle {
    fn wake(self: Arc<Self>) {
        self.mark_ready();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.mark_ready();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct WakeCount(AtomicUsize);

    impl Wake for WakeCount {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_ready_watch_is_polled_once_and_in_order() {
        let count = Arc::new(WakeCount::default());
        let task = Waker::from(Arc::clone(&count));
        let ready = ReadyQueue::default();
        let handles = [1, 2, 3].map(|id| ready.add(id));
        handles[0].mark_ready();
        let next = || ready.next(&task).map(|handle| handle.id);
        assert_eq!(
            [next(), next(), next(), next()],
            [Some(1), Some(2), Some(3), None]
        );
        assert_eq!(count.0.load(Ordering::SeqCst), 0);
        handles[1].mark_ready();
        handles[1].mark_ready();
        handles[0].mark_ready();
        assert_eq!(count.0.load(Ordering::SeqCst), 1, "one wake-up for all");
        assert_eq!(ready.len(), 2);
        assert_eq!([next(), next(), next()], [Some(2), Some(1), None]);
    }

    #[test]
    fn the_last_polling_task_is_woken() {
        let (first, last) = (
            Arc::new(WakeCount::default()),
            Arc::new(WakeCount::default()),
        );
        let ready = ReadyQueue::default();
        assert!(ready.next(&Waker::from(Arc::clone(&first))).is_none());
        assert!(ready.next(&Waker::from(Arc::clone(&last))).is_none());
        let _handle = ready.add(1);
        let woken = [&first, &last].map(|count| count.0.load(Ordering::SeqCst));
        assert_eq!(woken, [0, 1]);
    }
}

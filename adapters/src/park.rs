//! Waiting for futures and polls on plain threads.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// Wakes a thread, and remembers that it did: what is polled may park the thread too, and use up
/// an `unpark` that was meant for this.
struct Parker {
    thread: Thread,
    woken: AtomicBool,
}

impl Parker {
    fn here() -> Arc<Self> {
        Arc::new(Self {
            thread: thread::current(),
            woken: AtomicBool::new(false),
        })
    }

    fn take(&self) -> bool {
        self.woken.swap(false, SeqCst)
    }

    /// Parks until woken; returns whether that was before the deadline.
    fn park(&self, deadline: Option<Instant>) -> bool {
        while !self.take() {
            let Some(deadline) = deadline else {
                thread::park();
                continue;
            };
            match deadline.checked_duration_since(Instant::now()) {
                Some(left) if !left.is_zero() => thread::park_timeout(left),
                _ => return false,
            }
        }
        true
    }
}

impl Wake for Parker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, SeqCst);
        self.thread.unpark();
    }
}

/// Runs a future to its end on this thread.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    block_until(None, |cx| future.as_mut().poll(cx)).expect("without a deadline it waits")
}

/// Polls until something is ready, or the deadline is over: then once more.
pub(crate) fn block_until<T>(
    deadline: Option<Instant>,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
) -> Option<T> {
    let parker = Parker::here();
    let waker = Waker::from(Arc::clone(&parker));
    let mut cx = Context::from_waker(&waker);
    let mut in_time = true;
    loop {
        match poll(&mut cx) {
            Poll::Ready(ready) => return Some(ready),
            Poll::Pending if in_time => in_time = parker.park(deadline),
            Poll::Pending => return None,
        }
    }
}

/// What is ready without waiting. A poll that wakes itself, as it has more to do, goes on.
pub(crate) fn poll_now<T>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Option<T> {
    let parker = Parker::here();
    let waker = Waker::from(Arc::clone(&parker));
    let mut cx = Context::from_waker(&waker);
    loop {
        match poll(&mut cx) {
            Poll::Ready(ready) => return Some(ready),
            Poll::Pending if parker.take() => {}
            Poll::Pending => return None,
        }
    }
}

/// When this much time is over. Beyond what the clock can tell it is never.
pub(crate) fn deadline_after(timeout: Duration) -> Option<Instant> {
    Instant::now().checked_add(timeout)
}

/// Wakes. A waker that panics is its owner's bug, and must not take anybody else down.
pub(crate) fn wake(waker: Waker) {
    if catch_unwind(AssertUnwindSafe(|| waker.wake())).is_err() {
        tracing::error!("a waker panicked; the task it belongs to may not be woken");
    }
}

#[cfg(test)]
mod tests {
    use std::future::{poll_fn, ready};

    use super::*;

    #[test]
    fn a_wake_up_is_not_lost_to_somebody_else_who_parks() {
        let mut polled = 0;
        let parking = poll_fn(|cx| {
            polled += 1;
            if polled == 2 {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            // Uses up the unpark.
            thread::park();
            Poll::Pending
        });
        block_on(parking);
    }

    #[test]
    fn what_is_ready_is_returned_however_short_the_time() {
        let over = Some(Instant::now());
        assert_eq!(block_until(over, |_| Poll::Ready(1)), Some(1));
        assert_eq!(block_until(over, |_| Poll::<()>::Pending), None);
        assert_eq!(block_on(ready(2)), 2);
    }

    #[test]
    fn what_wakes_itself_is_polled_again() {
        let mut left = 3;
        let polled = poll_now(|cx| {
            left -= 1;
            if left == 0 {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        });
        assert_eq!(polled, Some(()));
        assert_eq!(poll_now(|_| Poll::<()>::Pending), None);
    }
}

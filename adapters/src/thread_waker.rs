//! Runs futures and polls on plain threads.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// A waker that unparks one thread.
///
/// The flag records each wake-up. The unpark token alone is not enough: the polled code may park
/// the thread as well, and consume a token that this waker has set.
struct ThreadWaker {
    thread: Thread,
    woken: AtomicBool,
}

impl ThreadWaker {
    /// A waker for the calling thread.
    fn current() -> Arc<Self> {
        Arc::new(Self {
            thread: thread::current(),
            woken: AtomicBool::new(false),
        })
    }

    /// Clears the flag. Returns whether it was set.
    fn take_woken(&self) -> bool {
        self.woken.swap(false, SeqCst)
    }

    /// Parks until woken. Returns `false` if the deadline passed first.
    fn park_until(&self, deadline: Option<Instant>) -> bool {
        while !self.take_woken() {
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

impl Wake for ThreadWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, SeqCst);
        self.thread.unpark();
    }
}

/// Runs a future to completion on this thread.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    block_until(None, |cx| future.as_mut().poll(cx)).expect("a wait without a deadline completes")
}

/// Polls until the result is ready or the deadline has passed. Polls once more after the
/// deadline, so a result that is ready by then is returned. `None` is a timeout.
pub(crate) fn block_until<T>(
    deadline: Option<Instant>,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
) -> Option<T> {
    let thread_waker = ThreadWaker::current();
    let waker = Waker::from(Arc::clone(&thread_waker));
    let mut cx = Context::from_waker(&waker);
    let mut in_time = true;
    loop {
        match poll(&mut cx) {
            Poll::Ready(ready) => return Some(ready),
            Poll::Pending if in_time => in_time = thread_waker.park_until(deadline),
            Poll::Pending => return None,
        }
    }
}

/// Polls without waiting. A poll that wakes itself has more work to do and is repeated.
pub(crate) fn poll_now<T>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Option<T> {
    let thread_waker = ThreadWaker::current();
    let waker = Waker::from(Arc::clone(&thread_waker));
    let mut cx = Context::from_waker(&waker);
    loop {
        match poll(&mut cx) {
            Poll::Ready(ready) => return Some(ready),
            Poll::Pending if thread_waker.take_woken() => {}
            Poll::Pending => return None,
        }
    }
}

/// The instant `timeout` from now. `None`, which means no deadline, if the clock cannot
/// represent it.
pub(crate) fn deadline_after(timeout: Duration) -> Option<Instant> {
    Instant::now().checked_add(timeout)
}

#[cfg(test)]
mod tests {
    use std::future::{poll_fn, ready};

    use super::*;

    #[test]
    fn wake_up_is_kept_when_the_polled_code_parks_the_thread() {
        let mut polled = 0;
        let parking = poll_fn(|cx| {
            polled += 1;
            if polled == 2 {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            // Consumes the unpark token.
            thread::park();
            Poll::Pending
        });
        block_on(parking);
    }

    #[test]
    fn ready_result_is_returned_when_the_deadline_has_passed() {
        let past = Some(Instant::now());
        assert_eq!(block_until(past, |_| Poll::Ready(1)), Some(1));
        assert_eq!(block_until(past, |_| Poll::<()>::Pending), None);
        assert_eq!(block_on(ready(2)), 2);
    }

    #[test]
    fn poll_now_polls_again_when_the_poll_wakes_itself() {
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

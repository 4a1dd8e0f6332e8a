//! The locks, atomics and thread parking that the engine is built on, in one place, so that a
//! model checker can replace them: in tests with `--cfg kvwatch_loom` or `--cfg kvwatch_shuttle`.
//!
//! Everything that carries a wake-up or hands data over comes from here. Counters that only
//! statistics read come from `std`, because no order depends on them. So do reference counts:
//! nothing depends on the moment at which one reaches zero.

pub(crate) mod wait;

pub(crate) use imp::*;

#[cfg(not(all(test, any(kvwatch_loom, kvwatch_shuttle))))]
mod imp {
    pub(crate) use parking_lot::{Mutex, RwLock};
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize};
    pub(crate) use std::thread::{Thread, current, park, park_timeout};

    use std::time::{Duration, Instant};
    use std::{hint, thread};

    use spin::mutex::{SpinMutex, SpinMutexGuard};

    /// Lets other threads run until `is_ready` or until `end`. Returns whether it was ready in
    /// time.
    pub(crate) fn yield_until(end: Instant, is_ready: impl Fn() -> bool) -> bool {
        while Instant::now() < end {
            if is_ready() {
                return true;
            }
            thread::yield_now();
        }
        false
    }

    /// Waits for another thread that is about to act, mostly within nanoseconds: spins first, then
    /// yields to that thread, and then sleeps, so that threads of a lower priority run as well.
    #[cold]
    pub(crate) fn wait_while(mut condition: impl FnMut() -> bool) {
        let mut looks = 0_u8;
        while condition() {
            match looks {
                0..100 => hint::spin_loop(),
                100..200 => thread::yield_now(),
                _ => thread::sleep(Duration::from_micros(50)),
            }
            looks = looks.saturating_add(1);
        }
    }

    /// A lock that is not fair, has no priority inheritance, and releases without a full fence.
    ///
    /// It is for critical sections of nanoseconds that run for each event. A lock on which other
    /// threads can sleep is released by a locked instruction, which waits for every store before
    /// it; this one is released by a plain store. A thread that finds it taken spins, then yields,
    /// then sleeps ([`wait_while`]).
    ///
    /// A critical section may copy what one call brings, and allocate the memory of one batch at
    /// most; it runs no user code.
    ///
    /// After the release, the holder's next loads may be of values older than other threads'
    /// writes, except for writes made before they took this lock.
    #[derive(Debug)]
    pub(crate) struct SpinThenSleepMutex<T>(SpinMutex<T>);

    impl<T> SpinThenSleepMutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(SpinMutex::new(value))
        }

        #[inline(always)]
        pub(crate) fn lock(&self) -> SpinMutexGuard<'_, T> {
            self.0.try_lock().unwrap_or_else(|| self.wait())
        }

        #[cold]
        fn wait(&self) -> SpinMutexGuard<'_, T> {
            let mut guard = None;
            wait_while(|| {
                // A load disturbs the holder less than an attempt to take the lock.
                guard = if self.0.is_locked() {
                    None
                } else {
                    self.0.try_lock()
                };
                guard.is_none()
            });
            guard.expect("the lock was taken")
        }

        pub(crate) fn is_locked(&self) -> bool {
            self.0.is_locked()
        }
    }

    /// The bounded channel into the dispatcher. Only operations that never wait are used: the
    /// engine waits by itself, so that a message can be sent without a wake.
    #[derive(Debug)]
    pub(crate) struct Channel<T> {
        sender: crossbeam_channel::Sender<T>,
        receiver: crossbeam_channel::Receiver<T>,
    }

    impl<T> Channel<T> {
        pub(crate) fn bounded(capacity: usize) -> Self {
            let (sender, receiver) = crossbeam_channel::bounded(capacity);
            Self { sender, receiver }
        }

        pub(crate) fn try_send(&self, message: T) -> Result<(), T> {
            self.sender
                .try_send(message)
                .map_err(crossbeam_channel::TrySendError::into_inner)
        }

        pub(crate) fn try_recv(&self) -> Option<T> {
            self.receiver.try_recv().ok()
        }

        pub(crate) fn is_empty(&self) -> bool {
            self.receiver.is_empty()
        }
    }
}

/// Both model checkers' types with the signatures used here: parking_lot's for locks, and a channel
/// that a checker can follow.
#[cfg(all(test, any(kvwatch_loom, kvwatch_shuttle)))]
mod imp {
    #[cfg(kvwatch_loom)]
    use loom as checker;
    #[cfg(all(kvwatch_shuttle, not(kvwatch_loom)))]
    use shuttle as checker;

    use std::collections::VecDeque;

    #[cfg(kvwatch_loom)]
    pub(crate) use super::sequential::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize};
    pub(crate) use checker::sync::MutexGuard;
    #[cfg(not(kvwatch_loom))]
    pub(crate) use checker::sync::atomic::{
        AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize,
    };
    pub(crate) use checker::thread::{Thread, current, park};

    /// The checkers have no clock: a timeout passes at the next schedule point.
    pub(crate) fn park_timeout(_: std::time::Duration) {
        checker::thread::yield_now();
    }

    /// Passes like [`park_timeout`].
    pub(crate) fn yield_until(_: std::time::Instant, is_ready: impl Fn() -> bool) -> bool {
        checker::thread::yield_now();
        is_ready()
    }

    /// Each check is a schedule point, so other threads run in between.
    pub(crate) fn wait_while(mut condition: impl FnMut() -> bool) {
        while condition() {
            checker::thread::yield_now();
        }
    }

    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(checker::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(checker::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0
                .lock()
                .unwrap_or_else(|poisoned| poisoned.into_inner())
        }

        pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            self.0.try_lock().ok()
        }

        /// Used only to prefetch the lock's memory.
        pub(crate) fn is_locked(&self) -> bool {
            false
        }
    }

    #[derive(Debug, Default)]
    pub(crate) struct RwLock<T>(checker::sync::RwLock<T>);

    impl<T> RwLock<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(checker::sync::RwLock::new(value))
        }

        pub(crate) fn read(&self) -> checker::sync::RwLockReadGuard<'_, T> {
            self.0
                .read()
                .unwrap_or_else(|poisoned| poisoned.into_inner())
        }

        pub(crate) fn write(&self) -> checker::sync::RwLockWriteGuard<'_, T> {
            self.0
                .write()
                .unwrap_or_else(|poisoned| poisoned.into_inner())
        }
    }

    /// A checker does not distinguish locks by how long they are held.
    pub(crate) type SpinThenSleepMutex<T> = Mutex<T>;

    /// Replaces crossbeam's channel, whose atomics are not the checker's.
    #[derive(Debug)]
    pub(crate) struct Channel<T> {
        messages: Mutex<VecDeque<T>>,
        capacity: usize,
    }

    impl<T> Channel<T> {
        pub(crate) fn bounded(capacity: usize) -> Self {
            Self {
                messages: Mutex::new(VecDeque::new()),
                capacity,
            }
        }

        pub(crate) fn try_send(&self, message: T) -> Result<(), T> {
            let mut messages = self.messages.lock();
            if messages.len() == self.capacity {
                return Err(message);
            }
            messages.push_back(message);
            Ok(())
        }

        pub(crate) fn try_recv(&self) -> Option<T> {
            self.messages.lock().pop_front()
        }

        pub(crate) fn is_empty(&self) -> bool {
            self.messages.lock().is_empty()
        }
    }
}

/// Loom weakens SeqCst loads and stores, and so reports false alarms where two threads each write
/// one atomic and then read the other's. An exchange reads the newest value, as SeqCst promises
/// here, so loads and stores become exchanges.
#[cfg(all(test, kvwatch_loom))]
mod sequential {
    use std::sync::atomic::Ordering;

    macro_rules! sequential {
        ($($name:ident: $value:ty, $same:ident($unit:expr);)*) => {$(
            #[derive(Debug)]
            pub(crate) struct $name(loom::sync::atomic::$name);

            #[allow(dead_code, reason = "each type uses some of these")]
            impl $name {
                pub(crate) fn new(value: $value) -> Self {
                    Self(loom::sync::atomic::$name::new(value))
                }

                pub(crate) fn load(&self, order: Ordering) -> $value {
                    match order {
                        Ordering::SeqCst => self.0.$same($unit, order),
                        weaker => self.0.load(weaker),
                    }
                }

                pub(crate) fn store(&self, value: $value, order: Ordering) {
                    match order {
                        Ordering::SeqCst => _ = self.0.swap(value, order),
                        weaker => self.0.store(value, weaker),
                    }
                }

                pub(crate) fn swap(&self, value: $value, order: Ordering) -> $value {
                    self.0.swap(value, order)
                }

                pub(crate) fn compare_exchange(
                    &self,
                    current: $value,
                    new: $value,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$value, $value> {
                    self.0.compare_exchange(current, new, success, failure)
                }
            }
        )*};
    }

    sequential! {
        AtomicBool: bool, fetch_or(false);
        AtomicU8: u8, fetch_or(0);
        AtomicU32: u32, fetch_or(0);
        AtomicU64: u64, fetch_or(0);
        AtomicUsize: usize, fetch_or(0);
    }

    macro_rules! counting {
        ($($name:ident: $value:ty;)*) => {$(
            #[allow(dead_code, reason = "each type uses some of these")]
            impl $name {
                pub(crate) fn fetch_add(&self, value: $value, order: Ordering) -> $value {
                    self.0.fetch_add(value, order)
                }

                pub(crate) fn fetch_sub(&self, value: $value, order: Ordering) -> $value {
                    self.0.fetch_sub(value, order)
                }

                pub(crate) fn fetch_max(&self, value: $value, order: Ordering) -> $value {
                    self.0.fetch_max(value, order)
                }
            }
        )*};
    }

    counting! {
        AtomicU32: u32;
        AtomicU64: u64;
        AtomicUsize: usize;
    }
}

#[cfg(all(test, not(any(kvwatch_loom, kvwatch_shuttle))))]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::SpinThenSleepMutex;

    #[test]
    fn lock_admits_one_thread_at_a_time_to_spinning_and_sleeping_waiters() {
        let count = SpinThenSleepMutex::new(0);
        thread::scope(|scope| {
            let held = count.lock();
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        let mut count = count.lock();
                        let before = *count;
                        thread::yield_now();
                        *count = before + 1;
                    }
                });
            }
            // Longer than a waiter spins and yields.
            thread::sleep(Duration::from_millis(5));
            assert_eq!(*held, 0);
            drop(held);
        });
        assert!(!count.is_locked());
        assert_eq!(*count.lock(), 30_000);
    }
}

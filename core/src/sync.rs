//! The locks, atomics, thread parking and yielding that the engine is built on, in one place, so
//! that a model checker can stand in for them: `--cfg kvwatch_loom` and `--cfg kvwatch_shuttle`.
//!
//! Whatever carries a wake-up or hands data over comes from here. Plain counters that only
//! statistics read come from `std`: their order carries nothing. Reference counts stay `std`'s
//! too: nothing here depends on when one reaches zero.

pub(crate) use imp::*;

#[cfg(not(any(kvwatch_loom, kvwatch_shuttle)))]
mod imp {
    pub(crate) use parking_lot::{Mutex, RwLock};
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize};
    pub(crate) use std::thread::{Thread, current, park, park_timeout};

    use std::time::{Duration, Instant};
    use std::{hint, thread};

    use spin::mutex::{SpinMutex, SpinMutexGuard};

    /// Lets other threads run until it is there or the time is over. Returns whether it was there
    /// in time.
    pub(crate) fn yield_until(end: Instant, is_there: impl Fn() -> bool) -> bool {
        while Instant::now() < end {
            if is_there() {
                return true;
            }
            thread::yield_now();
        }
        false
    }

    /// Waits for what another thread is about to do, mostly in nanoseconds: first awake, then
    /// letting others run, of whom it may be one, and then asleep, in which also those run who are
    /// less urgent to the system.
    #[cold]
    pub(crate) fn wait_while(mut is_so: impl FnMut() -> bool) {
        let mut looks = 0_u8;
        while is_so() {
            match looks {
                0..100 => hint::spin_loop(),
                100..200 => thread::yield_now(),
                _ => thread::sleep(Duration::from_micros(50)),
            }
            looks = looks.saturating_add(1);
        }
    }

    /// A lock for what mostly takes nanoseconds, and at most as long as to allocate a batch's memory
    /// or to copy what one call brings. A lock that others may sleep on is let go by a locked
    /// instruction, which waits until all before it is done; this one by a plain store. An event
    /// published to one watcher takes a tenth less by it, and one watcher a key gets 1.2x the events
    /// (1,000 keys).
    ///
    /// A plain store is no fence: of what its holder reads next, only that is up to date which
    /// others wrote before they had this lock.
    #[derive(Debug)]
    pub(crate) struct BriefMutex<T>(SpinMutex<T>);

    impl<T> BriefMutex<T> {
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
                // To look disturbs its holder less than to try.
                guard = if self.0.is_locked() {
                    None
                } else {
                    self.0.try_lock()
                };
                guard.is_none()
            });
            guard.expect("waited for")
        }

        pub(crate) fn is_locked(&self) -> bool {
            self.0.is_locked()
        }
    }

    /// The bounded channel into the dispatcher. Only its operations that never wait are used:
    /// the waiting is the engine's own, so that a message can be left lying without a wake.
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

/// What both model checkers need beside their own types: parking_lot's signatures over
/// std-like locks, and a channel simple enough to be followed.
#[cfg(any(kvwatch_loom, kvwatch_shuttle))]
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

    /// The checkers have no clock: a wait with a timeout is over when they say so.
    pub(crate) fn park_timeout(_: std::time::Duration) {
        checker::thread::yield_now();
    }

    /// Over as soon as that one.
    pub(crate) fn yield_until(_: std::time::Instant, is_there: impl Fn() -> bool) -> bool {
        checker::thread::yield_now();
        is_there()
    }

    /// To a checker each look is a step, and somebody else's comes between.
    pub(crate) fn wait_while(mut is_so: impl FnMut() -> bool) {
        while is_so() {
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

        /// Asked only to have the lock's memory fetched.
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

    /// How long a lock is held is nothing to a checker.
    pub(crate) type BriefMutex<T> = Mutex<T>;

    /// Stands in for crossbeam's channel, whose insides a checker cannot follow.
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

/// Loom takes a SeqCst load or store for a weaker one, and raises false alarms where two threads
/// each write one atomic and then read the other's. An exchange reads the newest value, as SeqCst
/// promises here: so loads and stores become exchanges.
#[cfg(kvwatch_loom)]
mod sequential {
    use std::sync::atomic::Ordering;

    macro_rules! sequential {
        ($($name:ident: $value:ty, $same:ident($unit:expr);)*) => {$(
            #[derive(Debug)]
            pub(crate) struct $name(loom::sync::atomic::$name);

            #[allow(dead_code, reason = "each is used with some of these")]
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
            #[allow(dead_code, reason = "each is used with some of these")]
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

    use super::BriefMutex;

    #[test]
    fn a_brief_lock_lets_one_in_at_a_time_and_is_waited_for_awake_or_asleep() {
        let count = BriefMutex::new(0);
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
            // Longer than anybody stays awake for.
            thread::sleep(Duration::from_millis(5));
            assert_eq!(*held, 0);
            drop(held);
        });
        assert!(!count.is_locked());
        assert_eq!(*count.lock(), 30_000);
    }
}

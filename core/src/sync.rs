//! The locks, atomics and thread parking that the engine is built on, in one place, so that a
//! model checker can stand in for them: `--cfg kvwatch_loom` and `--cfg kvwatch_shuttle`.
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

        pub(crate) fn len(&self) -> usize {
            self.receiver.len()
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

    pub(crate) use checker::sync::MutexGuard;
    pub(crate) use checker::sync::atomic::{
        AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize,
    };
    pub(crate) use checker::thread::{Thread, current, park};

    /// The checkers have no clock: a wait with a timeout is over when they say so.
    pub(crate) fn park_timeout(_: std::time::Duration) {
        checker::thread::yield_now();
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

        pub(crate) fn len(&self) -> usize {
            self.messages.lock().len()
        }

        pub(crate) fn is_empty(&self) -> bool {
            self.messages.lock().is_empty()
        }
    }
}

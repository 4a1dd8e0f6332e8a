//! Locks made of keys, as in etcd's lock recipe. A caller puts a ticket after all others and waits
//! for the deletion of the ticket before it. Thus each deletion wakes one waiter, independent of
//! the number of waiters.

use std::fmt;
use std::time::Instant;

use bytes::Bytes;
use kvwatch::{Change, EndReason, Filter, Hub, RecvTimeoutError, Revision, Selector, WatchOptions};
use parking_lot::Mutex;

use crate::AnyError;
use crate::store::{Reader, Store};

/// The locks of one store.
#[derive(Debug)]
pub struct Locks {
    store: Mutex<Store>,
    reader: Reader,
    hub: Hub,
}

/// The lock, held until this guard is [released](Self::release) or dropped. Dropping ignores an
/// error of the store.
#[derive(Debug)]
#[must_use = "the lock is released when this is dropped"]
pub struct LockGuard<'a> {
    locks: &'a Locks,
    /// `None` after it is deleted.
    ticket: Option<Bytes>,
}

/// Why locking failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum LockError {
    /// Another holder had the lock until the deadline.
    Timeout {
        /// The ticket before the caller's at that time.
        ahead: Bytes,
    },
    /// The store was shut down or failed.
    Ended(EndReason),
    /// The store cannot be read or written.
    Store(AnyError),
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout { ahead } => write!(f, "ticket {ahead:?} is still ahead"),
            Self::Ended(reason) => write!(f, "the store's watchers ended: {reason}"),
            Self::Store(error) => write!(f, "the store failed: {error}"),
        }
    }
}

impl std::error::Error for LockError {}

impl From<AnyError> for LockError {
    fn from(error: AnyError) -> Self {
        Self::Store(error)
    }
}

/// The deleted tickets of a lock, from the store's log.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// Tickets that were deleted when no other was before them.
    pub(crate) first: usize,
    /// Tickets that were deleted while another was before them.
    pub(crate) waiting: usize,
}

fn tickets_of(name: &str) -> Selector {
    Selector::prefix(format!("locks/{name}/"))
}

impl Locks {
    /// The locks of a store. All users of the locks must share this value, in one process.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self {
            reader: store.reader(),
            hub: store.hub(),
            store: Mutex::new(store),
        }
    }

    /// Returns the store.
    #[must_use]
    pub fn into_store(self) -> Store {
        self.store.into_inner()
    }

    /// The last revision of the store.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.hub.revision()
    }

    /// Waits for the lock, until the deadline at most. Callers get the lock in the order of their
    /// calls. A caller that times out deletes its ticket, so that it does not delay others.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn lock(&self, name: &str, deadline: Instant) -> Result<LockGuard<'_>, LockError> {
        // From here on, dropping the guard deletes the ticket.
        let (guard, key) = self.put_ticket(name)?;
        loop {
            let (revision, tickets) = self.reader.snapshot(&tickets_of(name))?;
            let before_mine = tickets.keys().take_while(|other| **other < key);
            let Some(ahead) = before_mine.last() else {
                return Ok(guard);
            };
            // Watches from the revision after the snapshot, so that no deletion is missed.
            let options = WatchOptions::new()
                .filter(Filter::Deletes)
                .start_revision(revision + 1);
            let watched = self.hub.watch_with(ahead, options);
            let mut watcher = watched.map_err(|error| LockError::Store(error.into()))?;
            match watcher.recv_deadline(deadline) {
                // The ticket was deleted, or the watcher lagged: read the tickets again.
                Ok(_) | Err(RecvTimeoutError::Lagged(_)) => {}
                Err(RecvTimeoutError::Timeout) => {
                    guard.release()?;
                    let ahead = ahead.clone();
                    return Err(LockError::Timeout { ahead });
                }
                Err(RecvTimeoutError::Closed(reason)) => return Err(LockError::Ended(reason)),
            }
        }
    }

    /// Puts a ticket after all others.
    fn put_ticket(&self, name: &str) -> Result<(LockGuard<'_>, Bytes), AnyError> {
        let mut store = self.store.lock();
        // Revisions increase, so that a key with the next one sorts after all others.
        let (last, _) = self.reader.last()?;
        let key = Bytes::from(format!("locks/{name}/{:020}", last + 1));
        store.commit(vec![Change::put(key.clone(), "")], "", false)?;
        let guard = LockGuard {
            locks: self,
            ticket: Some(key.clone()),
        };
        Ok((guard, key))
    }

    /// Deletes all tickets, and returns their number.
    ///
    /// # Errors
    /// If the store cannot be read or written.
    pub fn clear(&self, name: &str) -> Result<usize, AnyError> {
        let (_, tickets) = self.reader.snapshot(&tickets_of(name))?;
        let changes: Vec<_> = tickets.into_keys().map(Change::delete).collect();
        let count = changes.len();
        if count > 0 {
            self.store.lock().commit(changes, "", true)?;
        }
        Ok(count)
    }

    /// The tickets of this lock that were deleted since a revision. It reads the store's log, and
    /// thus checks the locks independently of their watchers.
    pub(crate) fn history(&self, name: &str, since: Revision) -> Result<History, AnyError> {
        let selector = tickets_of(name);
        let mut history = History::default();
        let mut tickets: Vec<Bytes> = Vec::new();
        let changes = self.reader.changes_since(since)?;
        for change in changes.iter().map(|(_, change)| change) {
            if !selector.matches(change.key()) {
                continue;
            }
            if change.value().is_some() {
                tickets.push(change.key().clone());
                continue;
            }
            let index = tickets.iter().position(|key| key == change.key());
            match index.ok_or("a ticket was deleted that never existed")? {
                0 => history.first += 1,
                _ => history.waiting += 1,
            }
            tickets.retain(|key| key != change.key());
        }
        Ok(history)
    }
}

impl LockGuard<'_> {
    /// Releases the lock to the next waiter.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub fn release(mut self) -> Result<(), AnyError> {
        self.delete_ticket()
    }

    fn delete_ticket(&mut self) -> Result<(), AnyError> {
        if let Some(ticket) = self.ticket.take() {
            let mut store = self.locks.store.lock();
            store.commit(vec![Change::delete(ticket)], "", false)?;
        }
        Ok(())
    }
}

impl Drop for LockGuard<'_> {
    fn drop(&mut self) {
        let _ = self.delete_ticket();
    }
}

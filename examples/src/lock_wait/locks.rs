//! Locks made of keys, after the recipe that etcd's users know: who wants a lock puts a ticket
//! behind the others' and waits for the deletion of the one before it. So each deletion wakes one
//! waiter, however many there are.

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

/// A ticket at the head of its line: the lock is its owner's until this is
/// [released](Self::release). Dropped, it is released too, and an error in that is lost.
#[derive(Debug)]
#[must_use = "the lock is released when this is dropped"]
pub struct Held<'a> {
    locks: &'a Locks,
    /// `None` once it is given back.
    ticket: Option<Bytes>,
}

/// Why a lock was not to be had.
#[derive(Debug)]
#[non_exhaustive]
pub enum LockError {
    /// Others had it until the deadline.
    Timeout {
        /// The ticket before one's own at that time.
        ahead: Bytes,
    },
    /// The store was shut down, or failed.
    Ended(EndReason),
    /// The store cannot be read or written.
    Store(AnyError),
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout { ahead } => write!(f, "ticket {ahead:?} still comes first"),
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

/// What the store's log tells of a lock.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// Tickets given back when no other was before them.
    pub(crate) first: usize,
    /// Tickets given back while there was.
    pub(crate) waiting: usize,
}

fn line(name: &str) -> Selector {
    Selector::prefix(format!("locks/{name}/"))
}

impl Locks {
    /// Only through these, and by one process, may the store's locks be used.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self {
            reader: store.reader(),
            hub: store.hub(),
            store: Mutex::new(store),
        }
    }

    /// The store again.
    #[must_use]
    pub fn into_store(self) -> Store {
        self.store.into_inner()
    }

    /// The last revision of the store.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.hub.revision()
    }

    /// Waits until the lock is this caller's, until the deadline at most: whoever asks first has
    /// it first. Who gives up leaves the line, and holds up nobody.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn lock(&self, name: &str, deadline: Instant) -> Result<Held<'_>, LockError> {
        // Whatever happens from here on, the ticket is given back.
        let (held, key) = self.draw(name)?;
        loop {
            let (revision, tickets) = self.reader.snapshot(&line(name))?;
            let before_mine = tickets.keys().take_while(|other| **other < key);
            let Some(ahead) = before_mine.last() else {
                return Ok(held);
            };
            // From behind what was just read: whenever it is deleted, this watcher is told.
            let options = WatchOptions::new()
                .filter(Filter::Deletes)
                .start_revision(revision + 1);
            let watched = self.hub.watch_with(ahead, options);
            let mut watcher = watched.map_err(|error| LockError::Store(error.into()))?;
            match watcher.recv_deadline(deadline) {
                // Deleted, or something was missed: then the line is read again.
                Ok(_) | Err(RecvTimeoutError::Lagged(_)) => {}
                Err(RecvTimeoutError::Timeout) => {
                    held.release()?;
                    let ahead = ahead.clone();
                    return Err(LockError::Timeout { ahead });
                }
                Err(RecvTimeoutError::Closed(reason)) => return Err(LockError::Ended(reason)),
            }
        }
    }

    /// Puts a ticket at the end of the line.
    fn draw(&self, name: &str) -> Result<(Held<'_>, Bytes), AnyError> {
        let mut store = self.store.lock();
        // Revisions grow, and a key made of one sorts behind those made before.
        let (last, _) = self.reader.last()?;
        let key = Bytes::from(format!("locks/{name}/{:020}", last + 1));
        store.commit(vec![Change::put(key.clone(), "")], "", false)?;
        let held = Held {
            locks: self,
            ticket: Some(key.clone()),
        };
        Ok((held, key))
    }

    /// Takes everybody's tickets away; returns how many there were.
    ///
    /// # Errors
    /// If the store cannot be read or written.
    pub fn clear(&self, name: &str) -> Result<usize, AnyError> {
        let (_, tickets) = self.reader.snapshot(&line(name))?;
        let changes: Vec<_> = tickets.into_keys().map(Change::delete).collect();
        let count = changes.len();
        if count > 0 {
            self.store.lock().commit(changes, "", true)?;
        }
        Ok(count)
    }

    /// What the log tells of this lock since then: a check that is independent of what the
    /// watchers said.
    pub(crate) fn history(&self, name: &str, since: Revision) -> Result<History, AnyError> {
        let line = line(name);
        let mut history = History::default();
        let mut drawn: Vec<Bytes> = Vec::new();
        let changes = self.reader.changes_since(since)?;
        for change in changes.iter().map(|(_, change)| change) {
            if !line.matches(change.key()) {
                continue;
            }
            if change.value().is_some() {
                drawn.push(change.key().clone());
                continue;
            }
            let place = drawn.iter().position(|key| key == change.key());
            match place.ok_or("a ticket was given back that was never drawn")? {
                0 => history.first += 1,
                _ => history.waiting += 1,
            }
            drawn.retain(|key| key != change.key());
        }
        Ok(history)
    }
}

impl Held<'_> {
    /// Gives the lock to whoever is next.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub fn release(mut self) -> Result<(), AnyError> {
        self.give_back()
    }

    fn give_back(&mut self) -> Result<(), AnyError> {
        if let Some(ticket) = self.ticket.take() {
            let mut store = self.locks.store.lock();
            store.commit(vec![Change::delete(ticket)], "", false)?;
        }
        Ok(())
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let _ = self.give_back();
    }
}

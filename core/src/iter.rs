//! Iterators over what a watcher receives.

use crate::error::{RecvError, TryRecvError};
use crate::event::Event;
use crate::watcher::Watcher;

/// Waits for each event: from [`Watcher::iter`].
#[derive(Debug)]
#[must_use = "iterators do nothing until they are used"]
pub struct Iter<'a> {
    watcher: &'a mut Watcher,
    done: bool,
}

/// Events that are there: from [`Watcher::try_iter`].
#[derive(Debug)]
#[must_use = "iterators do nothing until they are used"]
pub struct TryIter<'a> {
    watcher: &'a mut Watcher,
    done: bool,
}

/// An item for the caller, and whether it is the last: an end that somebody asked for is no item.
fn item(received: Result<Event, RecvError>, done: &mut bool) -> Option<Result<Event, RecvError>> {
    if let Err(RecvError::Closed(reason)) = received {
        *done = true;
        if reason.is_normal() {
            return None;
        }
    }
    Some(received)
}

impl<'a> Iter<'a> {
    pub(crate) fn new(watcher: &'a mut Watcher) -> Self {
        Self {
            watcher,
            done: false,
        }
    }
}

impl Iterator for Iter<'_> {
    type Item = Result<Event, RecvError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        item(self.watcher.recv(), &mut self.done)
    }
}

impl std::iter::FusedIterator for Iter<'_> {}

impl<'a> TryIter<'a> {
    pub(crate) fn new(watcher: &'a mut Watcher) -> Self {
        Self {
            watcher,
            done: false,
        }
    }
}

impl Iterator for TryIter<'_> {
    type Item = Result<Event, RecvError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let received = match self.watcher.try_recv() {
            Ok(event) => Ok(event),
            Err(TryRecvError::Empty) => return None,
            Err(TryRecvError::Lagged(lagged)) => Err(RecvError::Lagged(lagged)),
            Err(TryRecvError::Closed(reason)) => Err(RecvError::Closed(reason)),
        };
        item(received, &mut self.done)
    }
}

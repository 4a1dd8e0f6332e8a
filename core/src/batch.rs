//! Many events at once, by reference.

use std::fmt;
use std::mem;

use crate::event::{EventRef, Revision};
use crate::runs::{Runs, RunsIter};
use crate::segment::{Run, RunIter};

/// All that was at hand for a watcher: whole revisions, in order, never empty. From
/// [`Watcher::recv_batch`](crate::Watcher::recv_batch).
///
/// Its events borrow from it: [`EventRef::to_event`] and [`EventRef::to_change`] keep one.
pub struct Batch<'a> {
    runs: Runs,
    /// How many events of the first run were handed out before.
    skip: usize,
    with_prev: bool,
    /// The watcher's buffer, to be given back.
    home: &'a mut Runs,
}

impl<'a> Batch<'a> {
    pub(crate) fn new(home: &'a mut Runs, skip: usize, with_prev: bool) -> Self {
        Self {
            runs: mem::take(home),
            skip,
            with_prev,
            home,
        }
    }

    /// How many events.
    #[must_use]
    pub fn len(&self) -> usize {
        self.runs.iter().map(Run::len).sum::<usize>() - self.skip
    }

    /// Always `false`: where there is nothing, there is no batch.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first event's revision.
    #[must_use]
    pub fn first_revision(&self) -> Revision {
        let first = self.runs.front().expect("a batch is never empty");
        first.revision(self.skip)
    }

    /// The last event's revision.
    #[must_use]
    pub fn last_revision(&self) -> Revision {
        let last = self.runs.back().expect("a batch is never empty");
        last.last()
    }

    /// The events in order.
    #[must_use]
    pub fn iter(&self) -> BatchIter<'_> {
        let mut runs = self.runs.iter();
        let current = runs.next().map(|run| run.iter(self.skip, self.with_prev));
        BatchIter {
            current,
            runs,
            with_prev: self.with_prev,
        }
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        self.runs.clear();
        *self.home = mem::take(&mut self.runs);
    }
}

impl<'a> IntoIterator for &'a Batch<'_> {
    type Item = EventRef<'a>;
    type IntoIter = BatchIter<'a>;

    fn into_iter(self) -> BatchIter<'a> {
        self.iter()
    }
}

impl fmt::Debug for Batch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

/// The events of a [`Batch`], in order.
#[derive(Clone, Debug)]
pub struct BatchIter<'a> {
    current: Option<RunIter<'a>>,
    runs: RunsIter<'a>,
    with_prev: bool,
}

impl<'a> Iterator for BatchIter<'a> {
    type Item = EventRef<'a>;

    fn next(&mut self) -> Option<EventRef<'a>> {
        loop {
            if let Some(event) = self.current.as_mut()?.next() {
                return Some(event);
            }
            self.current = self.runs.next().map(|run| run.iter(0, self.with_prev));
        }
    }

    fn fold<B, F>(self, init: B, mut f: F) -> B
    where
        F: FnMut(B, EventRef<'a>) -> B,
    {
        // One tight loop a run: a third of what `next` costs an event.
        let mut all = init;
        if let Some(current) = self.current {
            all = current.fold(all, &mut f);
        }
        for run in self.runs {
            all = run.iter(0, self.with_prev).fold(all, &mut f);
        }
        all
    }
}

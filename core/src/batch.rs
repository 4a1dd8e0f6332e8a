//! Many events at once, by reference.

use std::fmt;
use std::mem;

use crate::change::Revision;
use crate::event::EventRef;
use crate::log::runs::{Runs, RunsIter};
use crate::log::segment::{Run, RunIter};

/// All events that were at hand for a watcher: whole revisions, in order, never empty. From
/// [`Watcher::recv_batch`](crate::Watcher::recv_batch).
///
/// Its events borrow from it; [`EventRef::to_event`] and [`EventRef::to_change`] keep one.
///
/// ```
/// # use kvwatch_core as kvwatch;
/// use kvwatch::{Builder, Change, Selector};
///
/// let (mut publisher, hub) = Builder::new().spawn()?;
/// let mut watcher = hub.watch(Selector::all())?;
/// publisher.publish_batch([Change::put("a", "1"), Change::put("b", "2")])?;
/// let batch = watcher.recv_batch()?;
/// assert_eq!((batch.len(), batch.first_revision(), batch.last_revision()), (2, 1, 1));
/// let kept: Vec<_> = batch.iter().map(|event| event.to_change()).collect();
/// # assert_eq!(kept.len(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Batch<'a> {
    runs: Runs,
    /// The number of events of the first run that were delivered before.
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

    /// The number of events.
    #[must_use]
    pub fn len(&self) -> usize {
        self.runs.iter().map(Run::len).sum::<usize>() - self.skip
    }

    /// Always `false`: there are no empty batches.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The revision of the first event.
    #[must_use]
    pub fn first_revision(&self) -> Revision {
        let first = self.runs.front().expect("a batch is never empty");
        first.revision(self.skip)
    }

    /// The revision of the last event.
    #[must_use]
    pub fn last_revision(&self) -> Revision {
        let last = self.runs.back().expect("a batch is never empty");
        last.last()
    }

    /// The events in order.
    #[must_use]
    pub fn iter(&self) -> BatchIter<'_> {
        let mut runs = self.runs.iter();
        let current = runs.next().map(|run| run.iter(self.skip));
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
            if let Some((records, record)) = self.current.as_mut()?.next() {
                return Some(EventRef::new(records, record, self.with_prev));
            }
            self.current = self.runs.next().map(|run| run.iter(0));
        }
    }

    fn fold<B, F>(self, init: B, mut f: F) -> B
    where
        F: FnMut(B, EventRef<'a>) -> B,
    {
        // One tight loop for each run costs a third of calling `next` for each event.
        let with_prev = self.with_prev;
        let later = self.runs.map(|run| run.iter(0));
        self.current
            .into_iter()
            .chain(later)
            .fold(init, |all, run| {
                run.fold(all, |all, (records, record)| {
                    f(all, EventRef::new(records, record, with_prev))
                })
            })
    }
}

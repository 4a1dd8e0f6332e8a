//! A queue of runs.

use std::collections::{VecDeque, vec_deque};
use std::{iter, option};

use crate::log::segment::Run;

/// Runs in order. Most watchers never have more than one run queued. That one is stored inline: it
/// needs no allocation, and is fetched together with the queue.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    first: Option<Run>,
    /// Empty if there is no first. Boxed, because every watcher and every queue has one.
    #[expect(
        clippy::box_collection,
        reason = "an inline VecDeque is four times as large"
    )]
    more: Option<Box<VecDeque<Run>>>,
}

pub(crate) type RunsIter<'a> =
    iter::Chain<option::Iter<'a, Run>, iter::Flatten<option::IntoIter<vec_deque::Iter<'a, Run>>>>;

impl Runs {
    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(crate) fn front(&self) -> Option<&Run> {
        self.first.as_ref()
    }

    pub(crate) fn back(&self) -> Option<&Run> {
        let more = self.more.as_ref().and_then(|more| more.back());
        more.or(self.first.as_ref())
    }

    pub(crate) fn push_back(&mut self, run: Run) {
        if self.first.is_none() {
            self.first = Some(run);
        } else {
            self.more.get_or_insert_default().push_back(run);
        }
    }

    pub(crate) fn pop_front(&mut self) -> Option<Run> {
        let next = self.more.as_mut().and_then(|more| more.pop_front());
        std::mem::replace(&mut self.first, next)
    }

    /// Removes all runs and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.first = None;
        if let Some(more) = &mut self.more {
            more.clear();
        }
    }

    pub(crate) fn iter(&self) -> RunsIter<'_> {
        let more = self.more.as_ref().map(|more| more.iter());
        self.first.iter().chain(more.into_iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::{Change, Revision};
    use crate::log::segment::{Picking, Segment};

    fn run(revision: Revision) -> Run {
        let changes = [(revision, Change::put("k", "v"))];
        let segment = Segment::new(changes.into_iter().collect());
        Run::new(&segment, Picking::new(0..1))
    }

    #[test]
    fn ordered_runs_pop_as_pushed_with_one_or_several_queued() {
        let revisions = |runs: &Runs| runs.iter().map(Run::first).collect::<Vec<_>>();
        let mut runs = Runs::default();
        for first in [1, 11] {
            assert!(runs.is_empty() && runs.front().is_none() && runs.back().is_none());
            for revision in first..first + 3 {
                runs.push_back(run(revision));
                assert_eq!(runs.back().unwrap().first(), revision);
            }
            assert_eq!(runs.pop_front().unwrap().first(), first);
            runs.push_back(run(first + 3));
            assert_eq!(revisions(&runs), [first + 1, first + 2, first + 3]);
            assert_eq!(runs.front().unwrap().first(), first + 1);
            runs.clear();
            assert!(runs.pop_front().is_none());
        }
        runs.push_back(run(1));
        assert_eq!(runs.pop_front().unwrap().first(), 1);
        assert!(runs.is_empty());
    }
}

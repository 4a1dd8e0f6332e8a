//! Runs that wait for a watcher.

use std::collections::{VecDeque, vec_deque};
use std::{iter, option};

use crate::segment::Run;

/// Runs in order. Most watchers never have more than one waiting, and then it takes no allocation
/// and lies where it is looked for: one watcher a key takes a third more events by it and by
/// [probing](crate::index::Index::probe), of 10,000 keys.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    first: Option<Run>,
    /// Empty if there is no first. Boxed, as there is one in each watcher and one in each queue.
    #[expect(
        clippy::box_collection,
        reason = "a bare one would be four times as large"
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

    /// Empties it and keeps its memory.
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
    use crate::event::{Change, Revision};
    use crate::segment::{Picking, Segment};

    fn run(revision: Revision) -> Run {
        let changes = [(revision, Change::put("k", "v"))];
        let segment = Segment::new(changes.into_iter().collect());
        Run::new(&segment, Picking::new(0..1))
    }

    #[test]
    fn ordered_whether_the_first_has_neighbours_or_not() {
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

//! What several transactions published at once come to.

use crate::error::{Entries, PublishErrorKind};
use crate::event::{Change, MAX_REVISION, Revision};
use crate::segment::SEGMENT_EVENTS;

/// What several entries come to: their changes, and what it takes to hand them back.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    pub(crate) changes: Vec<Change>,
    /// Each entry's revision and number of changes.
    entries: Vec<(Revision, usize)>,
}

impl Chunk {
    /// Collects them into an empty one.
    pub(crate) fn collect<C>(mut self, entries: impl IntoIterator<Item = (Revision, C)>) -> Self
    where
        C: IntoIterator<Item = Change>,
    {
        let entries = entries.into_iter();
        let expected = entries.size_hint().0;
        self.changes.reserve(expected);
        self.entries.reserve(expected);
        for (revision, changes) in entries {
            let before = self.changes.len();
            self.changes.extend(changes);
            let count = self.changes.len() - before;
            self.entries.push((revision, count));
        }
        self
    }

    /// The same memory for the next, if it is not much. To allocate it anew for each call costs
    /// `publish_many` of 64 an eighth.
    pub(crate) fn emptied(mut self) -> Self {
        self.changes.clear();
        self.entries.clear();
        if self.changes.capacity().max(self.entries.capacity()) > SEGMENT_EVENTS {
            return Self::default();
        }
        self
    }

    /// How many transactions these are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The transactions one by one.
    pub(crate) fn transactions(&self) -> impl Iterator<Item = (Revision, &[Change])> {
        let mut rest = &self.changes[..];
        self.entries.iter().map(move |&(revision, count)| {
            let (changes, behind) = rest.split_at(count);
            rest = behind;
            (revision, changes)
        })
    }

    /// The last revision, once every revision has been seen to grow.
    pub(crate) fn check(&self, mut last: Revision) -> Result<Revision, PublishErrorKind> {
        for &(given, _) in &self.entries {
            if given <= last || given > MAX_REVISION {
                return Err(PublishErrorKind::Revision { given, last });
            }
            last = given;
        }
        Ok(last)
    }

    pub(crate) fn give_back(self) -> Entries {
        let mut changes = self.changes.into_iter();
        self.entries
            .into_iter()
            .map(|(revision, count)| (revision, changes.by_ref().take(count).collect()))
            .collect()
    }

    /// The changes of the only entry.
    pub(crate) fn give_back_one(self) -> Vec<Change> {
        self.changes
    }
}

//! What several transactions published at once come to.

use crate::error::{Entries, PublishErrorKind};
use crate::event::{Change, MAX_REVISION, Record, Revision};

/// What several entries come to: their records, and what it takes to hand them back.
pub(crate) struct Chunk {
    pub(crate) records: Vec<Record>,
    /// Each entry's revision and number of changes.
    pub(crate) entries: Vec<(Revision, usize)>,
}

impl Chunk {
    pub(crate) fn collect<C>(entries: impl IntoIterator<Item = (Revision, C)>) -> Self
    where
        C: IntoIterator<Item = Change>,
    {
        let entries = entries.into_iter();
        let expected = entries.size_hint().0;
        let mut chunk = Self {
            records: Vec::with_capacity(expected),
            entries: Vec::with_capacity(expected),
        };
        for (revision, changes) in entries {
            let before = chunk.records.len();
            let records = changes.into_iter();
            chunk
                .records
                .extend(records.map(|change| Record { revision, change }));
            let count = chunk.records.len() - before;
            chunk.entries.push((revision, count));
        }
        chunk
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
        let mut changes = self.records.into_iter().map(|record| record.change);
        self.entries
            .into_iter()
            .map(|(revision, count)| (revision, changes.by_ref().take(count).collect()))
            .collect()
    }

    /// The changes of the only entry.
    pub(crate) fn give_back_one(self) -> Vec<Change> {
        self.records
            .into_iter()
            .map(|record| record.change)
            .collect()
    }
}

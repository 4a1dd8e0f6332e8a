//! What several transactions published at once come to.

use crate::error::{Entries, PublishErrorKind};
use crate::event::{Change, MAX_REVISION, Revision};
use crate::history::STEP_BYTES;
use crate::records::Records;
use crate::segment::SEGMENT_EVENTS;

/// What several entries come to: their records, and what it takes to hand them back.
///
/// They are written here first and then, all at once, to where watchers will read them: that is
/// memory which another core has used, and each change written there by itself waits for it.
/// `publish_many` of 64 takes a tenth less time by it.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    pub(crate) records: Records,
    /// Each entry's revision and number of changes.
    entries: Vec<(Revision, usize)>,
}

impl Chunk {
    /// Collects them into an empty one. What the store handed in is dropped here: it may be the
    /// user's, and may panic.
    pub(crate) fn collect<C>(mut self, entries: impl IntoIterator<Item = (Revision, C)>) -> Self
    where
        C: IntoIterator<Item = Change>,
    {
        // Not `for`: that moves each change twice more, at 3 ns.
        entries.into_iter().for_each(|(revision, changes)| {
            let before = self.records.len();
            let push = |change| self.records.push(revision, &change);
            changes.into_iter().for_each(push);
            let count = self.records.len() - before;
            self.entries.push((revision, count));
        });
        self
    }

    /// The same memory for the next, if it is not much. To allocate it anew for each call costs
    /// `publish_many` of 64 an eighth.
    pub(crate) fn emptied(mut self) -> Self {
        let entries = self.entries.capacity().max(self.records.capacity());
        if entries > SEGMENT_EVENTS || self.records.total_cost() > STEP_BYTES {
            return Self::default();
        }
        self.records.clear();
        self.entries.clear();
        self
    }

    /// How many transactions these are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The keys of all changes.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.records.iter().map(|record| self.records.key(record))
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
        let mut changes = self.records.changes();
        self.entries
            .iter()
            .map(|&(revision, count)| (revision, changes.by_ref().take(count).collect()))
            .collect()
    }

    /// The changes of the only entry.
    pub(crate) fn give_back_one(self) -> Vec<Change> {
        self.records.changes().collect()
    }
}

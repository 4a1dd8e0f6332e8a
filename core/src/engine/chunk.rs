//! Several transactions, published as one message.

use foldhash::HashSet;

use crate::change::{Change, MAX_REVISION, Revision};
use crate::error::{Entries, PublishErrorKind};
use crate::log::history::STEP_BYTES;
use crate::log::records::Records;
use crate::log::segment::SEGMENT_EVENTS;

/// The records of several entries, and what it takes to hand the entries back.
///
/// Entries are written here first and then copied, all at once, to the memory from which watchers
/// read them. Another core has used that memory: writing each change there by itself would wait
/// for it each time.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    pub(crate) records: Records,
    /// The revision and the number of changes of each entry.
    entries: Vec<(Revision, usize)>,
}

impl Chunk {
    /// Collects entries into an empty chunk. Drops the store's changes, whose bytes may run user
    /// code that panics.
    pub(crate) fn collect<C>(mut self, entries: impl IntoIterator<Item = (Revision, C)>) -> Self
    where
        C: IntoIterator<Item = Change>,
    {
        // Not a `for` loop, which moves each change twice more.
        entries.into_iter().for_each(|(revision, changes)| {
            let before = self.records.len();
            let push = |change| self.records.push(revision, &change);
            changes.into_iter().for_each(push);
            let count = self.records.len() - before;
            self.entries.push((revision, count));
        });
        self
    }

    /// Empties the chunk and keeps its memory for the next one, unless it is large.
    pub(crate) fn emptied(mut self) -> Self {
        let entries = self.entries.capacity().max(self.records.capacity());
        if entries > SEGMENT_EVENTS || self.records.total_bytes() > STEP_BYTES {
            return Self::default();
        }
        self.records.clear();
        self.entries.clear();
        self
    }

    /// The number of transactions.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The keys of all changes.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.records.iter().map(|record| self.records.key(record))
    }

    /// Checks that every revision is above the one before, and, unless `keeps_every_change`, that no
    /// transaction changes a key twice. `last` is the revision published last. Returns the chunk's
    /// last revision.
    pub(crate) fn check(
        &self,
        mut last: Revision,
        keeps_every_change: bool,
    ) -> Result<Revision, PublishErrorKind> {
        for &(given, _) in &self.entries {
            if given <= last || given > MAX_REVISION {
                return Err(PublishErrorKind::Revision { given, last });
            }
            last = given;
        }
        if !keeps_every_change {
            self.check_keys()?;
        }
        Ok(last)
    }

    /// Checks that no transaction changes a key twice.
    fn check_keys(&self) -> Result<(), PublishErrorKind> {
        let mut records = self.records.iter();
        let mut seen = HashSet::default();
        for &(revision, count) in &self.entries {
            if count < 2 {
                records.by_ref().take(count).for_each(drop);
                continue;
            }
            seen.clear();
            for record in records.by_ref().take(count) {
                if !seen.insert(self.records.key(record)) {
                    return Err(PublishErrorKind::DuplicateKey { revision });
                }
            }
        }
        Ok(())
    }

    /// The entries as they were handed in.
    pub(crate) fn into_entries(self) -> Entries {
        let mut changes = self.records.changes();
        self.entries
            .iter()
            .map(|&(revision, count)| (revision, changes.by_ref().take(count).collect()))
            .collect()
    }

    /// The changes of the only entry.
    pub(crate) fn into_changes(self) -> Vec<Change> {
        self.records.changes().collect()
    }
}

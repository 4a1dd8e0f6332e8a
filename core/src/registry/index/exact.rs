//! Exact keys to slots, by hash.

use crate::registry::index::parts::Parts;
use crate::registry::index::postings::{Added, PostingList, PostingLists, Removed};
use crate::registry::index::rows::{RowIndex, Rows};
use crate::registry::key_hash::KeyHasher;
use crate::registry::slab::Slot;

/// One row for each distinct key.
///
/// The table stores no keys: it reads a row's key through the row's first slot, and only if the
/// hashes are equal. So a miss touches nothing but the row.
#[derive(Debug, Default)]
pub(crate) struct KeyTable {
    rows: Rows,
}

impl KeyTable {
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Reads from the memory that [`probe`](Self::probe) will read.
    pub(crate) fn prefetch(&self, hash: u32) -> usize {
        self.rows.prefetch(hash)
    }

    /// The slots of a row of this hash, without a look at its key. If the key has a row, a row is
    /// found, but it may be another key's.
    pub(crate) fn probe(&self, hash: u32) -> Option<PostingList> {
        let index = self.rows.find(hash, |_| true)?;
        Some(self.rows.get(index))
    }

    /// The slots of this key.
    pub(crate) fn find(
        &self,
        key: &[u8],
        lists: &PostingLists,
        parts: &impl Parts,
        hasher: &KeyHasher,
    ) -> Option<PostingList> {
        let index = self.index_of(key, hasher.hash(key), lists, parts)?;
        Some(self.rows.get(index))
    }

    fn index_of(
        &self,
        key: &[u8],
        hash: u32,
        lists: &PostingLists,
        parts: &impl Parts,
    ) -> Option<RowIndex> {
        let has_key = |list| parts.bytes(lists.first(list)) == key;
        self.rows.find(hash, has_key)
    }

    pub(crate) fn add(
        &mut self,
        slot: Slot,
        lists: &mut PostingLists,
        parts: &impl Parts,
    ) -> Added {
        let hash = parts.hash(slot);
        match self.index_of(parts.bytes(slot), hash, lists, parts) {
            Some(index) => lists.add(self.rows.get_mut(index), slot),
            None => {
                let (list, added) = PostingList::one(slot);
                self.rows.insert(hash, list);
                added
            }
        }
    }

    pub(crate) fn remove(
        &mut self,
        slot: Slot,
        position: u32,
        lists: &mut PostingLists,
        parts: &impl Parts,
    ) -> Removed {
        let has_slot = |list| lists.slots(&list).get(position as usize) == Some(&slot);
        let index = self.rows.find(parts.hash(slot), has_slot);
        let index = index.expect("the slot is in the index");
        let removed = lists.remove(self.rows.get_mut(index), position);
        if removed.was_last {
            self.rows.remove(index);
        }
        removed
    }
}

//! Prefixes to slots: one hash table for each length in use.
//!
//! A look-up hashes and probes once for each length, whatever the number of prefixes, and any byte
//! may end a prefix. This was faster than a table of `/`-segments and than a radix trie at every
//! size tried (docs/design.md has the figures). Its weakness is a key space with prefixes of many
//! lengths.

use crate::registry::index::exact::KeyTable;
use crate::registry::index::parts::Parts;
use crate::registry::index::postings::{Added, PostingList, PostingLists, Removed};
use crate::registry::key_hash::KeyHasher;
use crate::registry::slab::Slot;

#[derive(Debug, Default)]
pub(crate) struct PrefixIndex {
    /// Ascending by length; no table is empty.
    tables: Vec<(usize, KeyTable)>,
}

impl PrefixIndex {
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.tables.len()
    }

    /// The prefixes of `key` of every length in use, each with the number of its table.
    pub(crate) fn prefixes_of<'a>(&self, key: &'a [u8]) -> impl Iterator<Item = (u32, &'a [u8])> {
        let prefixes = self.tables.iter().map(|(length, _)| key.get(..*length));
        (0..).zip(prefixes.map_while(|prefix| prefix))
    }

    /// The table of this number, and the length of its prefixes.
    pub(crate) fn table(&self, number: u32) -> (usize, &KeyTable) {
        let (length, table) = &self.tables[number as usize];
        (*length, table)
    }

    /// The slots of this prefix.
    pub(crate) fn find(
        &self,
        prefix: &[u8],
        lists: &PostingLists,
        parts: &impl Parts,
        hasher: &KeyHasher,
    ) -> Option<PostingList> {
        let number = self.search(prefix.len()).ok()?;
        self.tables[number].1.find(prefix, lists, parts, hasher)
    }

    fn search(&self, length: usize) -> Result<usize, usize> {
        self.tables.binary_search_by_key(&length, |entry| entry.0)
    }

    pub(crate) fn add(
        &mut self,
        slot: Slot,
        lists: &mut PostingLists,
        parts: &impl Parts,
    ) -> Added {
        let length = parts.bytes(slot).len();
        let number = self.search(length).unwrap_or_else(|number| {
            self.tables.insert(number, (length, KeyTable::default()));
            number
        });
        self.tables[number].1.add(slot, lists, parts)
    }

    pub(crate) fn remove(
        &mut self,
        slot: Slot,
        position: u32,
        lists: &mut PostingLists,
        parts: &impl Parts,
    ) -> Removed {
        let number = self
            .search(parts.bytes(slot).len())
            .expect("the slot is in the index");
        let table = &mut self.tables[number].1;
        let removed = table.remove(slot, position, lists, parts);
        if table.len() == 0 {
            self.tables.remove(number);
        }
        removed
    }
}

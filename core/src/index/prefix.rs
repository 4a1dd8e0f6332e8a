//! Prefixes to slots: a hash table for each length in use.
//!
//! Measured on two cores at 1k, 100k and 1M prefixes, before rows and keys lay as they do now: 76,
//! 222 and 645 ns a look-up, against 396, 962 and 2616 for a table of `/`-segments and 89, 483 and
//! 1645 for a radix trie; and any byte may end a prefix. Its weakness is a key space whose prefixes
//! have many lengths: each costs a hash and a probe.

use super::exact::KeyTable;
use super::{Added, Groups, KeyHasher, Members, Parts, Removed, Slot};

#[derive(Debug, Default)]
pub(crate) struct PrefixIndex {
    /// Ascending by length; no table is empty.
    lengths: Vec<(usize, KeyTable)>,
}

impl PrefixIndex {
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.lengths.len()
    }

    /// The beginnings of this key of every length in use, each with the number of its table.
    pub(crate) fn beginnings<'a>(&self, key: &'a [u8]) -> impl Iterator<Item = (u32, &'a [u8])> {
        let beginnings = self.lengths.iter().map(|(length, _)| key.get(..*length));
        (0..).zip(beginnings.map_while(|beginning| beginning))
    }

    /// The table of this number, and the length of its prefixes.
    pub(crate) fn table(&self, number: u32) -> (usize, &KeyTable) {
        let (length, table) = &self.lengths[number as usize];
        (*length, table)
    }

    /// Who watches this prefix.
    pub(crate) fn find(
        &self,
        prefix: &[u8],
        groups: &Groups,
        parts: &impl Parts,
        hasher: &KeyHasher,
    ) -> Option<Members> {
        let at = self.place(prefix.len()).ok()?;
        self.lengths[at].1.find(prefix, groups, parts, hasher)
    }

    fn place(&self, length: usize) -> Result<usize, usize> {
        self.lengths.binary_search_by_key(&length, |entry| entry.0)
    }

    pub(crate) fn add(&mut self, slot: Slot, groups: &mut Groups, parts: &impl Parts) -> Added {
        let length = parts.bytes(slot).len();
        let at = self.place(length).unwrap_or_else(|at| {
            self.lengths.insert(at, (length, KeyTable::default()));
            at
        });
        self.lengths[at].1.add(slot, groups, parts)
    }

    pub(crate) fn remove(
        &mut self,
        slot: Slot,
        position: u32,
        groups: &mut Groups,
        parts: &impl Parts,
    ) -> Removed {
        let at = self
            .place(parts.bytes(slot).len())
            .expect("the slot is in the index");
        let table = &mut self.lengths[at].1;
        let removed = table.remove(slot, position, groups, parts);
        if table.len() == 0 {
            self.lengths.remove(at);
        }
        removed
    }
}

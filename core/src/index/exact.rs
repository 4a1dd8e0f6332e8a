//! Keys to slots, by hash.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::{Added, FIRST, KeyHasher, Members, Parts, Removed, Slot};

/// One entry for each different key. The key itself is found through the entry's first slot.
#[derive(Debug, Default)]
pub(crate) struct KeyTable {
    table: HashTable<Members>,
}

impl KeyTable {
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    pub(crate) fn find(
        &self,
        key: &[u8],
        parts: &impl Parts,
        hasher: &KeyHasher,
    ) -> Option<&Members> {
        if self.table.is_empty() {
            return None;
        }
        self.table.find(hasher.hash(key), |members| {
            parts.bytes(members.first()) == key
        })
    }

    /// A slot that may stand for this key: who has it is most likely found by it, and no key is
    /// looked at.
    pub(crate) fn candidate(&self, key: &[u8], hasher: &KeyHasher) -> Option<Slot> {
        if self.table.is_empty() {
            return None;
        }
        let found = self.table.find(hasher.hash(key), |_| true)?;
        Some(found.first())
    }

    pub(crate) fn add(&mut self, slot: Slot, parts: &impl Parts, hasher: &KeyHasher) -> Added {
        let key = parts.bytes(slot);
        let entry = self.table.entry(
            hasher.hash(key),
            |members| parts.bytes(members.first()) == key,
            |members| hasher.hash(parts.bytes(members.first())),
        );
        match entry {
            Entry::Occupied(mut entry) => entry.get_mut().add(slot),
            Entry::Vacant(entry) => {
                entry.insert(Members::One(slot));
                FIRST
            }
        }
    }

    pub(crate) fn remove(
        &mut self,
        slot: Slot,
        position: u32,
        parts: &impl Parts,
        hasher: &KeyHasher,
    ) -> Removed {
        let key = parts.bytes(slot);
        let mut entry = self
            .table
            .find_entry(hasher.hash(key), |members| {
                parts.bytes(members.first()) == key
            })
            .expect("the slot is in the index");
        let removed = entry.get_mut().remove(position);
        if removed.was_last {
            entry.remove();
            self.shrink(parts, hasher);
        }
        removed
    }

    /// Gives memory back once three quarters of what was needed have gone.
    fn shrink(&mut self, parts: &impl Parts, hasher: &KeyHasher) {
        if self.table.capacity() > 1024 && self.table.len() < self.table.capacity() / 8 {
            let room = self.table.len() * 2;
            self.table
                .shrink_to(room, |members| hasher.hash(parts.bytes(members.first())));
        }
    }
}

//! Keys to slots, by hash.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::{Added, Groups, KeyHasher, Members, Parts, Removed, Slot};

/// One row for each different key. The key itself is found through the row's first slot, and is
/// looked at only where the hashes are equal: so a miss costs no more than the row.
#[derive(Debug, Default)]
pub(crate) struct KeyTable {
    table: HashTable<Row>,
}

#[derive(Debug)]
struct Row {
    hash: u32,
    members: Members,
}

/// What the table wants: it goes by the lowest bits and by the highest.
fn wide(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

fn short(hasher: &KeyHasher, key: &[u8]) -> u32 {
    hasher.hash(key) as u32
}

impl KeyTable {
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// Who most likely watches this key: the key is not looked at. If anybody watches it, somebody
    /// is found.
    pub(crate) fn probe(&self, key: &[u8], hasher: &KeyHasher) -> Option<Members> {
        if self.table.is_empty() {
            return None;
        }
        let hash = short(hasher, key);
        let row = self.table.find(wide(hash), |row| row.hash == hash)?;
        Some(row.members)
    }

    /// Who watches this key.
    pub(crate) fn find(
        &self,
        key: &[u8],
        groups: &Groups,
        parts: &impl Parts,
        hasher: &KeyHasher,
    ) -> Option<Members> {
        let hash = short(hasher, key);
        let is_same = |row: &Row| row.hash == hash && parts.bytes(groups.first(row.members)) == key;
        let row = self.table.find(wide(hash), is_same)?;
        Some(row.members)
    }

    pub(crate) fn add(
        &mut self,
        slot: Slot,
        groups: &mut Groups,
        parts: &impl Parts,
        hasher: &KeyHasher,
    ) -> Added {
        let key = parts.bytes(slot);
        let hash = short(hasher, key);
        let is_same = |row: &Row| row.hash == hash && parts.bytes(groups.first(row.members)) == key;
        match self.table.entry(wide(hash), is_same, |row| wide(row.hash)) {
            Entry::Occupied(mut row) => groups.add(&mut row.get_mut().members, slot),
            Entry::Vacant(row) => {
                let (members, added) = Members::one(slot);
                row.insert(Row { hash, members });
                added
            }
        }
    }

    pub(crate) fn remove(
        &mut self,
        slot: Slot,
        position: u32,
        groups: &mut Groups,
        parts: &impl Parts,
        hasher: &KeyHasher,
    ) -> Removed {
        let hash = short(hasher, parts.bytes(slot));
        let has_it = |row: &Row| {
            row.hash == hash && groups.slots(&row.members).get(position as usize) == Some(&slot)
        };
        let mut row = self
            .table
            .find_entry(wide(hash), has_it)
            .expect("the slot is in the index");
        let removed = groups.remove(&mut row.get_mut().members, position);
        if removed.was_last {
            row.remove();
            self.shrink();
        }
        removed
    }

    /// Gives memory back once three quarters of what was needed have gone.
    fn shrink(&mut self) {
        if self.table.capacity() > 1024 && self.table.len() < self.table.capacity() / 8 {
            let room = self.table.len() * 2;
            self.table.shrink_to(room, |row| wide(row.hash));
        }
    }
}

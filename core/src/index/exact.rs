//! Keys to slots, by hash.

use super::rows::{Place, Rows};
use super::{Added, Groups, KeyHasher, Members, Parts, Removed, Slot};

/// One row for each different key. The key itself is found through the row's first slot, and is
/// looked at only where the hashes are equal: so a miss costs no more than the row.
#[derive(Debug, Default)]
pub(crate) struct KeyTable {
    rows: Rows,
}

impl KeyTable {
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Reads from where [`probe`](Self::probe) will look.
    pub(crate) fn glance(&self, hash: u32) -> usize {
        self.rows.glance(hash)
    }

    /// Who most likely watches the key that has this hash: the key is not looked at. If anybody
    /// watches it, somebody is found.
    pub(crate) fn probe(&self, hash: u32) -> Option<Members> {
        let place = self.rows.find(hash, |_| true)?;
        Some(self.rows.get(place))
    }

    /// Who watches this key.
    pub(crate) fn find(
        &self,
        key: &[u8],
        groups: &Groups,
        parts: &impl Parts,
        hasher: &KeyHasher,
    ) -> Option<Members> {
        let place = self.place(key, hasher.hash(key), groups, parts)?;
        Some(self.rows.get(place))
    }

    fn place(&self, key: &[u8], hash: u32, groups: &Groups, parts: &impl Parts) -> Option<Place> {
        let is_it = |members| parts.bytes(groups.first(members)) == key;
        self.rows.find(hash, is_it)
    }

    pub(crate) fn add(&mut self, slot: Slot, groups: &mut Groups, parts: &impl Parts) -> Added {
        let hash = parts.hash(slot);
        match self.place(parts.bytes(slot), hash, groups, parts) {
            Some(place) => groups.add(self.rows.get_mut(place), slot),
            None => {
                let (members, added) = Members::one(slot);
                self.rows.insert(hash, members);
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
    ) -> Removed {
        let has_it = |members| groups.slots(&members).get(position as usize) == Some(&slot);
        let place = self.rows.find(parts.hash(slot), has_it);
        let place = place.expect("the slot is in the index");
        let removed = groups.remove(self.rows.get_mut(place), position);
        if removed.was_last {
            self.rows.remove(place);
        }
        removed
    }
}

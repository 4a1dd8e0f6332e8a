//! Which watchers a key concerns: one structure for each kind of selector.
//!
//! ```text
//!            ┌ exact   hash table            one look-up
//!   key ─────┼ prefix  a hash table a length one look-up for each length in use
//!            ├ range   interval treap        O(log ranges + matches)
//!            └ all     a list
//! ```
//!
//! All of them hold slots: numbers that the registry hands out, one for each part of a watcher's
//! selector. Equal parts share one entry ([`Members`]), so a key is stored, hashed and counted
//! once, however many watch it.

mod exact;
mod prefix;
mod range;

use std::hash::{BuildHasher, Hasher};

use crate::selector::Part;
use exact::KeyTable;
use prefix::PrefixIndex;
use range::RangeIndex;

/// A number that the registry gave to one part of one watcher's selector.
pub(crate) type Slot = u32;

/// Where an index looks up the part that a slot stands for: keys are stored with the watcher, not
/// once more in each table.
pub(crate) trait Parts {
    fn part(&self, slot: Slot) -> &Part;

    /// The key of an exact part or the bytes of a prefix.
    fn bytes(&self, slot: Slot) -> &[u8] {
        match self.part(slot) {
            Part::Exact(bytes) | Part::Prefix(bytes) => bytes,
            Part::Range(_) | Part::From(_) | Part::All => unreachable!("not in a key table"),
        }
    }
}

/// Hashes keys, which may be hostile, with a seed of its own.
#[derive(Debug, Default)]
pub(crate) struct KeyHasher(foldhash::fast::RandomState);

impl KeyHasher {
    pub(crate) fn hash(&self, key: &[u8]) -> u64 {
        let mut hasher = self.0.build_hasher();
        hasher.write(key);
        hasher.finish()
    }
}

/// The slots of equal parts. Mostly there is one, and then it takes no allocation. Never empty.
#[derive(Debug)]
pub(crate) enum Members {
    One(Slot),
    // Boxed twice over, since a bare vector would make every entry of a table half as large again.
    #[allow(clippy::box_collection)]
    Many(Box<Vec<Slot>>),
}

impl Members {
    fn as_slice(&self) -> &[Slot] {
        match self {
            Self::One(slot) => std::slice::from_ref(slot),
            Self::Many(slots) => slots,
        }
    }

    fn first(&self) -> Slot {
        self.as_slice()[0]
    }

    fn add(&mut self, slot: Slot) -> Added {
        match self {
            Self::One(first) => *self = Self::Many(Box::new(vec![*first, slot])),
            Self::Many(slots) => slots.push(slot),
        }
        Added {
            position: self.as_slice().len() as u32 - 1,
            is_first: false,
        }
    }

    /// Takes the slot at `position` out.
    fn remove(&mut self, position: u32) -> Removed {
        let Self::Many(slots) = self else {
            return Removed {
                moved: None,
                was_last: true,
            };
        };
        slots.swap_remove(position as usize);
        let moved = slots.get(position as usize).copied();
        if let [last] = slots[..] {
            *self = Self::One(last);
        }
        Removed {
            moved,
            was_last: false,
        }
    }
}

/// What adding a slot came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Added {
    /// Where it stands among its equals: to be given to the removal.
    pub(crate) position: u32,
    /// Whether nobody watched the same before.
    pub(crate) is_first: bool,
}

const FIRST: Added = Added {
    position: 0,
    is_first: true,
};

/// What removing a slot came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Removed {
    /// The slot that now stands in the position that became free.
    pub(crate) moved: Option<Slot>,
    /// Whether nobody watches the same any more.
    pub(crate) was_last: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Index {
    exact: KeyTable,
    prefix: PrefixIndex,
    range: RangeIndex,
    all: Option<Members>,
}

impl Index {
    pub(crate) fn add(&mut self, slot: Slot, parts: &impl Parts, hasher: &KeyHasher) -> Added {
        match parts.part(slot) {
            Part::Exact(_) => self.exact.add(slot, parts, hasher),
            Part::Prefix(_) => self.prefix.add(slot, parts, hasher),
            Part::Range(bounds) => self.range.add(&bounds.0, Some(&bounds.1), slot),
            Part::From(start) => self.range.add(start, None, slot),
            Part::All => match &mut self.all {
                Some(members) => members.add(slot),
                none => {
                    *none = Some(Members::One(slot));
                    FIRST
                }
            },
        }
    }

    /// Takes out the slot that stands at `position` among its equals.
    pub(crate) fn remove(
        &mut self,
        slot: Slot,
        position: u32,
        parts: &impl Parts,
        hasher: &KeyHasher,
    ) -> Removed {
        match parts.part(slot) {
            Part::Exact(_) => self.exact.remove(slot, position, parts, hasher),
            Part::Prefix(_) => self.prefix.remove(slot, position, parts, hasher),
            Part::Range(bounds) => self.range.remove(&bounds.0, Some(&bounds.1), position),
            Part::From(start) => self.range.remove(start, None, position),
            Part::All => {
                let members = self.all.as_mut().expect("the slot is in the index");
                let removed = members.remove(position);
                if removed.was_last {
                    self.all = None;
                }
                removed
            }
        }
    }

    /// Calls `found` with the slots of every part that matches this key.
    pub(crate) fn matching(
        &self,
        key: &[u8],
        parts: &impl Parts,
        hasher: &KeyHasher,
        mut found: impl FnMut(&[Slot]),
    ) {
        if let Some(members) = self.exact.find(key, parts, hasher) {
            found(members.as_slice());
        }
        self.prefix.matching(key, parts, hasher, &mut found);
        self.range.matching(key, &mut found);
        if let Some(members) = &self.all {
            found(members.as_slice());
        }
    }

    /// Slots that [`matching`](Self::matching) will most likely look at for this key.
    pub(crate) fn candidates(&self, key: &[u8], hasher: &KeyHasher, found: &mut Vec<Slot>) {
        found.extend(self.exact.candidate(key, hasher));
        self.prefix.candidates(key, hasher, found);
    }

    /// How many different exact keys are watched.
    pub(crate) fn keys(&self) -> usize {
        self.exact.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Selector;

    impl Parts for Vec<Part> {
        fn part(&self, slot: Slot) -> &Part {
            &self[slot as usize]
        }
    }

    /// A small generator: the tests need variety, not quality.
    fn next(state: &mut u64) -> u64 {
        *state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        *state >> 33
    }

    fn bytes(state: &mut u64) -> Vec<u8> {
        let length = next(state) % 5;
        (0..length)
            .map(|_| [0, 1, b'a', 0xff][next(state) as usize % 4])
            .collect()
    }

    fn selector(state: &mut u64) -> Selector {
        let (one, two) = (bytes(state), bytes(state));
        match next(state) % 6 {
            0 | 1 => Selector::exact(one),
            2 => Selector::prefix(one),
            3 if one < two => Selector::range(one..two),
            4 => Selector::from_key(one),
            5 => Selector::all(),
            _ => Selector::prefix(two),
        }
    }

    fn found(index: &Index, parts: &Vec<Part>, hasher: &KeyHasher, key: &[u8]) -> Vec<Slot> {
        let mut slots = Vec::new();
        index.matching(key, parts, hasher, |members| slots.extend(members));
        slots.sort_unstable();
        slots
    }

    #[test]
    fn finds_what_a_scan_finds_while_slots_come_and_go() {
        let (mut index, hasher, mut seed) = (Index::default(), KeyHasher::default(), 1);
        let parts: Vec<Part> = (0..400)
            .map(|_| selector(&mut seed).parts()[0].clone())
            .collect();
        let mut positions: Vec<Option<u32>> = vec![None; parts.len()];
        for round in 0..20_000 {
            let slot = (next(&mut seed) % 400) as Slot;
            let same = |part: &Part, positions: &[Option<u32>]| {
                let pairs = parts.iter().zip(positions);
                pairs
                    .filter(|(other, at)| *other == part && at.is_some())
                    .count()
            };
            if let Some(position) = positions[slot as usize].take() {
                let removed = index.remove(slot, position, &parts, &hasher);
                let left = same(&parts[slot as usize], &positions);
                assert_eq!(removed.was_last, left == 0);
                if let Some(moved) = removed.moved {
                    positions[moved as usize] = Some(position);
                }
            } else {
                let before = same(&parts[slot as usize], &positions);
                let added = index.add(slot, &parts, &hasher);
                assert_eq!(added.is_first, before == 0);
                positions[slot as usize] = Some(added.position);
            }
            if round % 10 == 0 {
                let key = bytes(&mut seed);
                let scan: Vec<Slot> = (0..400)
                    .filter(|&slot| positions[slot as usize].is_some())
                    .filter(|&slot| parts[slot as usize].matches(&key))
                    .collect();
                assert_eq!(found(&index, &parts, &hasher, &key), scan, "{key:?}");
            }
        }
        for slot in 0..400 {
            if let Some(position) = positions[slot as usize].take() {
                let removed = index.remove(slot, position, &parts, &hasher);
                if let Some(moved) = removed.moved {
                    positions[moved as usize] = Some(position);
                }
            }
        }
        assert_eq!(
            (index.keys(), index.prefix.len(), index.range.len()),
            (0, 0, 0)
        );
        assert!(index.all.is_none());
    }
}

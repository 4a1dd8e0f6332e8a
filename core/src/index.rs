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
//! selector. Equal parts share one row ([`Members`]), so a key is looked up and counted once, however
//! many watch it.

mod exact;
mod members;
mod prefix;
mod range;
mod rows;

use std::hash::{BuildHasher, Hasher};

use crate::selector::Part;
use crate::slots::Slot;
use exact::KeyTable;
use members::{Added, Groups, Members, Removed};
use prefix::PrefixIndex;
use range::RangeIndex;

/// Where an index looks up the part that a slot stands for: keys are stored with the slots, not once
/// more in each table.
pub(crate) trait Parts {
    fn part(&self, slot: Slot) -> &Part;

    /// The [hash](KeyHasher::hash_of) of that part.
    fn hash(&self, slot: Slot) -> u32;

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
    /// The 32 bits that tables and the interest go by. Never 0: that stands for no row, and for a
    /// part that is not found by a hash.
    pub(crate) fn hash(&self, key: &[u8]) -> u32 {
        let mut hasher = self.0.build_hasher();
        hasher.write(key);
        (hasher.finish() as u32).max(1)
    }

    /// The hash of an exact key or of a prefix; 0 for what is not found by one. The registry keeps
    /// it: index and interest would hash the bytes four times from a watcher's coming to its going,
    /// and a fourteenth fewer could come and go.
    pub(crate) fn hash_of(&self, part: &Part) -> u32 {
        match part {
            Part::Exact(bytes) | Part::Prefix(bytes) => self.hash(bytes),
            Part::Range(_) | Part::From(_) | Part::All => 0,
        }
    }
}

/// What is asked of one table: whether anybody watches a key, or its beginning, of this hash.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probe {
    /// Which key this is about.
    nth: u32,
    hash: u32,
    /// The number of a table of prefixes, or [`EXACT`].
    table: u32,
}

/// The table of exact keys.
const EXACT: u32 = u32::MAX;

/// Parts that a key most likely matches: found by their hash, and not looked at yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hit {
    /// Which key this is about.
    pub(crate) nth: u32,
    /// The key's beginning of this length, or the key itself.
    prefix: Option<u32>,
    members: Members,
}

#[derive(Debug, Default)]
pub(crate) struct Index {
    exact: KeyTable,
    prefix: PrefixIndex,
    range: RangeIndex,
    all: Option<Members>,
    groups: Groups,
}

impl Index {
    pub(crate) fn add(&mut self, slot: Slot, parts: &impl Parts) -> Added {
        let groups = &mut self.groups;
        match parts.part(slot) {
            Part::Exact(_) => self.exact.add(slot, groups, parts),
            Part::Prefix(_) => self.prefix.add(slot, groups, parts),
            Part::Range(bounds) => self.range.add(&bounds.0, Some(&bounds.1), slot, groups),
            Part::From(start) => self.range.add(start, None, slot, groups),
            Part::All => match &mut self.all {
                Some(members) => groups.add(members, slot),
                none => {
                    let (members, added) = Members::one(slot);
                    *none = Some(members);
                    added
                }
            },
        }
    }

    /// Takes out the slot that stands at `position` among its equals.
    pub(crate) fn remove(&mut self, slot: Slot, position: u32, parts: &impl Parts) -> Removed {
        let groups = &mut self.groups;
        match parts.part(slot) {
            Part::Exact(_) => self.exact.remove(slot, position, groups, parts),
            Part::Prefix(_) => self.prefix.remove(slot, position, groups, parts),
            Part::Range(bounds) => {
                let end = Some(&bounds.1[..]);
                self.range.remove(&bounds.0, end, position, groups)
            }
            Part::From(start) => self.range.remove(start, None, position, groups),
            Part::All => {
                let members = self.all.as_mut().expect("the slot is in the index");
                let removed = groups.remove(members, position);
                if removed.was_last {
                    self.all = None;
                }
                removed
            }
        }
    }

    /// What is to be asked about the `nth` key: the first step of looking it up, which many keys
    /// go through before the first goes through the [second](Self::probe), and so on. Each step
    /// waits for memory, and those of all keys wait together.
    pub(crate) fn probes(
        &self,
        nth: u32,
        key: &[u8],
        hasher: &KeyHasher,
        mut ask: impl FnMut(Probe),
    ) {
        if self.exact.len() > 0 {
            ask(Probe {
                nth,
                hash: hasher.hash(key),
                table: EXACT,
            });
        }
        for (table, beginning) in self.prefix.beginnings(key) {
            ask(Probe {
                nth,
                hash: hasher.hash(beginning),
                table,
            });
        }
    }

    /// The table that is asked, and of which length its prefixes are.
    fn asked(&self, probe: Probe) -> (Option<u32>, &KeyTable) {
        if probe.table == EXACT {
            return (None, &self.exact);
        }
        let (length, table) = self.prefix.table(probe.table);
        (Some(length as u32), table)
    }

    /// Reads from where [`probe`](Self::probe) will look.
    pub(crate) fn glance(&self, probe: Probe) -> usize {
        self.asked(probe).1.glance(probe.hash)
    }

    /// Where the key most likely matches.
    pub(crate) fn probe(&self, probe: Probe) -> Option<Hit> {
        let (prefix, table) = self.asked(probe);
        let members = table.probe(probe.hash)?;
        Some(Hit {
            nth: probe.nth,
            prefix,
            members,
        })
    }

    /// A slot that will be looked at for this hit.
    pub(crate) fn candidate(&self, hit: &Hit) -> Slot {
        self.groups.first(hit.members)
    }

    /// Calls `found` with the slots of every part that matches this key, of which all hits are
    /// handed in.
    pub(crate) fn matching(
        &self,
        key: &[u8],
        hits: &[Hit],
        parts: &impl Parts,
        hasher: &KeyHasher,
        mut found: impl FnMut(&[Slot]),
    ) {
        let mut found = |members: Members| found(self.groups.slots(&members));
        for hit in hits {
            if let Some(members) = self.confirm(key, hit, parts, hasher) {
                found(members);
            }
        }
        self.range.matching(key, &mut found);
        self.all.into_iter().for_each(found);
    }

    /// Whom the hit stands for: looks at the key.
    fn confirm(
        &self,
        key: &[u8],
        hit: &Hit,
        parts: &impl Parts,
        hasher: &KeyHasher,
    ) -> Option<Members> {
        let groups = &self.groups;
        let watched = hit.prefix.map_or(key, |length| &key[..length as usize]);
        if parts.bytes(groups.first(hit.members)) == watched {
            return Some(hit.members);
        }
        // Something else has the same hash.
        match hit.prefix {
            Some(_) => self.prefix.find(watched, groups, parts, hasher),
            None => self.exact.find(watched, groups, parts, hasher),
        }
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
    use crate::key::Key;
    use crate::random::next;

    /// Each with its hash.
    type Hashed = Vec<(Part, u32)>;

    impl Parts for Hashed {
        fn part(&self, slot: Slot) -> &Part {
            &self[slot as usize].0
        }

        fn hash(&self, slot: Slot) -> u32 {
            self[slot as usize].1
        }
    }

    fn hashed(hasher: &KeyHasher, parts: impl Iterator<Item = Part>) -> Hashed {
        parts
            .map(|part| {
                let hash = hasher.hash_of(&part);
                (part, hash)
            })
            .collect()
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

    fn found(index: &Index, parts: &Hashed, hasher: &KeyHasher, key: &[u8]) -> Vec<Slot> {
        let (mut hits, mut slots) = (Vec::new(), Vec::new());
        index.probes(0, key, hasher, |probe| hits.extend(index.probe(probe)));
        index.matching(key, &hits, parts, hasher, |members| slots.extend(members));
        slots.sort_unstable();
        slots
    }

    /// Two keys that have the same hash in a table.
    fn twins(hasher: &KeyHasher) -> [Key; 2] {
        let mut seen = std::collections::HashMap::new();
        let keys = (0_u64..).map(|number| Key::from(&number.to_le_bytes()[..]));
        for key in keys {
            if let Some(other) = seen.insert(hasher.hash(&key), key.clone()) {
                return [other, key];
            }
        }
        unreachable!("there are more keys than hashes")
    }

    #[test]
    fn keys_of_one_hash_are_told_apart() {
        let hasher = KeyHasher::default();
        let twins = twins(&hasher);
        for part in [Part::Exact, Part::Prefix] {
            let parts = hashed(&hasher, twins.iter().cloned().map(part));
            let mut index = Index::default();
            for slot in [0, 1] {
                assert!(index.add(slot, &parts).is_first);
            }
            for slot in [0, 1] {
                let own = &twins[slot as usize];
                assert_eq!(found(&index, &parts, &hasher, own), [slot]);
            }
            assert!(index.remove(0, 0, &parts).was_last);
            assert_eq!(found(&index, &parts, &hasher, &twins[0]), []);
            assert_eq!(found(&index, &parts, &hasher, &twins[1]), [1]);
        }
    }

    #[test]
    fn finds_what_a_scan_finds_while_slots_come_and_go() {
        let (mut index, hasher, mut seed) = (Index::default(), KeyHasher::default(), 1);
        let any = (0..400).map(|_| selector(&mut seed).parts()[0].clone());
        let parts = hashed(&hasher, any);
        let mut positions: Vec<Option<u32>> = vec![None; parts.len()];
        for round in 0..20_000 {
            let slot = (next(&mut seed) % 400) as Slot;
            let same = |part: &(Part, u32), positions: &[Option<u32>]| {
                let pairs = parts.iter().zip(positions);
                pairs
                    .filter(|(other, at)| *other == part && at.is_some())
                    .count()
            };
            if let Some(position) = positions[slot as usize].take() {
                let removed = index.remove(slot, position, &parts);
                let left = same(&parts[slot as usize], &positions);
                assert_eq!(removed.was_last, left == 0);
                if let Some(moved) = removed.moved {
                    positions[moved as usize] = Some(position);
                }
            } else {
                let before = same(&parts[slot as usize], &positions);
                let added = index.add(slot, &parts);
                assert_eq!(added.is_first, before == 0);
                positions[slot as usize] = Some(added.position);
            }
            if round % 10 == 0 {
                let key = bytes(&mut seed);
                let scan: Vec<Slot> = (0..400)
                    .filter(|&slot| positions[slot as usize].is_some())
                    .filter(|&slot| parts[slot as usize].0.matches(&key))
                    .collect();
                assert_eq!(found(&index, &parts, &hasher, &key), scan, "{key:?}");
            }
        }
        for slot in 0..400 {
            if let Some(position) = positions[slot as usize].take() {
                let removed = index.remove(slot, position, &parts);
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

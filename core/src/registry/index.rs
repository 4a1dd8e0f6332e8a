//! Which watchers an event concerns, by its key: one structure for each kind of selector.
//!
//! ```text
//!            ┌ exact   hash table                 one look-up
//!   key ─────┼ prefix  a hash table per length    one look-up for each length in use
//!            ├ range   interval treap             O(log ranges + matches)
//!            └ all     a list
//! ```
//!
//! All of them hold slots, the numbers that the registry gives to the parts of watchers' selectors.
//! Equal parts share one [`PostingList`], so a key is looked up once, however many watchers it has.

mod exact;
pub(crate) mod parts;
mod postings;
mod prefix;
mod range;
mod rows;

use crate::registry::index::exact::KeyTable;
use crate::registry::index::parts::Parts;
use crate::registry::index::postings::{Added, PostingList, PostingLists, Removed};
use crate::registry::index::prefix::PrefixIndex;
use crate::registry::index::range::RangeIndex;
use crate::registry::key_hash::KeyHasher;
use crate::registry::slab::Slot;
use crate::selector::Part;

/// One question to one table: does any watcher have a key, or a prefix, of this hash?
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probe {
    /// The number of the key that this is about.
    nth: u32,
    hash: u32,
    /// The number of a table of prefixes, or [`EXACT`].
    table: u32,
}

/// The table of exact keys.
const EXACT: u32 = u32::MAX;

/// Parts that most likely match a key: found by their hash, not compared with the key yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hit {
    /// The number of the key that this is about.
    pub(crate) nth: u32,
    /// The length of the prefix; `None` for an exact key.
    prefix: Option<u32>,
    list: PostingList,
}

/// All parts of all selectors, by kind.
#[derive(Debug, Default)]
pub(crate) struct Index {
    exact: KeyTable,
    prefix: PrefixIndex,
    range: RangeIndex,
    all: Option<PostingList>,
    lists: PostingLists,
}

impl Index {
    pub(crate) fn add(&mut self, slot: Slot, parts: &impl Parts) -> Added {
        let lists = &mut self.lists;
        match parts.part(slot) {
            Part::Exact(_) => self.exact.add(slot, lists, parts),
            Part::Prefix(_) => self.prefix.add(slot, lists, parts),
            Part::Range(bounds) => self.range.add(&bounds.0, Some(&bounds.1), slot, lists),
            Part::From(start) => self.range.add(start, None, slot, lists),
            Part::All => match &mut self.all {
                Some(list) => lists.add(list, slot),
                none => {
                    let (list, added) = PostingList::one(slot);
                    *none = Some(list);
                    added
                }
            },
        }
    }

    /// Removes a slot. `position` is its position among the slots of equal parts.
    pub(crate) fn remove(&mut self, slot: Slot, position: u32, parts: &impl Parts) -> Removed {
        let lists = &mut self.lists;
        match parts.part(slot) {
            Part::Exact(_) => self.exact.remove(slot, position, lists, parts),
            Part::Prefix(_) => self.prefix.remove(slot, position, lists, parts),
            Part::Range(bounds) => {
                let end = Some(&bounds.1[..]);
                self.range.remove(&bounds.0, end, position, lists)
            }
            Part::From(start) => self.range.remove(start, None, position, lists),
            Part::All => {
                let list = self.all.as_mut().expect("the slot is in the index");
                let removed = lists.remove(list, position);
                if removed.was_last {
                    self.all = None;
                }
                removed
            }
        }
    }

    /// Lists the probes that look up the `nth` key.
    ///
    /// A look-up has several steps (this, [`probe`](Self::probe), [`matching`](Self::matching)),
    /// each of which waits for memory. A caller with many keys takes all of them through one step
    /// before the next, so that these waits overlap.
    pub(crate) fn probes(
        &self,
        nth: u32,
        key: &[u8],
        hasher: &KeyHasher,
        mut add: impl FnMut(Probe),
    ) {
        if self.exact.len() > 0 {
            add(Probe {
                nth,
                hash: hasher.hash(key),
                table: EXACT,
            });
        }
        for (table, prefix) in self.prefix.prefixes_of(key) {
            add(Probe {
                nth,
                hash: hasher.hash(prefix),
                table,
            });
        }
    }

    /// The table of a probe, and the length of its prefixes.
    fn table_of(&self, probe: Probe) -> (Option<u32>, &KeyTable) {
        if probe.table == EXACT {
            return (None, &self.exact);
        }
        let (length, table) = self.prefix.table(probe.table);
        (Some(length as u32), table)
    }

    /// Reads from the memory that [`probe`](Self::probe) will read.
    pub(crate) fn prefetch(&self, probe: Probe) -> usize {
        self.table_of(probe).1.prefetch(probe.hash)
    }

    /// The parts of the probe's hash, if there are any.
    pub(crate) fn probe(&self, probe: Probe) -> Option<Hit> {
        let (prefix, table) = self.table_of(probe);
        let list = table.probe(probe.hash)?;
        Some(Hit {
            nth: probe.nth,
            prefix,
            list,
        })
    }

    /// The slot whose part [`matching`](Self::matching) will compare for this hit.
    pub(crate) fn candidate(&self, hit: &Hit) -> Slot {
        self.lists.first(hit.list)
    }

    /// Calls `found` with the slots of every part that matches `key`. `hits` are all hits of this
    /// key.
    pub(crate) fn matching(
        &self,
        key: &[u8],
        hits: &[Hit],
        parts: &impl Parts,
        hasher: &KeyHasher,
        mut found: impl FnMut(&[Slot]),
    ) {
        let mut found = |list: PostingList| found(self.lists.slots(&list));
        for hit in hits {
            if let Some(list) = self.confirm(key, hit, parts, hasher) {
                found(list);
            }
        }
        self.range.matching(key, &mut found);
        self.all.into_iter().for_each(found);
    }

    /// Compares the hit's part with the key.
    fn confirm(
        &self,
        key: &[u8],
        hit: &Hit,
        parts: &impl Parts,
        hasher: &KeyHasher,
    ) -> Option<PostingList> {
        let lists = &self.lists;
        let watched = hit.prefix.map_or(key, |length| &key[..length as usize]);
        if parts.bytes(lists.first(hit.list)) == watched {
            return Some(hit.list);
        }
        // A different part has the same hash.
        match hit.prefix {
            Some(_) => self.prefix.find(watched, lists, parts, hasher),
            None => self.exact.find(watched, lists, parts, hasher),
        }
    }

    /// The number of distinct exact keys.
    pub(crate) fn keys(&self) -> usize {
        self.exact.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Selector;
    use crate::random::next;
    use crate::selector::inline_key::InlineKey;

    /// Parts with their hashes.
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
        index.matching(key, &hits, parts, hasher, |found| slots.extend(found));
        slots.sort_unstable();
        slots
    }

    /// Two keys with equal hashes.
    fn twins(hasher: &KeyHasher) -> [InlineKey; 2] {
        let mut seen = std::collections::HashMap::new();
        let keys = (0_u64..).map(|number| InlineKey::from(&number.to_le_bytes()[..]));
        for key in keys {
            if let Some(other) = seen.insert(hasher.hash(&key), key.clone()) {
                return [other, key];
            }
        }
        unreachable!("there are more keys than hashes")
    }

    #[test]
    fn keys_with_equal_hashes_are_told_apart() {
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
    fn index_finds_what_a_scan_finds_while_slots_come_and_go() {
        let (mut index, hasher, mut seed) = (Index::default(), KeyHasher::default(), 1);
        let any = (0..400).map(|_| selector(&mut seed).as_parts()[0].clone());
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

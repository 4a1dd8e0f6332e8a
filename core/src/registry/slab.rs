//! Entries under small numbers that are handed out again.
//!
//! Not the crate `slab`: numbers are `u32` to halve what indexes store, the list is cut after the
//! last entry so that scratch indexed by slot shrinks with it, and memory is given back when a
//! crowd of watchers leaves.

use std::ops::{Index, IndexMut};

/// The number of an entry. In the registry it stands for one part of a watcher's selector.
pub(crate) type Slot = u32;

/// Memory for this many entries is kept, however few there are.
const MIN_CAPACITY: usize = 1024;

/// Entries, each under a number that is reused once the entry is removed.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    entries: Vec<Option<T>>,
    /// Free slots; the one freed last is reused first. A slot that was cut off may still be listed:
    /// the list of entries grows only once this is empty, so such a slot was not handed out again.
    free: Vec<Slot>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T> Slab<T> {
    /// One above the largest slot in use.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn get(&self, slot: Slot) -> Option<&T> {
        self.entries.get(slot as usize)?.as_ref()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Slot, &T)> {
        let numbered = (0..).zip(&self.entries);
        numbered.filter_map(|(slot, entry)| Some((slot, entry.as_ref()?)))
    }

    pub(crate) fn insert(&mut self, entry: impl FnOnce(Slot) -> T) -> Slot {
        while let Some(slot) = self.free.pop() {
            if let Some(vacant) = self.entries.get_mut(slot as usize) {
                *vacant = Some(entry(slot));
                return slot;
            }
        }
        let slot = Slot::try_from(self.entries.len()).expect("slots are numbered with u32");
        self.entries.push(Some(entry(slot)));
        slot
    }

    /// Removes an entry. With the last entry the free slots before it are cut off too, and memory is
    /// given back once less than a quarter of it is used.
    pub(crate) fn remove(&mut self, slot: Slot) -> Option<T> {
        let entry = self.entries.get_mut(slot as usize)?.take()?;
        if slot as usize + 1 < self.entries.len() {
            self.free.push(slot);
            return Some(entry);
        }
        while let Some(None) = self.entries.last() {
            self.entries.pop();
        }
        let len = self.entries.len();
        if self.entries.capacity() > MIN_CAPACITY && len < self.entries.capacity() / 4 {
            self.entries.shrink_to(len * 2);
            self.free.retain(|&slot| (slot as usize) < len);
            self.free.shrink_to(len * 2);
        }
        Some(entry)
    }
}

impl<T> Index<Slot> for Slab<T> {
    type Output = T;

    fn index(&self, slot: Slot) -> &T {
        self.entries[slot as usize]
            .as_ref()
            .expect("the slot is in use")
    }
}

impl<T> IndexMut<Slot> for Slab<T> {
    fn index_mut(&mut self, slot: Slot) -> &mut T {
        self.entries[slot as usize]
            .as_mut()
            .expect("the slot is in use")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::next;

    #[test]
    fn slab_is_cut_after_its_last_entry_when_a_crowd_leaves() {
        for reverse in [false, true] {
            let mut slab = Slab::default();
            let mut crowd: Vec<Slot> = (0..10_000).map(|_| slab.insert(|slot| slot)).collect();
            let survivor = crowd.remove(10);
            if reverse {
                crowd.reverse();
            }
            for slot in crowd {
                assert_eq!(slab.remove(slot), Some(slot));
                assert_eq!(slab.remove(slot), None);
            }
            assert_eq!(slab.iter().collect::<Vec<_>>(), [(survivor, &survivor)]);
            assert_eq!(slab.len(), 11);
            assert!(
                slab.entries.capacity() <= MIN_CAPACITY && slab.free.capacity() <= MIN_CAPACITY
            );
        }
    }

    #[test]
    fn slots_in_use_are_never_handed_out_twice() {
        let mut slab = Slab::default();
        let mut taken = Vec::new();
        let mut seed = 1;
        for round in 0..100_000 {
            let random = next(&mut seed) as usize;
            // Alternates between growing and shrinking.
            let comes = if round / 5_000 % 2 == 0 { 70 } else { 30 };
            if random % 100 < comes {
                let slot = slab.insert(|slot| (slot, round));
                taken.push((slot, round));
            } else if !taken.is_empty() {
                let (slot, round) = taken.swap_remove(random % taken.len());
                assert_eq!(slab.remove(slot), Some((slot, round)));
            }
            if round % 2_500 == 0 {
                let mut taken = taken.clone();
                taken.sort_unstable();
                assert!(slab.iter().map(|(_, entry)| entry).eq(&taken));
                assert_eq!(
                    slab.len(),
                    taken.last().map_or(0, |last| last.0 as usize + 1)
                );
            }
        }
    }
}

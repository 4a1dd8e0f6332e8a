//! A list of numbered places that comes and goes with what is in it.

use std::ops::{Index, IndexMut};

/// The number of a place. In the registry it stands for a part of a watcher's selector.
pub(crate) type Slot = u32;

/// Memory for so few places is kept, whatever is in them.
const SMALL: usize = 1024;

/// Places, each with a number that is handed out again once it is free. The list ends with the last
/// one taken.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    entries: Vec<Option<T>>,
    /// Handed out last in, first out. A place that was cut off may still be here; the list grows
    /// only once this is empty, so it cannot have been handed out again.
    free: Vec<Slot>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T> Slots<T> {
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
            if let Some(place) = self.entries.get_mut(slot as usize) {
                *place = Some(entry(slot));
                return slot;
            }
        }
        let slot = Slot::try_from(self.entries.len()).expect("slots are numbered with u32");
        self.entries.push(Some(entry(slot)));
        slot
    }

    /// Frees a place. With the last one the free ones before it go too, and memory once less than a
    /// quarter of it is used.
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
        if self.entries.capacity() > SMALL && len < self.entries.capacity() / 4 {
            self.entries.shrink_to(len * 2);
            self.free.retain(|&slot| (slot as usize) < len);
            self.free.shrink_to(len * 2);
        }
        Some(entry)
    }
}

impl<T> Index<Slot> for Slots<T> {
    type Output = T;

    fn index(&self, slot: Slot) -> &T {
        self.entries[slot as usize]
            .as_ref()
            .expect("the slot is taken")
    }
}

impl<T> IndexMut<Slot> for Slots<T> {
    fn index_mut(&mut self, slot: Slot) -> &mut T {
        self.entries[slot as usize]
            .as_mut()
            .expect("the slot is taken")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::next;

    #[test]
    fn a_crowd_leaves_no_places_behind_its_last_survivor() {
        for reverse in [false, true] {
            let mut slots = Slots::default();
            let mut crowd: Vec<Slot> = (0..10_000).map(|_| slots.insert(|slot| slot)).collect();
            let survivor = crowd.remove(10);
            if reverse {
                crowd.reverse();
            }
            for slot in crowd {
                assert_eq!(slots.remove(slot), Some(slot));
                assert_eq!(slots.remove(slot), None);
            }
            assert_eq!(slots.iter().collect::<Vec<_>>(), [(survivor, &survivor)]);
            assert_eq!(slots.len(), 11);
            assert!(slots.entries.capacity() <= SMALL && slots.free.capacity() <= SMALL);
        }
    }

    #[test]
    fn no_number_is_handed_out_twice() {
        let mut slots = Slots::default();
        let mut taken = Vec::new();
        let mut seed = 1;
        for round in 0..100_000 {
            let random = next(&mut seed) as usize;
            // Crowds come and go.
            let comes = if round / 5_000 % 2 == 0 { 70 } else { 30 };
            if random % 100 < comes {
                let slot = slots.insert(|slot| (slot, round));
                taken.push((slot, round));
            } else if !taken.is_empty() {
                let (slot, round) = taken.swap_remove(random % taken.len());
                assert_eq!(slots.remove(slot), Some((slot, round)));
            }
            if round % 2_500 == 0 {
                let mut taken = taken.clone();
                taken.sort_unstable();
                assert!(slots.iter().map(|(_, entry)| entry).eq(&taken));
                assert_eq!(
                    slots.len(),
                    taken.last().map_or(0, |last| last.0 as usize + 1)
                );
            }
        }
    }
}

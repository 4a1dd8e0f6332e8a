//! The slots of equal parts.

use crate::registry::slab::{Slab, Slot};

/// The slots of equal parts, in four bytes. Mostly there is one slot, and this is its number;
/// otherwise this is the number of a list in [`PostingLists`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct PostingList(u32);

/// Set if the number is a list's.
const LIST: u32 = 1 << 31;

/// The lists of all parts that several slots share.
#[derive(Debug, Default)]
pub(crate) struct PostingLists {
    /// None of the lists in use is empty.
    lists: Slab<Vec<Slot>>,
}

/// The result of adding a slot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Added {
    /// The slot's position in its list, to be handed to the removal.
    pub(crate) position: u32,
    /// Whether no other slot has an equal part.
    pub(crate) is_first: bool,
}

/// The result of removing a slot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Removed {
    /// The slot that moved to the removed slot's position.
    pub(crate) moved: Option<Slot>,
    /// Whether no slot with an equal part is left.
    pub(crate) was_last: bool,
}

impl PostingList {
    #[cfg(test)]
    pub(crate) fn is_slot(self, slot: Slot) -> bool {
        self.0 == slot
    }

    /// A list of one slot.
    pub(crate) fn one(slot: Slot) -> (Self, Added) {
        assert!(slot < LIST, "slots are numbered with 31 bits");
        let added = Added {
            position: 0,
            is_first: true,
        };
        (Self(slot), added)
    }

    fn list(self) -> Option<u32> {
        (self.0 & LIST != 0).then_some(self.0 & !LIST)
    }
}

impl PostingLists {
    /// All slots of a list. Never empty.
    pub(crate) fn slots<'a>(&'a self, list: &'a PostingList) -> &'a [Slot] {
        match list.list() {
            Some(number) => &self.lists[number],
            None => std::slice::from_ref(&list.0),
        }
    }

    /// The first slot of a list. It stands for all of them where only the part matters.
    pub(crate) fn first(&self, list: PostingList) -> Slot {
        self.slots(&list)[0]
    }

    pub(crate) fn add(&mut self, list: &mut PostingList, slot: Slot) -> Added {
        let number = list.list().unwrap_or_else(|| {
            let number = self.lists.insert(|_| vec![list.0]);
            *list = PostingList(LIST | number);
            number
        });
        let slots = &mut self.lists[number];
        slots.push(slot);
        Added {
            position: slots.len() as u32 - 1,
            is_first: false,
        }
    }

    /// Removes the slot at `position`.
    pub(crate) fn remove(&mut self, list: &mut PostingList, position: u32) -> Removed {
        let Some(number) = list.list() else {
            return Removed {
                moved: None,
                was_last: true,
            };
        };
        let slots = &mut self.lists[number];
        slots.swap_remove(position as usize);
        let moved = slots.get(position as usize).copied();
        if let [last] = slots[..] {
            self.lists.remove(number);
            *list = PostingList(last);
        } else if slots.len() < slots.capacity() / 4 {
            slots.shrink_to(slots.len() * 2);
        }
        Removed {
            moved,
            was_last: false,
        }
    }
}

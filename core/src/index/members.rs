//! The slots of equal parts.

use crate::slots::{Slot, Slots};

/// Equal parts in four bytes. Mostly there is one, and this is its slot; otherwise they are a
/// group, and this is its number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Members(u32);

/// Set in what is a group's number.
const GROUP: u32 = 1 << 31;

/// The parts of which there are several.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    /// None of those in use is empty.
    groups: Slots<Vec<Slot>>,
}

/// What adding a slot came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Added {
    /// Where it stands among its equals: to be given to the removal.
    pub(crate) position: u32,
    /// Whether nobody watched the same before.
    pub(crate) is_first: bool,
}

/// What removing a slot came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Removed {
    /// The slot that now stands in the position that became free.
    pub(crate) moved: Option<Slot>,
    /// Whether nobody watches the same any more.
    pub(crate) was_last: bool,
}

impl Members {
    #[cfg(test)]
    pub(crate) fn is_slot(self, slot: Slot) -> bool {
        self.0 == slot
    }

    /// The first of its kind.
    pub(crate) fn one(slot: Slot) -> (Self, Added) {
        assert!(slot < GROUP, "slots are numbered with 31 bits");
        let added = Added {
            position: 0,
            is_first: true,
        };
        (Self(slot), added)
    }

    fn group(self) -> Option<u32> {
        (self.0 & GROUP != 0).then_some(self.0 & !GROUP)
    }
}

impl Groups {
    /// All of them; never none.
    pub(crate) fn slots<'a>(&'a self, members: &'a Members) -> &'a [Slot] {
        match members.group() {
            Some(group) => &self.groups[group],
            None => std::slice::from_ref(&members.0),
        }
    }

    /// One of them, to stand for all.
    pub(crate) fn first(&self, members: Members) -> Slot {
        self.slots(&members)[0]
    }

    pub(crate) fn add(&mut self, members: &mut Members, slot: Slot) -> Added {
        let group = members.group().unwrap_or_else(|| {
            let group = self.groups.insert(|_| vec![members.0]);
            *members = Members(GROUP | group);
            group
        });
        let slots = &mut self.groups[group];
        slots.push(slot);
        Added {
            position: slots.len() as u32 - 1,
            is_first: false,
        }
    }

    /// Takes the slot at `position` out.
    pub(crate) fn remove(&mut self, members: &mut Members, position: u32) -> Removed {
        let Some(group) = members.group() else {
            return Removed {
                moved: None,
                was_last: true,
            };
        };
        let slots = &mut self.groups[group];
        slots.swap_remove(position as usize);
        let moved = slots.get(position as usize).copied();
        if let [last] = slots[..] {
            self.groups.remove(group);
            *members = Members(last);
        } else if slots.len() < slots.capacity() / 4 {
            slots.shrink_to(slots.len() * 2);
        }
        Removed {
            moved,
            was_last: false,
        }
    }
}

//! A buffer that keeps the newest event of each key.

use std::collections::{BTreeMap, HashMap};
use std::mem;

use bytes::Bytes;

use super::event::LatestEvent;
use crate::{EventRef, Revision};

/// The newest event of each key, in the order in which these events arrived.
///
/// Each event gets a number when it arrives. A newer event of a key takes a new number and
/// removes the older event, so iteration by number never goes back in revision.
#[derive(Debug, Default)]
pub(super) struct NewestByKey {
    by_number: BTreeMap<u64, LatestEvent>,
    numbers: HashMap<Bytes, u64>,
    next_number: u64,
}

impl NewestByKey {
    pub(super) fn insert(&mut self, event: EventRef<'_>) {
        let number = self.next_number;
        self.next_number += 1;
        let old = match self.numbers.get_mut::<[u8]>(event.key()) {
            Some(old) => self.by_number.remove(&mem::replace(old, number)),
            None => {
                self.numbers.insert(event.key_bytes(), number);
                None
            }
        };
        let event = LatestEvent {
            revision: event.revision(),
            change: event.to_change(),
            replaced: old.map_or(0, |old| old.replaced + 1),
        };
        self.by_number.insert(number, event);
    }

    /// Removes the event that arrived first.
    pub(super) fn pop_first(&mut self) -> Option<LatestEvent> {
        let (_, event) = self.by_number.pop_first()?;
        self.numbers.remove(event.key());
        Some(event)
    }

    /// The revision of the event that arrived first, which is the lowest.
    pub(super) fn first_revision(&self) -> Option<Revision> {
        let (_, event) = self.by_number.first_key_value()?;
        Some(event.revision)
    }

    /// How many keys have an event.
    pub(super) fn len(&self) -> usize {
        self.by_number.len()
    }
}

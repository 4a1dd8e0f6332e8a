//! How an index reads the part that a slot stands for.

use crate::registry::slab::Slot;
use crate::selector::Part;

/// Gives access to the parts by slot. Keys are stored with the registrations, and not once more in
/// each table of the index.
pub(crate) trait Parts {
    fn part(&self, slot: Slot) -> &Part;

    /// The part's [hash](crate::registry::key_hash::KeyHasher::hash_of).
    fn hash(&self, slot: Slot) -> u32;

    /// The key of an exact part, or the bytes of a prefix.
    fn bytes(&self, slot: Slot) -> &[u8] {
        match self.part(slot) {
            Part::Exact(bytes) | Part::Prefix(bytes) => bytes,
            Part::Range(_) | Part::From(_) | Part::All => unreachable!("not in a key table"),
        }
    }
}

//! Hashes of keys.

use std::hash::{BuildHasher, Hasher};

use crate::selector::Part;

/// Hashes keys with a random seed of its own, because keys may be hostile.
#[derive(Debug, Default)]
pub(crate) struct KeyHasher(foldhash::fast::RandomState);

impl KeyHasher {
    /// The 32 bits that index and interest use. Never 0: that stands for a row that is not in use,
    /// and for a part that is not found by a hash.
    pub(crate) fn hash(&self, key: &[u8]) -> u32 {
        let mut hasher = self.0.build_hasher();
        hasher.write(key);
        (hasher.finish() as u32).max(1)
    }

    /// The hash of an exact key or of a prefix; 0 for the other parts. The registry stores it:
    /// otherwise index and interest would hash the same bytes four times between the registration
    /// of a watcher and its removal.
    pub(crate) fn hash_of(&self, part: &Part) -> u32 {
        match part {
            Part::Exact(bytes) | Part::Prefix(bytes) => self.hash(bytes),
            Part::Range(_) | Part::From(_) | Part::All => 0,
        }
    }
}

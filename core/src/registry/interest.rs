//! A coarse summary of what is watched. The publisher checks it before it wakes anybody.
//!
//! It is a counting filter: it may report interest in a key that nobody watches (then the
//! dispatcher is woken for nothing), but it never denies interest that exists. A registration
//! raises the filter and then reads the last claimed revision; the publisher claims a revision and
//! then reads the filter, all with SeqCst. So either the publisher sees the interest, or the watch
//! starts after that revision.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use crate::registry::key_hash::KeyHasher;
use crate::selector::Part;
use crate::sync::{AtomicU32, AtomicU64};

/// The number of counters for exact keys and prefixes, indexed by hash. With 4 Ki watched keys the
/// counter of a key that nobody watches is raised one time in 17, with 64 Ki two times in three.
const COUNTERS: usize = 1 << 16;

/// Longer prefixes count with their first bytes only, so that one word tells all lengths in use.
const MAX_PREFIX: usize = 63;

/// Counters of everything that is watched.
#[derive(Debug)]
pub(crate) struct Interest {
    /// Exact keys and prefixes, by hash.
    hashes: Counters,
    /// Prefixes, by length.
    lengths: Counters,
    /// Ranges, by the first byte of the keys in them; the last counter is the empty key's.
    first_bytes: Counters,
    everything: Counters,
}

/// Counters, and for each a bit that is set while the counter is above zero. The publisher reads
/// only the bits, because they fit into the first-level cache and the counters do not.
#[derive(Debug)]
struct Counters {
    /// Written only under the registry's write lock, so a load and a store lose no other bit.
    bits: Box<[AtomicU64]>,
    /// Used only under that lock.
    counts: Box<[AtomicU32]>,
}

impl Counters {
    fn new(count: usize) -> Self {
        Self {
            bits: (0..count.div_ceil(64)).map(|_| AtomicU64::new(0)).collect(),
            counts: (0..count).map(|_| AtomicU32::new(0)).collect(),
        }
    }

    /// The bits of the 64 counters from `64 * nth` on.
    fn word(&self, nth: usize) -> u64 {
        self.bits[nth].load(SeqCst)
    }

    fn is_raised(&self, index: usize) -> bool {
        self.word(index / 64) >> (index % 64) & 1 == 1
    }

    fn raise(&self, index: usize) {
        let before = self.counts[index].load(Relaxed);
        self.counts[index].store(before + 1, Relaxed);
        if before == 0 {
            let word = &self.bits[index / 64];
            word.store(word.load(Relaxed) | 1 << (index % 64), SeqCst);
        }
    }

    fn lower(&self, index: usize) {
        let after = self.counts[index].load(Relaxed) - 1;
        self.counts[index].store(after, Relaxed);
        if after == 0 {
            let word = &self.bits[index / 64];
            // A publisher that still sees the bit only makes a look-up that finds no watcher.
            word.store(word.load(Relaxed) & !(1 << (index % 64)), Relaxed);
        }
    }
}

/// The index of the counter for an exact key or a prefix of this hash.
fn counter(hash: u32) -> usize {
    hash as usize % COUNTERS
}

fn first_byte(key: &[u8]) -> usize {
    key.first().map_or(256, |&byte| usize::from(byte))
}

impl Interest {
    pub(crate) fn new() -> Self {
        Self {
            hashes: Counters::new(COUNTERS),
            lengths: Counters::new(MAX_PREFIX + 1),
            first_bytes: Counters::new(257),
            everything: Counters::new(1),
        }
    }

    /// Whether any watcher may want this key.
    pub(crate) fn wants(&self, hasher: &KeyHasher, key: &[u8]) -> bool {
        if self.everything.is_raised(0)
            || self.first_bytes.is_raised(first_byte(key))
            || self.hashes.is_raised(counter(hasher.hash(key)))
        {
            return true;
        }
        let mut lengths = self.lengths.word(0);
        while lengths != 0 {
            let length = lengths.trailing_zeros() as usize;
            if length > key.len() {
                return false;
            }
            let hash = hasher.hash(&key[..length]);
            if self.hashes.is_raised(counter(hash)) {
                return true;
            }
            lengths &= lengths - 1;
        }
        false
    }

    /// Counts a watched part of this [hash](KeyHasher::hash_of). Call it under the registry's write
    /// lock.
    pub(crate) fn raise(&self, hasher: &KeyHasher, part: &Part, hash: u32) {
        self.for_each_counter(hasher, part, hash, Counters::raise);
    }

    /// Undoes one [`raise`](Self::raise) of the same part, under the same lock.
    pub(crate) fn lower(&self, hasher: &KeyHasher, part: &Part, hash: u32) {
        self.for_each_counter(hasher, part, hash, Counters::lower);
    }

    /// Applies `count` to every counter that this part counts in.
    fn for_each_counter(
        &self,
        hasher: &KeyHasher,
        part: &Part,
        hash: u32,
        count: impl Fn(&Counters, usize),
    ) {
        match part {
            Part::Exact(_) => count(&self.hashes, counter(hash)),
            Part::Prefix(prefix) => {
                let (hash, length) = match prefix.get(..MAX_PREFIX) {
                    Some(counted) => (hasher.hash(counted), MAX_PREFIX),
                    None => (hash, prefix.len()),
                };
                count(&self.hashes, counter(hash));
                count(&self.lengths, length);
            }
            Part::Range(bounds) => {
                first_bytes(&bounds.0, Some(&bounds.1))
                    .for_each(|index| count(&self.first_bytes, index));
            }
            Part::From(start) => {
                first_bytes(start, None).for_each(|index| count(&self.first_bytes, index));
            }
            Part::All => count(&self.everything, 0),
        }
    }
}

/// The indexes of the counters for the first bytes that keys of this range can have.
fn first_bytes(start: &[u8], end: Option<&[u8]>) -> impl Iterator<Item = usize> {
    let first = start.first().map_or(0, |&byte| usize::from(byte));
    // A key below `end` may share its first byte; a key with a larger first byte is above `end`.
    let last = end.map_or(255, |end| usize::from(end[0]));
    let empty = start.is_empty().then_some(256);
    (first..=last).chain(empty)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Selector;

    fn parts(selectors: &[Selector]) -> Vec<Part> {
        selectors
            .iter()
            .flat_map(|s| s.as_parts().to_vec())
            .collect()
    }

    #[test]
    fn reliable_interest_covers_every_selector_until_it_is_lowered() {
        let (interest, hasher) = (Interest::new(), KeyHasher::default());
        let raise = |part: &Part| interest.raise(&hasher, part, hasher.hash_of(part));
        let lower = |part: &Part| interest.lower(&hasher, part, hasher.hash_of(part));
        let long = [7; 200];
        let selectors = [
            Selector::exact(""),
            Selector::exact("a/b"),
            Selector::prefix("p"),
            Selector::prefix("q"),
            Selector::prefix([0xff, 0xff]),
            Selector::prefix(long),
            Selector::range("".."\u{1}"),
            Selector::range("k".."l"),
            Selector::from_key([0xfe]),
        ];
        let keys: [&[u8]; 15] = [
            b"",
            b"a/b",
            b"a/c",
            b"p",
            b"pq",
            b"q",
            b"qz",
            &[0xff, 0xff, 1],
            &[0xff],
            &long,
            &[7; 201],
            &[0],
            b"k",
            b"kz",
            &[0xfe, 1],
        ];
        for selector in &selectors {
            let parts = parts(std::slice::from_ref(selector));
            parts.iter().for_each(raise);
            for key in keys {
                assert!(
                    interest.wants(&hasher, key) || !selector.matches(key),
                    "{selector:?} wants {key:?}"
                );
            }
            assert!(!interest.wants(&hasher, b"nobody/wants/this"));
            parts.iter().for_each(lower);
            for key in keys {
                assert!(!interest.wants(&hasher, key), "{selector:?} is gone");
            }
        }
        // Some selectors share a counter: lowering one keeps the others.
        let raised = parts(&selectors);
        raised.iter().for_each(raise);
        for (part, left) in raised.iter().zip(1..) {
            lower(part);
            for key in keys {
                let is_wanted = selectors[left..].iter().any(|s| s.matches(key));
                assert!(interest.wants(&hasher, key) || !is_wanted, "{key:?}");
            }
        }
        for key in keys {
            assert!(!interest.wants(&hasher, key), "all are gone");
        }
        raise(&Part::All);
        assert!(interest.wants(&hasher, b"anything"));
    }
}

//! What is watched, coarsely: the publisher asks it before it wakes anybody.
//!
//! A counting filter. It may say yes where nobody watches (the dispatcher is then woken for
//! nothing), never no where somebody does. A registration raises it and then reads which revision
//! was opened last; the publisher opens a revision and then reads the filter; all of it SeqCst:
//! so either the publisher sees the interest, or the watch starts behind that revision.

use std::sync::atomic::Ordering::SeqCst;

use crate::index::KeyHasher;
use crate::selector::Part;
use crate::sync::{AtomicU32, AtomicU64};

/// Counters for exact keys and prefixes, by hash. At 64 Ki keys watched, an event that nobody
/// watches finds its counter taken two times out of three; at 4 Ki, one time out of 17.
const COUNTERS: usize = 1 << 16;

/// Prefixes longer than this count with their first bytes only, so that one word says which
/// lengths there are.
const LONGEST: usize = 63;

#[derive(Debug)]
pub(crate) struct Interest {
    counters: Box<[AtomicU32]>,
    /// Bit `n` is set while a prefix counts with length `n`.
    lengths: AtomicU64,
    /// How many prefixes count with each length. Only written under the registry's lock.
    by_length: Box<[AtomicU32]>,
    /// Ranges, by the first byte of the keys in them; the last counter is the empty key's.
    first_bytes: Box<[AtomicU32]>,
    everything: AtomicU32,
}

fn counters(count: usize) -> Box<[AtomicU32]> {
    (0..count).map(|_| AtomicU32::new(0)).collect()
}

fn first_byte(key: &[u8]) -> usize {
    key.first().map_or(256, |&byte| usize::from(byte))
}

impl Interest {
    pub(crate) fn new() -> Self {
        Self {
            counters: counters(COUNTERS),
            lengths: AtomicU64::new(0),
            by_length: counters(LONGEST + 1),
            first_bytes: counters(257),
            everything: AtomicU32::new(0),
        }
    }

    fn counter(&self, hasher: &KeyHasher, bytes: &[u8]) -> &AtomicU32 {
        &self.counters[hasher.hash(bytes) as usize % COUNTERS]
    }

    /// Whether anybody may watch this key.
    pub(crate) fn wants(&self, hasher: &KeyHasher, key: &[u8]) -> bool {
        if self.everything.load(SeqCst) > 0
            || self.first_bytes[first_byte(key)].load(SeqCst) > 0
            || self.counter(hasher, key).load(SeqCst) > 0
        {
            return true;
        }
        let mut lengths = self.lengths.load(SeqCst);
        while lengths != 0 {
            let length = lengths.trailing_zeros() as usize;
            if length > key.len() {
                return false;
            }
            if self.counter(hasher, &key[..length]).load(SeqCst) > 0 {
                return true;
            }
            lengths &= lengths - 1;
        }
        false
    }

    /// Somebody watches this. Called under the registry's write lock.
    pub(crate) fn raise(&self, hasher: &KeyHasher, part: &Part) {
        match part {
            Part::Exact(key) => {
                self.counter(hasher, key).fetch_add(1, SeqCst);
            }
            Part::Prefix(prefix) => {
                let counted = &prefix[..prefix.len().min(LONGEST)];
                self.counter(hasher, counted).fetch_add(1, SeqCst);
                if self.by_length[counted.len()].fetch_add(1, SeqCst) == 0 {
                    self.lengths.fetch_or(1 << counted.len(), SeqCst);
                }
            }
            Part::Range(_) | Part::From(_) => {
                for counter in self.bytes_of(part) {
                    counter.fetch_add(1, SeqCst);
                }
            }
            Part::All => {
                self.everything.fetch_add(1, SeqCst);
            }
        }
    }

    /// Takes back one [`raise`](Self::raise) of the same part.
    pub(crate) fn lower(&self, hasher: &KeyHasher, part: &Part) {
        match part {
            Part::Exact(key) => {
                self.counter(hasher, key).fetch_sub(1, SeqCst);
            }
            Part::Prefix(prefix) => {
                let counted = &prefix[..prefix.len().min(LONGEST)];
                if self.by_length[counted.len()].fetch_sub(1, SeqCst) == 1 {
                    self.lengths.fetch_and(!(1 << counted.len()), SeqCst);
                }
                self.counter(hasher, counted).fetch_sub(1, SeqCst);
            }
            Part::Range(_) | Part::From(_) => {
                for counter in self.bytes_of(part) {
                    counter.fetch_sub(1, SeqCst);
                }
            }
            Part::All => {
                self.everything.fetch_sub(1, SeqCst);
            }
        }
    }

    /// The counters of the first bytes that keys in this range can have.
    fn bytes_of(&self, part: &Part) -> impl Iterator<Item = &AtomicU32> {
        let (start, end): (&[u8], Option<&[u8]>) = match part {
            Part::Range(bounds) => (&bounds.0, Some(&bounds.1)),
            Part::From(start) => (start, None),
            Part::Exact(_) | Part::Prefix(_) | Part::All => unreachable!("not a range"),
        };
        let first = start.first().map_or(0, |&byte| usize::from(byte));
        // A key below `end` may share its first byte; one with a larger first byte is above it.
        let last = end.map_or(255, |end| usize::from(end[0]));
        let empty = start.is_empty().then(|| &self.first_bytes[256]);
        self.first_bytes[first..=last].iter().chain(empty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Selector;

    fn parts(selectors: &[Selector]) -> Vec<Part> {
        selectors.iter().flat_map(|s| s.parts().to_vec()).collect()
    }

    #[test]
    fn never_denies_what_a_selector_matches_and_forgets_what_is_taken_back() {
        let (interest, hasher) = (Interest::new(), KeyHasher::default());
        let long = [7; 200];
        let selectors = [
            Selector::exact(""),
            Selector::exact("a/b"),
            Selector::prefix("p"),
            Selector::prefix([0xff, 0xff]),
            Selector::prefix(long),
            Selector::range("".."\u{1}"),
            Selector::range("k".."l"),
            Selector::from_key([0xfe]),
        ];
        let keys: [&[u8]; 14] = [
            b"",
            b"a/b",
            b"a/c",
            b"p",
            b"pq",
            b"q",
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
            for part in &parts {
                interest.raise(&hasher, part);
            }
            for key in keys {
                assert!(
                    interest.wants(&hasher, key) || !selector.matches(key),
                    "{selector:?} wants {key:?}"
                );
            }
            assert!(!interest.wants(&hasher, b"nobody/wants/this"));
            for part in &parts {
                interest.lower(&hasher, part);
            }
            for key in keys {
                assert!(!interest.wants(&hasher, key), "{selector:?} is gone");
            }
        }
        interest.raise(&hasher, &Part::All);
        assert!(interest.wants(&hasher, b"anything"));
    }
}

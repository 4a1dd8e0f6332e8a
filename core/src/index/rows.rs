//! Rows by hash: what lies behind keys and prefixes.
//!
//! ```text
//!   bucket   hash hash hash ·  ·  ·  ·  ·  │ members members members ·  ·  ·  ·  ·     64 bytes
//! ```
//!
//! A row lies in the bucket that its hash names, its home, or behind it where that was full: all
//! buckets from its home to where it lies are full but the last. Nearly always it lies at home, so
//! where a look-up will look is known from the hash alone, and is one cache line: many can be
//! fetched before the first is looked at. In a table whose rows lie apart from their tags, as
//! hashbrown's do, where the row lies is known only once the tag is there, and the processor
//! guesses wrong for one of three prefixes: a look-up among a million prefixes takes a third less
//! by this, one watcher a key gets an eighth more events of 100,000 keys, and a third more of a
//! million.

use super::Members;

/// In a bucket.
const ROWS: usize = 8;
/// Of eight rows at most so many are taken, on average.
const TAKEN: usize = 7;

#[derive(Clone, Debug)]
#[repr(align(64))]
struct Bucket {
    /// Those in use come first; 0 where there is no row.
    hashes: [u32; ROWS],
    members: [Members; ROWS],
}

impl Bucket {
    fn empty() -> Self {
        Self {
            hashes: [0; ROWS],
            members: [Members::one(0).0; ROWS],
        }
    }

    fn is_full(&self) -> bool {
        self.hashes[ROWS - 1] != 0
    }

    fn len(&self) -> usize {
        self.hashes.iter().take_while(|&&hash| hash != 0).count()
    }

    /// A bit for each row of this hash.
    fn equal(&self, hash: u32) -> u32 {
        // Each half becomes one comparison of four.
        let half = |hashes: &[u32]| {
            let pairs = hashes.iter().zip([1, 2, 4, 8]);
            pairs.fold(0, |bits, (&own, bit)| {
                bits | if own == hash { bit } else { 0 }
            })
        };
        let (low, high) = self.hashes.split_at(ROWS / 2);
        half(low) | half(high) << (ROWS / 2)
    }

    /// Into a bucket that is not full.
    fn push(&mut self, hash: u32, members: Members) {
        let at = self.len();
        self.hashes[at] = hash;
        self.members[at] = members;
    }

    fn swap_remove(&mut self, nth: usize) -> (u32, Members) {
        let last = self.len() - 1;
        let removed = (self.hashes[nth], self.members[nth]);
        self.hashes[nth] = self.hashes[last];
        self.members[nth] = self.members[last];
        self.hashes[last] = 0;
        removed
    }
}

/// Where a row is, until one is added or removed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    bucket: usize,
    nth: usize,
}

/// The table.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    /// None, or a power of two.
    buckets: Vec<Bucket>,
    len: usize,
}

impl Rows {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn mask(&self) -> usize {
        self.buckets.len() - 1
    }

    fn home(&self, hash: u32) -> usize {
        hash as usize & self.mask()
    }

    /// The bucket behind this one.
    fn next(&self, bucket: usize) -> usize {
        (bucket + 1) & self.mask()
    }

    /// Reads from where rows of this hash most likely are. Not from an empty table.
    pub(crate) fn glance(&self, hash: u32) -> usize {
        self.buckets[self.home(hash)].hashes[0] as usize
    }

    /// The first row of this hash for which `is_it` holds.
    pub(crate) fn find(&self, hash: u32, mut is_it: impl FnMut(Members) -> bool) -> Option<Place> {
        if self.is_empty() {
            return None;
        }
        let mut at = self.home(hash);
        loop {
            let bucket = &self.buckets[at];
            let mut equal = bucket.equal(hash);
            while equal != 0 {
                let nth = equal.trailing_zeros() as usize;
                if is_it(bucket.members[nth]) {
                    return Some(Place { bucket: at, nth });
                }
                equal &= equal - 1;
            }
            if !bucket.is_full() {
                return None;
            }
            at = self.next(at);
        }
    }

    pub(crate) fn get(&self, place: Place) -> Members {
        self.buckets[place.bucket].members[place.nth]
    }

    pub(crate) fn get_mut(&mut self, place: Place) -> &mut Members {
        &mut self.buckets[place.bucket].members[place.nth]
    }

    /// Adds a row. No hash is 0: that stands for no row.
    pub(crate) fn insert(&mut self, hash: u32, members: Members) {
        debug_assert_ne!(hash, 0);
        if self.len == self.capacity() {
            self.resize((self.buckets.len() * 2).max(1));
        }
        let mut at = self.home(hash);
        while self.buckets[at].is_full() {
            at = self.next(at);
        }
        self.buckets[at].push(hash, members);
        self.len += 1;
    }

    pub(crate) fn remove(&mut self, place: Place) {
        let mut at = place.bucket;
        let mut was_full = self.buckets[at].is_full();
        self.buckets[at].swap_remove(place.nth);
        self.len -= 1;
        // A row whose way led across a full bucket must not find a gap there: it moves into it.
        while was_full && let Some(strayed) = self.strayed_across(at) {
            was_full = self.buckets[strayed.bucket].is_full();
            let (hash, members) = self.buckets[strayed.bucket].swap_remove(strayed.nth);
            self.buckets[at].push(hash, members);
            at = strayed.bucket;
        }
        // Memory is given back once three quarters of what was needed have gone.
        if self.buckets.len() > 128 && self.len < self.capacity() / 8 {
            self.resize(self.buckets.len() / 4);
        }
    }

    /// A row behind this bucket whose home is this one or one before it.
    fn strayed_across(&self, bucket: usize) -> Option<Place> {
        let distance = |from: usize, to: usize| to.wrapping_sub(from) & self.mask();
        let mut at = bucket;
        loop {
            at = self.next(at);
            if at == bucket {
                return None;
            }
            let here = &self.buckets[at];
            let strayed = (0..here.len())
                .find(|&nth| distance(self.home(here.hashes[nth]), at) >= distance(bucket, at));
            if let Some(nth) = strayed {
                return Some(Place { bucket: at, nth });
            }
            if !here.is_full() {
                return None;
            }
        }
    }

    /// How many rows there may be before it grows.
    fn capacity(&self) -> usize {
        self.buckets.len() * TAKEN
    }

    fn resize(&mut self, buckets: usize) {
        let old = std::mem::replace(&mut self.buckets, vec![Bucket::empty(); buckets]);
        self.len = 0;
        for bucket in &old {
            for nth in 0..bucket.len() {
                self.insert(bucket.hashes[nth], bucket.members[nth]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random;

    /// Hashes of few homes, so that rows stray, also past the end.
    #[test]
    fn holds_what_a_list_holds_while_rows_come_and_go() {
        let mut state = 1_u64;
        let mut next = |bound: u64| random::next(&mut state) % bound;
        let (mut rows, mut list) = (Rows::default(), Vec::new());
        for round in 0..60_000_u32 {
            // Grows to some hundreds of rows and shrinks to few, several times.
            let grows = round / 5_000 % 2 == 0;
            if list.is_empty() || next(10) < if grows { 7 } else { 3 } {
                let hash = match next(3) {
                    0 => 1 + next(4) as u32,
                    1 => u32::MAX - next(3) as u32,
                    _ => 1 + next(1 << 31) as u32,
                };
                let (members, _) = Members::one(round);
                rows.insert(hash, members);
                list.push((hash, round));
            } else {
                let (hash, slot) = list.swap_remove(next(list.len() as u64) as usize);
                let place = rows.find(hash, |members| members.is_slot(slot));
                rows.remove(place.expect("it is there"));
                assert!(rows.find(hash, |members| members.is_slot(slot)).is_none());
            }
            assert_eq!(rows.len(), list.len());
            if round % 100 == 0 {
                for &(hash, slot) in &list {
                    assert!(rows.find(hash, |members| members.is_slot(slot)).is_some());
                }
            }
        }
    }
}

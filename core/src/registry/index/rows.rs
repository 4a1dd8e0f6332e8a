//! Rows by hash: the table behind exact keys and prefixes.
//!
//! ```text
//!   bucket   hash hash hash ·  ·  ·  ·  ·  │ list list list ·  ·  ·  ·  ·     64 bytes
//! ```
//!
//! A row is stored in its home, the bucket that its hash names, or in a later one if that was full:
//! every bucket from a row's home up to the row's own is full, except the last. Nearly every row
//! is at home, so the hash alone says which cache line a look-up will read, and many lines can be
//! prefetched before the first is read. In a table that stores its rows apart from their tags, as
//! hashbrown does, the row's address is known only once the tag was read.

use crate::registry::index::postings::PostingList;

/// The rows of a bucket.
const ROWS: usize = 8;
/// The average number of rows in use in a bucket before the table grows.
const MAX_LOAD: usize = 7;

#[derive(Clone, Debug)]
#[repr(align(64))]
struct Bucket {
    /// The rows in use come first; the others have hash 0.
    hashes: [u32; ROWS],
    lists: [PostingList; ROWS],
}

impl Bucket {
    fn empty() -> Self {
        Self {
            hashes: [0; ROWS],
            lists: [PostingList::one(0).0; ROWS],
        }
    }

    fn is_full(&self) -> bool {
        self.hashes[ROWS - 1] != 0
    }

    fn len(&self) -> usize {
        self.hashes.iter().take_while(|&&hash| hash != 0).count()
    }

    /// One bit for each row of this hash.
    fn equal(&self, hash: u32) -> u32 {
        // Each half compiles to one comparison of four hashes.
        let half = |hashes: &[u32]| {
            let pairs = hashes.iter().zip([1, 2, 4, 8]);
            pairs.fold(0, |bits, (&own, bit)| {
                bits | if own == hash { bit } else { 0 }
            })
        };
        let (low, high) = self.hashes.split_at(ROWS / 2);
        half(low) | half(high) << (ROWS / 2)
    }

    /// Adds a row. The bucket must not be full.
    fn push(&mut self, hash: u32, list: PostingList) {
        let at = self.len();
        self.hashes[at] = hash;
        self.lists[at] = list;
    }

    fn swap_remove(&mut self, nth: usize) -> (u32, PostingList) {
        let last = self.len() - 1;
        let removed = (self.hashes[nth], self.lists[nth]);
        self.hashes[nth] = self.hashes[last];
        self.lists[nth] = self.lists[last];
        self.hashes[last] = 0;
        removed
    }
}

/// The position of a row. Valid until a row is added or removed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowIndex {
    bucket: usize,
    nth: usize,
}

/// The table.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    /// Empty, or a power of two in number.
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

    /// The bucket after this one.
    fn next(&self, bucket: usize) -> usize {
        (bucket + 1) & self.mask()
    }

    /// Reads from the home of this hash. The table must not be empty.
    pub(crate) fn prefetch(&self, hash: u32) -> usize {
        self.buckets[self.home(hash)].hashes[0] as usize
    }

    /// The first row of this hash for which `is_match` holds.
    pub(crate) fn find(
        &self,
        hash: u32,
        mut is_match: impl FnMut(PostingList) -> bool,
    ) -> Option<RowIndex> {
        if self.is_empty() {
            return None;
        }
        let mut at = self.home(hash);
        loop {
            let bucket = &self.buckets[at];
            let mut equal = bucket.equal(hash);
            while equal != 0 {
                let nth = equal.trailing_zeros() as usize;
                if is_match(bucket.lists[nth]) {
                    return Some(RowIndex { bucket: at, nth });
                }
                equal &= equal - 1;
            }
            if !bucket.is_full() {
                return None;
            }
            at = self.next(at);
        }
    }

    pub(crate) fn get(&self, index: RowIndex) -> PostingList {
        self.buckets[index.bucket].lists[index.nth]
    }

    pub(crate) fn get_mut(&mut self, index: RowIndex) -> &mut PostingList {
        &mut self.buckets[index.bucket].lists[index.nth]
    }

    /// Adds a row. `hash` must not be 0, which marks rows not in use.
    pub(crate) fn insert(&mut self, hash: u32, list: PostingList) {
        debug_assert_ne!(hash, 0);
        if self.len == self.capacity() {
            self.resize((self.buckets.len() * 2).max(1));
        }
        let mut at = self.home(hash);
        while self.buckets[at].is_full() {
            at = self.next(at);
        }
        self.buckets[at].push(hash, list);
        self.len += 1;
    }

    pub(crate) fn remove(&mut self, index: RowIndex) {
        let mut at = index.bucket;
        let mut was_full = self.buckets[at].is_full();
        self.buckets[at].swap_remove(index.nth);
        self.len -= 1;
        // A look-up ends at the first bucket that is not full: a row stored past this one moves into it.
        while was_full && let Some(displaced) = self.displaced_past(at) {
            was_full = self.buckets[displaced.bucket].is_full();
            let (hash, list) = self.buckets[displaced.bucket].swap_remove(displaced.nth);
            self.buckets[at].push(hash, list);
            at = displaced.bucket;
        }
        // Gives memory back once less than an eighth of it is in use.
        if self.buckets.len() > 128 && self.len < self.capacity() / 8 {
            self.resize(self.buckets.len() / 4);
        }
    }

    /// A row after this bucket whose home is this bucket or an earlier one.
    fn displaced_past(&self, bucket: usize) -> Option<RowIndex> {
        let distance = |from: usize, to: usize| to.wrapping_sub(from) & self.mask();
        let mut at = bucket;
        loop {
            at = self.next(at);
            if at == bucket {
                return None;
            }
            let here = &self.buckets[at];
            let displaced = (0..here.len())
                .find(|&nth| distance(self.home(here.hashes[nth]), at) >= distance(bucket, at));
            if let Some(nth) = displaced {
                return Some(RowIndex { bucket: at, nth });
            }
            if !here.is_full() {
                return None;
            }
        }
    }

    /// The number of rows at which the table grows.
    fn capacity(&self) -> usize {
        self.buckets.len() * MAX_LOAD
    }

    fn resize(&mut self, buckets: usize) {
        let old = std::mem::replace(&mut self.buckets, vec![Bucket::empty(); buckets]);
        self.len = 0;
        for bucket in &old {
            for nth in 0..bucket.len() {
                self.insert(bucket.hashes[nth], bucket.lists[nth]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random;

    /// Few homes, so that rows are displaced, also past the end of the table.
    #[test]
    fn rows_equal_a_list_while_they_come_and_go() {
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
                let (posting, _) = PostingList::one(round);
                rows.insert(hash, posting);
                list.push((hash, round));
            } else {
                let (hash, slot) = list.swap_remove(next(list.len() as u64) as usize);
                let index = rows.find(hash, |posting| posting.is_slot(slot));
                rows.remove(index.expect("the row is in the table"));
                assert!(rows.find(hash, |posting| posting.is_slot(slot)).is_none());
            }
            assert_eq!(rows.len(), list.len());
            if round % 100 == 0 {
                for &(hash, slot) in &list {
                    assert!(rows.find(hash, |posting| posting.is_slot(slot)).is_some());
                }
            }
        }
    }
}

//! Who watches what.
//!
//! One lock guards it: the dispatcher reads under one guard for a whole segment, a watcher that
//! comes or goes writes.

use std::hint::black_box;
use std::sync::Arc;

use foldhash::HashMap;

use crate::error::{EndReason, WatchError};
use crate::event::EventKind;
use crate::index::{Hit, Index, KeyHasher, Parts, Probe};
use crate::interest::Interest;
use crate::options::Filter;
use crate::queue::{Queue, WatcherId};
use crate::selector::{Part, Selector};
use crate::slots::{Slot, Slots};
use crate::stats::WatcherCounts;

/// A registry with fewer parts than this is in the caches anyway.
const COLD: usize = 2048;

/// One part of one watcher's selector, with all that a look-up reads of it where it is a short key.
/// With the key in the queue a look-up among a million prefixes took half as long again.
#[derive(Debug)]
struct Entry {
    part: Part,
    queue: Arc<Queue>,
    /// The slot of the watcher's first part: stands for the watcher.
    watcher: Slot,
    /// Where the index keeps it among its equals.
    position: u32,
    /// The part's, for the index and the interest.
    hash: u32,
    /// The watcher's, here to be at hand.
    filter: Filter,
}

impl Parts for Slots<Entry> {
    fn part(&self, slot: Slot) -> &Part {
        &self[slot].part
    }

    fn hash(&self, slot: Slot) -> u32 {
        self[slot].hash
    }
}

/// What looking up works with: all of it scratch.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    probes: Vec<Probe>,
    hits: Vec<Hit>,
    /// What the change of each key is, by its number.
    kinds: Vec<EventKind>,
}

/// The registered watchers and their index.
#[derive(Debug)]
pub(crate) struct Registry {
    slots: Slots<Entry>,
    index: Index,
    /// The slots of watchers with more than one part, by their first. Whoever goes is looked for
    /// here: the standard hasher would let a tenth fewer come and go.
    unions: HashMap<Slot, Box<[Slot]>>,
    counts: WatcherCounts,
    limit: usize,
    closed: Option<EndReason>,
}

impl Registry {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            slots: Slots::default(),
            index: Index::default(),
            unions: HashMap::default(),
            counts: WatcherCounts::default(),
            limit,
            closed: None,
        }
    }

    /// Whether one more watcher may register.
    pub(crate) fn admits(&self) -> Result<(), WatchError> {
        if let Some(reason) = self.closed {
            return Err(WatchError::Closed(reason));
        }
        if self.counts.total >= self.limit {
            return Err(WatchError::TooManyWatchers { limit: self.limit });
        }
        Ok(())
    }

    /// Registers a watcher and raises the interest in what it watches.
    pub(crate) fn insert(
        &mut self,
        queue: &Arc<Queue>,
        selector: &Selector,
        interest: &Interest,
        hasher: &KeyHasher,
    ) -> Slot {
        let mut slots = Vec::new();
        let parts = selector.parts();
        let is_union = parts.len() > 1;
        let mut first = None;
        for part in parts {
            let hash = hasher.hash_of(part);
            let slot = self.slots.insert(|slot| Entry {
                part: part.clone(),
                queue: Arc::clone(queue),
                watcher: *first.get_or_insert(slot),
                position: 0,
                hash,
                filter: queue.filter,
            });
            let added = self.index.add(slot, &self.slots);
            self.slots[slot].position = added.position;
            if added.is_first {
                interest.raise(hasher, part, hash);
            }
            if is_union {
                slots.push(slot);
            }
        }
        let first = first.expect("a selector has parts");
        if is_union {
            self.unions.insert(first, slots.into());
        }
        *self.count(first, is_union) += 1;
        self.counts.total += 1;
        first
    }

    /// Takes this watcher out, unless that has been done.
    pub(crate) fn remove(
        &mut self,
        first: Slot,
        id: WatcherId,
        interest: &Interest,
        hasher: &KeyHasher,
    ) -> Option<Arc<Queue>> {
        let entry = self.slots.get(first)?;
        if entry.queue.id != id {
            return None;
        }
        let slots = self.unions.remove(&first);
        // Memory goes with those who used it, as in `Slots`.
        if slots.is_some() && self.unions.len() < self.unions.capacity() / 8 {
            self.unions.shrink_to(self.unions.len() * 2);
        }
        *self.count(first, slots.is_some()) -= 1;
        self.counts.total -= 1;
        let mut remove = |slot| self.remove_slot(slot, interest, hasher).queue;
        match slots {
            Some(slots) => slots.into_iter().map(remove).last(),
            None => Some(remove(first)),
        }
    }

    /// How many watchers are of this one's kind.
    fn count(&mut self, watcher: Slot, is_union: bool) -> &mut usize {
        let counts = &mut self.counts;
        if is_union {
            return &mut counts.union;
        }
        match self.slots.part(watcher) {
            Part::Exact(_) => &mut counts.exact,
            Part::Prefix(_) => &mut counts.prefix,
            Part::Range(_) => &mut counts.range,
            Part::From(_) => &mut counts.from_key,
            Part::All => &mut counts.all,
        }
    }

    fn remove_slot(&mut self, slot: Slot, interest: &Interest, hasher: &KeyHasher) -> Entry {
        let position = self.slots[slot].position;
        let removed = self.index.remove(slot, position, &self.slots);
        if let Some(moved) = removed.moved {
            self.slots[moved].position = position;
        }
        let entry = self.slots.remove(slot).expect("the slot is taken");
        if removed.was_last {
            interest.lower(hasher, &entry.part, entry.hash);
        }
        entry
    }

    /// Takes every watcher out and admits none any more. Returns who was there.
    pub(crate) fn close(
        &mut self,
        reason: EndReason,
        interest: &Interest,
        hasher: &KeyHasher,
    ) -> Vec<Arc<Queue>> {
        self.closed.get_or_insert(reason);
        let watchers: Vec<_> = self
            .watchers()
            .map(|(slot, queue)| (slot, queue.id))
            .collect();
        watchers
            .into_iter()
            .filter_map(|(slot, id)| self.remove(slot, id, interest, hasher))
            .collect()
    }

    /// Every watcher once.
    pub(crate) fn watchers(&self) -> impl Iterator<Item = (Slot, &Arc<Queue>)> {
        self.slots
            .iter()
            .filter(|(slot, entry)| entry.watcher == *slot)
            .map(|(slot, entry)| (slot, &entry.queue))
    }

    /// Calls `found` with every watcher that wants such a change of one of these keys, and with
    /// which of them, key after key; one whose selector matches in several parts is found several
    /// times.
    pub(crate) fn matching<'a>(
        &self,
        keys: impl Iterator<Item = (&'a [u8], EventKind)> + Clone,
        hasher: &KeyHasher,
        scratch: &mut Scratch,
        mut found: impl FnMut(usize, Slot),
    ) {
        self.find_hits(keys.clone(), hasher, scratch);
        let mut hits = &scratch.hits[..];
        for (nth, (key, kind)) in keys.enumerate() {
            let count = hits
                .iter()
                .take_while(|hit| hit.nth as usize == nth)
                .count();
            let (these, others) = hits.split_at(count);
            hits = others;
            let index = &self.index;
            index.matching(key, these, &self.slots, hasher, |slots| {
                for &slot in slots {
                    let entry = &self.slots[slot];
                    if entry.filter.passes(kind) {
                        found(nth, entry.watcher);
                    }
                }
            });
        }
    }

    /// Where these keys most likely match, key after key.
    fn find_hits<'a>(
        &self,
        keys: impl Iterator<Item = (&'a [u8], EventKind)>,
        hasher: &KeyHasher,
        scratch: &mut Scratch,
    ) {
        let index = &self.index;
        let Scratch {
            probes,
            hits,
            kinds,
        } = scratch;
        hits.clear();
        if self.slots.len() < COLD {
            for (nth, (key, _)) in (0..).zip(keys) {
                index.probes(nth, key, hasher, |probe| hits.extend(index.probe(probe)));
            }
            return;
        }
        probes.clear();
        kinds.clear();
        for (nth, (key, kind)) in (0..).zip(keys) {
            kinds.push(kind);
            index.probes(nth, key, hasher, |probe| probes.push(probe));
        }
        fetch(probes.iter().map(|&probe| index.glance(probe)));
        hits.extend(probes.iter().filter_map(|&probe| index.probe(probe)));
        self.warm(hits, kinds);
    }

    /// Has the processor fetch what will be looked at behind these hits, and the queues of those
    /// who want such a change. One key's look-up waits for memory several times, one after the
    /// other; here those of all keys wait together: one watcher a key got 1.45 M events/s of 100,000
    /// keys instead of 1.0, and 1.15 instead of 0.78 of a million, when this was new.
    ///
    /// One round for each step of the way: the shorter a round, the more of its turns wait at once.
    fn warm(&self, hits: &[Hit], kinds: &[EventKind]) {
        let slots = || hits.iter().map(|hit| self.index.candidate(hit));
        fetch(slots().map(|slot| self.slots[slot].filter as usize));
        let keys = slots().map(|slot| self.slots.bytes(slot).first().copied());
        fetch(keys.map(|first| usize::from(first.unwrap_or(0))));
        let kinds = hits.iter().map(|hit| kinds[hit.nth as usize]);
        let wanting = slots().zip(kinds).filter_map(|(slot, kind)| {
            let entry = &self.slots[slot];
            entry.filter.passes(kind).then(|| entry.queue.glance())
        });
        fetch(wanting);
    }

    pub(crate) fn queue(&self, watcher: Slot) -> &Arc<Queue> {
        &self.slots[watcher].queue
    }

    /// One above the largest slot in use.
    pub(crate) fn slots(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn counts(&self) -> WatcherCounts {
        self.counts
    }

    /// How many different exact keys are watched.
    pub(crate) fn keys(&self) -> usize {
        self.index.keys()
    }
}

/// Has the processor read all of these, whatever they are.
fn fetch(glances: impl Iterator<Item = usize>) {
    black_box(glances.fold(0, |all, glance| all ^ glance));
}

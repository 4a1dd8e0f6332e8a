//! Who watches what.
//!
//! One lock guards it: the dispatcher reads under one guard for a whole segment, a watcher that
//! comes or goes writes.

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;

use crate::error::{EndReason, WatchError};
use crate::event::EventKind;
use crate::index::{Hit, Index, KeyHasher, Parts, Probe, Slot};
use crate::interest::Interest;
use crate::options::Filter;
use crate::queue::{Queue, WatcherId};
use crate::selector::Parts as SelectorParts;
use crate::selector::{Part, Selector};
use crate::stats::WatcherCounts;

/// A registry with fewer parts than this is in the caches anyway.
const COLD: usize = 2048;

/// One part of one watcher's selector.
#[derive(Debug)]
struct Entry {
    queue: Arc<Queue>,
    /// The slot of the watcher's first part: stands for the watcher.
    watcher: Slot,
    /// Where the index keeps it among its equals.
    position: u32,
    /// Which part of the selector.
    part: u32,
    /// The watcher's, here to be at hand.
    filter: Filter,
}

#[derive(Debug, Default)]
struct Slots {
    entries: Vec<Option<Entry>>,
    free: Vec<Slot>,
}

impl Slots {
    fn get(&self, slot: Slot) -> &Entry {
        self.entries[slot as usize]
            .as_ref()
            .expect("the slot is taken")
    }

    fn get_mut(&mut self, slot: Slot) -> &mut Entry {
        self.entries[slot as usize]
            .as_mut()
            .expect("the slot is taken")
    }

    fn insert(&mut self, entry: impl FnOnce(Slot) -> Entry) -> Slot {
        if let Some(slot) = self.free.pop() {
            self.entries[slot as usize] = Some(entry(slot));
            return slot;
        }
        let slot = Slot::try_from(self.entries.len()).expect("slots are numbered with u32");
        self.entries.push(Some(entry(slot)));
        slot
    }

    fn remove(&mut self, slot: Slot) -> Option<Entry> {
        let entry = self.entries[slot as usize].take();
        self.free.push(slot);
        entry
    }
}

impl Parts for Slots {
    fn part(&self, slot: Slot) -> &Part {
        let entry = self.get(slot);
        &entry.queue.selector.parts()[entry.part as usize]
    }
}

/// What looking up works with: all of it scratch.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    probes: Vec<Probe>,
    hits: Vec<Hit>,
}

/// The registered watchers and their index.
#[derive(Debug)]
pub(crate) struct Registry {
    slots: Slots,
    index: Index,
    /// The slots of watchers with more than one part, by their first.
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
            unions: HashMap::new(),
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
        interest: &Interest,
        hasher: &KeyHasher,
    ) -> Slot {
        let mut slots = Vec::new();
        let count = queue.selector.parts().len();
        let mut first = None;
        for part in 0..count {
            let slot = self.slots.insert(|slot| Entry {
                queue: Arc::clone(queue),
                watcher: *first.get_or_insert(slot),
                position: 0,
                part: part as u32,
                filter: queue.filter,
            });
            let added = self.index.add(slot, &self.slots, hasher);
            self.slots.get_mut(slot).position = added.position;
            if added.is_first {
                interest.raise(hasher, self.slots.part(slot));
            }
            if count > 1 {
                slots.push(slot);
            }
        }
        let first = first.expect("a selector has parts");
        if count > 1 {
            self.unions.insert(first, slots.into());
        }
        self.counts.add(&queue.selector);
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
        let entry = self.slots.entries.get(first as usize)?.as_ref()?;
        if entry.queue.id != id {
            return None;
        }
        let queue = Arc::clone(&entry.queue);
        if matches!(queue.selector.parts, SelectorParts::Many(_)) {
            let slots = self.unions.remove(&first).expect("a union has its slots");
            for slot in slots {
                self.remove_slot(slot, interest, hasher);
            }
        } else {
            self.remove_slot(first, interest, hasher);
        }
        self.counts.subtract(&queue.selector);
        if self.counts.total == 0 {
            // Nobody is left: what a crowd needed is given back.
            self.slots = Slots::default();
        }
        Some(queue)
    }

    fn remove_slot(&mut self, slot: Slot, interest: &Interest, hasher: &KeyHasher) {
        let position = self.slots.get(slot).position;
        let removed = self.index.remove(slot, position, &self.slots, hasher);
        if let Some(moved) = removed.moved {
            self.slots.get_mut(moved).position = position;
        }
        if removed.was_last {
            interest.lower(hasher, self.slots.part(slot));
        }
        self.slots.remove(slot);
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
            .entries
            .iter()
            .enumerate()
            .filter_map(|(slot, entry)| {
                let entry = entry.as_ref()?;
                (entry.watcher as usize == slot).then_some((entry.watcher, &entry.queue))
            })
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
        self.find_hits(keys.clone().map(|(key, _)| key), hasher, scratch);
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
                    let entry = self.slots.get(slot);
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
        keys: impl Iterator<Item = &'a [u8]>,
        hasher: &KeyHasher,
        scratch: &mut Scratch,
    ) {
        let index = &self.index;
        let Scratch { probes, hits } = scratch;
        hits.clear();
        if self.slots.entries.len() < COLD {
            for (nth, key) in (0..).zip(keys) {
                index.probes(nth, key, hasher, |probe| hits.extend(index.probe(probe)));
            }
            return;
        }
        probes.clear();
        for (nth, key) in (0..).zip(keys) {
            index.probes(nth, key, hasher, |probe| probes.push(probe));
        }
        fetch(probes.iter().map(|&probe| index.glance(probe)));
        hits.extend(probes.iter().filter_map(|&probe| index.probe(probe)));
        self.warm(hits);
    }

    /// Has the processor fetch what will be looked at behind these hits, the watchers' queues
    /// included. One key's look-up waits for memory several times, one after the other; here those
    /// of all keys wait together: with one watcher a key, 1.0 -> 1.45 M events/s of 100,000 keys
    /// and 0.78 -> 1.15 of a million.
    ///
    /// One round for each step of the way: the shorter a round, the more of its turns wait at once.
    /// In one for all, a look-up among a million prefixes took 175 ns instead of 154.
    fn warm(&self, hits: &[Hit]) {
        let slots = || hits.iter().map(|hit| self.index.candidate(hit));
        let entries = slots().map(|slot| self.slots.get(slot).part as usize);
        fetch(entries);
        let queues = slots().map(|slot| {
            let queue = &self.slots.get(slot).queue;
            queue.glance() ^ usize::from(matches!(queue.selector.parts, SelectorParts::Many(_)))
        });
        fetch(queues);
        let keys = slots().map(|slot| self.slots.bytes(slot).first().copied());
        fetch(keys.map(|first| usize::from(first.unwrap_or(0))));
    }

    pub(crate) fn queue(&self, watcher: Slot) -> &Arc<Queue> {
        &self.slots.get(watcher).queue
    }

    /// One above the largest slot in use.
    pub(crate) fn slots(&self) -> usize {
        self.slots.entries.len()
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

impl WatcherCounts {
    fn of(&mut self, selector: &Selector) -> &mut usize {
        match &selector.parts {
            SelectorParts::Many(_) => &mut self.union,
            SelectorParts::One(part) => match part {
                Part::Exact(_) => &mut self.exact,
                Part::Prefix(_) => &mut self.prefix,
                Part::Range(_) => &mut self.range,
                Part::From(_) => &mut self.from_key,
                Part::All => &mut self.all,
            },
        }
    }

    fn add(&mut self, selector: &Selector) {
        *self.of(selector) += 1;
        self.total += 1;
    }

    fn subtract(&mut self, selector: &Selector) {
        *self.of(selector) -= 1;
        self.total -= 1;
    }
}

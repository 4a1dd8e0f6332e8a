//! The registered watchers, found by slot or by key.
//!
//! One lock guards the registry: the dispatcher holds one read guard for a whole segment, and a
//! watcher that comes or goes takes the write lock.

mod index;
pub(crate) mod interest;
pub(crate) mod key_hash;
pub(crate) mod queue;
pub(crate) mod slab;

use std::hint::black_box;
use std::sync::Arc;

use foldhash::HashMap;

use crate::change::EventKind;
use crate::end::EndReason;
use crate::error::WatchError;
use crate::id::WatcherId;
use crate::options::Filter;
use crate::registry::index::parts::Parts;
use crate::registry::index::{Hit, Index, Probe};
use crate::registry::interest::Interest;
use crate::registry::key_hash::KeyHasher;
use crate::registry::queue::Queue;
use crate::registry::slab::{Slab, Slot};
use crate::selector::{Part, Selector};
use crate::stats::WatcherCounts;

/// A registry with fewer parts than this fits into the caches: prefetching gains nothing.
const PREFETCH_PARTS: usize = 2048;

/// One part of one watcher's selector, with everything that a look-up reads if the part is a short
/// key, so that it does not wait for the queue as well.
#[derive(Debug)]
struct Registration {
    part: Part,
    queue: Arc<Queue>,
    /// The slot of the watcher's first part, which stands for the watcher.
    watcher: Slot,
    /// The slot's position among the slots of equal parts.
    position: u32,
    /// The part's hash, for the index and the interest.
    hash: u32,
    /// A copy of the queue's filter.
    filter: Filter,
}

impl Parts for Slab<Registration> {
    fn part(&self, slot: Slot) -> &Part {
        &self[slot].part
    }

    fn hash(&self, slot: Slot) -> u32 {
        self[slot].hash
    }
}

/// Buffers that look-ups reuse. Their contents carry nothing from one look-up to the next.
#[derive(Debug, Default)]
pub(crate) struct LookupBuffers {
    probes: Vec<Probe>,
    hits: Vec<Hit>,
    /// The kind of each key's change, by the number of the key.
    kinds: Vec<EventKind>,
}

/// The registered watchers and their index.
#[derive(Debug)]
pub(crate) struct Registry {
    registrations: Slab<Registration>,
    index: Index,
    /// All slots of the watchers with more than one part, by their first slot. Every removal looks
    /// here, so the hasher is a fast one.
    unions: HashMap<Slot, Box<[Slot]>>,
    counts: WatcherCounts,
    limit: usize,
    closed: Option<EndReason>,
}

impl Registry {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            registrations: Slab::default(),
            index: Index::default(),
            unions: HashMap::default(),
            counts: WatcherCounts::default(),
            limit,
            closed: None,
        }
    }

    /// Whether one more watcher may register.
    pub(crate) fn admit(&self) -> Result<(), WatchError> {
        if let Some(reason) = self.closed {
            return Err(WatchError::Closed(reason));
        }
        if self.counts.total >= self.limit {
            return Err(WatchError::TooManyWatchers { limit: self.limit });
        }
        Ok(())
    }

    /// Registers a watcher and raises the interest in its selector.
    pub(crate) fn insert(
        &mut self,
        queue: &Arc<Queue>,
        selector: &Selector,
        interest: &Interest,
        hasher: &KeyHasher,
    ) -> Slot {
        let mut slots = Vec::new();
        let parts = selector.as_parts();
        let is_union = parts.len() > 1;
        let mut first = None;
        for part in parts {
            let hash = hasher.hash_of(part);
            let slot = self.registrations.insert(|slot| Registration {
                part: part.clone(),
                queue: Arc::clone(queue),
                watcher: *first.get_or_insert(slot),
                position: 0,
                hash,
                filter: queue.filter,
            });
            let added = self.index.add(slot, &self.registrations);
            self.registrations[slot].position = added.position;
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
        *self.count_of(first, is_union) += 1;
        self.counts.total += 1;
        first
    }

    /// Removes a watcher, unless that was done before.
    pub(crate) fn remove(
        &mut self,
        first: Slot,
        id: WatcherId,
        interest: &Interest,
        hasher: &KeyHasher,
    ) -> Option<Arc<Queue>> {
        let registration = self.registrations.get(first)?;
        if registration.queue.id != id {
            return None;
        }
        let slots = self.unions.remove(&first);
        // Gives memory back when a crowd of watchers leaves, as the slab does.
        if slots.is_some() && self.unions.len() < self.unions.capacity() / 8 {
            self.unions.shrink_to(self.unions.len() * 2);
        }
        *self.count_of(first, slots.is_some()) -= 1;
        self.counts.total -= 1;
        let mut remove = |slot| self.remove_slot(slot, interest, hasher).queue;
        match slots {
            Some(slots) => slots.into_iter().map(remove).last(),
            None => Some(remove(first)),
        }
    }

    /// The number of watchers with this one's kind of selector.
    fn count_of(&mut self, watcher: Slot, is_union: bool) -> &mut usize {
        let counts = &mut self.counts;
        if is_union {
            return &mut counts.union;
        }
        match self.registrations.part(watcher) {
            Part::Exact(_) => &mut counts.exact,
            Part::Prefix(_) => &mut counts.prefix,
            Part::Range(_) => &mut counts.range,
            Part::From(_) => &mut counts.from_key,
            Part::All => &mut counts.all,
        }
    }

    fn remove_slot(&mut self, slot: Slot, interest: &Interest, hasher: &KeyHasher) -> Registration {
        let position = self.registrations[slot].position;
        let removed = self.index.remove(slot, position, &self.registrations);
        if let Some(moved) = removed.moved {
            self.registrations[moved].position = position;
        }
        let registration = self.registrations.remove(slot).expect("the slot is in use");
        if removed.was_last {
            interest.lower(hasher, &registration.part, registration.hash);
        }
        registration
    }

    /// Removes every watcher, and admits none from now on. Returns the removed watchers' queues.
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
        self.registrations
            .iter()
            .filter(|(slot, registration)| registration.watcher == *slot)
            .map(|(slot, registration)| (slot, &registration.queue))
    }

    /// Calls `found` for every watcher that wants a change of one of these keys, with the number of
    /// the key, key by key. A watcher is found once for each part of its selector that matches.
    pub(crate) fn matching<'a>(
        &self,
        keys: impl Iterator<Item = (&'a [u8], EventKind)> + Clone,
        hasher: &KeyHasher,
        buffers: &mut LookupBuffers,
        mut found: impl FnMut(usize, Slot),
    ) {
        self.find_hits(keys.clone(), hasher, buffers);
        let mut hits = &buffers.hits[..];
        for (nth, (key, kind)) in keys.enumerate() {
            let count = hits
                .iter()
                .take_while(|hit| hit.nth as usize == nth)
                .count();
            let (these, others) = hits.split_at(count);
            hits = others;
            let index = &self.index;
            index.matching(key, these, &self.registrations, hasher, |slots| {
                for &slot in slots {
                    let registration = &self.registrations[slot];
                    if registration.filter.passes(kind) {
                        found(nth, registration.watcher);
                    }
                }
            });
        }
    }

    /// Collects the hits of these keys, key by key.
    fn find_hits<'a>(
        &self,
        keys: impl Iterator<Item = (&'a [u8], EventKind)>,
        hasher: &KeyHasher,
        buffers: &mut LookupBuffers,
    ) {
        let index = &self.index;
        let LookupBuffers {
            probes,
            hits,
            kinds,
        } = buffers;
        hits.clear();
        if self.registrations.len() < PREFETCH_PARTS {
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
        prefetch(probes.iter().map(|&probe| index.prefetch(probe)));
        hits.extend(probes.iter().filter_map(|&probe| index.probe(probe)));
        self.prefetch_hits(hits, kinds);
    }

    /// Prefetches what the look-up will read for these hits, and the queues of the watchers that
    /// want such a change. The look-up of one key waits for memory several times in sequence; here
    /// the waits of all keys overlap.
    ///
    /// Each step has a loop of its own: the shorter a loop, the more of its iterations overlap.
    fn prefetch_hits(&self, hits: &[Hit], kinds: &[EventKind]) {
        let slots = || hits.iter().map(|hit| self.index.candidate(hit));
        prefetch(slots().map(|slot| self.registrations[slot].filter as usize));
        let keys = slots().map(|slot| self.registrations.bytes(slot).first().copied());
        prefetch(keys.map(|first| usize::from(first.unwrap_or(0))));
        let kinds = hits.iter().map(|hit| kinds[hit.nth as usize]);
        let wanting = slots().zip(kinds).filter_map(|(slot, kind)| {
            let registration = &self.registrations[slot];
            let wants = registration.filter.passes(kind);
            wants.then(|| registration.queue.prefetch())
        });
        prefetch(wanting);
    }

    pub(crate) fn queue(&self, watcher: Slot) -> &Arc<Queue> {
        &self.registrations[watcher].queue
    }

    /// One above the largest slot in use.
    pub(crate) fn slots(&self) -> usize {
        self.registrations.len()
    }

    pub(crate) fn counts(&self) -> WatcherCounts {
        self.counts
    }

    /// The number of distinct exact keys that are watched.
    pub(crate) fn keys(&self) -> usize {
        self.index.keys()
    }
}

/// Makes the processor read all of these values, whatever they are.
fn prefetch(reads: impl Iterator<Item = usize>) {
    black_box(reads.fold(0, |all, read| all ^ read));
}

//! Encoded events, shared by watches that receive the same ones.
//!
//! ```text
//!   class     keys, filter, previous values: watches of one class receive the same events
//!   log       r7 ▒▒ │ r8 ▒▒▒ │ r8 ▒▒ │ r9 ▒▒      encoded by one watch, copied by the others
//! ```
//!
//! Encoding an event takes several times as long as copying its bytes.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kvwatch::{Batch, EventRef, Filter, Revision};

use crate::keys::KeyRange;

/// The number of logs, and the bytes of events in each: together they bound the cache to 16 MiB. A
/// watch that is further behind encodes its own events.
const LOGS: usize = 64;
const LOG_BYTES: usize = 256 * 1024;

/// The number of watches in a class from which on the copy into the log pays.
const MIN_WATCHES: usize = 3;

/// The encoded events of a server.
pub(crate) struct EventCache {
    classes: Mutex<Classes>,
    /// A class uses the log at its number modulo [`LOGS`], and takes the log over from another
    /// class that used it before.
    logs: [Mutex<EncodedLog>; LOGS],
}

#[derive(Default)]
struct Classes {
    by_class: HashMap<WatchClass, Arc<ClassState>>,
    last_number: usize,
}

/// The options that decide which events a watch receives, apart from where it starts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct WatchClass {
    pub(crate) keys: KeyRange,
    pub(crate) filter: Filter,
    pub(crate) prev_kv: bool,
}

#[derive(Debug)]
struct ClassState {
    class: WatchClass,
    number: usize,
    watches: AtomicUsize,
}

/// One watch's membership in its class.
#[derive(Debug)]
pub(crate) struct CacheHandle {
    cache: Arc<EventCache>,
    state: Arc<ClassState>,
}

/// Events of one class by ascending revision: all events of a revision, or none.
#[derive(Default)]
struct EncodedLog {
    /// The class that uses the log; 0 if none does.
    number: usize,
    /// The revision of each event, and where its bytes end, counted from the log's first byte ever.
    events: VecDeque<(Revision, usize)>,
    bytes: Vec<u8>,
    /// How many bytes were removed at the front.
    removed: usize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code under the locks panics half-way.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Default for EventCache {
    fn default() -> Self {
        Self {
            classes: Mutex::default(),
            logs: std::array::from_fn(|_| Mutex::default()),
        }
    }
}

impl EventCache {
    /// Adds a watch to its class.
    pub(crate) fn join(self: &Arc<Self>, class: WatchClass) -> CacheHandle {
        let mut classes = lock(&self.classes);
        let state = match classes.by_class.get(&class) {
            Some(state) => Arc::clone(state),
            None => {
                classes.last_number += 1;
                let state = Arc::new(ClassState {
                    class: class.clone(),
                    number: classes.last_number,
                    watches: AtomicUsize::new(0),
                });
                classes.by_class.insert(class, Arc::clone(&state));
                state
            }
        };
        state.watches.fetch_add(1, Ordering::Relaxed);
        CacheHandle {
            cache: Arc::clone(self),
            state,
        }
    }
}

impl Drop for CacheHandle {
    fn drop(&mut self) {
        let mut classes = lock(&self.cache.classes);
        if self.state.watches.fetch_sub(1, Ordering::Relaxed) == 1 {
            let removed = classes.by_class.remove(&self.state.class);
            drop(classes);
            drop(removed);
        }
    }
}

impl CacheHandle {
    /// Calls `take` with each event of the batch, encoded: from the cache if another watch of the
    /// class encoded the event, or else by `encode`, which appends one event to a buffer.
    pub(crate) fn encoded(
        &self,
        batch: &Batch<'_>,
        encode: impl Fn(EventRef<'_>, &mut Vec<u8>),
        mut take: impl FnMut(Revision, &[u8]),
    ) {
        let mut events = batch.iter();
        let mut next = events.next();
        let shared = self.state.watches.load(Ordering::Relaxed) >= MIN_WATCHES;
        let log = &self.cache.logs[self.state.number % LOGS];
        if shared {
            let log = lock(log);
            if log.number == self.state.number {
                let mut index = log.find(batch.first_revision());
                // Batch and log have all events of a revision or none, so the first event that
                // differs is the first of its revision.
                while let Some(event) = next
                    && let Some(bytes) = log.get(index, event.revision())
                {
                    take(event.revision(), bytes);
                    next = events.next();
                    index += 1;
                }
            }
        }
        if next.is_none() {
            return;
        }
        let mut bytes = Vec::new();
        let mut ends = Vec::new();
        while let Some(event) = next {
            let start = bytes.len();
            encode(event, &mut bytes);
            ends.push((event.revision(), bytes.len()));
            take(event.revision(), &bytes[start..]);
            next = events.next();
        }
        if shared {
            lock(log).append(self.state.number, &ends, &bytes);
        }
    }
}

impl EncodedLog {
    /// The index of the first event of this revision or a later one.
    fn find(&self, revision: Revision) -> usize {
        self.events.partition_point(|event| event.0 < revision)
    }

    fn start(&self, index: usize) -> usize {
        match index.checked_sub(1) {
            Some(previous) => self.events[previous].1 - self.removed,
            None => 0,
        }
    }

    /// The event at this index, if it is of this revision.
    fn get(&self, index: usize, revision: Revision) -> Option<&[u8]> {
        let (found, end) = *self.events.get(index)?;
        (found == revision).then(|| &self.bytes[self.start(index)..end - self.removed])
    }

    /// Appends those events that are newer than the log's. Each event ends at its entry of `ends`
    /// in `bytes`.
    fn append(&mut self, number: usize, ends: &[(Revision, usize)], bytes: &[u8]) {
        if self.number != number {
            *self = Self {
                number,
                ..Self::default()
            };
        }
        let newest = self.events.back().map_or(0, |event| event.0);
        let old = ends.partition_point(|event| event.0 <= newest);
        let skip = old.checked_sub(1).map_or(0, |last| ends[last].1);
        let new = &bytes[skip..];
        if new.len() > LOG_BYTES / 2 {
            return;
        }
        if self.bytes.len() + new.len() > LOG_BYTES {
            self.remove_older_half();
        }
        let shift = self.removed + self.bytes.len();
        let ends = ends[old..].iter();
        self.events
            .extend(ends.map(|(revision, end)| (*revision, end - skip + shift)));
        self.bytes.extend_from_slice(new);
    }

    /// Removes the older half of the bytes, in whole revisions.
    fn remove_older_half(&mut self) {
        let upto = self.removed + self.bytes.len() / 2;
        let mut leaving = self.events.partition_point(|event| event.1 <= upto);
        if let Some((revision, _)) = self.events.get(leaving).copied() {
            leaving = self.events.partition_point(|event| event.0 <= revision);
        }
        let bytes = self.start(leaving);
        self.events.drain(..leaving);
        self.bytes.drain(..bytes);
        self.removed += bytes;
    }
}

impl fmt::Debug for EventCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventCache")
            .field("classes", &lock(&self.classes).by_class.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use kvwatch::{Builder, Change, Selector, WatchOptions, Watcher};

    use super::*;

    fn class(key: &'static str) -> WatchClass {
        WatchClass {
            keys: KeyRange::one(key),
            filter: Filter::All,
            prev_kv: false,
        }
    }

    #[test]
    fn a_class_is_removed_with_its_last_watch() {
        let cache = Arc::new(EventCache::default());
        let first = cache.join(class("a"));
        let second = cache.join(class("a"));
        let other = cache.join(class("b"));
        assert_eq!(first.state.number, second.state.number);
        assert_ne!(first.state.number, other.state.number);
        drop(first);
        assert_eq!(lock(&cache.classes).by_class.len(), 2);
        drop((second, other));
        assert!(lock(&cache.classes).by_class.is_empty());
    }

    /// Watches of one class read at different times and from different revisions. Revisions have
    /// several events, and all of them together are more than the log holds.
    #[test]
    fn every_watch_receives_what_it_would_have_encoded_itself() {
        let (mut publisher, hub) = Builder::new().spawn().unwrap();
        let cache = Arc::new(EventCache::default());
        let mut watches: Vec<_> = [1, 1, 1, 500, 1990, 3000]
            .into_iter()
            .map(|start| {
                let options = WatchOptions::new().start_revision(start).capacity(16);
                let watcher = hub.watch_with(Selector::all(), options).unwrap();
                (watcher, cache.join(class("a")), Vec::new())
            })
            .collect();
        let encode = |event: EventRef<'_>, bytes: &mut Vec<u8>| {
            bytes.extend_from_slice(event.value().unwrap());
        };
        type Seen = Vec<(Revision, Vec<u8>)>;
        let read = |(watcher, handle, seen): &mut (Watcher, CacheHandle, Seen)| {
            while let Ok(batch) = watcher.try_recv_batch() {
                handle.encoded(&batch, encode, |revision, bytes| {
                    seen.push((revision, bytes.to_vec()));
                });
            }
        };
        let mut all = Vec::new();
        for revision in 1..=4000_u64 {
            let changes: Vec<Change> = (0..revision % 4)
                .map(|nth| {
                    let value = format!("{revision}.{nth} ").repeat((revision % 50) as usize + 1);
                    all.push((revision, value.clone().into_bytes()));
                    Change::put("a", value)
                })
                .collect();
            publisher.publish_batch(changes).unwrap();
            if revision % 7 == 0 {
                read(&mut watches[(revision as usize / 7) % 6]);
            }
        }
        publisher.flush(std::time::Duration::from_secs(60)).unwrap();
        for (which, watch) in watches.iter_mut().enumerate() {
            read(watch);
            let (watcher, handle, seen) = watch;
            let start = all.partition_point(|event| event.0 < watcher.start_revision());
            assert!(*seen == all[start..], "watch {which}");
            let log = lock(&handle.cache.logs[handle.state.number % LOGS]);
            assert!(log.removed > 0 && log.bytes.len() <= LOG_BYTES);
        }
    }
}

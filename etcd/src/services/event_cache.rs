//! Events as they go over the wire, encoded once for all watches that asked for the same.
//!
//! ```text
//!   group     keys, filter, previous values: who asked for the same gets the same events
//!   log       r7 ▒▒ │ r8 ▒▒▒ │ r8 ▒▒ │ r9 ▒▒       what one of them encoded, the others copy
//! ```
//!
//! 1,000 watches of one prefix on 10 streams get 1.7 times as many events a second by this: to
//! encode an event takes ten times as long as to copy its hundred bytes.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::keys::KeyRange;
use kvwatch::{Batch, EventRef, Filter, Revision};

/// How many groups have a log at a time, and how many bytes of events one holds: together they
/// bound what all of it takes to 16 MiB. Who is further behind than that encodes by itself.
const LOGS: usize = 64;
const LOG_BYTES: usize = 256 * 1024;

/// From so many watches on a log is worth the copy into it.
const WORTH: usize = 3;

/// All groups of a server's watches.
pub(crate) struct Groups {
    named: Mutex<Named>,
    /// A group's is the one at its number, counted round. A group that finds another's there
    /// takes its place.
    logs: [Mutex<Log>; LOGS],
}

#[derive(Default)]
struct Named {
    groups: HashMap<Asked, Arc<Group>>,
    next: usize,
}

/// What makes two watches get the same events, from wherever each starts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Asked {
    pub(crate) keys: KeyRange,
    pub(crate) filter: Filter,
    pub(crate) prev_kv: bool,
}

#[derive(Debug)]
struct Group {
    asked: Asked,
    number: usize,
    members: AtomicUsize,
}

/// A watch's place in its group.
#[derive(Debug)]
pub(crate) struct Member {
    groups: Arc<Groups>,
    group: Arc<Group>,
}

/// Events of one group in growing order: all of a revision, or none of it.
#[derive(Default)]
struct Log {
    /// Whose it is.
    number: usize,
    /// Each event's revision, and where it ends: counted from the first byte there ever was.
    events: VecDeque<(Revision, usize)>,
    bytes: Vec<u8>,
    /// How many bytes have left.
    gone: usize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing in here panics half-way.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Default for Groups {
    fn default() -> Self {
        Self {
            named: Mutex::default(),
            logs: std::array::from_fn(|_| Mutex::default()),
        }
    }
}

impl Groups {
    /// One more who asked for this.
    pub(crate) fn join(self: &Arc<Self>, asked: Asked) -> Member {
        let mut named = lock(&self.named);
        let group = match named.groups.get(&asked) {
            Some(group) => Arc::clone(group),
            None => {
                // 0 is nobody's number.
                named.next += 1;
                let group = Arc::new(Group {
                    asked: asked.clone(),
                    number: named.next,
                    members: AtomicUsize::new(0),
                });
                named.groups.insert(asked, Arc::clone(&group));
                group
            }
        };
        group.members.fetch_add(1, Ordering::Relaxed);
        Member {
            groups: Arc::clone(self),
            group,
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut named = lock(&self.groups.named);
        if self.group.members.fetch_sub(1, Ordering::Relaxed) == 1 {
            let left = named.groups.remove(&self.group.asked);
            drop(named);
            drop(left);
        }
    }
}

impl Member {
    /// Hands each event of the batch to `take`, encoded: by another watch of the group, or else
    /// by `encode`, which appends an event to what it is given.
    pub(crate) fn encoded(
        &self,
        batch: &Batch<'_>,
        encode: impl Fn(EventRef<'_>, &mut Vec<u8>),
        mut take: impl FnMut(Revision, &[u8]),
    ) {
        let mut events = batch.iter();
        let mut next = events.next();
        let shared = self.group.members.load(Ordering::Relaxed) >= WORTH;
        let log = &self.groups.logs[self.group.number % LOGS];
        if shared {
            let log = lock(log);
            if log.number == self.group.number {
                let mut at = log.find(batch.first_revision());
                // Both have all of a revision or none of it: so the first event that is not the
                // same is the first of a revision.
                while let Some(event) = next
                    && let Some(bytes) = log.get(at, event.revision())
                {
                    take(event.revision(), bytes);
                    next = events.next();
                    at += 1;
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
            lock(log).append(self.group.number, &ends, &bytes);
        }
    }
}

impl Log {
    /// The place of the first event of this revision or a later one.
    fn find(&self, revision: Revision) -> usize {
        self.events.partition_point(|event| event.0 < revision)
    }

    fn start(&self, at: usize) -> usize {
        match at.checked_sub(1) {
            Some(before) => self.events[before].1 - self.gone,
            None => 0,
        }
    }

    /// The event at this place, if it is of this revision.
    fn get(&self, at: usize, revision: Revision) -> Option<&[u8]> {
        let (found, end) = *self.events.get(at)?;
        (found == revision).then(|| &self.bytes[self.start(at)..end - self.gone])
    }

    /// Appends of these events, which end at `ends` in `bytes`, those that are newer than what is
    /// there.
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
            self.forget();
        }
        let shift = self.gone + self.bytes.len();
        let ends = ends[old..].iter();
        self.events
            .extend(ends.map(|(revision, end)| (*revision, end - skip + shift)));
        self.bytes.extend_from_slice(new);
    }

    /// The older half of the bytes leaves, in whole revisions.
    fn forget(&mut self) {
        let upto = self.gone + self.bytes.len() / 2;
        let mut leaving = self.events.partition_point(|event| event.1 <= upto);
        if let Some((revision, _)) = self.events.get(leaving).copied() {
            leaving = self.events.partition_point(|event| event.0 <= revision);
        }
        let bytes = self.start(leaving);
        self.events.drain(..leaving);
        self.bytes.drain(..bytes);
        self.gone += bytes;
    }
}

impl fmt::Debug for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Groups")
            .field("count", &lock(&self.named).groups.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kvwatch::{Builder, Change, Selector, WatchOptions};

    fn asked(key: &'static str) -> Asked {
        Asked {
            keys: KeyRange::one(key),
            filter: Filter::All,
            prev_kv: false,
        }
    }

    #[test]
    fn a_group_lasts_as_long_as_its_members() {
        let groups = Arc::new(Groups::default());
        let first = groups.join(asked("a"));
        let second = groups.join(asked("a"));
        let other = groups.join(asked("b"));
        assert_eq!(first.group.number, second.group.number);
        assert_ne!(first.group.number, other.group.number);
        drop(first);
        assert_eq!(lock(&groups.named).groups.len(), 2);
        drop((second, other));
        assert!(lock(&groups.named).groups.is_empty());
    }

    /// Watches of one group that read at different times and from different places, with
    /// revisions of several events, and more of them than the log holds.
    #[test]
    fn each_member_gets_what_it_would_have_encoded_itself() {
        let (mut publisher, hub) = Builder::new().spawn().unwrap();
        let groups = Arc::new(Groups::default());
        let mut watches: Vec<_> = [1, 1, 1, 500, 1990, 3000]
            .into_iter()
            .map(|start| {
                let options = WatchOptions::new().start_revision(start).capacity(16);
                let watcher = hub.watch_with(Selector::all(), options).unwrap();
                (watcher, groups.join(asked("a")), Vec::new())
            })
            .collect();
        let encode = |event: EventRef<'_>, bytes: &mut Vec<u8>| {
            bytes.extend_from_slice(event.value().unwrap());
        };
        type Seen = Vec<(Revision, Vec<u8>)>;
        let read = |(watcher, member, seen): &mut (kvwatch::Watcher, Member, Seen)| {
            while let Ok(batch) = watcher.try_recv_batch() {
                member.encoded(&batch, encode, |revision, bytes| {
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
            let (watcher, member, seen) = watch;
            let start = all.partition_point(|event| event.0 < watcher.start_revision());
            assert!(*seen == all[start..], "watch {which}");
            let log = lock(&member.groups.logs[member.group.number % LOGS]);
            assert!(log.gone > 0 && log.bytes.len() <= LOG_BYTES);
        }
    }
}

//! A small key-value store on redb that can be watched.
//!
//! Two tables in one file: the data, and a log of what every transaction changed. The log is what
//! serves watchers once the history in memory has forgotten ([`Replay`]), and where the revisions
//! go on when the store is opened again.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kvwatch::mirror::{Snapshot, SnapshotReader, SnapshotRequest};
use kvwatch::{
    Builder, Change, Hub, PrevValue, Publisher, Replay, ReplayError, ReplayRequest, Replayed,
    Revision, Selector,
};
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};

use crate::AnyError;

/// Key to value.
const DATA: TableDefinition<&[u8], &[u8]> = TableDefinition::new("data");
/// Revision and place in its transaction, to key, value (none: a delete) and previous value.
const LOG: TableDefinition<(Revision, u32), LogRow> = TableDefinition::new("log");
/// The last revision, and how far the input has been loaded.
const STATE: TableDefinition<&str, (Revision, &str)> = TableDefinition::new("state");

type LogRow = (&'static [u8], Option<&'static [u8]>, Option<&'static [u8]>);

/// The store. Whoever has it commits; whoever has its [`hub`](Self::hub) watches.
#[derive(Debug)]
pub struct Store {
    database: Arc<Database>,
    publisher: Publisher,
}

impl Store {
    /// Opens the store in this file, or makes a new one. `history` is how many events the watch
    /// engine keeps in memory.
    ///
    /// # Errors
    /// If the file is no store, or cannot be used.
    pub fn open(file: &Path, history: usize) -> Result<Self, AnyError> {
        let database = Arc::new(Database::create(file)?);
        let transaction = database.begin_write()?;
        transaction.open_table(DATA)?;
        transaction.open_table(LOG)?;
        let (last, _) = state(&transaction.open_table(STATE)?)?;
        transaction.commit()?;
        // The engine is told where the store stands, and where to read what was before.
        let (publisher, _hub) = Builder::new()
            .start_revision(last)
            .history_events(history)
            .replay(Reader {
                database: Arc::clone(&database),
            })
            .spawn()?;
        Ok(Self {
            database,
            publisher,
        })
    }

    /// Where watchers are registered.
    #[must_use]
    pub fn hub(&self) -> Hub {
        self.publisher.hub()
    }

    /// Commits these changes as one transaction, then publishes them: in this order, so that a
    /// watcher that hears of a change can read it. `position` is how far the input has been
    /// loaded with it. A durable commit is on disk when this returns; one that is not is on disk
    /// with the next that is.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn commit(
        &mut self,
        changes: Vec<Change>,
        position: &str,
        durable: bool,
    ) -> Result<Revision, AnyError> {
        let revision = self.publisher.revision() + 1;
        let mut transaction = self.database.begin_write()?;
        if !durable {
            transaction.set_durability(Durability::None)?;
        }
        let mut published = Vec::with_capacity(changes.len());
        {
            let mut data = transaction.open_table(DATA)?;
            let mut log = transaction.open_table(LOG)?;
            for (place, change) in changes.into_iter().enumerate() {
                let key = &change.key()[..];
                let value = change.value().map(|value| &value[..]);
                let old = match value {
                    Some(value) => data.insert(key, value)?,
                    None => data.remove(key)?,
                };
                let old = old.map(|old| Bytes::copy_from_slice(old.value()));
                log.insert((revision, place as u32), (key, value, old.as_deref()))?;
                published.push(change.with_prev_value(prev_value(old)));
            }
            let mut state = transaction.open_table(STATE)?;
            state.insert("last", (revision, position))?;
        }
        transaction.commit()?;
        Ok(self.publisher.publish_batch(published)?)
    }

    /// What reads the store, also when it has been shut down.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader {
            database: Arc::clone(&self.database),
        }
    }

    /// Publishes nothing more: watchers receive what was published, and then their end.
    ///
    /// # Errors
    /// If that takes longer than a minute.
    pub fn shut_down(self) -> Result<(), AnyError> {
        Ok(self.publisher.shutdown(Duration::from_secs(60))?)
    }
}

fn prev_value(old: Option<Bytes>) -> PrevValue {
    old.map_or(PrevValue::Absent, PrevValue::Value)
}

fn state(
    table: &impl ReadableTable<&'static str, (Revision, &'static str)>,
) -> Result<(Revision, Option<String>), AnyError> {
    Ok(match table.get("last")? {
        Some(last) => {
            let (revision, position) = last.value();
            (revision, Some(position.to_owned()))
        }
        None => (0, None),
    })
}

/// Reads a store, and so serves the watchers whom its history in memory has forgotten.
#[derive(Clone, Debug)]
pub struct Reader {
    database: Arc<Database>,
}

impl Reader {
    /// The last revision, and how far the input has been loaded with it, if at all.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn last(&self) -> Result<(Revision, Option<String>), AnyError> {
        let transaction = self.database.begin_read()?;
        state(&transaction.open_table(STATE)?)
    }

    /// Everything that is in the store now.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn all(&self) -> Result<BTreeMap<Bytes, Bytes>, AnyError> {
        Ok(self.snapshot(&Selector::all())?.1)
    }

    /// What the store has of these keys, and the revision at which it has it: of one moment, as
    /// one read transaction sees it.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn snapshot(
        &self,
        selector: &Selector,
    ) -> Result<(Revision, BTreeMap<Bytes, Bytes>), AnyError> {
        let transaction = self.database.begin_read()?;
        let (revision, _) = state(&transaction.open_table(STATE)?)?;
        let mut found = BTreeMap::new();
        for entry in transaction.open_table(DATA)?.iter()? {
            let (key, value) = entry?;
            if selector.matches(key.value()) {
                let value = Bytes::copy_from_slice(value.value());
                found.insert(Bytes::copy_from_slice(key.value()), value);
            }
        }
        Ok((revision, found))
    }

    /// Everything that changed from this revision on, from the log.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn changes_since(&self, from: Revision) -> Result<Vec<(Revision, Change)>, AnyError> {
        let mut changes = Vec::new();
        self.visit(from, Revision::MAX, |revision, change| {
            changes.push((revision, change));
            true
        })?;
        Ok(changes)
    }

    /// Shows every change of these revisions, in order, until `show` has seen enough.
    fn visit(
        &self,
        from: Revision,
        to: Revision,
        mut show: impl FnMut(Revision, Change) -> bool,
    ) -> Result<(), AnyError> {
        let log = self.database.begin_read()?.open_table(LOG)?;
        for entry in log.range((from, 0)..=(to, u32::MAX))? {
            let (place, row) = entry?;
            let (key, value, old) = row.value();
            let key = Bytes::copy_from_slice(key);
            let change = match value {
                Some(value) => Change::put(key, Bytes::copy_from_slice(value)),
                None => Change::delete(key),
            };
            let old = old.map(Bytes::copy_from_slice);
            if !show(place.value().0, change.with_prev_value(prev_value(old))) {
                break;
            }
        }
        Ok(())
    }
}

/// For mirrors.
impl SnapshotReader for Reader {
    type Error = AnyError;

    async fn read(&mut self, request: SnapshotRequest) -> Result<Snapshot, AnyError> {
        let (revision, found) = self.snapshot(request.selector())?;
        let mut snapshot = Snapshot::at(revision);
        snapshot.extend(found);
        Ok(snapshot)
    }
}

impl Replay for Reader {
    /// Nothing of it is ever thrown away.
    fn oldest(&self) -> Revision {
        1
    }

    fn read(&self, request: ReplayRequest<'_>) -> Result<Replayed, ReplayError> {
        let mut transactions: Vec<(Revision, Vec<Change>)> = Vec::new();
        let (mut events, mut bytes) = (0, 0);
        let mut upto = request.to;
        let visited = self.visit(request.from, request.to, |revision, change| {
            let is_new = transactions.last().is_none_or(|(last, _)| *last < revision);
            // Whole transactions, and about as many events and bytes as were asked for.
            if is_new && (events >= request.max_events || bytes >= request.max_bytes) {
                upto = revision - 1;
                return false;
            }
            if request.selector.matches(change.key()) {
                events += 1;
                bytes += change.key().len() + change.value().map_or(0, Bytes::len);
                match transactions.last_mut().filter(|_| !is_new) {
                    Some((_, changes)) => changes.push(change),
                    None => transactions.push((revision, vec![change])),
                }
            }
            true
        });
        visited.map_err(ReplayError::Failed)?;
        Ok(Replayed { transactions, upto })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kvwatch::{WatchOptions, Watcher};

    use super::*;

    fn fill(store: &mut Store, transactions: u64) {
        for number in 0..transactions {
            let changes = vec![
                Change::put(format!("k{}", number % 3), number.to_string()),
                Change::put(format!("k{}", (number + 1) % 3), number.to_string()),
                Change::delete("gone"),
            ];
            let at = store
                .commit(changes, &format!("at {number}"), false)
                .unwrap();
            assert_eq!(
                store.reader().last().unwrap(),
                (at, Some(format!("at {number}")))
            );
        }
    }

    fn at_hand(watcher: &mut Watcher) -> Vec<Revision> {
        let received = watcher.try_iter();
        received.map(|item| item.unwrap().revision()).collect()
    }

    #[test]
    fn revisions_go_on_when_it_is_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("store.redb");
        let mut store = Store::open(&file, 10).unwrap();
        assert_eq!(store.reader().last().unwrap(), (0, None));
        fill(&mut store, 100);
        let before = store.reader().all().unwrap();
        store.shut_down().unwrap();

        let mut store = Store::open(&file, 10).unwrap();
        let reader = store.reader();
        assert_eq!(reader.all().unwrap(), before);
        assert_eq!(reader.last().unwrap(), (100, Some("at 99".to_owned())));
        fill(&mut store, 1);
        assert_eq!(reader.last().unwrap().0, 101);
        assert_eq!(reader.changes_since(1).unwrap().len(), 303);
    }

    #[test]
    fn a_watch_from_before_it_was_opened_reads_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("store.redb");
        let mut store = Store::open(&file, 10).unwrap();
        fill(&mut store, 500);
        store.shut_down().unwrap();
        let mut store = Store::open(&file, 10).unwrap();
        fill(&mut store, 50);
        // What nobody watches may wait a while for its dispatch.
        store.hub().wait_for(550, Duration::from_secs(60)).unwrap();

        let since = |start| WatchOptions::new().start_revision(start).prev_value(true);
        let mut watcher = store.hub().watch_with(Selector::all(), since(2)).unwrap();
        let logged = store.reader().changes_since(2).unwrap();
        for (revision, change) in logged {
            let event = watcher.try_recv().unwrap();
            assert_eq!((event.revision(), event.to_change()), (revision, change));
        }
        assert!(at_hand(&mut watcher).is_empty());
        let mut one = store.hub().watch_with("gone", since(548)).unwrap();
        assert_eq!(at_hand(&mut one), [548, 549, 550]);
    }

    #[test]
    fn the_log_is_read_in_whole_transactions() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(&dir.path().join("store.redb"), 10).unwrap();
        fill(&mut store, 10);
        store.commit(vec![], "empty", true).unwrap();
        let log = store.reader();
        let read = |from, to, limit| {
            let all = Selector::all();
            let mut request = ReplayRequest::new(&all, from, to);
            request.max_events = limit;
            let read = log.read(request).unwrap();
            let revisions: Vec<_> = read.transactions.iter().map(|entry| entry.0).collect();
            assert!(read.transactions.iter().all(|entry| entry.1.len() == 3));
            (revisions, read.upto)
        };
        assert_eq!(read(2, 9, 4), (vec![2, 3], 3));
        assert_eq!(read(4, 9, 1), (vec![4], 4));
        assert_eq!(read(8, 9, 100), (vec![8, 9], 9));
        assert_eq!(read(10, 11, 100), (vec![10], 11));
        assert_eq!(read(11, 11, 100), (vec![], 11));
        let gone = Selector::exact("gone");
        let mut request = ReplayRequest::new(&gone, 2, 9);
        request.max_bytes = 5;
        let read = log.read(request).unwrap();
        let key = |(revision, changes): &(Revision, Vec<Change>)| (*revision, changes.len());
        let kept: Vec<_> = read.transactions.iter().map(key).collect();
        assert_eq!((kept, read.upto), (vec![(2, 1), (3, 1)], 3));
    }
}

//! The store: its file, its writer, and the watch engine that it publishes to.

use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use kvwatch::{Builder, EventRef, Hub};
use kvwatch_etcd::wire::mvccpb::Event;
use kvwatch_etcd::{Answer, Leases, Operation, Query, ReadTransaction, Size, StoreError, record};
use redb::{Database, Durability, ReadableDatabase};

use crate::error::AnyError;
use crate::journal::Journal;
use crate::queue::Queue;
use crate::replay::ReplayLog;
use crate::snapshot::Snapshot;
use crate::tables::{
    ATTACHED, CLUSTER, COMMIT, FIRST, LEASES, LOG, REVISION, STATE, VERSIONS, number,
};
use crate::transaction::Transaction;
use crate::writer::{Writer, checkpoint};

/// Bytes of the file that redb caches in memory. Its default is 1 GiB.
const CACHE_BYTES: usize = 128 * 1024 * 1024;

/// A multi-version store on redb for etcd's clients, to be served with
/// [`Etcd`](kvwatch_etcd::Etcd).
///
/// An operation is answered once it is on disk. Operations that wait at the same time share a
/// commit. At most 256 MiB of operations wait; beyond that they are refused with
/// [`StoreError::Busy`]. Dropping the store [stops](Self::stop) it.
pub struct Store {
    database: Arc<Database>,
    file: PathBuf,
    cluster_id: u64,
    hub: Hub,
    leases: Arc<Leases>,
    queue: Queue,
}

impl Store {
    /// Opens the store in `folder`, or creates it. The watch engine keeps the last `history` events
    /// in memory and reads older ones from the file.
    ///
    /// Starts two threads: the engine's dispatcher and the one that commits.
    ///
    /// # Errors
    /// If the folder or a file in it cannot be used, is damaged, or is in use.
    pub fn open(folder: &Path, history: usize) -> Result<Self, AnyError> {
        fs::create_dir_all(folder)?;
        let file = folder.join("kvwatch.redb");
        let database = Database::builder()
            .set_cache_size(CACHE_BYTES)
            .create(&file)?;
        let database = Arc::new(database);
        let cluster_id = create_tables(&database)?;
        let journal = recover(&database, &folder.join("kvwatch.journal"))?;
        // The names of new files must be as durable as their contents.
        File::open(folder)?.sync_all()?;
        let snapshot = Snapshot::of(&database)?;
        let leases = Arc::new(Leases::default());
        for (lease, ttl) in snapshot.all_leases()? {
            leases.grant(lease, ttl);
        }
        let log = ReplayLog {
            database: Arc::clone(&database),
        };
        let (publisher, hub) = Builder::new()
            .start_revision(snapshot.revision())
            .history_events(history)
            .replay(log)
            .spawn()?;
        let writer = Writer::new(
            Arc::clone(&database),
            journal,
            publisher,
            Arc::clone(&leases),
        );
        let queue = Queue::start(writer, Arc::clone(&leases))?;
        Ok(Self {
            database,
            file,
            cluster_id,
            hub,
            leases,
            queue,
        })
    }

    /// The hub to register watchers at.
    #[must_use]
    pub fn hub(&self) -> Hub {
        self.hub.clone()
    }

    /// The id of the single-member cluster that this store is, chosen when the store was created.
    #[must_use]
    pub fn cluster_id(&self) -> u64 {
        self.cluster_id
    }

    /// Stops the store: commits everything accepted so far, then ends the watches. Later
    /// operations are refused with [`StoreError::Closed`].
    ///
    /// Blocks until the last commit is done. Stopping twice does nothing more.
    pub fn stop(&self) {
        // The queue drops the writer and so the publisher, which ends the watches.
        self.queue.stop();
    }
}

/// Creates missing tables and returns the cluster's id.
fn create_tables(database: &Database) -> Result<u64, AnyError> {
    let transaction = database.begin_write()?;
    transaction.open_table(VERSIONS)?;
    transaction.open_table(LOG)?;
    transaction.open_table(LEASES)?;
    transaction.open_table(ATTACHED)?;
    let mut state = transaction.open_table(STATE)?;
    if number(&state, REVISION)? == 0 {
        state.insert(REVISION, FIRST)?;
        // It only has to differ from other stores' ids.
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        state.insert(CLUSTER, now.as_nanos() as u64 | 1)?;
    }
    let cluster_id = number(&state, CLUSTER)?;
    drop(state);
    transaction.commit()?;
    Ok(cluster_id)
}

/// Runs the commits again that the journal has and the file has not.
fn recover(database: &Database, path: &Path) -> Result<Journal, AnyError> {
    let state = database.begin_read()?.open_table(STATE)?;
    let applied = number(&state, COMMIT)?;
    drop(state);
    let mut replayed = false;
    let journal = Journal::recover(path, applied, |commit, rows| {
        let mut transaction = database.begin_write()?;
        transaction.set_durability(Durability::None)?;
        Transaction::new(&transaction)?.replay(commit, rows)?;
        transaction.commit()?;
        replayed = true;
        Ok::<_, AnyError>(())
    })?;
    if replayed {
        checkpoint(database)?;
    }
    Ok(journal)
}

impl kvwatch_etcd::Store for Store {
    async fn read(&self, query: Query) -> Result<Answer, StoreError> {
        if query.is_small() {
            return query.run(&Snapshot::of(&self.database)?);
        }
        // The query may read the whole store, so it runs outside the threads that serve clients.
        let database = Arc::clone(&self.database);
        let read = move || query.run(&Snapshot::of(&database)?);
        let joined = tokio::task::spawn_blocking(read).await;
        joined.unwrap_or_else(|panicked| Err(StoreError::failed(panicked)))
    }

    async fn write(&self, operation: Operation) -> Result<Answer, StoreError> {
        self.queue.write(operation).await
    }

    fn event(&self, event: EventRef<'_>) -> Event {
        record::event(event)
    }

    fn encode_event(&self, event: EventRef<'_>, bytes: &mut Vec<u8>) {
        record::encode_event(event, bytes);
    }

    fn leases(&self) -> &Leases {
        &self.leases
    }

    /// Counts the whole file as used: redb knows its free pages only after reading all of it.
    fn size(&self) -> Size {
        let bytes = fs::metadata(&self.file).map_or(0, |file| file.len());
        Size {
            allocated: bytes,
            used: bytes,
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("file", &self.file)
            .field("leases", &self.leases)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use futures::stream::{FuturesUnordered, StreamExt};
    use kvwatch_etcd::Store as _;
    use kvwatch_etcd::wire::etcdserverpb::PutRequest;
    use tempfile::TempDir;

    use super::*;
    use crate::queue::{BYTES, CALL_BYTES};

    fn put() -> Operation {
        let request = PutRequest {
            key: "key".into(),
            value: "value".into(),
            ..PutRequest::default()
        };
        Operation::put(request).unwrap()
    }

    /// A store with one put, which counts as quick however long it took here.
    async fn quick_store() -> (TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), 0).unwrap();
        assert!(store.write(put()).await.is_ok());
        store.queue.writer.lock().as_mut().unwrap().last_was_quick = true;
        (folder, store)
    }

    #[tokio::test]
    async fn a_small_write_is_committed_by_its_caller_when_nothing_else_waits() {
        let (_folder, store) = quick_store().await;
        let mut write = Box::pin(store.write(put()));
        assert!(write.as_mut().now_or_never().is_none());
        assert_eq!(store.hub().revision(), 3);
        // While the writer is locked, another write does not block on it and is not lost.
        let slot = store.queue.writer.lock();
        let mut next = Box::pin(store.write(put()));
        assert!(next.as_mut().now_or_never().is_none());
        assert_eq!(store.hub().revision(), 3);
        drop(slot);
        assert!(write.await.is_ok());
        assert!(next.await.is_ok());
        assert_eq!(store.hub().revision(), 4);
        store.stop();
        assert!(matches!(store.write(put()).await, Err(StoreError::Closed)));
    }

    #[tokio::test]
    async fn writes_are_refused_when_too_many_bytes_wait() {
        let (_folder, store) = quick_store().await;
        // An open transaction blocks the commit thread, and a caller that tried to commit.
        let blocker = store.database.begin_write().unwrap();
        let revoke = || store.write(Operation::revoke(7));
        let most = BYTES / CALL_BYTES;
        let mut waiting = FuturesUnordered::new();
        let refused = (0..=most).find_map(|_| {
            let mut next = Box::pin(revoke());
            let answer = next.as_mut().now_or_never();
            if answer.is_none() {
                waiting.push(next);
            }
            answer
        });
        assert!(matches!(refused, Some(Err(StoreError::Busy))));
        assert!(waiting.len() > most / 2);
        blocker.abort().unwrap();
        while let Some(answer) = waiting.next().await {
            assert!(answer.is_ok());
        }
        assert!(revoke().await.is_ok());
    }
}

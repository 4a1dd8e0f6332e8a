//! The store: a file, who writes it, and the watch engine that hears of it.

use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use kvwatch::etcd::wire::mvccpb::Event;
use kvwatch::etcd::{Answer, Leases, Operation, Query, Read, Size, StoreError, record};
use kvwatch::{Builder, EventRef, Hub};
use redb::{Database, Durability, ReadableDatabase};

use super::journal::Journal;
use super::queue::Queue;
use super::tables::{
    ATTACHED, CLUSTER, COMMIT, FIRST, LEASES, LOG, REVISION, STATE, VERSIONS, number,
};
use super::transaction::Transaction;
use super::view::{Log, Snapshot};
use super::writer::{Writer, checkpoint};
use crate::AnyError;

/// How many bytes of the file redb keeps in memory. Its own choice is a gigabyte.
const CACHE: usize = 128 * 1024 * 1024;

/// A multi-version store on redb that etcd's clients can use, through
/// [`Etcd`](kvwatch::etcd::Etcd).
///
/// An operation is answered once it is on disk; operations that wait at the same time share a
/// commit. Dropped, it is [stopped](Self::stop).
pub struct Store {
    pub(super) database: Arc<Database>,
    file: PathBuf,
    cluster: u64,
    hub: Hub,
    leases: Arc<Leases>,
    pub(super) queue: Queue,
}

impl Store {
    /// Opens the store in this folder, or makes a new one. `history` is how many events the watch
    /// engine keeps in memory; older ones are read from the file.
    ///
    /// # Errors
    /// If the folder or the file in it cannot be used, or is in use.
    pub fn open(folder: &Path, history: usize) -> Result<Self, AnyError> {
        fs::create_dir_all(folder)?;
        let file = folder.join("kvwatch.redb");
        let database = Database::builder().set_cache_size(CACHE).create(&file)?;
        let database = Arc::new(database);
        let cluster = prepare(&database)?;
        let journal = recover(&database, &folder.join("kvwatch.journal"))?;
        // Their names must last as long as what is in them.
        File::open(folder)?.sync_all()?;
        let snapshot = Snapshot::of(&database)?;
        let leases = Arc::new(Leases::default());
        for (lease, ttl) in snapshot.all_leases()? {
            leases.grant(lease, ttl);
        }
        let log = Log {
            database: Arc::clone(&database),
        };
        let (publisher, hub) = Builder::new()
            .revision(snapshot.revision())
            .history(history)
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
            cluster,
            hub,
            leases,
            queue,
        })
    }

    /// Where watchers are registered.
    #[must_use]
    pub fn hub(&self) -> Hub {
        self.hub.clone()
    }

    /// The name of the cluster of one that this store is: chosen when it was made.
    #[must_use]
    pub fn cluster(&self) -> u64 {
        self.cluster
    }

    /// Finishes what was handed in, then ends the watches; what is written from then on is
    /// refused. Waits for the commit that is under way.
    pub fn stop(&self) {
        // The writer goes, with it the publisher, and so the watches end.
        self.queue.stop();
    }
}

/// Makes what is missing in a new file; returns the cluster's name.
fn prepare(database: &Database) -> Result<u64, AnyError> {
    let transaction = database.begin_write()?;
    transaction.open_table(VERSIONS)?;
    transaction.open_table(LOG)?;
    transaction.open_table(LEASES)?;
    transaction.open_table(ATTACHED)?;
    let mut state = transaction.open_table(STATE)?;
    if number(&state, REVISION)? == 0 {
        state.insert(REVISION, FIRST)?;
        // Unlike another store's, with all likelihood, is all that it must be.
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        state.insert(CLUSTER, now.as_nanos() as u64 | 1)?;
    }
    let cluster = number(&state, CLUSTER)?;
    drop(state);
    transaction.commit()?;
    Ok(cluster)
}

/// Does again what the journal has and the file has not.
fn recover(database: &Database, path: &Path) -> Result<Journal, AnyError> {
    let state = database.begin_read()?.open_table(STATE)?;
    let applied = number(&state, COMMIT)?;
    drop(state);
    let mut replayed = false;
    let journal = Journal::open(path, applied, |commit, rows| {
        let mut transaction = database.begin_write()?;
        transaction.set_durability(Durability::None)?;
        Transaction::open(&transaction)?.replay(commit, rows)?;
        transaction.commit()?;
        replayed = true;
        Ok::<_, AnyError>(())
    })?;
    if replayed {
        checkpoint(database)?;
    }
    Ok(journal)
}

impl kvwatch::etcd::Store for Store {
    async fn read(&self, query: Query) -> Result<Answer, StoreError> {
        if query.is_small() {
            return query.run(&Snapshot::of(&self.database)?);
        }
        // It may read all there is: not on a thread that others wait for.
        let database = Arc::clone(&self.database);
        let read = move || query.run(&Snapshot::of(&database)?);
        let done = tokio::task::spawn_blocking(read).await;
        done.unwrap_or_else(|panicked| Err(StoreError::failed(panicked)))
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

    /// How much of the file is free is not known without reading all of it: it counts as used.
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

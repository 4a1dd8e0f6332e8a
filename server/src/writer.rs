//! Writing: all operations of one commit share its sync to disk.
//!
//! ```text
//!   run the operations in order ─▶ journal, synced ─▶ commit ─▶ publish
//! ```
//!
//! If the journal or the commit fails half-way, it is unknown what reached the disk. The writer is
//! broken from then on, and the next start of the server finds out from the journal.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kvwatch::Publisher;
use kvwatch_etcd::{Answer, Leases, Operation};
use redb::{Database, Durability};

use crate::error::AnyError;
use crate::journal::Journal;
use crate::tables::{COMMIT, STATE, failed, number};
use crate::transaction::{Outcome, Transaction};

/// How many rows a commit removes while a compaction is worked off.
const ROWS_CLEANED_PER_COMMIT: usize = 1000;

/// A commit of one operation in less than this counts as quick.
const QUICK: Duration = Duration::from_millis(1);

/// All that is needed to write. There is one of it, behind a lock.
pub(crate) struct Writer {
    database: Arc<Database>,
    journal: Journal,
    publisher: Publisher,
    leases: Arc<Leases>,
    /// The file may hold rows that a compaction left.
    needs_cleaning: bool,
    /// The last commit was of one operation, and quick.
    pub(crate) last_was_quick: bool,
    /// A commit failed half-way.
    broken: bool,
}

impl Writer {
    pub(crate) fn new(
        database: Arc<Database>,
        journal: Journal,
        publisher: Publisher,
        leases: Arc<Leases>,
    ) -> Self {
        Self {
            database,
            journal,
            publisher,
            leases,
            needs_cleaning: true,
            last_was_quick: false,
            broken: false,
        }
    }

    /// Whether committing one more operation is likely to be quick.
    pub(crate) fn is_quick(&self) -> bool {
        self.last_was_quick && !self.needs_maintenance()
    }

    /// Whether there is work that no operation asked for: rows to remove, or a full journal.
    pub(crate) fn needs_maintenance(&self) -> bool {
        self.needs_cleaning || self.journal.is_full()
    }

    /// Whether nothing may be written any more.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Runs the operations in order, makes them durable, and publishes them: all or none.
    ///
    /// # Errors
    /// The reason why nothing was committed. If [`is_broken`](Self::is_broken) holds afterwards,
    /// the operations may be on disk all the same.
    pub(crate) fn commit(&mut self, operations: Vec<Operation>) -> Result<Vec<Answer>, String> {
        if self.broken {
            // The commit panicked: after an error the holder of the lock drops the writer.
            return Err("an earlier commit ended half-way".to_owned());
        }
        let single = operations.len() == 1;
        let start = Instant::now();
        let committed = self.try_commit(operations);
        self.last_was_quick = single && start.elapsed() < QUICK;
        committed.map_err(|error| {
            eprintln!("kvwatch-server: nothing was committed: {error}");
            error.to_string()
        })
    }

    fn try_commit(&mut self, operations: Vec<Operation>) -> Result<Vec<Answer>, AnyError> {
        let mut transaction = self.database.begin_write().map_err(failed)?;
        transaction
            .set_durability(Durability::None)
            .map_err(failed)?;
        let mut tables = Transaction::new(&transaction)?;
        let mut answers = Vec::with_capacity(operations.len());
        for operation in operations {
            answers.push(operation.run(&mut tables)?);
            tables.end_operation();
        }
        let clean = tables.clean(ROWS_CLEANED_PER_COMMIT)?;
        let outcome = tables.finish()?;
        self.broken = true;
        if !outcome.rows.is_empty() {
            self.journal.append(outcome.commit, &outcome.rows)?;
        }
        if outcome.changed {
            transaction.commit().map_err(failed)?;
        }
        self.broken = false;
        self.needs_cleaning = !clean;
        self.announce(outcome)?;
        Ok(answers)
    }

    /// Publishes a commit. It is durable and readable by now, as watchers may expect.
    fn announce(&mut self, outcome: Outcome) -> Result<(), AnyError> {
        outcome.update_leases(&self.leases);
        if !outcome.transactions.is_empty() {
            self.publisher.publish_many(outcome.transactions)?;
        }
        if let Some(revision) = outcome.compacted {
            self.publisher.compact(revision)?;
        }
        Ok(())
    }

    /// Makes redb's commits durable if the journal is full, so that the journal can start over.
    pub(crate) fn checkpoint_if_full(&mut self) {
        if self.journal.is_full() && !self.broken {
            self.checkpoint();
        }
    }

    /// Makes redb's commits durable and starts the journal over.
    pub(crate) fn checkpoint(&mut self) {
        match checkpoint(&self.database) {
            Ok(()) => self.journal.start_over(),
            Err(error) => {
                eprintln!("kvwatch-server: the file cannot be written: {error}");
                self.broken = true;
            }
        }
    }
}

/// Makes every commit that redb holds in memory durable.
pub(crate) fn checkpoint(database: &Database) -> Result<(), AnyError> {
    let transaction = database.begin_write()?;
    let mut state = transaction.open_table(STATE)?;
    // redb may skip a commit that writes nothing, so this one writes a value that is there already.
    let last = number(&state, COMMIT)?;
    state.insert(COMMIT, last)?;
    drop(state);
    transaction.commit()?;
    Ok(())
}

//! Writing: all operations of one commit share its sync to disk.
//!
//! ```text
//!   run each in its turn ─▶ journal, durable ─▶ commit ─▶ publish
//! ```
//!
//! If the journal or the commit fails half-way, nobody knows what is on disk: the writer is broken,
//! and what is there is found out when the store is opened again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kvwatch::Publisher;
use kvwatch::etcd::{Answer, Leases, Operation};
use redb::{Database, Durability};

use super::journal::Journal;
use super::tables::{COMMIT, STATE, failed, number};
use super::transaction::{Outcome, Transaction};
use crate::AnyError;

/// How many rows are freed with a commit while a compaction is worked off.
const CLEANED_AT_ONCE: usize = 1000;

/// A commit of one operation that took less is quick. A lone put takes 0.07 ms in memory, and 0.25
/// on a disk that syncs in 0.2.
const QUICK: Duration = Duration::from_millis(1);

/// What it takes to write. Whoever holds it writes.
pub(super) struct Writer {
    database: Arc<Database>,
    journal: Journal,
    publisher: Publisher,
    leases: Arc<Leases>,
    /// The file may hold what a compaction left.
    unclean: bool,
    /// The last commit was of one operation, and quick.
    pub(super) quick: bool,
    /// A commit failed half-way.
    broken: bool,
}

impl Writer {
    pub(super) fn new(
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
            unclean: true,
            quick: false,
            broken: false,
        }
    }

    /// Whether one more operation is likely to be committed soon, and leaves nothing else to do.
    pub(super) fn is_quick(&self) -> bool {
        self.quick && !self.has_chores()
    }

    /// Whether there is something to do for it though nobody waits.
    pub(super) fn has_chores(&self) -> bool {
        self.unclean || self.journal.is_full()
    }

    /// Nothing may be written with it any more.
    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Runs all, makes them durable, and tells the watch engine: all of it, or nothing.
    ///
    /// # Errors
    /// Why nothing was committed; [`is_broken`](Self::is_broken) says whether that is certain.
    pub(super) fn commit(&mut self, operations: Vec<Operation>) -> Result<Vec<Answer>, String> {
        if self.broken {
            // It panicked then, or whoever held it would have let go of it.
            return Err("an earlier commit ended half-way".to_owned());
        }
        let alone = operations.len() == 1;
        let start = Instant::now();
        let done = self.try_commit(operations);
        self.quick = alone && start.elapsed() < QUICK;
        done.map_err(|error| {
            eprintln!("standalone: nothing was committed: {error}");
            error.to_string()
        })
    }

    fn try_commit(&mut self, operations: Vec<Operation>) -> Result<Vec<Answer>, AnyError> {
        let mut transaction = self.database.begin_write().map_err(failed)?;
        transaction
            .set_durability(Durability::None)
            .map_err(failed)?;
        let mut tables = Transaction::open(&transaction)?;
        let mut answers = Vec::with_capacity(operations.len());
        for operation in operations {
            answers.push(operation.run(&mut tables)?);
            tables.end_turn();
        }
        let clean = tables.clean(CLEANED_AT_ONCE)?;
        let outcome = tables.finish()?;
        self.broken = true;
        if !outcome.rows.is_empty() {
            self.journal.append(outcome.commit, &outcome.rows)?;
        }
        if outcome.changed {
            transaction.commit().map_err(failed)?;
        }
        self.broken = false;
        self.unclean = !clean;
        self.tell(outcome)?;
        Ok(answers)
    }

    /// It is durable, and can be read: now it may be heard of.
    fn tell(&mut self, outcome: Outcome) -> Result<(), AnyError> {
        outcome.tell(&self.leases);
        if !outcome.transactions.is_empty() {
            self.publisher.publish_many(outcome.transactions)?;
        }
        if let Some(revision) = outcome.compacted {
            self.publisher.compact(revision)?;
        }
        Ok(())
    }

    /// Brings the file up to date if the journal is full.
    pub(super) fn empty_journal(&mut self) {
        if self.journal.is_full() && !self.broken {
            self.checkpoint();
        }
    }

    /// Brings the file up to date.
    pub(super) fn checkpoint(&mut self) {
        match checkpoint(&self.database) {
            Ok(()) => self.journal.start_over(),
            Err(error) => {
                eprintln!("standalone: the file cannot be written: {error}");
                self.broken = true;
            }
        }
    }
}

/// Makes all that redb has in memory durable.
pub(super) fn checkpoint(database: &Database) -> Result<(), AnyError> {
    let transaction = database.begin_write()?;
    let mut state = transaction.open_table(STATE)?;
    // A commit of nothing need not write anything.
    let last = number(&state, COMMIT)?;
    state.insert(COMMIT, last)?;
    drop(state);
    transaction.commit()?;
    Ok(())
}

//! The one thread that writes: all that waits shares a commit, and so a sync to disk.
//!
//! ```text
//!   callers ─▶ queue ─▶ run each in its turn ─▶ journal, durable ─▶ commit ─▶ publish ─▶ answer each
//! ```
//!
//! If the journal or the commit fails half-way, nobody knows what is on disk: the writer ends, and
//! what is there is found out when the store is opened again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kvwatch::Publisher;
use kvwatch::etcd::{Answer, Leases, Operation, StoreError};
use redb::{Database, Durability};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::journal::Journal;
use super::tables::{COMMIT, STATE, failed, number};
use super::transaction::{Outcome, Transaction};
use crate::AnyError;

/// How many operations share a commit at most, and how many of their bytes: a commit is in memory
/// several times until it is done.
const BATCH: usize = 1024;
const BATCH_BYTES: usize = 16 * 1024 * 1024;

/// How many rows are freed with a commit while a compaction is worked off.
const CLEANED_AT_ONCE: usize = 1000;

/// How long leases may wait at most for the clock to be looked at again.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// An operation and who waits for its answer. Whoever no longer does is not told, but it is done.
pub(super) struct Job {
    pub(super) operation: Operation,
    pub(super) answer: oneshot::Sender<Result<Answer, StoreError>>,
    /// Its bytes' share of the queue, given back once it is done.
    pub(super) room: OwnedSemaphorePermit,
}

/// The thread's own.
pub(super) struct Writer {
    pub(super) database: Arc<Database>,
    pub(super) journal: Journal,
    pub(super) publisher: Publisher,
    pub(super) leases: Arc<Leases>,
    pub(super) jobs: flume::Receiver<Job>,
    /// The file may hold what a compaction left.
    pub(super) unclean: bool,
    /// A commit failed half-way.
    pub(super) broken: bool,
}

impl Writer {
    /// Until nobody can send jobs any more.
    pub(super) fn run(mut self) {
        loop {
            let first = match self.wait() {
                Ok(job) => Some(job),
                Err(flume::RecvTimeoutError::Timeout) => None,
                Err(flume::RecvTimeoutError::Disconnected) => break,
            };
            let mut operations = Vec::new();
            let mut waiting = Vec::new();
            let mut rooms = Vec::new();
            let mut bytes = 0;
            let mut next = first;
            while let Some(job) = next {
                bytes += job.room.num_permits();
                operations.push(job.operation);
                waiting.push(job.answer);
                rooms.push(job.room);
                let more = operations.len() < BATCH && bytes < BATCH_BYTES;
                next = more.then(|| self.jobs.try_recv().ok()).flatten();
            }
            // Nobody waits for these.
            let expired = self.leases.expired(Instant::now());
            operations.extend(expired.into_iter().take(BATCH).map(Operation::revoke));
            if operations.is_empty() && !self.unclean {
                continue;
            }
            let committed = self.commit(operations);
            // Whoever is answered finds room for the next.
            drop(rooms);
            match committed {
                Ok(answers) => {
                    for (answer, waiting) in answers.into_iter().zip(waiting) {
                        drop(waiting.send(Ok(answer)));
                    }
                }
                Err(error) => {
                    eprintln!("standalone: nothing was committed: {error}");
                    for waiting in waiting {
                        drop(waiting.send(Err(StoreError::failed(error.to_string()))));
                    }
                    if self.broken {
                        return;
                    }
                    // A lease that could not be revoked must not be tried without a pause.
                    std::thread::sleep(Duration::from_millis(100));
                }
            }
            if self.journal.is_full() && !self.checkpoint() {
                return;
            }
        }
        self.checkpoint();
    }

    /// Brings the file up to date; returns whether that succeeded.
    fn checkpoint(&mut self) -> bool {
        let done = checkpoint(&self.database);
        match &done {
            Ok(()) => self.journal.start_over(),
            Err(error) => eprintln!("standalone: the file cannot be written: {error}"),
        }
        done.is_ok()
    }

    /// The next job, unless there is something else to do before.
    fn wait(&self) -> Result<Job, flume::RecvTimeoutError> {
        let patience = if self.unclean {
            Duration::ZERO
        } else {
            let next = self.leases.next_expiry();
            next.map_or(LONGEST_WAIT, |next| {
                next.saturating_duration_since(Instant::now())
                    .min(LONGEST_WAIT)
            })
        };
        self.jobs.recv_timeout(patience)
    }

    /// Runs all, makes them durable, and tells the watch engine: all of it, or nothing.
    fn commit(&mut self, operations: Vec<Operation>) -> Result<Vec<Answer>, AnyError> {
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

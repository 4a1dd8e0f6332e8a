//! The one thread that writes: all that waits shares a commit, and so a sync to disk.
//!
//! ```text
//!   callers ─▶ queue ─▶ run each in its turn ─▶ commit, durable ─▶ publish ─▶ answer each
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use kvwatch::Publisher;
use kvwatch::etcd::{Answer, Leases, Operation, StoreError};
use redb::Database;
use tokio::sync::oneshot;

use super::tables::failed;
use super::transaction::{Outcome, Transaction};
use crate::AnyError;

/// How many operations share a commit at most.
const BATCH: usize = 1024;

/// How many rows are freed with a commit while a compaction is worked off.
const CLEANED_AT_ONCE: usize = 1000;

/// How long leases may wait at most for the clock to be looked at again.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// An operation and who waits for its answer. Whoever no longer does is not told, but it is done.
pub(super) struct Job {
    pub(super) operation: Operation,
    pub(super) answer: oneshot::Sender<Result<Answer, StoreError>>,
}

/// The thread's own.
pub(super) struct Writer {
    pub(super) database: Arc<Database>,
    pub(super) publisher: Publisher,
    pub(super) leases: Arc<Leases>,
    pub(super) jobs: flume::Receiver<Job>,
    /// The file may hold what a compaction left.
    pub(super) unclean: bool,
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
            let jobs = first.into_iter().chain(self.jobs.try_iter()).take(BATCH);
            let mut operations = Vec::new();
            let mut waiting = Vec::new();
            for Job { operation, answer } in jobs {
                operations.push(operation);
                waiting.push(answer);
            }
            // Nobody waits for these.
            let expired = self.leases.expired(Instant::now());
            operations.extend(expired.into_iter().take(BATCH).map(Operation::revoke));
            if operations.is_empty() && !self.unclean {
                continue;
            }
            match self.commit(operations) {
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
                    // A lease that could not be revoked must not be tried without a pause.
                    std::thread::sleep(Duration::from_millis(100));
                }
            }
        }
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
        let transaction = self.database.begin_write().map_err(failed)?;
        let mut tables = Transaction::open(&transaction)?;
        let mut answers = Vec::with_capacity(operations.len());
        for operation in operations {
            answers.push(operation.run(&mut tables)?);
            tables.end_turn();
        }
        let clean = tables.clean(CLEANED_AT_ONCE)?;
        let outcome = tables.finish()?;
        if outcome.changed {
            transaction.commit().map_err(failed)?;
        }
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

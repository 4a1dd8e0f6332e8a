//! Where operations wait to be written, and the thread that commits them.
//!
//! ```text
//!   caller ─▶ small operation, queue empty, writer free, commits quick? ── yes ─▶ commit here
//!               └─ no ─▶ queue ─▶ commit thread: all that waits, in one commit ─▶ answers
//! ```
//!
//! Handing an operation to the thread and its answer back wakes two threads. A caller that commits
//! its own operation saves both.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use kvwatch_etcd::{Answer, Leases, Operation, StoreError};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::error::AnyError;
use crate::writer::Writer;

/// Bytes of the operations that wait or are being committed, in total. Beyond it an operation is
/// refused. To let its caller wait instead would bound nothing: each caller holds its request.
pub(crate) const BYTES: usize = 256 * 1024 * 1024;
/// Bytes counted for each call besides its operation, rounded up: at most 65,536 calls wait.
pub(crate) const CALL_BYTES: usize = 4096;

/// Operations in one commit, and their bytes, at most: a commit is in memory several times over
/// until it is written.
const BATCH: usize = 1024;
const BATCH_BYTES: usize = 16 * 1024 * 1024;

/// Bytes of the largest operation that its caller may commit.
const SMALL: usize = 4096;

/// The longest time that the thread waits before it looks at the leases again.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// The pause after a failed commit: an expired lease would otherwise be revoked again at once.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// One operation and its caller. A caller that stopped waiting gets no answer, but the operation
/// runs all the same.
struct Job {
    operation: Operation,
    answer: oneshot::Sender<Result<Answer, StoreError>>,
    /// The job's part of [`BYTES`], returned when it is committed.
    permit: OwnedSemaphorePermit,
}

/// The writer, for the holder of the lock. `None` once nothing can be written any more.
type WriterSlot = Arc<Mutex<Option<Writer>>>;

/// Accepts operations and has them committed in order.
pub(crate) struct Queue {
    pub(crate) writer: WriterSlot,
    /// `None` once the queue is stopped.
    jobs: Mutex<Option<flume::Sender<Job>>>,
    /// The part of [`BYTES`] that is free.
    free_bytes: Arc<Semaphore>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Queue {
    /// Starts the commit thread, which also revokes expired leases.
    pub(crate) fn start(writer: Writer, leases: Arc<Leases>) -> Result<Self, AnyError> {
        let writer = Arc::new(Mutex::new(Some(writer)));
        let (jobs, queued) = flume::unbounded();
        let commit_thread = CommitThread {
            writer: Arc::clone(&writer),
            jobs: queued,
            leases,
        };
        let thread = thread::Builder::new()
            .name("writer".to_owned())
            .spawn(|| commit_thread.run())?;
        Ok(Self {
            writer,
            jobs: Mutex::new(Some(jobs)),
            free_bytes: Arc::new(Semaphore::new(BYTES)),
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Commits an operation. Returns its answer once the commit is durable and published.
    ///
    /// Cancel safety: once polled, the operation runs, also if the future is dropped.
    pub(crate) async fn write(&self, operation: Operation) -> Result<Answer, StoreError> {
        let size = operation.size();
        let bytes = (size + CALL_BYTES).min(BYTES);
        let permit = Arc::clone(&self.free_bytes).try_acquire_many_owned(bytes as u32);
        let permit = permit.map_err(|_| StoreError::Busy)?;
        // Every other accepted operation holds a permit until it is answered.
        let is_only = self.free_bytes.available_permits() + bytes == BYTES;
        let is_small = operation.is_small() && size <= SMALL;
        let tried = if is_only && is_small {
            self.commit_here(operation)
        } else {
            Err(operation)
        };
        match tried {
            Ok(answer) => {
                // Watchers run first, and operations that arrive meanwhile share a commit.
                tokio::task::yield_now().await;
                drop(permit);
                answer
            }
            Err(operation) => {
                let (answer, answered) = oneshot::channel();
                self.enqueue(Job {
                    operation,
                    answer,
                    permit,
                })?;
                answered.await.map_err(|_| StoreError::Closed)?
            }
        }
    }

    /// Commits the operation if the writer is free and quick, else gives it back.
    fn commit_here(&self, operation: Operation) -> Result<Result<Answer, StoreError>, Operation> {
        let Some(mut slot) = self.writer.try_lock() else {
            return Err(operation);
        };
        let Some(writer) = slot.as_mut().filter(|writer| writer.is_quick()) else {
            return Err(operation);
        };
        let committed = writer.commit(vec![operation]);
        if writer.is_broken() {
            *slot = None;
        }
        Ok(committed
            .map(|mut answers| answers.remove(0))
            .map_err(StoreError::failed))
    }

    fn enqueue(&self, job: Job) -> Result<(), StoreError> {
        let jobs = self.jobs.lock();
        let jobs = jobs.as_ref().ok_or(StoreError::Closed)?;
        jobs.send(job).map_err(|_| StoreError::Closed)
    }

    /// Commits everything in the queue, then drops the writer. Later operations are refused.
    pub(crate) fn stop(&self) {
        // Without a sender the thread ends once the queue is empty.
        drop(self.jobs.lock().take());
        let thread = self.thread.lock().take();
        if let Some(thread) = thread {
            drop(thread.join());
        }
    }
}

/// The state of the thread that commits.
struct CommitThread {
    writer: WriterSlot,
    jobs: flume::Receiver<Job>,
    leases: Arc<Leases>,
}

impl CommitThread {
    /// Runs until the queue is stopped and empty, or nothing can be written any more.
    fn run(self) {
        let mut maintenance = true;
        loop {
            let first = match self.next_job(maintenance) {
                Ok(job) => Some(job),
                Err(flume::RecvTimeoutError::Timeout) => None,
                Err(flume::RecvTimeoutError::Disconnected) => break,
            };
            let mut slot = self.writer.lock();
            let Some(writer) = &mut *slot else {
                return;
            };
            let committed = self.commit(writer, first);
            writer.checkpoint_if_full();
            if writer.is_broken() {
                *slot = None;
                return;
            }
            maintenance = writer.needs_maintenance();
            drop(slot);
            if !committed {
                thread::sleep(RETRY_PAUSE);
            }
        }
        if let Some(mut writer) = self.writer.lock().take() {
            writer.checkpoint();
        }
    }

    /// Waits for the next job. Times out when maintenance or an expired lease is due.
    fn next_job(&self, maintenance: bool) -> Result<Job, flume::RecvTimeoutError> {
        let timeout = if maintenance {
            Duration::ZERO
        } else {
            let next = self.leases.next_expiry();
            next.map_or(LONGEST_WAIT, |next| {
                next.saturating_duration_since(Instant::now())
                    .min(LONGEST_WAIT)
            })
        };
        self.jobs.recv_timeout(timeout)
    }

    /// Commits all waiting jobs together with the revokes of expired leases. Returns whether that
    /// succeeded.
    fn commit(&self, writer: &mut Writer, first: Option<Job>) -> bool {
        let mut operations = Vec::new();
        let mut callers = Vec::new();
        let mut permits = Vec::new();
        let mut bytes = 0;
        let mut next = first;
        while let Some(job) = next {
            bytes += job.permit.num_permits();
            operations.push(job.operation);
            callers.push(job.answer);
            permits.push(job.permit);
            let more = operations.len() < BATCH && bytes < BATCH_BYTES;
            next = more.then(|| self.jobs.try_recv().ok()).flatten();
        }
        // The revokes come last: they have no caller, so that answers and callers still pair up.
        let expired = self.leases.expired(Instant::now());
        operations.extend(expired.into_iter().take(BATCH).map(Operation::revoke));
        if operations.is_empty() && !writer.needs_maintenance() {
            return true;
        }
        let committed = writer.commit(operations);
        // Released before the answers: a caller that was answered can write again at once.
        drop(permits);
        match committed {
            Ok(answers) => {
                for (answer, caller) in answers.into_iter().zip(callers) {
                    drop(caller.send(Ok(answer)));
                }
                true
            }
            Err(error) => {
                for caller in callers {
                    drop(caller.send(Err(StoreError::failed(error.clone()))));
                }
                false
            }
        }
    }
}

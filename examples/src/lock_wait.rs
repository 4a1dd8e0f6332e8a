//! Threads that take turns at a lock made of keys in a watched store.
//!
//! ```text
//!   workers ─▶ Locks::lock ─▶ put a ticket ─▶ wait until the previous ticket is deleted ─▶ locked
//!                                                read at r, watch from r + 1
//! ```

mod locks;

use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;

use crate::store::Store;
use crate::{AnyError, Folder};
pub use locks::{LockError, LockGuard, Locks};

/// Events that the engine keeps in memory.
const HISTORY: usize = 1024;
/// The name of the lock.
const LOCK: &str = "printer";

/// Lets threads take turns at a lock. A worker puts a ticket, which is a key in the store, and
/// waits with a timeout for the deletion of the previous ticket. Checks that no two workers have
/// the lock at the same time, and that they get it in the order of their tickets.
#[derive(Debug, Parser)]
#[command(name = "lock_wait")]
pub struct Args {
    /// The number of threads
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub workers: u16,
    /// How many times each thread locks
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    pub rounds: u16,
    /// How long a worker holds the lock, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 2)]
    pub hold: u64,
    /// How long a worker waits for the lock at most, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 10_000)]
    pub timeout: u64,
    /// The store's folder, which is kept; a temporary folder if not given
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

/// The result of a worker.
#[derive(Debug, Default)]
struct WorkerReport {
    locked: usize,
    timed_out: usize,
    longest_wait: Duration,
}

/// Runs the example, and writes a report to `out`.
///
/// # Errors
/// If the store fails, or two workers had the lock at the same time.
pub fn run(args: &Args, out: &mut impl Write) -> Result<(), AnyError> {
    let folder = Folder::open(args.data.as_deref())?;
    let store = Store::open(&folder.file("lock_wait.redb"), HISTORY)?;
    let locks = Locks::new(store);
    // A crash leaves tickets behind. No other program uses the store, so they can be deleted.
    let cleared = locks.clear(LOCK)?;
    if cleared > 0 {
        writeln!(out, "deleted {cleared} tickets of an earlier run")?;
    }

    let since = locks.revision() + 1;
    let holders = AtomicUsize::new(0);
    let work = || run_worker(args, &locks, &holders);
    let workers: Vec<Result<WorkerReport, AnyError>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..args.workers).map(|_| scope.spawn(work)).collect();
        let joined = threads.into_iter().map(|thread| {
            let report = thread.join();
            report.unwrap_or_else(|_| Err("a worker panicked".into()))
        });
        joined.collect()
    });

    let mut total = WorkerReport::default();
    for (number, report) in workers.into_iter().enumerate() {
        let report = report?;
        writeln!(
            out,
            "worker {number}: had the lock {} times, gave up {} times, waited {:.1} ms at most",
            report.locked,
            report.timed_out,
            report.longest_wait.as_secs_f64() * 1e3,
        )?;
        total.locked += report.locked;
        total.timed_out += report.timed_out;
    }
    // A worker that timed out may have deleted its ticket behind another one. If its turn came at
    // that moment, the ticket was the first.
    let history = locks.history(LOCK, since)?;
    let complete = history.first + history.waiting == total.locked + total.timed_out;
    if !complete || history.waiting > total.timed_out {
        return Err(format!("the store has {history:?}, and the workers report {total:?}").into());
    }
    locks.into_store().shut_down()?;
    writeln!(
        out,
        "{} turns, one at a time and in order; {} tickets were given back unused",
        total.locked, total.timed_out
    )?;
    Ok(())
}

/// Locks and releases `args.rounds` times.
fn run_worker(args: &Args, locks: &Locks, holders: &AtomicUsize) -> Result<WorkerReport, AnyError> {
    let mut report = WorkerReport::default();
    for _ in 0..args.rounds {
        let started = Instant::now();
        let deadline = started + Duration::from_millis(args.timeout);
        match locks.lock(LOCK, deadline) {
            Ok(held) => {
                report.locked += 1;
                report.longest_wait = report.longest_wait.max(started.elapsed());
                let others = holders.fetch_add(1, Ordering::SeqCst);
                thread::sleep(Duration::from_millis(args.hold));
                holders.fetch_sub(1, Ordering::SeqCst);
                held.release()?;
                if others > 0 {
                    return Err(format!("{others} others had the lock at the same time").into());
                }
            }
            Err(LockError::Timeout { .. }) => report.timed_out += 1,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(report)
}

//! Threads that take turns at a lock which is nothing but keys of a watched store.
//!
//! ```text
//!   workers ─▶ Locks::lock ─▶ a ticket in the store ─▶ the one before mine is deleted? ─▶ mine
//!                                                        read at r, watched from r + 1
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
pub use locks::{Held, LockError, Locks};

/// Events that the engine keeps in memory.
const HISTORY: usize = 1024;
/// The lock that they all want.
const LOCK: &str = "printer";

/// Lets threads take turns at a lock: a worker draws a ticket, a key in the store, and waits for
/// the deletion of the ticket before its own, for so long at most. Checks that no two ever had it
/// at once, and that they had it in the order of their tickets.
#[derive(Debug, Parser)]
#[command(name = "lock_wait")]
pub struct Args {
    /// How many threads want the lock
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub workers: u16,
    /// How often each of them tries
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    pub turns: u16,
    /// For how many milliseconds a worker holds the lock
    #[arg(long, value_name = "MS", default_value_t = 2)]
    pub hold: u64,
    /// For how many milliseconds a worker waits for the lock at most
    #[arg(long, value_name = "MS", default_value_t = 10_000)]
    pub patience: u64,
    /// Where the store is, and stays; a temporary folder if not given
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

/// What a worker had of it.
#[derive(Debug, Default)]
struct Turns {
    taken: usize,
    given_up: usize,
    longest: Duration,
}

/// Runs it all, and writes what happens to `out`.
///
/// # Errors
/// If the store cannot be used, or the lock was no lock.
pub fn run(args: &Args, out: &mut impl Write) -> Result<(), AnyError> {
    let folder = Folder::open(args.data.as_deref())?;
    let store = Store::open(&folder.file("lock_wait.redb"), HISTORY)?;
    let locks = Locks::new(store);
    // A crash leaves tickets behind. This program is the only one that uses the store.
    let cleared = locks.clear(LOCK)?;
    if cleared > 0 {
        writeln!(
            out,
            "{cleared} tickets of an earlier run were left, and are gone"
        )?;
    }

    let since = locks.revision() + 1;
    let inside = AtomicUsize::new(0);
    let work = || take_turns(args, &locks, &inside);
    let workers: Vec<Result<Turns, AnyError>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..args.workers).map(|_| scope.spawn(work)).collect();
        let joined = threads.into_iter().map(|thread| {
            let turns = thread.join();
            turns.unwrap_or_else(|_| Err("a worker panicked".into()))
        });
        joined.collect()
    });

    let mut all = Turns::default();
    for (number, turns) in workers.into_iter().enumerate() {
        let turns = turns?;
        writeln!(
            out,
            "worker {number}: had the lock {} times, gave up {} times, waited {:.1} ms at most",
            turns.taken,
            turns.given_up,
            turns.longest.as_secs_f64() * 1e3,
        )?;
        all.taken += turns.taken;
        all.given_up += turns.given_up;
    }
    // Only who gave up may have left from behind another; whose turn came in that moment, did not.
    let history = locks.history_events(LOCK, since)?;
    let all_told = history.first + history.waiting == all.taken + all.given_up;
    if !all_told || history.waiting > all.given_up {
        return Err(format!("the store tells of {history:?}, and the workers of {all:?}").into());
    }
    locks.into_store().shut_down()?;
    writeln!(
        out,
        "{} turns, one at a time and in order; {} tickets were given back unused",
        all.taken, all.given_up
    )?;
    Ok(())
}

/// What one worker does.
fn take_turns(args: &Args, locks: &Locks, inside: &AtomicUsize) -> Result<Turns, AnyError> {
    let mut turns = Turns::default();
    for _ in 0..args.turns {
        let started = Instant::now();
        let deadline = started + Duration::from_millis(args.patience);
        match locks.lock(LOCK, deadline) {
            Ok(held) => {
                turns.taken += 1;
                turns.longest = turns.longest.max(started.elapsed());
                let others = inside.fetch_add(1, Ordering::SeqCst);
                thread::sleep(Duration::from_millis(args.hold));
                inside.fetch_sub(1, Ordering::SeqCst);
                held.release()?;
                if others > 0 {
                    return Err(format!("{others} others had the lock at the same time").into());
                }
            }
            Err(LockError::Timeout { .. }) => turns.given_up += 1,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(turns)
}

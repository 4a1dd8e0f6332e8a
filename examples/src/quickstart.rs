//! Loads a store that is watched in every way, and checks what each watcher received.
//!
//! ```text
//!   git log, or a file ─▶ Store::commit ─▶ redb ─▶ publish
//!                                                     ├▶ a key           with previous values
//!                                                     ├▶ a prefix
//!                                                     ├▶ everything
//!                                                     ├▶ everything, in a tokio task
//!                                                     ├▶ everything, in an async-std task
//!                                                     ├▶ everything, slow: falls behind, catches up
//!                                                     └▶ late: replays from a past revision
//! ```

mod check;
mod choice;
mod following;

use std::io::Write;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use kvwatch::{Revision, Selector, WatchOptions};

use crate::input::{Git, InputError, Transaction, files_of, read_lines};
use crate::store::Store;
use crate::{AnyError, Folder};
use check::{Outcome, check};
use choice::choose;
use following::{follow, follow_with_async_std, follow_with_tokio};

/// Events that the engine keeps in memory. Most inputs have more, so that the late watcher reads
/// the store's own log, and the slow watcher reads a part of it.
const HISTORY: usize = 1024;
/// The queue capacity of the slow watcher, in events.
const SLOW_QUEUE: usize = 8;
/// One in this many transactions is committed durably. Otherwise loading would mostly wait for the
/// disk. A store that acknowledges writes to clients must commit each of them durably.
const DURABLE_EVERY: usize = 1000;

/// Loads a small key-value store on redb, watches it in every way, and checks what the watchers
/// received.
///
/// The input is the history of a git repository, by default the one that contains the current
/// folder. One commit is one transaction (oldest first, along first parents), paths are keys, blob
/// ids are values, and deletions are deletes. With --changes the input is a file of JSON lines,
/// {"tx":1,"put":"key","value":"text"} or {"tx":1,"delete":"key"}; adjacent lines with the same tx
/// are one transaction. A sample is in examples/sample.jsonl.
#[derive(Debug, Default, Parser)]
#[command(name = "quickstart")]
pub struct Args {
    /// A folder in the git repository to read
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub repo: PathBuf,
    /// A file of changes to read instead
    #[arg(long, value_name = "FILE", conflicts_with = "repo")]
    pub changes: Option<PathBuf>,
    /// The maximum number of transactions to load
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pub limit: usize,
    /// The store's folder, which is kept; a temporary folder if not given
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The key to watch; the key that changes most often if not given
    #[arg(long)]
    pub key: Option<String>,
    /// The prefix to watch; the folder that changes most often if not given
    #[arg(long)]
    pub prefix: Option<String>,
}

impl Args {
    fn read(&self, after: Option<&str>) -> Result<Vec<Transaction>, InputError> {
        match &self.changes {
            Some(path) => {
                let mut transactions = read_lines(path, after)?;
                transactions.truncate(self.limit);
                Ok(transactions)
            }
            None => Git { dir: &self.repo }.transactions(after, self.limit),
        }
    }
}

/// Runs the example, and writes a report to `out`.
///
/// # Errors
/// If there is no input, the store fails, or a watcher did not receive what the store has.
pub fn run(args: &Args, out: &mut impl Write) -> Result<(), AnyError> {
    let folder = Folder::open(args.data.as_deref())?;
    let store = Store::open(&folder.file("quickstart.redb"), HISTORY)?;
    let (before, position) = store.reader().last()?;
    let input = args.read(position.as_deref())?;
    match (&position, input.len()) {
        (None, 0) => return Err("the input has no transactions: nothing to load".into()),
        (None, count) => writeln!(out, "a new store; the input has {count} transactions")?,
        (Some(at), 0) => writeln!(
            out,
            "the store has all of the input, up to {at} (revision {before}): nothing to load"
        )?,
        (Some(at), count) => writeln!(
            out,
            "the store continues after revision {before} ({at}): {count} transactions are new"
        )?,
    }

    let reader = store.reader();
    let outcomes = watch_while_loading(args, store, input, out)?;
    let wrong = report(&outcomes, out)?;
    if let (None, Some(commit)) = (&args.changes, reader.last()?.1) {
        let files = files_of(Git { dir: &args.repo }, &commit)?;
        if files != reader.all()? {
            return Err(format!("the store differs from the files of commit {commit}").into());
        }
        let count = files.len();
        writeln!(out, "the store has the {count} files of commit {commit}")?;
    }
    if wrong > 0 {
        return Err(format!("{wrong} watchers did not receive what the store has").into());
    }
    writeln!(out, "every watcher received what the store has")?;
    Ok(())
}

/// Loads the input while watchers receive, and shuts the store down. Returns what each watcher
/// received, and the problems.
fn watch_while_loading(
    args: &Args,
    mut store: Store,
    input: Vec<Transaction>,
    out: &mut impl Write,
) -> Result<Vec<Outcome>, AnyError> {
    let (hub, reader) = (store.hub(), store.reader());
    let (before, _) = reader.last()?;
    let last = before + input.len() as Revision;
    let (key, prefix) = choose(args, &input);
    writeln!(
        out,
        "watching key {key:?}, prefix {prefix:?}, and everything"
    )?;

    // These watchers receive exactly the events published after these calls.
    let prev_values = WatchOptions::new().prev_value(true);
    let key = hub.watch_with(Selector::exact(&key), prev_values)?;
    let prefix = hub.watch(Selector::prefix(&prefix))?;
    let everything = hub.watch(Selector::all())?;
    let (tokio, async_std) = (hub.watch(Selector::all())?, hub.watch(Selector::all())?);
    let small_queue = WatchOptions::new().capacity(SLOW_QUEUE);
    let slow = hub.watch_with(Selector::all(), small_queue)?;
    let mut threads = vec![
        ("key", thread::spawn(|| Ok(follow(key)?))),
        ("prefix", thread::spawn(|| Ok(follow(prefix)?))),
        ("everything", thread::spawn(|| Ok(follow(everything)?))),
        ("tokio", thread::spawn(|| follow_with_tokio(tokio))),
        (
            "async-std",
            thread::spawn(|| follow_with_async_std(async_std)),
        ),
    ];
    // The slow watcher receives nothing before half of the input is loaded.
    let (slow_hub, half) = (hub.clone(), before + (last - before) / 2);
    let slow = move || {
        // If the store fails before that, the watcher ends with the reason.
        let _ = slow_hub.wait_for(half, Duration::from_secs(3600));
        Ok(follow(slow)?)
    };
    threads.push(("slow", thread::spawn(slow)));

    let started = Instant::now();
    let (transactions, mut changes) = (input.len(), 0);
    for (number, transaction) in input.into_iter().enumerate() {
        changes += transaction.changes.len();
        let durable = number % DURABLE_EVERY == 0 || number + 1 == transactions;
        store.commit(transaction.changes, &transaction.position, durable)?;
    }
    let seconds = started.elapsed().as_secs_f64();
    writeln!(
        out,
        "loaded {changes} changes in {transactions} transactions in {seconds:.2} s; one in \
         {DURABLE_EVERY} was on disk before the next"
    )?;

    // The late watcher registers after everything is loaded, and replays from the middle of the
    // log.
    let middle = WatchOptions::new().start_revision(last / 2 + 1);
    let late = hub.watch_with(Selector::all(), middle)?;
    threads.push(("late", thread::spawn(|| Ok(follow(late)?))));

    // Every watcher receives everything published, and then its end.
    store.shut_down()?;
    let mut outcomes = Vec::new();
    for (name, thread) in threads {
        let followed = thread
            .join()
            .map_err(|_| format!("watcher {name:?} panicked"))?;
        outcomes.push(check(name, followed?, &reader)?);
    }
    let statistics = hub.stats();
    writeln!(
        out,
        "watchers fell behind {} times and caught up {} times",
        statistics.fell_behind, statistics.caught_up
    )?;
    Ok(outcomes)
}

/// Prints what each watcher received. Returns the number of watchers with a problem.
fn report(outcomes: &[Outcome], out: &mut impl Write) -> Result<usize, AnyError> {
    writeln!(
        out,
        "{:<11} {:>8} {:>8} {:>8} {:>8} {:>8} {:>6}  checked against the store",
        "watcher", "events", "puts", "deletes", "first", "last", "lags"
    )?;
    let mut wrong = 0;
    for Outcome {
        name,
        followed,
        problem,
    } in outcomes
    {
        let (first, last) = followed.span().unwrap_or_default();
        writeln!(
            out,
            "{name:<11} {:>8} {:>8} {:>8} {first:>8} {last:>8} {:>6}  {}",
            followed.events.len(),
            followed.puts(),
            followed.events.len() - followed.puts(),
            followed.lags.len(),
            problem.as_deref().unwrap_or("the same"),
        )?;
        wrong += usize::from(problem.is_some());
    }
    for Outcome { followed, .. } in outcomes.iter().filter(|outcome| outcome.name == "key") {
        for event in followed.events.iter().rev().take(3).rev() {
            writeln!(out, "  {event:?}")?;
        }
    }
    Ok(wrong)
}

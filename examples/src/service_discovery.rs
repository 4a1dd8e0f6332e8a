//! Servers that register themselves in a watched store, and a client that finds them there, all
//! on one thread under smol.
//!
//! ```text
//!   Instance ── put services/web/NAME = address, again and again ──▶ Catalogue ─▶ Store ─▶ publish
//!                                                                       ▲                   │ │
//!   Keeper ── deletes who has not said so for too long ─────────────────┘◀── their puts ────┘ │
//!   Pool ◀── connects to who came, leaves who went ◀── puts and deletes ──────────────────────┘
//! ```

mod catalogue;
mod instance;
mod keeper;
mod pool;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use clap::Parser;
use smol::LocalExecutor;

use crate::store::Store;
use crate::{AnyError, Folder};
use catalogue::Catalogue;
use instance::Instance;
use pool::Pool;

/// Events that the engine keeps in memory.
const HISTORY: usize = 1024;

/// Runs servers on loopback that register themselves in a store under services/web/, and a client
/// that keeps a connection to each of them: one leaves, one crashes and is found out by its
/// silence, one moves. Checks that requests only ever go to those that are there, in turn.
#[derive(Debug, Parser)]
#[command(name = "service_discovery")]
pub struct Args {
    /// How many servers there are at first
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(3..=100))]
    pub servers: u16,
    /// How many requests each of them gets between two changes
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..))]
    pub requests: u16,
    /// After how many milliseconds of silence a server counts as gone
    #[arg(long, value_name = "MS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(10..))]
    pub silence: u64,
    /// Where the store is, and stays; a temporary folder if not given
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

/// Runs it all, and writes what happens to `out`.
///
/// # Errors
/// If the store or the network cannot be used, or a request went wrong.
pub fn run(args: &Args, out: &mut impl Write) -> Result<(), AnyError> {
    let folder = Folder::open(args.data.as_deref())?;
    let store = Store::open(&folder.file("service_discovery.redb"), HISTORY)?;
    let executor = Rc::new(LocalExecutor::new());
    smol::block_on(executor.run(show(args, store, Rc::clone(&executor), out)))
}

/// The whole show. Tasks end when their handles are dropped, with this.
async fn show(
    args: &Args,
    store: Store,
    executor: Rc<LocalExecutor<'static>>,
    out: &mut impl Write,
) -> Result<(), AnyError> {
    let silence = Duration::from_millis(args.silence);
    let catalogue = Catalogue::new(store);
    // Entries of an earlier run are deleted by the keeper, if nobody speaks for them.
    let keeping = executor.spawn(keeper::keep(catalogue.clone(), silence));
    let pool = Pool::new();
    let following = executor.spawn(pool.clone().follow(catalogue.clone()));

    let start = |name: String| Instance::start(name, catalogue.clone(), silence / 5, &executor);
    let mut instances = BTreeMap::new();
    for number in 0..args.servers {
        let name = format!("server-{number}");
        instances.insert(name.clone(), start(name).await?);
    }
    let names = |instances: &BTreeMap<String, Instance>| -> Vec<String> {
        instances.keys().cloned().collect()
    };
    pool.settled(&names(&instances)).await?;
    let count = ask_all(&pool, args.requests, &names(&instances)).await?;
    writeln!(out, "{count} requests, the same number to each server")?;

    let (_, leaving) = instances.pop_first().ok_or("there are servers")?;
    let name = leaving.leave().await?;
    pool.settled(&names(&instances)).await?;
    let count = ask_all(&pool, args.requests, &names(&instances)).await?;
    writeln!(out, "{name} left: {count} requests to the others")?;

    let (name, crashing) = instances.pop_first().ok_or("there are servers")?;
    crashing.crash().await;
    let lost = pool.ask(&name).await;
    if lost.is_ok() {
        return Err(format!("{name} answered after it had crashed").into());
    }
    pool.settled(&names(&instances)).await?;
    let count = ask_all(&pool, args.requests, &names(&instances)).await?;
    writeln!(
        out,
        "{name} crashed and fell silent, and its entry was deleted: {count} requests to the others"
    )?;

    // Another server under the same name: the client moves with the entry.
    let (name, old) = instances.pop_first().ok_or("there are servers")?;
    old.crash().await;
    let new = start(name.clone()).await?;
    pool.connected_to(&name, new.address()).await?;
    instances.insert(name.clone(), new);
    let count = ask_all(&pool, args.requests, &names(&instances)).await?;
    writeln!(
        out,
        "{name} moved: {count} requests to its new address and the others"
    )?;

    drop(instances);
    keeping.cancel().await;
    catalogue.shut_down().await?;
    following.await?;
    writeln!(out, "every request went to a server that was there")?;
    Ok(())
}

/// Asks whoever is next, until each should have had so many; returns how many requests it took.
async fn ask_all(pool: &Pool, each: u16, names: &[String]) -> Result<usize, AnyError> {
    let mut answers: BTreeMap<String, u16> = BTreeMap::new();
    let count = usize::from(each) * names.len();
    for _ in 0..count {
        *answers.entry(pool.ask_next().await?).or_default() += 1;
    }
    let due = names.iter().map(|name| (name.clone(), each)).collect();
    if answers != due {
        return Err(format!("answers came from {answers:?}, and were due from {due:?}").into());
    }
    Ok(count)
}

//! Servers that register themselves in a watched store, and a client that finds them there, all on
//! one thread with smol.
//!
//! ```text
//!   Instance ── puts services/web/NAME = address, repeatedly ──▶ Catalogue ─▶ Store ─▶ publish
//!                                                                   ▲                   │ │
//!   keeper ── deletes entries that were not put for too long ───────┘ ◀───── puts ──────┘ │
//!   Pool ◀── connects to new servers, drops deleted ones ◀───── puts and deletes ─────────┘
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
/// that keeps a connection to each. One server leaves, one crashes and is detected by its missing
/// heartbeats, and one moves. Checks that requests go to the running servers only, in turn.
#[derive(Debug, Parser)]
#[command(name = "service_discovery")]
pub struct Args {
    /// The number of servers at the start
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(3..=100))]
    pub servers: u16,
    /// The number of requests to each server between two changes
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..))]
    pub requests: u16,
    /// How long a server may send no heartbeat before its entry is deleted, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(10..))]
    pub silence: u64,
    /// The store's folder, which is kept; a temporary folder if not given
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

/// Runs the example, and writes a report to `out`.
///
/// # Errors
/// If the store or the network fails, or a request gets an unexpected answer.
pub fn run(args: &Args, out: &mut impl Write) -> Result<(), AnyError> {
    let folder = Folder::open(args.data.as_deref())?;
    let store = Store::open(&folder.file("service_discovery.redb"), HISTORY)?;
    let executor = Rc::new(LocalExecutor::new());
    smol::block_on(executor.run(demo(args, store, Rc::clone(&executor), out)))
}

/// Runs the example on the executor. Its tasks end when this returns and drops their handles.
async fn demo(
    args: &Args,
    store: Store,
    executor: Rc<LocalExecutor<'static>>,
    out: &mut impl Write,
) -> Result<(), AnyError> {
    let silence = Duration::from_millis(args.silence);
    let catalogue = Catalogue::new(store);
    // The keeper also deletes entries of an earlier run whose servers are not running.
    let keeping = executor.spawn(keeper::delete_silent(catalogue.clone(), silence));
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
    pool.wait_for_servers(&names(&instances)).await?;
    let count = request_all(&pool, args.requests, &names(&instances)).await?;
    writeln!(out, "{count} requests, the same number to each server")?;

    let (_, leaving) = instances.pop_first().ok_or("there are servers")?;
    let name = leaving.leave().await?;
    pool.wait_for_servers(&names(&instances)).await?;
    let count = request_all(&pool, args.requests, &names(&instances)).await?;
    writeln!(out, "{name} left: {count} requests to the others")?;

    let (name, crashing) = instances.pop_first().ok_or("there are servers")?;
    crashing.crash().await;
    let lost = pool.request(&name).await;
    if lost.is_ok() {
        return Err(format!("{name} answered after it had crashed").into());
    }
    pool.wait_for_servers(&names(&instances)).await?;
    let count = request_all(&pool, args.requests, &names(&instances)).await?;
    writeln!(
        out,
        "{name} crashed, and its entry was deleted: {count} requests to the others"
    )?;

    // Another server starts under the same name. The client follows the entry to the new address.
    let (name, old) = instances.pop_first().ok_or("there are servers")?;
    old.crash().await;
    let new = start(name.clone()).await?;
    pool.wait_for_address(&name, new.address()).await?;
    instances.insert(name.clone(), new);
    let count = request_all(&pool, args.requests, &names(&instances)).await?;
    writeln!(
        out,
        "{name} moved: {count} requests to its new address and the others"
    )?;

    drop(instances);
    keeping.cancel().await;
    catalogue.shut_down().await?;
    following.await?;
    writeln!(out, "every request went to a running server")?;
    Ok(())
}

/// Sends `each` requests per server, in turn, and checks that each server answered as many. Returns
/// the number of requests.
async fn request_all(pool: &Pool, each: u16, names: &[String]) -> Result<usize, AnyError> {
    let mut answers: BTreeMap<String, u16> = BTreeMap::new();
    let count = usize::from(each) * names.len();
    for _ in 0..count {
        *answers.entry(pool.request_next().await?).or_default() += 1;
    }
    let expected = names.iter().map(|name| (name.clone(), each)).collect();
    if answers != expected {
        return Err(format!("answers came from {answers:?} instead of {expected:?}").into());
    }
    Ok(count)
}

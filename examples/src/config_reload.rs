//! A running server whose settings come from a mirror of `config/`, changed while clients talk to
//! it.
//!
//! ```text
//!   Store::commit ─▶ redb ─▶ publish ─▶ MirrorDriver (a task) ─▶ Mirror
//!        │                                                        │ a view for each request
//!        └─ its revision ─▶ Mirror::wait_for ─▶ ask ─▶ clients ◀─▶ server (a task a connection)
//! ```
//!
//! The store commits and waits on the main thread; the mirror's driver, the server and the clients
//! run in tokio.

mod client;
mod server;
mod settings;

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use kvwatch::{Change, EndReason, Mirror, Selector};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::store::Store;
use crate::{AnyError, Folder};
use client::{Client, talk};
use server::{Current, serve};

/// Where the settings are.
const PREFIX: &str = "config/";
/// Events that the engine keeps in memory.
const HISTORY: usize = 1024;
/// Everything here takes milliseconds; what takes longer than this is broken.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs a TCP server whose settings follow the prefix config/ of a store, changes them while
/// clients talk to it, and checks that each change reaches every connection that is open, whole.
///
/// The settings: config/greeting and config/signature are texts, config/limit says how many
/// requests a connection may make. The server keeps the last valid ones.
#[derive(Debug, Parser)]
#[command(name = "config_reload")]
pub struct Args {
    /// How many clients talk all the time, and how many are asked after each change
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub clients: u16,
    /// How many times greeting and signature are changed together
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub changes: u32,
    /// The port to listen on, on the loopback address; a free one if not given
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub port: u16,
    /// Where the store is, and stays; a temporary folder if not given
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

/// Runs it all, and writes what happens to `out`.
///
/// # Errors
/// If the port or the store cannot be used, or a client saw something else than it should have.
pub fn run(args: &Args, out: &mut impl Write) -> Result<(), AnyError> {
    let folder = Folder::open(args.data.as_deref())?;
    let store = Store::open(&folder.file("config_reload.redb"), HISTORY)?;
    let runtime = Runtime::new()?;

    // Watched first and read then, by the driver: nothing that is committed in between is missed.
    let reader = store.reader();
    let (mirror, mut driver) = Mirror::watch(&store.hub(), Selector::prefix(PREFIX), reader)?;
    let driving = runtime.spawn(async move { driver.run_async().await });

    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, args.port));
    let listener = runtime
        .block_on(TcpListener::bind(address))
        .map_err(|error| format!("cannot listen on {address}: {error}; try another --port"))?;
    let address = listener.local_addr()?;
    let current = Current::new(mirror.clone());
    let serving = runtime.spawn(serve(listener, current.clone()));
    writeln!(out, "listening on port {}", address.port())?;

    let mut show = Show {
        runtime: &runtime,
        store,
        mirror,
        clients: Vec::new(),
    };
    // Numbers from 0 are there before the first client.
    show.commit(numbered(0))?;
    let talking = show.connect(address, args.clients)?;
    show.change_while_they_talk(args.changes, out)?;
    let answers = runtime.block_on(stop(talking))?;
    writeln!(out, "{answers} answers meanwhile, each of one change")?;
    show.other_settings(&current, out)?;

    // Everything published is applied, and then the driver ends; the state stays readable.
    show.store.shut_down()?;
    let end = runtime.block_on(driving)??;
    if end != EndReason::ShutDown {
        return Err(format!("the mirror should have ended with the store: {end}").into());
    }
    serving.abort();
    writeln!(out, "every client saw every change")?;
    Ok(())
}

/// Two settings that belong together.
fn numbered(number: u32) -> Vec<Change> {
    vec![
        Change::put("config/greeting", format!("Hello {number}")),
        Change::put("config/signature", format!("server {number}")),
        Change::delete("config/limit"),
    ]
}

/// Clients that talk until they are told to stop; each returns how many answers it got.
struct Talking {
    stop: tokio::sync::watch::Sender<bool>,
    clients: Vec<JoinHandle<Result<u64, AnyError>>>,
}

async fn stop(talking: Talking) -> Result<u64, AnyError> {
    talking.stop.send_replace(true);
    let mut answers = 0;
    for client in talking.clients {
        answers += client.await??;
    }
    Ok(answers)
}

/// The store, its mirror, and clients that were there before each change.
struct Show<'a> {
    runtime: &'a Runtime,
    store: Store,
    mirror: Mirror,
    clients: Vec<Client>,
}

impl Show<'_> {
    /// Commits these changes, and waits until the server has them.
    fn commit(&mut self, changes: Vec<Change>) -> Result<(), AnyError> {
        let revision = self.store.commit(changes, "", true)?;
        self.mirror.wait_for(revision, PATIENCE)?;
        Ok(())
    }

    fn connect(&mut self, address: SocketAddr, count: u16) -> Result<Talking, AnyError> {
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let mut clients = Vec::new();
        for _ in 0..count {
            let client = self.runtime.block_on(Client::connect(address))?;
            clients.push(self.runtime.spawn(talk(client, stopped.clone())));
            let client = self.runtime.block_on(Client::connect(address))?;
            self.clients.push(client);
        }
        Ok(Talking { stop, clients })
    }

    /// Asks every client that was there before; the answer must be this.
    fn expect(&mut self, expected: &str) -> Result<(), AnyError> {
        for client in &mut self.clients {
            let answer = self.runtime.block_on(client.ask("you"))?;
            if answer.as_deref() != Some(expected) {
                return Err(format!("a client got {answer:?} and not {expected:?}").into());
            }
        }
        Ok(())
    }

    fn change_while_they_talk(
        &mut self,
        changes: u32,
        out: &mut impl Write,
    ) -> Result<(), AnyError> {
        for number in 1..=changes {
            self.commit(numbered(number))?;
            // No new connection, and no waiting beyond that for the revision.
            self.expect(&format!("Hello {number}, you! -- server {number}"))?;
        }
        let clients = self.clients.len();
        writeln!(
            out,
            "{changes} changes, each seen at once by {clients} clients that were there before"
        )?;
        Ok(())
    }

    fn other_settings(&mut self, current: &Current, out: &mut impl Write) -> Result<(), AnyError> {
        self.commit(vec![Change::delete("config/greeting")])?;
        let greeted = self.expect_prefix("Welcome, you!")?;
        writeln!(
            out,
            "without config/greeting the default is used: {greeted}"
        )?;

        self.commit(vec![
            Change::put("config/greeting", "Never seen"),
            Change::put("config/limit", "many"),
        ])?;
        self.expect_prefix("Welcome, you!")?;
        let refused = current.refused().ok_or("the bad setting was accepted")?;
        writeln!(out, "the server keeps its settings: {refused}")?;

        self.commit(vec![Change::put("config/limit", "1")])?;
        self.expect("no more than 1 requests on one connection")?;
        writeln!(out, "config/limit closes connections that have had enough")?;
        Ok(())
    }

    /// Asks every client; their answers must start so. Returns the last one.
    fn expect_prefix(&mut self, expected: &str) -> Result<String, AnyError> {
        let mut last = String::new();
        for client in &mut self.clients {
            last = self
                .runtime
                .block_on(client.ask("you"))?
                .unwrap_or_default();
            if !last.starts_with(expected) {
                return Err(format!("a client got {last:?} and not {expected:?}").into());
            }
        }
        Ok(last)
    }
}

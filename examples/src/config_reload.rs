//! A server that reads its settings from a mirror of the prefix `config/`. The settings change
//! while clients are connected.
//!
//! ```text
//!   Store::commit ─▶ redb ─▶ publish ─▶ MirrorDriver (a task) ─▶ Mirror
//!        │                                                        │ a view for each request
//!        └─ its revision ─▶ Mirror::wait_for ─▶ request ─▶ clients ◀─▶ server (a task for each)
//! ```
//!
//! The main thread commits to the store and waits. The mirror's driver, the server and the clients
//! are tokio tasks.

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
use client::{Client, send_requests};
use server::{Current, serve};

/// The prefix of the settings' keys.
const PREFIX: &str = "config/";
/// Events that the engine keeps in memory.
const HISTORY: usize = 1024;
/// Every wait here takes milliseconds; one that takes this long has failed.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Runs a TCP server whose settings follow the prefix config/ of a store, changes them while
/// clients are connected, and checks that each change reaches every open connection as a whole.
///
/// config/greeting and config/signature are texts. config/limit is the maximum number of requests
/// on a connection. If a setting is invalid, the server keeps the last valid settings.
#[derive(Debug, Parser)]
#[command(name = "config_reload")]
pub struct Args {
    /// The number of clients that send requests continuously, and of clients that send one after
    /// each change
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub clients: u16,
    /// How many times greeting and signature are changed together
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub changes: u32,
    /// The port to listen on, on the loopback address; a free one if not given
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub port: u16,
    /// The store's folder, which is kept; a temporary folder if not given
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

/// Runs the example, and writes a report to `out`.
///
/// # Errors
/// If the port cannot be used, the store fails, or a client receives an unexpected answer.
pub fn run(args: &Args, out: &mut impl Write) -> Result<(), AnyError> {
    let folder = Folder::open(args.data.as_deref())?;
    let store = Store::open(&folder.file("config_reload.redb"), HISTORY)?;
    let runtime = Runtime::new()?;

    // The driver watches first and then reads, so that it misses no commit in between.
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

    let mut demo = Demo {
        runtime: &runtime,
        store,
        mirror,
        clients: Vec::new(),
    };
    // The settings exist before the first client connects.
    demo.commit(numbered(0))?;
    let busy = demo.connect(address, args.clients)?;
    demo.change_while_clients_are_busy(args.changes, out)?;
    let answers = runtime.block_on(stop(busy))?;
    writeln!(
        out,
        "{answers} answers meanwhile, each from a single revision"
    )?;
    demo.other_settings(&current, out)?;

    // The driver applies everything published and then ends. The mirror stays readable.
    demo.store.shut_down()?;
    let end = runtime.block_on(driving)??;
    if end != EndReason::ShutDown {
        return Err(format!("the mirror did not end with the store, but: {end}").into());
    }
    serving.abort();
    writeln!(out, "every client saw every change")?;
    Ok(())
}

/// Settings in which greeting and signature have the same number.
fn numbered(number: u32) -> Vec<Change> {
    vec![
        Change::put("config/greeting", format!("Hello {number}")),
        Change::put("config/signature", format!("server {number}")),
        Change::delete("config/limit"),
    ]
}

/// Clients that send requests until `stop` is true. Each returns its number of answers.
struct BusyClients {
    stop: tokio::sync::watch::Sender<bool>,
    clients: Vec<JoinHandle<Result<u64, AnyError>>>,
}

async fn stop(busy: BusyClients) -> Result<u64, AnyError> {
    busy.stop.send_replace(true);
    let mut answers = 0;
    for client in busy.clients {
        answers += client.await??;
    }
    Ok(answers)
}

/// The store, its mirror, and clients that stay connected over all changes.
struct Demo<'a> {
    runtime: &'a Runtime,
    store: Store,
    mirror: Mirror,
    clients: Vec<Client>,
}

impl Demo<'_> {
    /// Commits the changes, and waits until the server's mirror has applied them.
    fn commit(&mut self, changes: Vec<Change>) -> Result<(), AnyError> {
        let revision = self.store.commit(changes, "", true)?;
        self.mirror.wait_for(revision, TIMEOUT)?;
        Ok(())
    }

    fn connect(&mut self, address: SocketAddr, count: u16) -> Result<BusyClients, AnyError> {
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let mut clients = Vec::new();
        for _ in 0..count {
            let client = self.runtime.block_on(Client::connect(address))?;
            clients.push(self.runtime.spawn(send_requests(client, stopped.clone())));
            let client = self.runtime.block_on(Client::connect(address))?;
            self.clients.push(client);
        }
        Ok(BusyClients { stop, clients })
    }

    /// Sends a request from every client, and checks the answers.
    fn expect(&mut self, expected: &str) -> Result<(), AnyError> {
        for client in &mut self.clients {
            let answer = self.runtime.block_on(client.request("you"))?;
            if answer.as_deref() != Some(expected) {
                return Err(format!("a client received {answer:?} instead of {expected:?}").into());
            }
        }
        Ok(())
    }

    fn change_while_clients_are_busy(
        &mut self,
        changes: u32,
        out: &mut impl Write,
    ) -> Result<(), AnyError> {
        for number in 1..=changes {
            self.commit(numbered(number))?;
            // The connections are old, and the only wait was for the revision.
            self.expect(&format!("Hello {number}, you! -- server {number}"))?;
        }
        let clients = self.clients.len();
        writeln!(
            out,
            "{changes} changes, each seen at once by {clients} clients on their old connections"
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
        let error = current.error().ok_or("the bad setting was accepted")?;
        writeln!(out, "the server keeps its settings: {error}")?;

        self.commit(vec![Change::put("config/limit", "1")])?;
        self.expect("no more than 1 requests on one connection")?;
        writeln!(out, "config/limit closes connections that reach it")?;
        Ok(())
    }

    /// Sends a request from every client, and checks the start of the answers. Returns the last
    /// one.
    fn expect_prefix(&mut self, expected: &str) -> Result<String, AnyError> {
        let mut last = String::new();
        for client in &mut self.clients {
            last = self
                .runtime
                .block_on(client.request("you"))?
                .unwrap_or_default();
            if !last.starts_with(expected) {
                return Err(format!("a client received {last:?} instead of {expected:?}").into());
            }
        }
        Ok(last)
    }
}

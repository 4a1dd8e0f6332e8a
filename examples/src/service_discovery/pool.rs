//! A client that has a connection to every server in the catalogue.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use kvwatch::stream::WatchStream;
use kvwatch::{RecvError, WatchOptions};
use smol::Timer;
use smol::channel::{Receiver, Sender, bounded};
use smol::future::or;
use smol::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use smol::lock::Mutex;
use smol::net::TcpStream;

use super::catalogue::{Catalogue, address, name};
use crate::AnyError;

/// Everything here takes milliseconds; what takes longer than this is broken.
const PATIENCE: Duration = Duration::from_secs(30);

/// A handle to the client's connections.
#[derive(Clone)]
pub(crate) struct Pool {
    shared: Rc<Shared>,
}

struct Shared {
    servers: RefCell<BTreeMap<String, Rc<Server>>>,
    /// Who was asked last.
    last: RefCell<String>,
    /// Full when something has changed since somebody looked.
    changed: (Sender<()>, Receiver<()>),
}

struct Server {
    address: SocketAddr,
    /// One request at a time.
    stream: Mutex<BufReader<TcpStream>>,
}

impl Server {
    async fn ask(&self) -> Result<String, AnyError> {
        let mut stream = self.stream.lock().await;
        stream.get_mut().write_all(b"who?\n").await?;
        let mut answer = String::new();
        if stream.read_line(&mut answer).await? == 0 {
            return Err("the connection was closed".into());
        }
        Ok(answer.trim_end().to_owned())
    }
}

impl Pool {
    pub(crate) fn new() -> Self {
        let shared = Rc::new(Shared {
            servers: RefCell::default(),
            last: RefCell::default(),
            changed: bounded(1),
        });
        Self { shared }
    }

    /// Runs until the catalogue ends: reads it, and follows it from there. What is read after a
    /// lag takes the place of what was known.
    pub(crate) async fn follow(self, catalogue: Catalogue) -> Result<(), AnyError> {
        loop {
            let (revision, entries) = catalogue.reader.snapshot(&Catalogue::entries())?;
            let there: Vec<String> = entries
                .keys()
                .map(|key| name(key))
                .collect::<Result<_, _>>()?;
            self.forget_all_but(&there);
            for (key, value) in &entries {
                self.connect(key, value).await?;
            }
            let options = WatchOptions::new().start_revision(revision + 1);
            let watcher = catalogue.hub.watch_with(Catalogue::entries(), options)?;
            let mut events = WatchStream::new(watcher);
            loop {
                match events.recv().await {
                    Ok(event) => match event.value() {
                        Some(value) => self.connect(event.key(), value).await?,
                        None => self.forget(&name(event.key())?),
                    },
                    Err(RecvError::Lagged(_)) => break,
                    Err(_) => return Ok(()),
                }
            }
        }
    }

    async fn connect(&self, key: &[u8], value: &[u8]) -> Result<(), AnyError> {
        let (name, address) = (name(key)?, address(value)?);
        let known = self.shared.servers.borrow().get(&name).cloned();
        if known.is_some_and(|server| server.address == address) {
            return Ok(());
        }
        match TcpStream::connect(address).await {
            Ok(stream) => {
                let stream = Mutex::new(BufReader::new(stream));
                let server = Rc::new(Server { address, stream });
                self.shared.servers.borrow_mut().insert(name, server);
                self.has_changed();
            }
            // It is there no more; its entry will say so soon.
            Err(_) => self.forget(&name),
        }
        Ok(())
    }

    fn forget(&self, name: &str) {
        self.shared.servers.borrow_mut().remove(name);
        self.has_changed();
    }

    fn forget_all_but(&self, names: &[String]) {
        let mut servers = self.shared.servers.borrow_mut();
        servers.retain(|name, _| names.contains(name));
        self.has_changed();
    }

    fn has_changed(&self) {
        // Full: it will be looked at anyway.
        let _ = self.shared.changed.0.try_send(());
    }

    /// Asks this server for its name.
    pub(crate) async fn ask(&self, name: &str) -> Result<String, AnyError> {
        let server = self.shared.servers.borrow().get(name).cloned();
        server.ok_or("it is not known")?.ask().await
    }

    /// Asks whose turn it is for its name.
    pub(crate) async fn ask_next(&self) -> Result<String, AnyError> {
        let (name, server) = {
            let servers = self.shared.servers.borrow();
            let last = self.shared.last.borrow().clone();
            let mut behind = servers
                .range(last.clone()..)
                .filter(|(name, _)| **name != last);
            let next = behind.next().or_else(|| servers.first_key_value());
            let (name, server) = next.ok_or("no server is known")?;
            (name.clone(), Rc::clone(server))
        };
        self.shared.last.replace(name);
        server.ask().await
    }

    /// Waits until it knows just these.
    pub(crate) async fn settled(&self, names: &[String]) -> Result<(), AnyError> {
        let settled = |servers: &BTreeMap<String, Rc<Server>>| servers.keys().eq(names);
        self.wait_until(settled).await
    }

    /// Waits until this server is at this address.
    pub(crate) async fn connected_to(&self, name: &str, at: SocketAddr) -> Result<(), AnyError> {
        let moved = |servers: &BTreeMap<String, Rc<Server>>| {
            servers.get(name).is_some_and(|server| server.address == at)
        };
        self.wait_until(moved).await
    }

    async fn wait_until(
        &self,
        reached: impl Fn(&BTreeMap<String, Rc<Server>>) -> bool,
    ) -> Result<(), AnyError> {
        let waited = async {
            while !reached(&self.shared.servers.borrow()) {
                self.shared.changed.1.recv().await?;
            }
            Ok(())
        };
        let given_up = async {
            Timer::after(PATIENCE).await;
            Err("the catalogue's changes did not arrive".into())
        };
        or(waited, given_up).await
    }
}

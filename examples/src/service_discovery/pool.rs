//! A client with a connection to every server in the catalogue.

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

/// Every wait here takes milliseconds; one that takes this long has failed.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A handle to the client's connections. Clones share them.
#[derive(Clone)]
pub(crate) struct Pool {
    shared: Rc<Shared>,
}

struct Shared {
    servers: RefCell<BTreeMap<String, Rc<Server>>>,
    /// The server that got the last request.
    last: RefCell<String>,
    /// Full if the servers have changed since the last look at them.
    changed: (Sender<()>, Receiver<()>),
}

struct Server {
    address: SocketAddr,
    /// Locked during a request.
    stream: Mutex<BufReader<TcpStream>>,
}

impl Server {
    async fn request(&self) -> Result<String, AnyError> {
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

    /// Reads the catalogue and then watches it, until it is shut down. After a lag it reads the
    /// catalogue again, and drops servers that have no entry.
    pub(crate) async fn follow(self, catalogue: Catalogue) -> Result<(), AnyError> {
        loop {
            let (revision, entries) = catalogue.reader.snapshot(&Catalogue::entries())?;
            let names: Vec<String> = entries
                .keys()
                .map(|key| name(key))
                .collect::<Result<_, _>>()?;
            self.retain(&names);
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
                        None => self.remove(&name(event.key())?),
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
                self.notify_changed();
            }
            // The server has stopped. Its entry will be deleted soon.
            Err(_) => self.remove(&name),
        }
        Ok(())
    }

    fn remove(&self, name: &str) {
        self.shared.servers.borrow_mut().remove(name);
        self.notify_changed();
    }

    fn retain(&self, names: &[String]) {
        let mut servers = self.shared.servers.borrow_mut();
        servers.retain(|name, _| names.contains(name));
        self.notify_changed();
    }

    fn notify_changed(&self) {
        // A full channel already holds a notification.
        let _ = self.shared.changed.0.try_send(());
    }

    /// Sends a request to this server, and returns the name in its answer.
    pub(crate) async fn request(&self, name: &str) -> Result<String, AnyError> {
        let server = self.shared.servers.borrow().get(name).cloned();
        server.ok_or("the server is not known")?.request().await
    }

    /// Sends a request to the server whose turn it is, and returns the name in its answer.
    pub(crate) async fn request_next(&self) -> Result<String, AnyError> {
        let (name, server) = {
            let servers = self.shared.servers.borrow();
            let last = self.shared.last.borrow().clone();
            let mut following = servers
                .range(last.clone()..)
                .filter(|(name, _)| **name != last);
            let next = following.next().or_else(|| servers.first_key_value());
            let (name, server) = next.ok_or("no server is known")?;
            (name.clone(), Rc::clone(server))
        };
        self.shared.last.replace(name);
        server.request().await
    }

    /// Waits until the client is connected to exactly these servers.
    pub(crate) async fn wait_for_servers(&self, names: &[String]) -> Result<(), AnyError> {
        let equal = |servers: &BTreeMap<String, Rc<Server>>| servers.keys().eq(names);
        self.wait_until(equal).await
    }

    /// Waits until the client is connected to this server at this address.
    pub(crate) async fn wait_for_address(
        &self,
        name: &str,
        address: SocketAddr,
    ) -> Result<(), AnyError> {
        let moved = |servers: &BTreeMap<String, Rc<Server>>| {
            servers
                .get(name)
                .is_some_and(|server| server.address == address)
        };
        self.wait_until(moved).await
    }

    async fn wait_until(
        &self,
        condition: impl Fn(&BTreeMap<String, Rc<Server>>) -> bool,
    ) -> Result<(), AnyError> {
        let waited = async {
            while !condition(&self.shared.servers.borrow()) {
                self.shared.changed.1.recv().await?;
            }
            Ok(())
        };
        let timed_out = async {
            Timer::after(TIMEOUT).await;
            Err("the catalogue's changes did not arrive".into())
        };
        or(waited, timed_out).await
    }
}

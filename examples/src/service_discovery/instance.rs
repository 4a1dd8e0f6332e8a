//! A server that answers requests with its name, and sends heartbeats for its entry in the
//! catalogue.

use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use smol::channel::{Receiver, Sender, bounded};
use smol::future::or;
use smol::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use smol::net::{TcpListener, TcpStream};
use smol::{LocalExecutor, Task, Timer};

use super::catalogue::Catalogue;
use crate::AnyError;

/// A running server, until it leaves, crashes or is dropped.
pub(crate) struct Instance {
    name: String,
    address: SocketAddr,
    catalogue: Catalogue,
    serving: Task<()>,
    heartbeats: Task<()>,
    /// Closed to stop the heartbeats.
    stop: Sender<()>,
}

impl Instance {
    /// Starts a server on a free port, and puts its entry into the catalogue.
    pub(crate) async fn start(
        name: String,
        catalogue: Catalogue,
        interval: Duration,
        executor: &Rc<LocalExecutor<'static>>,
    ) -> Result<Self, AnyError> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let serving = executor.spawn(serve(listener, name.clone(), Rc::clone(executor)));
        catalogue.put(&name, address, false).await?;
        let (stop, stopped) = bounded(1);
        let sending = send_heartbeats(stopped, interval, name.clone(), address, catalogue.clone());
        let heartbeats = executor.spawn(sending);
        Ok(Self {
            name,
            address,
            catalogue,
            serving,
            heartbeats,
            stop,
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Deletes its entry and then stops, so that clients which do not know of the deletion yet are
    /// still served. Returns its name.
    pub(crate) async fn leave(self) -> Result<String, AnyError> {
        // Waits for a heartbeat that is being written: it would put the entry again.
        self.stop.close();
        self.heartbeats.await;
        self.catalogue.delete(&self.name).await?;
        drop(self.serving);
        Ok(self.name)
    }

    /// Stops at once, and leaves its entry behind.
    pub(crate) async fn crash(self) {
        drop(self.serving);
        self.stop.close();
        self.heartbeats.await;
    }
}

/// Puts the entry again in each interval. A put of the same value is an event too, which serves as
/// a heartbeat.
async fn send_heartbeats(
    stopped: Receiver<()>,
    interval: Duration,
    name: String,
    address: SocketAddr,
    catalogue: Catalogue,
) {
    let stopped = || async { stopped.recv().await.is_err() };
    let tick = || async {
        Timer::after(interval).await;
        false
    };
    while !or(stopped(), tick()).await {
        if catalogue.put(&name, address, true).await.is_err() {
            return;
        }
    }
}

async fn serve(listener: TcpListener, name: String, executor: Rc<LocalExecutor<'static>>) {
    // Dropping the tasks ends the connections with their server.
    let mut connections = Vec::new();
    while let Ok((stream, _)) = listener.accept().await {
        let name = name.clone();
        connections.push(executor.spawn(async move {
            // An error ends this connection only.
            let _ = answer(stream, &name).await;
        }));
    }
}

/// Answers each line with a line that contains the name.
async fn answer(mut stream: TcpStream, name: &str) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.clone());
    let mut line = String::new();
    while lines.read_line(&mut line).await? > 0 {
        stream.write_all(format!("{name}\n").as_bytes()).await?;
        line.clear();
    }
    Ok(())
}

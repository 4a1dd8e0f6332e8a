//! A server that says its name to whoever asks, and speaks for its own entry in the catalogue.

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

/// Runs until it leaves, crashes or is dropped.
pub(crate) struct Instance {
    name: String,
    address: SocketAddr,
    catalogue: Catalogue,
    serving: Task<()>,
    speaking: Task<()>,
    /// Closed when it is to speak no more.
    stop: Sender<()>,
}

impl Instance {
    /// Listens on a free port, and is in the catalogue when this returns.
    pub(crate) async fn start(
        name: String,
        catalogue: Catalogue,
        beat: Duration,
        executor: &Rc<LocalExecutor<'static>>,
    ) -> Result<Self, AnyError> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let serving = executor.spawn(serve(listener, name.clone(), Rc::clone(executor)));
        catalogue.put(&name, address, false).await?;
        let (stop, stopped) = bounded(1);
        let beating = beat_until(stopped, beat, name.clone(), address, catalogue.clone());
        let speaking = executor.spawn(beating);
        Ok(Self {
            name,
            address,
            catalogue,
            serving,
            speaking,
            stop,
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Leaves the catalogue first, and serves whoever has not heard of it meanwhile. Returns its
    /// name.
    pub(crate) async fn leave(self) -> Result<String, AnyError> {
        // A heartbeat that is being written would bring the entry back: it is waited for.
        self.stop.close();
        self.speaking.await;
        self.catalogue.delete(&self.name).await?;
        drop(self.serving);
        Ok(self.name)
    }

    /// Is gone at once, and leaves its entry behind.
    pub(crate) async fn crash(self) {
        drop(self.serving);
        self.stop.close();
        self.speaking.await;
    }
}

/// Puts the entry again and again: a put of the same value is an event too, and that is all a
/// heartbeat has to be.
async fn beat_until(
    stopped: Receiver<()>,
    beat: Duration,
    name: String,
    address: SocketAddr,
    catalogue: Catalogue,
) {
    let stopped = || async { stopped.recv().await.is_err() };
    let tick = || async {
        Timer::after(beat).await;
        false
    };
    while !or(stopped(), tick()).await {
        if catalogue.put(&name, address, true).await.is_err() {
            return;
        }
    }
}

async fn serve(listener: TcpListener, name: String, executor: Rc<LocalExecutor<'static>>) {
    // Connections end with their server.
    let mut connections = Vec::new();
    while let Ok((stream, _)) = listener.accept().await {
        let name = name.clone();
        connections.push(executor.spawn(async move {
            // A client that goes away ends this, and nothing else.
            let _ = answer(stream, &name).await;
        }));
    }
}

/// A line with the name for each line.
async fn answer(mut stream: TcpStream, name: &str) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.clone());
    let mut line = String::new();
    while lines.read_line(&mut line).await? > 0 {
        stream.write_all(format!("{name}\n").as_bytes()).await?;
        line.clear();
    }
    Ok(())
}

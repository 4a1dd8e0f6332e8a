//! The servers as processes, which end when their handle is dropped.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use clap::ValueEnum;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use crate::AnyError;

/// How long a server may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// A server to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Kind {
    Etcd,
    Ours,
}

impl Kind {
    pub(crate) const ALL: [Self; 2] = [Self::Etcd, Self::Ours];
}

/// Where the server's files are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Folder {
    Disk,
    Memory,
}

impl Folder {
    pub(crate) const ALL: [Self; 2] = [Self::Disk, Self::Memory];

    fn make(self, out: &Path) -> Result<TempDir, AnyError> {
        Ok(match self {
            Self::Disk => tempfile::tempdir_in(out)?,
            Self::Memory => tempfile::tempdir_in("/dev/shm")?,
        })
    }
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    child: Child,
    _folder: TempDir,
}

impl Server {
    /// The resident memory of the process, in bytes.
    pub(crate) fn resident(&self) -> Result<f64, AnyError> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let kib: f64 = kib.ok_or("no VmRSS in its status")?.trim().parse()?;
        Ok(kib * 1024.0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Starts a server on a folder of its own, and waits until it accepts connections.
pub(crate) async fn start(
    kind: Kind,
    folder: Folder,
    program: &Path,
    out: &Path,
) -> Result<Server, AnyError> {
    let folder = folder.make(out)?;
    match kind {
        Kind::Etcd => start_etcd(folder).await,
        Kind::Ours => start_ours(folder, program),
    }
}

/// A port that is free now.
fn free_port() -> Result<u16, AnyError> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

async fn start_etcd(folder: TempDir) -> Result<Server, AnyError> {
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
    let url = format!("http://{address}");
    let peers = format!("http://127.0.0.1:{}", free_port()?);
    let log = fs::File::create(folder.path().join("log"))?;
    let child = Command::new("etcd")
        .arg("--data-dir")
        .arg(folder.path().join("data"))
        .args(["--listen-client-urls", &url])
        .args(["--advertise-client-urls", &url])
        .args(["--listen-peer-urls", &peers])
        .args(["--initial-advertise-peer-urls", &peers])
        .args(["--initial-cluster", &format!("default={peers}")])
        .args(["--logger", "zap", "--log-level", "error"])
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .map_err(|error| format!("etcd does not start ({error}): is etcd-server installed?"))?;
    let server = Server {
        address,
        child,
        _folder: folder,
    };
    let deadline = Instant::now() + START_TIMEOUT;
    while TcpStream::connect(address).await.is_err() {
        if Instant::now() > deadline {
            return Err("etcd does not answer".into());
        }
        sleep(Duration::from_millis(20)).await;
    }
    Ok(server)
}

fn start_ours(folder: TempDir, program: &Path) -> Result<Server, AnyError> {
    let mut child = Command::new(program)
        .arg("--data")
        .arg(folder.path().join("store"))
        .args(["--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{} does not start: {error}", program.display()))?;
    let stdout = child.stdout.take().ok_or("the server has no output")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    let address = line.trim().strip_prefix("listening on ");
    let address = address
        .ok_or_else(|| format!("the server printed {line:?}"))?
        .parse()?;
    Ok(Server {
        address,
        child,
        _folder: folder,
    })
}

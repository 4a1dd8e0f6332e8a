//! The command line.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Parser;

/// A single-node server for etcd's clients, on a redb file.
#[derive(Clone, Debug, Parser)]
#[command(name = "kvwatch-server")]
pub struct Args {
    /// The folder of the store, created if it is missing.
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// The address to listen on. Port 0 takes a free port; the first line of output names it.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:2379")]
    pub listen: SocketAddr,
    /// The server's certificate chain, PEM. Turns TLS on.
    #[arg(long, value_name = "FILE", requires = "key")]
    pub cert: Option<PathBuf>,
    /// The private key of the certificate, PEM.
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
    /// Clients must present a certificate of this CA, PEM.
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub client_ca: Option<PathBuf>,
    /// Clients must log in with this name and password, which give access to everything.
    #[arg(long, value_name = "NAME:PASSWORD")]
    pub user: Option<String>,
    /// Seconds after which a quiet watch that requests progress is notified.
    #[arg(long, value_name = "SECONDS", default_value_t = 600.0)]
    pub progress_interval: f64,
    /// Events kept in memory for watchers. Older events are read from the file.
    #[arg(long, value_name = "EVENTS", default_value_t = 65_536)]
    pub history: usize,
    /// Threads that serve clients, besides the one that writes. Default: one for each core. With a
    /// single thread an event is not handed from thread to thread, so a lone event arrives sooner,
    /// but fewer events reach many watches.
    #[arg(long, value_name = "THREADS")]
    pub threads: Option<NonZeroUsize>,
}

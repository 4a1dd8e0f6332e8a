//! Serving a [`Store`] until the process is told to stop.

use std::future::Future;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use kvwatch_etcd::{Etcd, Identity, User};
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Certificate, Identity as TlsIdentity, Server, ServerTlsConfig};

use crate::args::Args;
use crate::error::AnyError;
use crate::store::Store;

/// How long clients may take to read the rest of their streams when the server stops.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

/// A connection that is quiet for this long is probed: by TCP, whether its host is still there, and
/// by an HTTP/2 ping, whether the client still answers.
const PROBE_AFTER: Duration = Duration::from_secs(30);

/// How often TCP repeats a probe, and after which pause. A host that is gone is noticed then.
const PROBES: u32 = 2;
const PROBE_INTERVAL: Duration = Duration::from_secs(10);

/// How long a client may take to answer a ping. The answer waits for every byte that is already on
/// its way to the client: several megabytes of window and socket buffers. So this bounds how slowly
/// a client may read, not how fast it must answer, and it is generous.
const PING_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// The program: parses the command line and serves until SIGTERM or ctrl-C.
#[must_use]
pub fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kvwatch-server: {error}");
            let mut source = error.source();
            while let Some(error) = source {
                eprintln!("  because: {error}");
                source = error.source();
            }
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> Result<(), AnyError> {
    let mut runtime = Builder::new_multi_thread();
    if let Some(threads) = args.threads {
        runtime.worker_threads(threads.get());
    }
    let runtime = runtime.enable_all().build()?;
    runtime.block_on(serve_until_signal(args))
}

async fn serve_until_signal(args: Args) -> Result<(), AnyError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let stop = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    };
    let listening = |address| println!("listening on {address}");
    serve(args, listening, stop).await
}

/// Serves until `stop` is ready. Calls `listening` with the address once clients can connect.
///
/// On `stop` the store commits everything it accepted, and watch streams end after their last
/// events. Streams that are still open after two seconds are cut off.
///
/// # Errors
/// If the store or a certificate cannot be read, the address cannot be listened on, or serving
/// fails.
pub async fn serve(
    args: Args,
    listening: impl FnOnce(SocketAddr),
    stop: impl Future<Output = ()>,
) -> Result<(), AnyError> {
    let mut server = Server::builder()
        .tcp_nodelay(true)
        .max_concurrent_streams(10_000)
        .http2_keepalive_interval(Some(PROBE_AFTER))
        .http2_keepalive_timeout(Some(PING_TIMEOUT));
    if let Some(tls) = tls(&args)? {
        server = server.tls_config(tls)?;
    }
    let store = Arc::new(Store::open(&args.data, args.history)?);
    let listener = TcpListener::bind(args.listen).await?;
    let address = listener.local_addr()?;
    let etcd = etcd(&args, address, &store)?;
    let routes = server
        .add_service(etcd.kv())
        .add_service(etcd.watch())
        .add_service(etcd.lease())
        .add_service(etcd.maintenance())
        .add_service(etcd.cluster())
        .add_service(etcd.auth());
    drop(etcd);
    listening(address);
    let (stopped, stopping) = tokio::sync::oneshot::channel::<()>();
    let incoming = TcpIncoming::from(listener)
        .with_nodelay(Some(true))
        .with_keepalive(Some(PROBE_AFTER))
        .with_keepalive_interval(Some(PROBE_INTERVAL))
        .with_keepalive_retries(Some(PROBES));
    let serving = routes.serve_with_incoming_shutdown(incoming, async {
        drop(stopping.await);
    });
    tokio::pin!(serving, stop);
    tokio::select! {
        served = &mut serving => return Ok(served?),
        () = stop => {}
    }
    drop(stopped);
    store.stop();
    drop(tokio::time::timeout(SHUTDOWN_GRACE, serving).await);
    Ok(())
}

fn etcd(args: &Args, address: SocketAddr, store: &Arc<Store>) -> Result<Etcd<Store>, AnyError> {
    let scheme = if args.cert.is_some() { "https" } else { "http" };
    let mut identity = Identity::default();
    identity.cluster_id = store.cluster_id();
    identity.client_urls = vec![format!("{scheme}://{address}")];
    let interval = Duration::try_from_secs_f64(args.progress_interval)?;
    let mut builder = Etcd::builder(store.hub(), Arc::clone(store))
        .identity(identity)
        .progress_interval(interval);
    if let Some(user) = &args.user {
        let (name, password) = user.split_once(':').ok_or("--user takes NAME:PASSWORD")?;
        builder = builder.user(User::new(name, password).allow_all());
    }
    if !address.ip().is_loopback() && args.user.is_none() && args.client_ca.is_none() {
        eprintln!("kvwatch-server: every client that can reach {address} can read and write");
    }
    Ok(builder.build())
}

fn tls(args: &Args) -> Result<Option<ServerTlsConfig>, AnyError> {
    let (Some(cert), Some(key)) = (&args.cert, &args.key) else {
        return Ok(None);
    };
    let own = TlsIdentity::from_pem(std::fs::read(cert)?, std::fs::read(key)?);
    let mut config = ServerTlsConfig::new().identity(own);
    if let Some(ca) = &args.client_ca {
        config = config.client_ca_root(Certificate::from_pem(std::fs::read(ca)?));
    }
    Ok(Some(config))
}

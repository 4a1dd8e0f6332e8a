//! The services in the test's own process, over the server's store.

use std::sync::Arc;

use kvwatch::Hub;
use kvwatch_etcd::{Etcd, EtcdBuilder};
use kvwatch_server::Store;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use super::Client;

/// A server in this process, which ends when it is dropped.
#[derive(Debug)]
pub struct Local {
    /// The store that is served.
    pub store: Arc<Store>,
    address: String,
    serving: JoinHandle<()>,
    _folder: TempDir,
}

impl Local {
    /// Starts a server that keeps `history` events in memory, configured by `configure`.
    ///
    /// # Panics
    /// If the server does not start.
    pub async fn start(
        history: usize,
        configure: impl FnOnce(EtcdBuilder<Store>) -> EtcdBuilder<Store>,
    ) -> Self {
        let (folder, store) = open(history);
        let etcd = configure(Etcd::builder(store.hub(), Arc::clone(&store))).build();
        Self::serve(folder, store, &etcd).await
    }

    /// Starts a server whose watches are those of another engine.
    ///
    /// # Panics
    /// If the server does not start.
    pub async fn with_hub(hub: Hub) -> Self {
        let (folder, store) = open(0);
        let etcd = Etcd::builder(hub, Arc::clone(&store)).build();
        Self::serve(folder, store, &etcd).await
    }

    async fn serve(folder: TempDir, store: Arc<Store>, etcd: &Etcd<Store>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address").to_string();
        let routes = Server::builder()
            .add_service(etcd.kv())
            .add_service(etcd.watch())
            .add_service(etcd.lease())
            .add_service(etcd.maintenance())
            .add_service(etcd.cluster())
            .add_service(etcd.auth());
        let serving = tokio::spawn(async move {
            let served = routes.serve_with_incoming(TcpIncoming::from(listener));
            served.await.expect("it serves");
        });
        Self {
            store,
            address,
            serving,
            _folder: folder,
        }
    }

    /// The store's hub.
    #[must_use]
    pub fn hub(&self) -> Hub {
        self.store.hub()
    }

    /// Opens another connection.
    pub async fn client(&self) -> Client {
        Client::connect(&self.address).await
    }
}

fn open(history: usize) -> (TempDir, Arc<Store>) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path(), history).expect("a store");
    (folder, Arc::new(store))
}

impl Drop for Local {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

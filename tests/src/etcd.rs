//! Servers and clients of etcd's API, ours and etcd's own, for the tests.

pub mod compare;
pub mod crash;
pub mod crowd;
mod event;
pub mod generate;
mod local;
mod process;

pub use local::Local;
pub use process::{EtcdProcess, Etcdctl, ServerProcess};

use kvwatch_etcd::wire::etcdserverpb::auth_client::AuthClient;
use kvwatch_etcd::wire::etcdserverpb::cluster_client::ClusterClient;
use kvwatch_etcd::wire::etcdserverpb::kv_client::KvClient;
use kvwatch_etcd::wire::etcdserverpb::lease_client::LeaseClient;
use kvwatch_etcd::wire::etcdserverpb::maintenance_client::MaintenanceClient;
use kvwatch_etcd::wire::etcdserverpb::watch_client::WatchClient;
use kvwatch_etcd::wire::etcdserverpb::watch_request::RequestUnion;
use kvwatch_etcd::wire::etcdserverpb::{
    PutRequest, RangeRequest, WatchCancelRequest, WatchCreateRequest, WatchProgressRequest,
    WatchRequest, WatchResponse,
};
use tokio::sync::mpsc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};

/// One connection to a server.
#[derive(Clone, Debug)]
pub struct Client {
    channel: Channel,
}

impl Client {
    /// Connects to a server that may still be starting.
    ///
    /// # Panics
    /// If the server does not accept a connection in time.
    pub async fn connect(address: &str) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
        let deadline = tokio::time::Instant::now() + crate::HANG;
        loop {
            match endpoint.connect().await {
                Ok(channel) => return Self { channel },
                Err(error) => {
                    let now = tokio::time::Instant::now();
                    assert!(now < deadline, "{address} never answered: {error}");
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                }
            }
        }
    }

    /// The KV service.
    #[must_use]
    pub fn kv(&self) -> KvClient<Channel> {
        KvClient::new(self.channel.clone()).max_decoding_message_size(usize::MAX)
    }

    /// The Lease service.
    #[must_use]
    pub fn lease(&self) -> LeaseClient<Channel> {
        LeaseClient::new(self.channel.clone())
    }

    /// The Maintenance service.
    #[must_use]
    pub fn maintenance(&self) -> MaintenanceClient<Channel> {
        MaintenanceClient::new(self.channel.clone())
    }

    /// The Cluster service.
    #[must_use]
    pub fn cluster(&self) -> ClusterClient<Channel> {
        ClusterClient::new(self.channel.clone())
    }

    /// The Auth service.
    #[must_use]
    pub fn auth(&self) -> AuthClient<Channel> {
        AuthClient::new(self.channel.clone())
    }

    /// Puts a key, and returns the revision.
    ///
    /// # Errors
    /// The server's status.
    pub async fn put(&self, key: &str, value: &str) -> Result<i64, Status> {
        let request = PutRequest {
            key: key.to_owned().into(),
            value: value.to_owned().into(),
            ..PutRequest::default()
        };
        let response = self.kv().put(request).await?;
        Ok(response
            .into_inner()
            .header
            .map_or(0, |header| header.revision))
    }

    /// The current revision.
    ///
    /// # Errors
    /// The server's status.
    pub async fn revision(&self) -> Result<i64, Status> {
        let request = RangeRequest {
            key: "any".into(),
            ..RangeRequest::default()
        };
        let response = self.kv().range(request).await?;
        Ok(response
            .into_inner()
            .header
            .map_or(0, |header| header.revision))
    }

    /// Opens a watch stream without a request. Our server answers at once; etcd waits for the first
    /// request.
    ///
    /// # Errors
    /// The server's status.
    pub async fn watch(&self) -> Result<WatchStream, Status> {
        self.open_stream(mpsc::unbounded_channel()).await
    }

    /// Opens a watch stream with its first request.
    ///
    /// # Errors
    /// The server's status.
    pub async fn watch_with(&self, first: WatchCreateRequest) -> Result<WatchStream, Status> {
        let (requests, receiver) = mpsc::unbounded_channel();
        let first = WatchRequest {
            request_union: Some(RequestUnion::CreateRequest(first)),
        };
        drop(requests.send(first));
        self.open_stream((requests, receiver)).await
    }

    async fn open_stream(&self, (requests, mut receiver): Queue) -> Result<WatchStream, Status> {
        let outbound = futures::stream::poll_fn(move |cx| receiver.poll_recv(cx));
        let mut client =
            WatchClient::new(self.channel.clone()).max_decoding_message_size(usize::MAX);
        let responses = client.watch(outbound).await?.into_inner();
        Ok(WatchStream {
            requests: Some(requests),
            responses,
        })
    }
}

type Queue = (
    mpsc::UnboundedSender<WatchRequest>,
    mpsc::UnboundedReceiver<WatchRequest>,
);

/// One watch stream, as its client sees it.
#[derive(Debug)]
pub struct WatchStream {
    requests: Option<mpsc::UnboundedSender<WatchRequest>>,
    responses: Streaming<WatchResponse>,
}

impl WatchStream {
    fn send(&self, union: RequestUnion) {
        let requests = self.requests.as_ref().expect("not half-closed");
        let request = WatchRequest {
            request_union: Some(union),
        };
        // If the server has ended the stream, the next response reports it.
        drop(requests.send(request));
    }

    /// Requests a watch.
    pub fn create(&self, request: WatchCreateRequest) {
        self.send(RequestUnion::CreateRequest(request));
    }

    /// Cancels a watch.
    pub fn cancel(&self, watch_id: i64) {
        self.send(RequestUnion::CancelRequest(WatchCancelRequest { watch_id }));
    }

    /// Requests progress.
    pub fn progress(&self) {
        self.send(RequestUnion::ProgressRequest(WatchProgressRequest {}));
    }

    /// Closes the client's side of the stream.
    pub fn half_close(&mut self) {
        self.requests = None;
    }

    /// The next response.
    ///
    /// # Errors
    /// The status that ended the stream.
    ///
    /// # Panics
    /// If no response arrives in time.
    pub async fn next(&mut self) -> Result<WatchResponse, Status> {
        let next = tokio::time::timeout(crate::HANG, self.responses.message()).await;
        let message = next.expect("a response in time")?;
        message.ok_or_else(|| Status::ok("the stream ended"))
    }

    /// The next response, if it arrives within `millis` milliseconds.
    ///
    /// # Errors
    /// The status that ended the stream.
    pub async fn next_within(&mut self, millis: u64) -> Result<Option<WatchResponse>, Status> {
        let limit = std::time::Duration::from_millis(millis);
        match tokio::time::timeout(limit, self.responses.message()).await {
            Err(_) => Ok(None),
            Ok(message) => message?
                .ok_or_else(|| Status::ok("the stream ended"))
                .map(Some),
        }
    }
}

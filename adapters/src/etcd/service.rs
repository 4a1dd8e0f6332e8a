//! The services, to be mounted into a tonic server.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tonic::Status;
use tonic::metadata::MetadataMap;

use super::census::Census;
use super::error::StoreError;
use super::header;
use super::identity::Identity;
use super::limits::Limits;
use super::operation::{Answer, Operation, Query, Reply};
use super::store::Store;
use super::users::{Caller, User, Users};
use super::watch::{Groups, WatchServer};
use super::wire::etcdserverpb::ResponseHeader;
use super::wire::etcdserverpb::auth_server::AuthServer;
use super::wire::etcdserverpb::cluster_server::ClusterServer;
use super::wire::etcdserverpb::kv_server::KvServer;
use super::wire::etcdserverpb::lease_server::LeaseServer;
use super::wire::etcdserverpb::maintenance_server::MaintenanceServer;
use crate::{Hub, Revision};

/// How often a quiet watch that asked for progress is told of it, if not said otherwise.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10 * 60);

/// Sets the services up: from [`Etcd::builder`].
#[must_use]
pub struct EtcdBuilder<S> {
    hub: Hub,
    store: Arc<S>,
    identity: Identity,
    limits: Limits,
    users: Vec<User>,
    progress_interval: Duration,
}

impl<S: Store> EtcdBuilder<S> {
    /// Who answers. Default: [`Identity::default`].
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = identity;
        self
    }

    /// How much clients may ask for. Default: [`Limits::default`].
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// One more who may call. Default: nobody is configured, and then anybody may do anything.
    pub fn user(mut self, user: User) -> Self {
        self.users.push(user);
        self
    }

    /// How long a watch that asked for progress must be quiet to be told of it; up to a tenth is
    /// added, so that streams do not all wake at once. At least a millisecond. Default: 10
    /// minutes.
    pub fn progress_interval(mut self, interval: Duration) -> Self {
        self.progress_interval = interval.max(Duration::from_millis(1));
        self
    }

    /// The services.
    #[must_use]
    pub fn build(self) -> Etcd<S> {
        Etcd {
            hub: self.hub,
            store: self.store,
            identity: Arc::new(self.identity),
            limits: Arc::new(self.limits),
            users: Arc::new(Users::new(self.users)),
            census: Arc::default(),
            groups: Arc::default(),
            progress_interval: self.progress_interval,
        }
    }
}

impl<S> fmt::Debug for EtcdBuilder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdBuilder")
            .field("identity", &self.identity)
            .field("limits", &self.limits)
            .field("users", &self.users)
            .field("progress_interval", &self.progress_interval)
            .finish_non_exhaustive()
    }
}

/// The services of etcd's API over one hub and one store. Cheap to clone: clones share everything,
/// the counts of open watches and the logins too.
///
/// It starts no task and no thread: every call is a future, and every watch stream a stream,
/// that tonic polls.
///
/// - *If a client is slow:* HTTP/2's flow control pauses its stream. What waits for it is bounded
///   ([`Limits::waiting_bytes`]); once it reads again, its watches read on from the history, or
///   are cancelled with the compacted revision where that is gone. Nobody else is delayed, but
///   for what shares its connection.
/// - *If a client vanishes:* when its connection is closed, everything it held is freed. A peer
///   that is gone without a word is noticed by the transport: set
///   `http2_keepalive_interval` on tonic's server.
/// - *If the engine or the store is shut down:* watch streams deliver what was published, then
///   end with UNAVAILABLE, and calls are answered with it: clients take that for a restart.
pub struct Etcd<S> {
    pub(crate) hub: Hub,
    pub(crate) store: Arc<S>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) users: Arc<Users>,
    pub(crate) census: Arc<Census>,
    pub(crate) groups: Arc<Groups>,
    pub(crate) progress_interval: Duration,
}

impl<S> Clone for Etcd<S> {
    fn clone(&self) -> Self {
        Self {
            hub: self.hub.clone(),
            store: Arc::clone(&self.store),
            identity: Arc::clone(&self.identity),
            limits: Arc::clone(&self.limits),
            users: Arc::clone(&self.users),
            census: Arc::clone(&self.census),
            groups: Arc::clone(&self.groups),
            progress_interval: self.progress_interval,
        }
    }
}

impl<S: Store> Etcd<S> {
    /// Services over this hub and the store that publishes to it.
    pub fn builder(hub: Hub, store: Arc<S>) -> EtcdBuilder<S> {
        EtcdBuilder {
            hub,
            store,
            identity: Identity::default(),
            limits: Limits::default(),
            users: Vec::new(),
            progress_interval: PROGRESS_INTERVAL,
        }
    }

    /// `etcdserverpb.KV`: Range, Put, DeleteRange, Txn, Compact.
    #[must_use]
    pub fn kv(&self) -> KvServer<Self> {
        KvServer::new(self.clone()).max_decoding_message_size(self.limits.decoded_bytes())
    }

    /// `etcdserverpb.Watch`: each watch on a stream is one watcher of the hub.
    #[must_use]
    pub fn watch(&self) -> WatchServer<S> {
        WatchServer::new(self.clone())
    }

    /// `etcdserverpb.Lease`.
    #[must_use]
    pub fn lease(&self) -> LeaseServer<Self> {
        LeaseServer::new(self.clone()).max_decoding_message_size(self.limits.decoded_bytes())
    }

    /// `etcdserverpb.Maintenance`: Status, and Alarm as far as there are none.
    #[must_use]
    pub fn maintenance(&self) -> MaintenanceServer<Self> {
        MaintenanceServer::new(self.clone()).max_decoding_message_size(self.limits.decoded_bytes())
    }

    /// `etcdserverpb.Cluster`: MemberList, of one member.
    #[must_use]
    pub fn cluster(&self) -> ClusterServer<Self> {
        ClusterServer::new(self.clone()).max_decoding_message_size(self.limits.decoded_bytes())
    }

    /// `etcdserverpb.Auth`: Authenticate.
    #[must_use]
    pub fn auth(&self) -> AuthServer<Self> {
        AuthServer::new(self.clone()).max_decoding_message_size(self.limits.decoded_bytes())
    }

    /// The header of an answer of now.
    pub(crate) fn header(&self) -> Option<ResponseHeader> {
        header::whole(&self.identity, self.hub.revision())
    }

    /// Makes an answer's header whole.
    pub(crate) fn sign(&self, header: &mut Option<ResponseHeader>) {
        let revision = header.as_ref().map_or(0, |header| header.revision);
        *header = header::whole(&self.identity, revision.cast_unsigned() as Revision);
    }

    pub(crate) fn caller(&self, metadata: &MetadataMap) -> Result<Caller, Status> {
        Ok(self.users.caller(metadata)?)
    }

    pub(crate) async fn read(&self, query: Query) -> Result<Reply, Status> {
        reply(self.store.read(query).await)
    }

    pub(crate) async fn write(&self, operation: Operation) -> Result<Reply, Status> {
        reply(self.store.write(operation).await)
    }
}

fn reply(answered: Result<Answer, StoreError>) -> Result<Reply, Status> {
    Ok(answered?.0?)
}

impl<S> fmt::Debug for Etcd<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Etcd")
            .field("hub", &self.hub)
            .field("identity", &self.identity)
            .field("limits", &self.limits)
            .field("users", &self.users)
            .field("census", &self.census)
            .finish_non_exhaustive()
    }
}

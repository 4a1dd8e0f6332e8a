//! Builds the services, to be mounted into a tonic server.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kvwatch::Hub;

use super::etcd::Etcd;
use super::users::{User, Users};
use super::watch::WatchServer;
use crate::identity::Identity;
use crate::limits::Limits;
use crate::store::Store;
use crate::wire::etcdserverpb::auth_server::AuthServer;
use crate::wire::etcdserverpb::cluster_server::ClusterServer;
use crate::wire::etcdserverpb::kv_server::KvServer;
use crate::wire::etcdserverpb::lease_server::LeaseServer;
use crate::wire::etcdserverpb::maintenance_server::MaintenanceServer;

/// The default of [`EtcdBuilder::progress_interval`].
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10 * 60);

/// Configures the services. Made by [`Etcd::builder`].
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
    /// How the server names itself. Default: [`Identity::default`].
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = identity;
        self
    }

    /// Limits on what clients may request. Default: [`Limits::default`].
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Adds a user. Once there is a user, every call but Authenticate needs a token. Default: no
    /// users, and every client may do everything.
    pub fn user(mut self, user: User) -> Self {
        self.users.push(user);
        self
    }

    /// How long a watch that requests progress must be quiet before it is notified. Up to a tenth
    /// is added at random, so that streams do not all wake at once. At least 1 ms. Default: 10
    /// minutes.
    pub fn progress_interval(mut self, interval: Duration) -> Self {
        self.progress_interval = interval.max(Duration::from_millis(1));
        self
    }

    /// Builds the services. Starts no task and no thread.
    #[must_use]
    pub fn build(self) -> Etcd<S> {
        Etcd {
            hub: self.hub,
            store: self.store,
            identity: Arc::new(self.identity),
            limits: Arc::new(self.limits),
            users: Arc::new(Users::new(self.users)),
            quota: Arc::default(),
            event_cache: Arc::default(),
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

impl<S: Store> Etcd<S> {
    /// Services over a hub and the store that publishes to it.
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

    /// `etcdserverpb.Watch`. Each watch on a stream is one watcher of the hub.
    #[must_use]
    pub fn watch(&self) -> WatchServer<S> {
        WatchServer::new(self.clone())
    }

    /// `etcdserverpb.Lease`: LeaseGrant, LeaseRevoke, LeaseKeepAlive, LeaseTimeToLive, LeaseLeases.
    #[must_use]
    pub fn lease(&self) -> LeaseServer<Self> {
        LeaseServer::new(self.clone()).max_decoding_message_size(self.limits.decoded_bytes())
    }

    /// `etcdserverpb.Maintenance`: Status, and Alarm GET, which lists none.
    #[must_use]
    pub fn maintenance(&self) -> MaintenanceServer<Self> {
        MaintenanceServer::new(self.clone()).max_decoding_message_size(self.limits.decoded_bytes())
    }

    /// `etcdserverpb.Cluster`: MemberList, which lists one member.
    #[must_use]
    pub fn cluster(&self) -> ClusterServer<Self> {
        ClusterServer::new(self.clone()).max_decoding_message_size(self.limits.decoded_bytes())
    }

    /// `etcdserverpb.Auth`: Authenticate.
    #[must_use]
    pub fn auth(&self) -> AuthServer<Self> {
        AuthServer::new(self.clone()).max_decoding_message_size(self.limits.decoded_bytes())
    }
}

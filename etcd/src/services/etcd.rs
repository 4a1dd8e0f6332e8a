//! The services, to be mounted into a tonic server.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tonic::Status;
use tonic::metadata::MetadataMap;

use super::event_cache::Groups;
use super::quota::StreamQuota;
use super::users::{Caller, Users};
use crate::error::StoreError;
use crate::header;
use crate::identity::Identity;
use crate::limits::Limits;
use crate::rules::{Answer, Operation, Query, Reply};
use crate::store::Store;
use crate::wire::etcdserverpb::ResponseHeader;
use kvwatch::{Hub, Revision};

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
    pub(crate) quota: Arc<StreamQuota>,
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
            quota: Arc::clone(&self.quota),
            groups: Arc::clone(&self.groups),
            progress_interval: self.progress_interval,
        }
    }
}

impl<S: Store> Etcd<S> {
    /// The header of an answer of now.
    pub(crate) fn header(&self) -> Option<ResponseHeader> {
        header::full(&self.identity, self.hub.revision())
    }

    /// Makes an answer's header whole.
    pub(crate) fn fill_header(&self, header: &mut Option<ResponseHeader>) {
        let revision = header.as_ref().map_or(0, |header| header.revision);
        *header = header::full(&self.identity, revision.cast_unsigned() as Revision);
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
            .field("quota", &self.quota)
            .finish_non_exhaustive()
    }
}

/// The store answered with the answer to another call.
pub(crate) fn unexpected_reply(reply: &Reply) -> Status {
    tracing::error!(?reply, "the store gave an answer to another call");
    Status::internal("kvwatch: the store gave an answer to another call")
}

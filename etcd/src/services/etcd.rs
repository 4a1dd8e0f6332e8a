//! The state and helpers that all services share.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kvwatch::{Hub, Revision};
use tonic::Status;
use tonic::metadata::MetadataMap;

use super::event_cache::EventCache;
use super::quota::StreamQuota;
use super::users::{Caller, Users};
use crate::error::StoreError;
use crate::header;
use crate::identity::Identity;
use crate::limits::Limits;
use crate::rules::{Answer, Operation, Query, Reply};
use crate::store::Store;
use crate::wire::etcdserverpb::ResponseHeader;

/// The services of etcd's API over one hub and one store.
///
/// Cloning is cheap, and clones share everything, including the counts of open watches and the
/// tokens of logged-in users. The services start no task and no thread: tonic polls every call as a
/// future and every watch stream as a stream.
///
/// - *If a client is slow:* HTTP/2 flow control pauses its stream. Events that wait for it are
///   bounded by [`Limits::waiting_bytes`]. When the client reads again, its watches read on from
///   the history and then from the store's log; a watch whose revisions are compacted is cancelled
///   with the compacted revision. Other connections are not delayed.
/// - *If a client is dropped:* when its connection closes, all its streams and watches are freed. A
///   peer that disappears without closing its connection is noticed by the transport only: set
///   `http2_keepalive_interval` on tonic's server.
/// - *If the engine or the store is closed:* watch streams deliver everything that was published,
///   then end with UNAVAILABLE. Calls are answered with the same status, which clients treat as a
///   restart of the server.
pub struct Etcd<S> {
    pub(crate) hub: Hub,
    pub(crate) store: Arc<S>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) users: Arc<Users>,
    pub(crate) quota: Arc<StreamQuota>,
    pub(crate) event_cache: Arc<EventCache>,
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
            event_cache: Arc::clone(&self.event_cache),
            progress_interval: self.progress_interval,
        }
    }
}

impl<S: Store> Etcd<S> {
    /// A complete header with the hub's current revision.
    pub(crate) fn header(&self) -> Option<ResponseHeader> {
        header::full(&self.identity, self.hub.revision())
    }

    /// Completes a header that has only a revision.
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

/// The status for a store that returned the answer of another call.
pub(crate) fn unexpected_reply(reply: &Reply) -> Status {
    tracing::error!(?reply, "the store gave an answer to another call");
    Status::internal("kvwatch: the store gave an answer to another call")
}

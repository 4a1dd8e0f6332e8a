//! `etcdserverpb.Lease`.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use tonic::{Request, Response, Status, Streaming};

use super::etcd::{Etcd, unexpected_reply};
use super::users::Access;
use crate::keys::KeyRange;
use crate::rules::{Operation, Query, Reply};
use crate::store::Store;
use crate::wire::etcdserverpb::lease_server::Lease;
use crate::wire::etcdserverpb::{
    LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse,
    LeaseLeasesRequest, LeaseLeasesResponse, LeaseRevokeRequest, LeaseRevokeResponse, LeaseStatus,
    LeaseTimeToLiveRequest, LeaseTimeToLiveResponse,
};

#[tonic::async_trait]
impl<S: Store> Lease for Etcd<S> {
    type LeaseKeepAliveStream = KeepAlive<S>;

    async fn lease_grant(
        &self,
        request: Request<LeaseGrantRequest>,
    ) -> Result<Response<LeaseGrantResponse>, Status> {
        self.caller(request.metadata())?;
        let LeaseGrantRequest { ttl, id } = request.into_inner();
        match self.write(Operation::grant(id, ttl)?).await? {
            Reply::Granted { lease, ttl } => Ok(Response::new(LeaseGrantResponse {
                header: self.header(),
                id: lease,
                ttl,
                error: String::new(),
            })),
            other => Err(unexpected_reply(&other)),
        }
    }

    async fn lease_revoke(
        &self,
        request: Request<LeaseRevokeRequest>,
    ) -> Result<Response<LeaseRevokeResponse>, Status> {
        let caller = self.caller(request.metadata())?;
        let LeaseRevokeRequest { id } = request.into_inner();
        self.authorize_attach(&caller, id).await?;
        match self.write(Operation::revoke(id)).await? {
            Reply::Revoked { revision } => {
                let mut header = crate::header::at_revision(revision.cast_unsigned());
                self.fill_header(&mut header);
                Ok(Response::new(LeaseRevokeResponse { header }))
            }
            other => Err(unexpected_reply(&other)),
        }
    }

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<LeaseKeepAliveRequest>>,
    ) -> Result<Response<KeepAlive<S>>, Status> {
        self.caller(request.metadata())?;
        Ok(Response::new(KeepAlive {
            etcd: self.clone(),
            requests: request.into_inner(),
        }))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<LeaseTimeToLiveRequest>,
    ) -> Result<Response<LeaseTimeToLiveResponse>, Status> {
        let caller = self.caller(request.metadata())?;
        let LeaseTimeToLiveRequest { id, keys } = request.into_inner();
        let header = self.header();
        let Some(time) = self.store.leases().get(id) else {
            return Ok(Response::new(LeaseTimeToLiveResponse {
                header,
                id,
                ttl: -1,
                ..LeaseTimeToLiveResponse::default()
            }));
        };
        let mut attached = Vec::new();
        if keys {
            match self.read(Query::lease_keys(id)).await? {
                Reply::LeaseKeys(keys) => attached = keys,
                other => return Err(unexpected_reply(&other)),
            }
        }
        for key in &attached {
            caller.check(Access::Read, &KeyRange::one(key.clone()))?;
        }
        Ok(Response::new(LeaseTimeToLiveResponse {
            header,
            id,
            ttl: time.remaining.as_secs().cast_signed(),
            granted_ttl: time.granted,
            keys: attached,
        }))
    }

    async fn lease_leases(
        &self,
        request: Request<LeaseLeasesRequest>,
    ) -> Result<Response<LeaseLeasesResponse>, Status> {
        self.caller(request.metadata())?;
        let ids = self.store.leases().ids();
        Ok(Response::new(LeaseLeasesResponse {
            header: self.header(),
            leases: ids.into_iter().map(|id| LeaseStatus { id }).collect(),
        }))
    }
}

/// The responses of one stream of keep-alives. Each request is answered before the next is read,
/// and the stream ends when the client closes its side.
///
/// A client that does not read its responses pauses only its own stream.
pub struct KeepAlive<S> {
    etcd: Etcd<S>,
    requests: Streaming<LeaseKeepAliveRequest>,
}

impl<S: Store> Stream for KeepAlive<S> {
    type Item = Result<LeaseKeepAliveResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = Pin::new(&mut self.requests).poll_next(cx);
        polled.map_ok(|LeaseKeepAliveRequest { id }| LeaseKeepAliveResponse {
            header: self.etcd.header(),
            id,
            ttl: self.etcd.store.leases().keep_alive(id).unwrap_or(0),
        })
    }
}

impl<S> fmt::Debug for KeepAlive<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeepAlive").finish_non_exhaustive()
    }
}

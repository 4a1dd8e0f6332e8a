//! `etcdserverpb.KV`.

use prost::Message;
use tonic::{Request, Response, Status};

use super::authorize::{authorize_delete, authorize_put, authorize_range, authorize_txn};
use super::etcd::{Etcd, unexpected_reply};
use super::users::Access;
use crate::error::RequestError;
use crate::keys::KeyRange;
use crate::rules::{Operation, Query, Reply, TxnKind};
use crate::store::Store;
use crate::wire::etcdserverpb::kv_server::Kv;
use crate::wire::etcdserverpb::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, PutRequest,
    PutResponse, RangeRequest, RangeResponse, TxnRequest, TxnResponse,
};

#[tonic::async_trait]
impl<S: Store> Kv for Etcd<S> {
    async fn range(
        &self,
        request: Request<RangeRequest>,
    ) -> Result<Response<RangeResponse>, Status> {
        let caller = self.caller(request.metadata())?;
        let request = request.into_inner();
        let query = Query::range(request.clone())?;
        authorize_range(&caller, &request)?;
        match self.read(query).await? {
            Reply::Range(mut response) => {
                self.fill_header(&mut response.header);
                Ok(Response::new(response))
            }
            other => Err(unexpected_reply(&other)),
        }
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        let caller = self.caller(request.metadata())?;
        let request = request.into_inner();
        self.check_size(&request)?;
        authorize_put(&caller, &request)?;
        self.authorize_attach(&caller, request.lease).await?;
        match self.write(Operation::put(request)?).await? {
            Reply::Put(mut response) => {
                self.fill_header(&mut response.header);
                Ok(Response::new(response))
            }
            other => Err(unexpected_reply(&other)),
        }
    }

    async fn delete_range(
        &self,
        request: Request<DeleteRangeRequest>,
    ) -> Result<Response<DeleteRangeResponse>, Status> {
        let caller = self.caller(request.metadata())?;
        let request = request.into_inner();
        self.check_size(&request)?;
        authorize_delete(&caller, &request)?;
        match self.write(Operation::delete(request)?).await? {
            Reply::Delete(mut response) => {
                self.fill_header(&mut response.header);
                Ok(Response::new(response))
            }
            other => Err(unexpected_reply(&other)),
        }
    }

    async fn txn(&self, request: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        let caller = self.caller(request.metadata())?;
        let request = request.into_inner();
        self.check_size(&request)?;
        let mut leases = Vec::new();
        let permitted = authorize_txn(&caller, &request, &mut leases);
        // A malformed transaction is refused as such before a missing permission is reported.
        let planned = Operation::txn(request, self.limits.txn_operations)?;
        permitted?;
        for lease in leases {
            self.authorize_attach(&caller, lease).await?;
        }
        let reply = match planned {
            TxnKind::Query(query) => self.read(query).await?,
            TxnKind::Operation(operation) => self.write(operation).await?,
        };
        match reply {
            Reply::Txn(mut response) => {
                self.fill_header(&mut response.header);
                Ok(Response::new(response))
            }
            other => Err(unexpected_reply(&other)),
        }
    }

    async fn compact(
        &self,
        request: Request<CompactionRequest>,
    ) -> Result<Response<CompactionResponse>, Status> {
        let caller = self.caller(request.metadata())?;
        caller.check(Access::Write, &KeyRange::all())?;
        let CompactionRequest { revision, physical } = request.into_inner();
        self.write(Operation::compact(revision, physical)).await?;
        let header = self.header();
        Ok(Response::new(CompactionResponse { header }))
    }
}

impl<S: Store> Etcd<S> {
    fn check_size(&self, request: &impl Message) -> Result<(), RequestError> {
        if request.encoded_len() > self.limits.message_bytes {
            return Err(RequestError::RequestTooLarge);
        }
        Ok(())
    }
}

//! `etcdserverpb.KV`.

use prost::Message;
use tonic::{Request, Response, Status};

use super::error::Refusal;
use super::keys::KeyRange;
use super::operation::{Asked, Operation, Query, Reply};
use super::service::Etcd;
use super::store::Store;
use super::users::{Access, Caller};
use super::wire::etcdserverpb::kv_server::Kv;
use super::wire::etcdserverpb::request_op;
use super::wire::etcdserverpb::{
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
        may_range(&caller, &request)?;
        match self.read(query).await? {
            Reply::Range(mut response) => {
                self.sign(&mut response.header);
                Ok(Response::new(response))
            }
            other => Err(misplaced(&other)),
        }
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        let caller = self.caller(request.metadata())?;
        let request = request.into_inner();
        self.check_size(&request)?;
        may_put(&caller, &request)?;
        self.may_attach(&caller, request.lease).await?;
        match self.write(Operation::put(request)?).await? {
            Reply::Put(mut response) => {
                self.sign(&mut response.header);
                Ok(Response::new(response))
            }
            other => Err(misplaced(&other)),
        }
    }

    async fn delete_range(
        &self,
        request: Request<DeleteRangeRequest>,
    ) -> Result<Response<DeleteRangeResponse>, Status> {
        let caller = self.caller(request.metadata())?;
        let request = request.into_inner();
        self.check_size(&request)?;
        may_delete(&caller, &request)?;
        match self.write(Operation::delete(request)?).await? {
            Reply::Delete(mut response) => {
                self.sign(&mut response.header);
                Ok(Response::new(response))
            }
            other => Err(misplaced(&other)),
        }
    }

    async fn txn(&self, request: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        let caller = self.caller(request.metadata())?;
        let request = request.into_inner();
        self.check_size(&request)?;
        let mut leases = Vec::new();
        let permitted = may_txn(&caller, &request, &mut leases);
        // What cannot be a transaction is refused for that first: its shape bounds what follows.
        let asked = Operation::txn(request, self.limits.txn_operations)?;
        permitted?;
        for lease in leases {
            self.may_attach(&caller, lease).await?;
        }
        let reply = match asked {
            Asked::Query(query) => self.read(query).await?,
            Asked::Operation(operation) => self.write(operation).await?,
        };
        match reply {
            Reply::Txn(mut response) => {
                self.sign(&mut response.header);
                Ok(Response::new(response))
            }
            other => Err(misplaced(&other)),
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
    fn check_size(&self, request: &impl Message) -> Result<(), Refusal> {
        if request.encoded_len() > self.limits.message_bytes {
            return Err(Refusal::RequestTooLarge);
        }
        Ok(())
    }

    /// Whoever attaches a key to a lease can end the lease's other keys with it, by letting it
    /// run out: so they must be open too.
    pub(crate) async fn may_attach(&self, caller: &Caller, lease: i64) -> Result<(), Status> {
        if lease == 0 || matches!(caller, Caller::Anybody) {
            return Ok(());
        }
        match self.read(Query::lease_keys(lease)).await? {
            Reply::LeaseKeys(keys) => {
                for key in keys {
                    caller.check(Access::Write, &KeyRange::one(key))?;
                }
                Ok(())
            }
            other => Err(misplaced(&other)),
        }
    }
}

fn may_range(caller: &Caller, request: &RangeRequest) -> Result<(), Refusal> {
    let keys = KeyRange::from_wire(request.key.clone(), request.range_end.clone());
    caller.check(Access::Read, &keys)
}

fn may_put(caller: &Caller, request: &PutRequest) -> Result<(), Refusal> {
    let keys = KeyRange::one(request.key.clone());
    caller.check(Access::Write, &keys)?;
    if request.prev_kv {
        caller.check(Access::Read, &keys)?;
    }
    Ok(())
}

fn may_delete(caller: &Caller, request: &DeleteRangeRequest) -> Result<(), Refusal> {
    let keys = KeyRange::from_wire(request.key.clone(), request.range_end.clone());
    caller.check(Access::Write, &keys)?;
    if request.prev_kv {
        caller.check(Access::Read, &keys)?;
    }
    Ok(())
}

/// Both branches must be open, whichever runs: which one it is tells something of the keys that
/// were compared. Collects the leases that it attaches keys to.
fn may_txn(caller: &Caller, request: &TxnRequest, leases: &mut Vec<i64>) -> Result<(), Refusal> {
    for compare in &request.compare {
        let keys = KeyRange::from_wire(compare.key.clone(), compare.range_end.clone());
        caller.check(Access::Read, &keys)?;
    }
    for operation in request.success.iter().chain(&request.failure) {
        match &operation.request {
            Some(request_op::Request::RequestRange(request)) => may_range(caller, request)?,
            Some(request_op::Request::RequestPut(request)) => {
                may_put(caller, request)?;
                leases.push(request.lease);
            }
            Some(request_op::Request::RequestDeleteRange(request)) => may_delete(caller, request)?,
            Some(request_op::Request::RequestTxn(request)) => may_txn(caller, request, leases)?,
            None => {}
        }
    }
    Ok(())
}

/// The store answered with the answer to another call.
pub(crate) fn misplaced(reply: &Reply) -> Status {
    tracing::error!(?reply, "the store gave an answer to another call");
    Status::internal("kvwatch: the store gave an answer to another call")
}

//! Checks that a caller has the permissions that a request needs.

use tonic::Status;

use super::etcd::{Etcd, unexpected_reply};
use super::users::{Access, Caller};
use crate::error::RequestError;
use crate::keys::KeyRange;
use crate::rules::{Query, Reply};
use crate::store::Store;
use crate::wire::etcdserverpb::{
    DeleteRangeRequest, PutRequest, RangeRequest, TxnRequest, request_op,
};

impl<S: Store> Etcd<S> {
    /// Requires write access to every key of the lease: a client that attaches a key to a lease can
    /// delete the lease's other keys by letting the lease expire.
    pub(super) async fn authorize_attach(&self, caller: &Caller, lease: i64) -> Result<(), Status> {
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
            other => Err(unexpected_reply(&other)),
        }
    }
}

pub(super) fn authorize_range(caller: &Caller, request: &RangeRequest) -> Result<(), RequestError> {
    let keys = KeyRange::from_wire(request.key.clone(), request.range_end.clone());
    caller.check(Access::Read, &keys)
}

pub(super) fn authorize_put(caller: &Caller, request: &PutRequest) -> Result<(), RequestError> {
    let keys = KeyRange::one(request.key.clone());
    caller.check(Access::Write, &keys)?;
    if request.prev_kv {
        caller.check(Access::Read, &keys)?;
    }
    Ok(())
}

pub(super) fn authorize_delete(
    caller: &Caller,
    request: &DeleteRangeRequest,
) -> Result<(), RequestError> {
    let keys = KeyRange::from_wire(request.key.clone(), request.range_end.clone());
    caller.check(Access::Write, &keys)?;
    if request.prev_kv {
        caller.check(Access::Read, &keys)?;
    }
    Ok(())
}

/// Requires access to the keys of both branches and of the conditions: the branch that runs reveals
/// the state of the compared keys. Adds the leases that the transaction attaches keys to to
/// `leases`.
pub(super) fn authorize_txn(
    caller: &Caller,
    request: &TxnRequest,
    leases: &mut Vec<i64>,
) -> Result<(), RequestError> {
    for compare in &request.compare {
        let keys = KeyRange::from_wire(compare.key.clone(), compare.range_end.clone());
        caller.check(Access::Read, &keys)?;
    }
    for operation in request.success.iter().chain(&request.failure) {
        match &operation.request {
            Some(request_op::Request::RequestRange(request)) => authorize_range(caller, request)?,
            Some(request_op::Request::RequestPut(request)) => {
                authorize_put(caller, request)?;
                leases.push(request.lease);
            }
            Some(request_op::Request::RequestDeleteRange(request)) => {
                authorize_delete(caller, request)?;
            }
            Some(request_op::Request::RequestTxn(request)) => {
                authorize_txn(caller, request, leases)?;
            }
            None => {}
        }
    }
    Ok(())
}

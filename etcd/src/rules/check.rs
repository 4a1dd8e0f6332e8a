//! What is refused by the look of a request, before the store is asked.

use std::collections::HashSet;

use bytes::Bytes;

use crate::error::RequestError;
use crate::keys::KeyRange;
use crate::wire::etcdserverpb::request_op::Request;
use crate::wire::etcdserverpb::{
    DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
    range_request::{SortOrder, SortTarget},
};

/// How deep transactions may lie within each other. protobuf stops decoding at a hundred messages
/// within each other; this keeps well below what a thread's stack holds.
const DEPTH: usize = 32;

fn key(key: &Bytes) -> Result<(), RequestError> {
    if key.is_empty() {
        Err(RequestError::EmptyKey)
    } else {
        Ok(())
    }
}

pub(crate) fn range(request: &RangeRequest) -> Result<(), RequestError> {
    key(&request.key)?;
    let order = SortOrder::try_from(request.sort_order);
    let target = SortTarget::try_from(request.sort_target);
    if order.is_err() || target.is_err() {
        return Err(RequestError::InvalidSortOption);
    }
    Ok(())
}

pub(crate) fn put(request: &PutRequest) -> Result<(), RequestError> {
    key(&request.key)?;
    if request.ignore_value && !request.value.is_empty() {
        return Err(RequestError::ValueProvided);
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(RequestError::LeaseProvided);
    }
    Ok(())
}

pub(crate) fn delete(request: &DeleteRangeRequest) -> Result<(), RequestError> {
    key(&request.key)
}

/// A transaction with `most` conditions, and as many operations in either branch, is allowed;
/// what lies deeper may have as many as are left of that.
pub(crate) fn txn(request: &TxnRequest, most: usize) -> Result<(), RequestError> {
    shape(request, most, DEPTH)?;
    Changes::of(&request.success)?;
    Changes::of(&request.failure)?;
    Ok(())
}

fn shape(request: &TxnRequest, most: usize, depth: usize) -> Result<(), RequestError> {
    let TxnRequest {
        compare,
        success,
        failure,
    } = request;
    let widest = compare.len().max(success.len()).max(failure.len());
    let left = most
        .checked_sub(widest)
        .ok_or(RequestError::TooManyOperations)?;
    let deeper = depth
        .checked_sub(1)
        .ok_or(RequestError::TooManyOperations)?;
    compare.iter().try_for_each(|compare| key(&compare.key))?;
    for operation in success.iter().chain(failure) {
        match &operation.request {
            Some(Request::RequestRange(request)) => range(request)?,
            Some(Request::RequestPut(request)) => put(request)?,
            Some(Request::RequestDeleteRange(request)) => delete(request)?,
            Some(Request::RequestTxn(request)) => shape(request, left, deeper)?,
            // etcd's words for an operation that is none.
            None => return Err(RequestError::KeyNotFound),
        }
    }
    Ok(())
}

/// What one branch of a transaction may change, whatever the conditions within it say.
#[derive(Default)]
struct Changes {
    puts: HashSet<Bytes>,
    deletes: Vec<KeyRange>,
}

impl Changes {
    /// Refuses a branch that could change one key twice. Only the branches of one transaction
    /// within it may put the same key: just one of them runs.
    fn of(branch: &[RequestOp]) -> Result<Self, RequestError> {
        let mut all = Self::default();
        let requests = || {
            branch
                .iter()
                .filter_map(|operation| operation.request.as_ref())
        };
        for request in requests() {
            if let Request::RequestDeleteRange(delete) = request {
                let keys = KeyRange::from_wire(delete.key.clone(), delete.range_end.clone());
                all.deletes.push(keys);
            }
        }
        for request in requests() {
            if let Request::RequestTxn(nested) = request {
                let success = Self::of(&nested.success)?;
                let failure = Self::of(&nested.failure)?;
                for put in &success.puts {
                    all.put(put.clone(), None)?;
                }
                for put in &failure.puts {
                    all.put(put.clone(), Some(&success.puts))?;
                }
                all.deletes.extend(success.deletes);
                all.deletes.extend(failure.deletes);
            }
        }
        for request in requests() {
            if let Request::RequestPut(put) = request {
                all.put(put.key.clone(), None)?;
            }
        }
        Ok(all)
    }

    fn put(&mut self, key: Bytes, instead_of: Option<&HashSet<Bytes>>) -> Result<(), RequestError> {
        if self.deletes.iter().any(|keys| keys.contains(&key)) {
            return Err(RequestError::DuplicateKey);
        }
        let exclusive = instead_of.is_some_and(|other| other.contains(&key));
        if !self.puts.insert(key) && !exclusive {
            return Err(RequestError::DuplicateKey);
        }
        Ok(())
    }
}

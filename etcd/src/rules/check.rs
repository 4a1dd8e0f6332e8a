//! Errors that a request has by itself, whatever the store holds.

use std::collections::HashSet;

use bytes::Bytes;

use crate::error::RequestError;
use crate::keys::KeyRange;
use crate::wire::etcdserverpb::request_op::Request;
use crate::wire::etcdserverpb::{
    DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
    range_request::{SortOrder, SortTarget},
};

/// How deep transactions may be nested. protobuf stops decoding at a hundred nested messages; this
/// limit stays far below the depth that would exhaust a thread's stack.
const MAX_DEPTH: usize = 32;

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

/// Allows `max_operations` conditions, and as many operations in each branch. A nested transaction
/// is allowed the rest that its parent leaves.
pub(crate) fn txn(request: &TxnRequest, max_operations: usize) -> Result<(), RequestError> {
    check_shape(request, max_operations, MAX_DEPTH)?;
    BranchChanges::of(&request.success)?;
    BranchChanges::of(&request.failure)?;
    Ok(())
}

fn check_shape(
    request: &TxnRequest,
    max_operations: usize,
    max_depth: usize,
) -> Result<(), RequestError> {
    let TxnRequest {
        compare,
        success,
        failure,
    } = request;
    let widest = compare.len().max(success.len()).max(failure.len());
    let nested_operations = max_operations
        .checked_sub(widest)
        .ok_or(RequestError::TooManyOperations)?;
    let nested_depth = max_depth
        .checked_sub(1)
        .ok_or(RequestError::TooManyOperations)?;
    compare.iter().try_for_each(|compare| key(&compare.key))?;
    for operation in success.iter().chain(failure) {
        match &operation.request {
            Some(Request::RequestRange(request)) => range(request)?,
            Some(Request::RequestPut(request)) => put(request)?,
            Some(Request::RequestDeleteRange(request)) => delete(request)?,
            Some(Request::RequestTxn(request)) => {
                check_shape(request, nested_operations, nested_depth)?;
            }
            // etcd's error for an operation without a request.
            None => return Err(RequestError::KeyNotFound),
        }
    }
    Ok(())
}

/// The keys that one branch of a transaction may change, whatever its nested conditions decide.
#[derive(Default)]
struct BranchChanges {
    puts: HashSet<Bytes>,
    deletes: Vec<KeyRange>,
}

impl BranchChanges {
    /// Collects a branch's changes, and fails if the branch could change one key twice. The two
    /// branches of a nested transaction may put the same key, because only one of them runs.
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
                let mut deletes = success.deletes.iter().chain(&failure.deletes);
                // So far `puts` has those of earlier nested transactions, which may run with this one.
                if deletes.any(|keys| all.puts.iter().any(|put| keys.contains(put))) {
                    return Err(RequestError::DuplicateKey);
                }
                for put in &success.puts {
                    all.add_put(put.clone(), None)?;
                }
                for put in &failure.puts {
                    all.add_put(put.clone(), Some(&success.puts))?;
                }
                all.deletes.extend(success.deletes);
                all.deletes.extend(failure.deletes);
            }
        }
        for request in requests() {
            if let Request::RequestPut(put) = request {
                all.add_put(put.key.clone(), None)?;
            }
        }
        Ok(all)
    }

    /// Adds a put. A key of `alternative`, the puts of the other branch, may occur twice.
    fn add_put(
        &mut self,
        key: Bytes,
        alternative: Option<&HashSet<Bytes>>,
    ) -> Result<(), RequestError> {
        if self.deletes.iter().any(|keys| keys.contains(&key)) {
            return Err(RequestError::DuplicateKey);
        }
        let exclusive = alternative.is_some_and(|other| other.contains(&key));
        if !self.puts.insert(key) && !exclusive {
            return Err(RequestError::DuplicateKey);
        }
        Ok(())
    }
}

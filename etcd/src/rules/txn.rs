//! Transactions: first the conditions, then the checks of the chosen branches, then their
//! operations in order.

use std::cmp::Ordering;
use std::ops::ControlFlow;

use super::range;
use super::write::OperationTxn;
use crate::error::{Fault, RequestError};
use crate::header;
use crate::keys::KeyRange;
use crate::transaction::ReadTransaction;
use crate::wire::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use crate::wire::etcdserverpb::request_op::Request;
use crate::wire::etcdserverpb::response_op::Response;
use crate::wire::etcdserverpb::{
    Compare, RequestOp, ResponseHeader, ResponseOp, TxnRequest, TxnResponse,
};
use crate::wire::mvccpb::KeyValue;

/// The branches that run: of a transaction, and of the transactions nested in that branch, in
/// order.
struct Path {
    succeeded: bool,
    nested: Vec<Path>,
}

/// Whether no branch can write.
pub(crate) fn only_reads(request: &TxnRequest) -> bool {
    let mut all = request.success.iter().chain(&request.failure);
    all.all(|operation| match &operation.request {
        Some(Request::RequestPut(_) | Request::RequestDeleteRange(_)) => false,
        Some(Request::RequestTxn(nested)) => only_reads(nested),
        Some(Request::RequestRange(_)) | None => true,
    })
}

/// Runs a transaction that [`check::txn`](super::check::txn) allowed. All conditions, nested ones
/// too, see the store as it was before the transaction.
pub(crate) fn run(txn: &mut OperationTxn<'_>, request: &TxnRequest) -> Result<TxnResponse, Fault> {
    let path = choose(txn.view(), request)?;
    check(txn, request, &path, &check_put)?;
    check(txn, request, &path, &check_range)?;
    let mut response = apply(txn, request, &path)?;
    response.header = header::at_revision(txn.revision());
    Ok(response)
}

fn branch<'a>(request: &'a TxnRequest, path: &Path) -> &'a [RequestOp] {
    if path.succeeded {
        &request.success
    } else {
        &request.failure
    }
}

fn nested(operation: &RequestOp) -> Option<&TxnRequest> {
    match &operation.request {
        Some(Request::RequestTxn(nested)) => Some(nested),
        _ => None,
    }
}

fn choose(view: &dyn ReadTransaction, request: &TxnRequest) -> Result<Path, Fault> {
    let mut path = Path {
        succeeded: true,
        nested: Vec::new(),
    };
    for compare in &request.compare {
        path.succeeded = path.succeeded && holds(view, compare)?;
    }
    for nested in branch(request, &path).iter().filter_map(nested) {
        path.nested.push(choose(view, nested)?);
    }
    Ok(path)
}

/// Calls `check_one` with every operation on the path.
fn check(
    txn: &OperationTxn<'_>,
    request: &TxnRequest,
    path: &Path,
    check_one: &dyn Fn(&OperationTxn<'_>, &Request) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let mut paths = path.nested.iter();
    for operation in branch(request, path) {
        match (nested(operation), &operation.request) {
            (Some(nested), _) => {
                let path = paths.next().expect("a path for each");
                check(txn, nested, path, check_one)?;
            }
            (None, Some(request)) => check_one(txn, request)?,
            (None, None) => {}
        }
    }
    Ok(())
}

fn check_put(txn: &OperationTxn<'_>, request: &Request) -> Result<(), Fault> {
    if let Request::RequestPut(put) = request {
        txn.check_existing(put)?;
        txn.check_lease(put.lease)?;
    }
    Ok(())
}

fn check_range(txn: &OperationTxn<'_>, request: &Request) -> Result<(), Fault> {
    if let Request::RequestRange(request) = request {
        range::readable(txn.view(), txn.base_revision(), request.revision)?;
    }
    Ok(())
}

fn apply(
    txn: &mut OperationTxn<'_>,
    request: &TxnRequest,
    path: &Path,
) -> Result<TxnResponse, Fault> {
    let mut paths = path.nested.iter();
    let mut responses = Vec::new();
    for operation in branch(request, path) {
        let response = match operation.request.clone() {
            Some(Request::RequestRange(request)) => {
                let last = txn.revision();
                Response::ResponseRange(range::range(txn.view(), last, &request)?)
            }
            Some(Request::RequestPut(request)) => Response::ResponsePut(txn.put(request)?),
            Some(Request::RequestDeleteRange(request)) => {
                Response::ResponseDeleteRange(txn.delete_range(request)?)
            }
            Some(Request::RequestTxn(request)) => {
                let path = paths.next().expect("a path for each");
                Response::ResponseTxn(apply(txn, &request, path)?)
            }
            None => return Err(RequestError::KeyNotFound.into()),
        };
        responses.push(ResponseOp {
            response: Some(response),
        });
    }
    Ok(TxnResponse {
        // etcd leaves the header of a nested transaction empty.
        header: Some(ResponseHeader::default()),
        succeeded: path.succeeded,
        responses,
    })
}

/// Whether a condition holds for every key of its range. If the range has no key, the condition is
/// tested on a key that was never put, except that no comparison of a missing value holds.
fn holds(view: &dyn ReadTransaction, compare: &Compare) -> Result<bool, Fault> {
    let keys = KeyRange::from_wire(compare.key.clone(), compare.range_end.clone());
    let (mut any, mut all) = (false, true);
    if !keys.is_empty() {
        view.scan(&keys, view.revision(), &mut |kv| {
            any = true;
            all = holds_for(compare, &kv);
            if all {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })?;
    }
    if any {
        return Ok(all);
    }
    let of_value = compare.target == CompareTarget::Value as i32;
    Ok(!of_value && holds_for(compare, &KeyValue::default()))
}

fn holds_for(compare: &Compare, kv: &KeyValue) -> bool {
    let given = compare.target_union.as_ref();
    // A missing operand, or one of another target, counts as 0 or empty.
    let number = |value: i64, pick: fn(&TargetUnion) -> Option<i64>| {
        value.cmp(&given.and_then(pick).unwrap_or(0))
    };
    let ordering = match CompareTarget::try_from(compare.target) {
        Ok(CompareTarget::Version) => number(kv.version, |given| match given {
            TargetUnion::Version(number) => Some(*number),
            _ => None,
        }),
        Ok(CompareTarget::Create) => number(kv.create_revision, |given| match given {
            TargetUnion::CreateRevision(number) => Some(*number),
            _ => None,
        }),
        Ok(CompareTarget::Mod) => number(kv.mod_revision, |given| match given {
            TargetUnion::ModRevision(number) => Some(*number),
            _ => None,
        }),
        Ok(CompareTarget::Lease) => number(kv.lease, |given| match given {
            TargetUnion::Lease(number) => Some(*number),
            _ => None,
        }),
        Ok(CompareTarget::Value) => match given {
            Some(TargetUnion::Value(value)) => kv.value.cmp(value),
            _ => kv.value[..].cmp(b""),
        },
        Err(_) => Ordering::Equal,
    };
    match CompareResult::try_from(compare.result) {
        Ok(CompareResult::Equal) => ordering.is_eq(),
        Ok(CompareResult::NotEqual) => ordering.is_ne(),
        Ok(CompareResult::Greater) => ordering.is_gt(),
        Ok(CompareResult::Less) => ordering.is_lt(),
        Err(_) => true,
    }
}

//! Reading a range of keys: revision, bounds, order and limit.

use std::cmp::Ordering;
use std::ops::ControlFlow;

use kvwatch::Revision;

use crate::error::{Fault, RequestError};
use crate::header;
use crate::keys::KeyRange;
use crate::transaction::ReadTransaction;
use crate::wire::etcdserverpb::range_request::{SortOrder, SortTarget};
use crate::wire::etcdserverpb::{RangeRequest, RangeResponse};
use crate::wire::mvccpb::KeyValue;

/// Reads a range. `last` is the last revision, and the one to read if the request names none.
pub(crate) fn range(
    view: &dyn ReadTransaction,
    last: Revision,
    request: &RangeRequest,
) -> Result<RangeResponse, Fault> {
    let revision = readable(view, last, request.revision)?;
    let keys = KeyRange::from_wire(request.key.clone(), request.range_end.clone());
    let mut response = RangeResponse {
        header: header::at_revision(last),
        ..RangeResponse::default()
    };
    if keys.is_empty() {
        return Ok(response);
    }
    if request.count_only {
        response.count = view.count(&keys, revision)?.cast_signed();
        return Ok(response);
    }
    let limit = usize::try_from(request.limit)
        .ok()
        .filter(|limit| *limit > 0);
    // One key beyond the limit shows that there are more. With bounds or an order, all keys must be
    // read first.
    let in_key_order = request.sort_order == SortOrder::None as i32 && !has_bounds(request);
    let enough = limit
        .filter(|_| in_key_order)
        .map_or(usize::MAX, |limit| limit.saturating_add(1));
    let by_value = request.sort_target == SortTarget::Value as i32;
    let mut kvs = Vec::new();
    let mut read = 0;
    view.scan(&keys, revision, &mut |mut kv| {
        read += 1;
        if within_bounds(request, &kv) {
            if request.keys_only && !by_value {
                kv.value.clear();
            }
            kvs.push(kv);
        }
        if read < enough {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    })?;
    response.count = if read < enough {
        read as i64
    } else {
        view.count(&keys, revision)?.cast_signed()
    };
    sort(request, &mut kvs);
    if let Some(limit) = limit
        && kvs.len() > limit
    {
        kvs.truncate(limit);
        response.more = true;
    }
    if request.keys_only {
        kvs.iter_mut().for_each(|kv| kv.value.clear());
    }
    response.kvs = kvs;
    Ok(response)
}

/// The revision to read if a request names `requested`. 0 and below mean the last one.
pub(crate) fn readable(
    view: &dyn ReadTransaction,
    last: Revision,
    requested: i64,
) -> Result<Revision, RequestError> {
    let requested = Revision::try_from(requested).ok().filter(|it| *it > 0);
    let Some(revision) = requested else {
        return Ok(last);
    };
    if revision > last {
        return Err(RequestError::FutureRevision);
    }
    if revision < view.compacted() {
        return Err(RequestError::Compacted);
    }
    Ok(revision)
}

fn has_bounds(request: &RangeRequest) -> bool {
    request.min_mod_revision != 0
        || request.max_mod_revision != 0
        || request.min_create_revision != 0
        || request.max_create_revision != 0
}

fn within_bounds(request: &RangeRequest, kv: &KeyValue) -> bool {
    let within =
        |min: i64, value: i64, max: i64| (min == 0 || value >= min) && (max == 0 || value <= max);
    within(
        request.min_mod_revision,
        kv.mod_revision,
        request.max_mod_revision,
    ) && within(
        request.min_create_revision,
        kv.create_revision,
        request.max_create_revision,
    )
}

fn sort(request: &RangeRequest, kvs: &mut [KeyValue]) {
    let by: fn(&KeyValue, &KeyValue) -> Ordering = match request.sort_target() {
        SortTarget::Key => |a, b| a.key.cmp(&b.key),
        SortTarget::Version => |a, b| a.version.cmp(&b.version),
        SortTarget::Create => |a, b| a.create_revision.cmp(&b.create_revision),
        SortTarget::Mod => |a, b| a.mod_revision.cmp(&b.mod_revision),
        SortTarget::Value => |a, b| a.value.cmp(&b.value),
    };
    match (request.sort_order(), request.sort_target()) {
        // A scan visits keys in this order.
        (SortOrder::None | SortOrder::Ascend, SortTarget::Key) => {}
        (SortOrder::None | SortOrder::Ascend, _) => kvs.sort_by(by),
        (SortOrder::Descend, _) => kvs.sort_by(|a, b| by(b, a)),
    }
}

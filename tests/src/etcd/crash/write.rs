//! The writes of the clients, and a naive model of their effect on a store.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use kvwatch::{Change, PrevValue};
use kvwatch_etcd::wire::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use kvwatch_etcd::wire::etcdserverpb::request_op::Request;
use kvwatch_etcd::wire::etcdserverpb::response_op::Response;
use kvwatch_etcd::wire::etcdserverpb::{
    Compare, DeleteRangeRequest, LeaseRevokeRequest, PutRequest, RequestOp, ResponseHeader,
    TxnRequest,
};
use kvwatch_etcd::wire::mvccpb::KeyValue;
use tonic::Status;

use super::super::Client;
use super::super::event::text;
use crate::Rng;

/// The numbers of prefixes, and of keys under each.
pub(super) const PREFIXES: u64 = 4;
pub(super) const KEYS: u64 = 8;

/// A large write: together with the previous values, more bytes than one response holds.
const LARGE: u64 = 5;
const LARGE_BYTES: usize = 170_000;

/// A write. It has a revision of its own if it changes anything.
#[derive(Clone, Debug)]
pub(super) enum Write {
    /// Runs `then` if there is no guard or the guard's key exists, otherwise `otherwise`.
    Steps {
        guard: Option<String>,
        then: Vec<Step>,
        otherwise: Vec<Step>,
    },
    /// Revokes a lease, which deletes the attached keys.
    Revoke(i64),
}

#[derive(Clone)]
pub(super) enum Step {
    Put {
        key: String,
        value: String,
        lease: i64,
    },
    /// Deletes one key, or all from `key` up to `end`.
    Delete { key: String, end: String },
}

pub(super) fn key(rng: &mut Rng) -> String {
    format!("k{}/{}", rng.next_below(PREFIXES), rng.next_below(KEYS))
}

impl Write {
    /// Any write except a revoke. The values of its puts are unique.
    pub(super) fn random(rng: &mut Rng, unique: &str, lease: i64) -> Self {
        // Long enough that a client that does not read soon blocks its stream.
        let unique = &format!("{unique} {}", "x".repeat(rng.next_below(2000) as usize));
        match rng.next_below(12) {
            0..6 => Self::plain(Step::Put {
                key: key(rng),
                value: unique.to_owned(),
                lease: if rng.next_below(3) == 0 { lease } else { 0 },
            }),
            6 => Self::plain(Step::Delete {
                key: key(rng),
                end: String::new(),
            }),
            7 => {
                let prefix = rng.next_below(PREFIXES);
                // '0' follows '/'.
                let (key, end) = (format!("k{prefix}/"), format!("k{prefix}0"));
                Self::plain(Step::Delete { key, end })
            }
            _ => Self::Steps {
                guard: (rng.next_below(2) == 0).then(|| key(rng)),
                then: steps(rng, &format!("then {unique}")),
                otherwise: steps(rng, &format!("otherwise {unique}")),
            },
        }
    }

    pub(super) fn large(unique: &str) -> Self {
        let put = |nth| Step::Put {
            key: format!("large/{nth}"),
            value: format!("{unique} {nth} {}", "x".repeat(LARGE_BYTES)),
            lease: 0,
        };
        Self::Steps {
            guard: None,
            then: (0..LARGE).map(put).collect(),
            otherwise: Vec::new(),
        }
    }

    fn plain(step: Step) -> Self {
        Self::Steps {
            guard: None,
            then: vec![step],
            otherwise: Vec::new(),
        }
    }

    /// Sends the write, and returns its revision if it changed anything.
    pub(super) async fn send(&self, client: &Client) -> Result<Option<i64>, Status> {
        let (header, changed) = match self {
            Self::Revoke(id) => {
                let previous = client.revision().await?;
                let request = LeaseRevokeRequest { id: *id };
                let response = client.lease().lease_revoke(request).await?.into_inner();
                // The answer does not say whether the lease had keys. If the revision changed, that
                // may be another client's write, so the write counts as unanswered.
                let current = revision(response.header);
                return match current - previous {
                    0 => Ok(None),
                    _ => Err(Status::unknown("whether it changed anything is not known")),
                };
            }
            Self::Steps {
                guard: None, then, ..
            } if then.len() == 1 => match then[0].request() {
                Request::RequestPut(put) => {
                    let response = client.kv().put(put).await?.into_inner();
                    (response.header, true)
                }
                Request::RequestDeleteRange(delete) => {
                    let response = client.kv().delete_range(delete).await?.into_inner();
                    (response.header, response.deleted > 0)
                }
                other => unreachable!("{other:?} is no step"),
            },
            Self::Steps {
                guard,
                then,
                otherwise,
            } => {
                let requests = |steps: &[Step]| {
                    let requests = steps.iter().map(|step| RequestOp {
                        request: Some(step.request()),
                    });
                    requests.collect()
                };
                let request = TxnRequest {
                    compare: guard.iter().map(|key| exists(key)).collect(),
                    success: requests(then),
                    failure: requests(otherwise),
                };
                let response = client.kv().txn(request).await?.into_inner();
                let changed = |response: Option<Response>| match response {
                    Some(Response::ResponseDeleteRange(deleted)) => deleted.deleted > 0,
                    response => matches!(response, Some(Response::ResponsePut(_))),
                };
                let mut responses = response.responses.into_iter();
                let any = responses.any(|each| changed(each.response));
                (response.header, any)
            }
        };
        Ok(changed.then(|| revision(header)))
    }
}

fn revision(header: Option<ResponseHeader>) -> i64 {
    header.expect("every answer has one").revision
}

/// Steps on distinct keys.
fn steps(rng: &mut Rng, unique: &str) -> Vec<Step> {
    let (prefix, first) = (rng.next_below(PREFIXES), rng.next_below(KEYS));
    let count = 1 + rng.next_below(4);
    let step = |nth| {
        let key = format!("k{prefix}/{}", (first + nth) % KEYS);
        if rng.next_below(4) == 0 {
            let end = String::new();
            return Step::Delete { key, end };
        }
        Step::Put {
            key,
            value: unique.to_owned(),
            lease: 0,
        }
    };
    (0..count).map(step).collect()
}

fn exists(key: &str) -> Compare {
    Compare {
        result: CompareResult::Greater.into(),
        target: CompareTarget::Version.into(),
        key: key.to_owned().into(),
        target_union: Some(TargetUnion::Version(0)),
        ..Compare::default()
    }
}

impl fmt::Debug for Step {
    /// Shows the start of a value, which is enough to identify it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put { key, value, lease } => write!(f, "put {key} {value:.24} lease {lease}"),
            Self::Delete { key, end } => write!(f, "delete {key} up to {end:?}"),
        }
    }
}

impl Step {
    fn request(&self) -> Request {
        match self.clone() {
            Self::Put { key, value, lease } => Request::RequestPut(PutRequest {
                key: key.into(),
                value: value.into(),
                lease,
                ..PutRequest::default()
            }),
            Self::Delete { key, end } => Request::RequestDeleteRange(DeleteRangeRequest {
                key: key.into(),
                range_end: end.into(),
                ..DeleteRangeRequest::default()
            }),
        }
    }
}

/// The keys of a store.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub(super) keys: BTreeMap<Bytes, KeyValue>,
}

impl Model {
    /// Applies a write under this revision, and returns its changes as watches should receive them.
    pub(super) fn run(&mut self, write: &Write, revision: i64) -> Vec<Change> {
        match write {
            Write::Revoke(lease) => self.delete(|kv| kv.lease == *lease),
            Write::Steps {
                guard,
                then,
                otherwise,
            } => {
                let guarded = guard.as_ref().map(String::as_bytes);
                let holds = guarded.is_none_or(|key| self.keys.contains_key(key));
                let steps = if holds { then } else { otherwise };
                let step = |step: &Step| self.step(step, revision);
                steps.iter().flat_map(step).collect()
            }
        }
    }

    fn step(&mut self, step: &Step, revision: i64) -> Vec<Change> {
        match step {
            Step::Put { key, value, lease } => {
                let key = Bytes::copy_from_slice(key.as_bytes());
                let old = self.keys.get(&key);
                let kv = KeyValue {
                    key: key.clone(),
                    value: Bytes::copy_from_slice(value.as_bytes()),
                    create_revision: old.map_or(revision, |old| old.create_revision),
                    mod_revision: revision,
                    version: old.map_or(1, |old| old.version + 1),
                    lease: *lease,
                };
                let prev = old.map_or(PrevValue::Absent, |old| PrevValue::Value(text(old)));
                let change = Change::put(key.clone(), text(&kv)).with_prev_value(prev);
                self.keys.insert(key, kv);
                vec![change]
            }
            Step::Delete { key, end } if end.is_empty() => self.delete(|kv| kv.key == key),
            Step::Delete { key, end } => self.delete(|kv| kv.key >= key && kv.key < end),
        }
    }

    fn delete(&mut self, which: impl Fn(&KeyValue) -> bool) -> Vec<Change> {
        let deleted = self.keys.values().filter(|kv| which(kv));
        let change = |kv: &KeyValue| {
            Change::delete(kv.key.clone()).with_prev_value(PrevValue::Value(text(kv)))
        };
        let changes = deleted.map(change).collect();
        self.keys.retain(|_, kv| !which(kv));
        changes
    }
}

//! Seeded sequences of calls, valid and invalid ones.

use bytes::Bytes;
use kvwatch_etcd::wire::etcdserverpb::compare::TargetUnion;
use kvwatch_etcd::wire::etcdserverpb::request_op::Request;
use kvwatch_etcd::wire::etcdserverpb::{
    CompactionRequest, Compare, DeleteRangeRequest, LeaseGrantRequest, LeaseTimeToLiveRequest,
    PutRequest, RangeRequest, RequestOp, TxnRequest, WatchCreateRequest,
};

use crate::Rng;

/// One call.
#[derive(Clone, Debug)]
pub enum Step {
    /// KV.Range
    Range(RangeRequest),
    /// KV.Put
    Put(PutRequest),
    /// KV.DeleteRange
    Delete(DeleteRangeRequest),
    /// KV.Txn
    Txn(TxnRequest),
    /// KV.Compact
    Compact(CompactionRequest),
    /// Lease.LeaseGrant
    Grant(LeaseGrantRequest),
    /// Lease.LeaseRevoke
    Revoke(i64),
    /// Lease.LeaseKeepAlive, a single one
    KeepAlive(i64),
    /// Lease.LeaseTimeToLive
    TimeToLive(LeaseTimeToLiveRequest),
    /// Lease.LeaseLeases
    Leases,
    /// A create request on the sequence's watch stream
    Watch(WatchCreateRequest),
    /// A cancel request on that stream
    Cancel(i64),
}

/// Generates the calls of one sequence.
#[derive(Debug)]
pub struct Generator {
    rng: Rng,
    /// The current revision. Calls name revisions near it.
    pub revision: i64,
    /// Whether transactions within the next one delete keys. If not, they put keys.
    nested_deletes: bool,
}

/// The depth to which transactions are nested.
const DEPTH: u64 = 3;

const KEYS: [&str; 9] = ["", "\0", "a", "a\0", "aa", "ab", "b", "c", "\u{7f}"];

impl Generator {
    /// The same seed gives the same calls.
    #[must_use]
    pub fn new(seed: u64, revision: i64) -> Self {
        Self {
            rng: Rng::new(seed),
            revision,
            nested_deletes: false,
        }
    }

    /// True once in `times` times.
    fn one_in(&mut self, times: u64) -> bool {
        self.rng.next_below(times) == 0
    }

    fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.rng.next_below(all.len() as u64) as usize]
    }

    /// A key; rarely the empty one, which most calls refuse.
    fn key(&mut self) -> Bytes {
        let from = if self.one_in(40) { 0 } else { 1 };
        Bytes::from_static(self.pick(&KEYS[from..]).as_bytes())
    }

    fn range_end(&mut self) -> Bytes {
        match self.rng.next_below(8) {
            0..4 => Bytes::new(),
            4 => Bytes::from_static(b"\0"),
            _ => self.key(),
        }
    }

    fn value(&mut self) -> Bytes {
        Bytes::from_static(self.pick(&["", "1", "2", "three"]).as_bytes())
    }

    fn lease(&mut self) -> i64 {
        self.pick(&[0, 0, 0, 0, 11, 12, 13, -5])
    }

    /// A revision near the current one: past, current or future; or 0 for none.
    fn near(&mut self) -> i64 {
        match self.rng.next_below(8) {
            0..4 => 0,
            4 => self.revision,
            5 => self.revision + 1 + self.rng.next_below(3) as i64,
            _ => (self.revision - self.rng.next_below(12) as i64).max(1),
        }
    }

    /// The first call of some sequences: a compaction, which must not happen while there are
    /// watches.
    pub fn first(&mut self) -> Option<Step> {
        if !self.one_in(4) {
            return None;
        }
        let revision = match self.rng.next_below(9) {
            0 => -1,
            1 => self.revision + 1,
            2 => self.revision,
            _ => (self.revision - self.rng.next_below(30) as i64).max(1),
        };
        let physical = self.one_in(2);
        Some(Step::Compact(CompactionRequest { revision, physical }))
    }

    /// The next call.
    pub fn step(&mut self, watching: bool) -> Step {
        match self.rng.next_below(if watching { 21 } else { 17 }) {
            0..5 => Step::Put(self.put()),
            5..8 => Step::Range(self.range()),
            8..10 => Step::Delete(self.delete()),
            10..13 => {
                self.nested_deletes = self.one_in(2);
                Step::Txn(self.txn(DEPTH))
            }
            13 => Step::Grant(self.grant()),
            14 => Step::Revoke(self.lease()),
            15 => match self.rng.next_below(3) {
                0 => Step::KeepAlive(self.lease()),
                _ => Step::Leases,
            },
            16 => Step::TimeToLive(LeaseTimeToLiveRequest {
                id: self.lease(),
                keys: self.one_in(2),
            }),
            17..20 => Step::Watch(self.watch()),
            _ => Step::Cancel(self.pick(&[0, 1, 20, 27])),
        }
    }

    fn put(&mut self) -> PutRequest {
        let mut put = PutRequest {
            key: self.key(),
            value: self.value(),
            lease: self.lease(),
            prev_kv: self.one_in(3),
            ignore_value: self.one_in(10),
            ignore_lease: self.one_in(10),
        };
        // Mostly such as are allowed.
        if put.ignore_value && !self.one_in(4) {
            put.value.clear();
        }
        if put.ignore_lease && !self.one_in(4) {
            put.lease = 0;
        }
        put
    }

    fn range(&mut self) -> RangeRequest {
        RangeRequest {
            key: self.key(),
            range_end: self.range_end(),
            limit: self.pick(&[0, 0, 0, 1, 2, 3, -1]),
            revision: self.near(),
            sort_order: self.pick(&[0, 0, 1, 2]),
            sort_target: self.pick(&[0, 0, 1, 2, 3, 4]),
            serializable: self.one_in(4),
            keys_only: self.one_in(4),
            count_only: self.one_in(6),
            min_mod_revision: self.bound(),
            max_mod_revision: self.bound(),
            min_create_revision: self.bound(),
            max_create_revision: self.bound(),
        }
    }

    fn bound(&mut self) -> i64 {
        if self.one_in(6) { self.near() } else { 0 }
    }

    fn delete(&mut self) -> DeleteRangeRequest {
        DeleteRangeRequest {
            key: self.key(),
            range_end: self.range_end(),
            prev_kv: self.one_in(2),
        }
    }

    fn grant(&mut self) -> LeaseGrantRequest {
        LeaseGrantRequest {
            ttl: self.pick(&[-1, 0, 1, 5000, 9_000_000_000, 9_000_000_001]),
            id: self.pick(&[11, 12, 13]),
        }
    }

    fn txn(&mut self, depth: u64) -> TxnRequest {
        let compare = (0..self.rng.next_below(3))
            .map(|_| self.compare())
            .collect();
        let success = (0..self.rng.next_below(4))
            .map(|_| self.operation(depth))
            .collect();
        let failure = (0..self.rng.next_below(3))
            .map(|_| self.operation(depth))
            .collect();
        TxnRequest {
            compare,
            success,
            failure,
        }
    }

    fn operation(&mut self, depth: u64) -> RequestOp {
        let nested = depth < DEPTH;
        let request = match self.rng.next_below(8) {
            3..6 if !nested || !self.nested_deletes => Request::RequestPut(self.put()),
            6 if !nested || self.nested_deletes => {
                let mut delete = self.delete();
                if delete.range_end == "\0" {
                    // With a put beside it, this crashes a real etcd 3.4.23.
                    delete.range_end = Bytes::from_static(b"z");
                }
                Request::RequestDeleteRange(delete)
            }
            0..7 => Request::RequestRange(self.range()),
            _ if depth > 0 => Request::RequestTxn(self.txn(depth - 1)),
            _ => return RequestOp { request: None },
        };
        RequestOp {
            request: Some(request),
        }
    }

    fn compare(&mut self) -> Compare {
        let near = self.near();
        let union = match self.rng.next_below(6) {
            0 => Some(TargetUnion::Version(self.rng.next_below(4) as i64)),
            1 => Some(TargetUnion::CreateRevision(near)),
            2 => Some(TargetUnion::ModRevision(near)),
            3 => Some(TargetUnion::Value(self.value())),
            4 => Some(TargetUnion::Lease(self.lease())),
            _ => None,
        };
        let fitting = match union {
            Some(TargetUnion::Version(_)) | None => 0,
            Some(TargetUnion::CreateRevision(_)) => 1,
            Some(TargetUnion::ModRevision(_)) => 2,
            Some(TargetUnion::Value(_)) => 3,
            Some(TargetUnion::Lease(_)) => 4,
        };
        Compare {
            result: self.pick(&[0, 1, 2, 3]),
            target: if self.one_in(10) {
                self.pick(&[0, 1, 2, 3, 4])
            } else {
                fitting
            },
            key: self.key(),
            target_union: union,
            range_end: if self.one_in(3) {
                self.range_end()
            } else {
                Bytes::new()
            },
        }
    }

    fn watch(&mut self) -> WatchCreateRequest {
        let filters = match self.rng.next_below(8) {
            0 => vec![0],
            1 => vec![1],
            2 => vec![0, 1],
            _ => vec![],
        };
        WatchCreateRequest {
            key: self.key(),
            range_end: self.range_end(),
            start_revision: self.near(),
            progress_notify: self.one_in(4),
            filters,
            prev_kv: self.one_in(2),
            watch_id: self.pick(&[0, 0, 0, 20, 27]),
            fragment: self.one_in(4),
        }
    }
}

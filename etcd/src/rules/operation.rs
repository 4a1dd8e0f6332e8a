//! What a store is asked to run: one call of a client, with etcd's rules in it.

use bytes::Bytes;
use prost::Message;

use super::check;
use super::range;
use super::read_only::ReadOnly;
use super::txn;
use super::write::OperationTxn;
use crate::error::{Fault, RequestError, StoreError};
use crate::leases::{MAX_TTL, MIN_TTL};
use crate::transaction::{ReadTransaction, WriteTransaction};
use crate::wire::etcdserverpb::{
    DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse, RangeRequest, RangeResponse,
    TxnRequest, TxnResponse,
};

/// A call that only reads.
#[derive(Debug)]
#[must_use = "a query does nothing before it is run"]
pub struct Query(Reading);

#[derive(Debug)]
enum Reading {
    Range(RangeRequest),
    Txn(TxnRequest),
    LeaseKeys(i64),
}

impl Query {
    pub(crate) fn range(request: RangeRequest) -> Result<Self, RequestError> {
        check::range(&request)?;
        Ok(Self(Reading::Range(request)))
    }

    pub(crate) fn lease_keys(lease: i64) -> Self {
        Self(Reading::LeaseKeys(lease))
    }

    /// Whether it reads one key at most: that is done soon, while anything else may read the
    /// whole store, and should not hold up a thread that others need.
    #[must_use]
    pub fn is_small(&self) -> bool {
        matches!(&self.0, Reading::Range(request) if request.range_end.is_empty())
    }

    /// Reads. To be called once, in [`Store::read`](super::Store::read).
    ///
    /// # Errors
    /// What the view failed with.
    pub fn run(self, view: &dyn ReadTransaction) -> Result<Answer, StoreError> {
        let done = match self.0 {
            Reading::Range(request) => {
                range::range(view, view.revision(), &request).map(Reply::Range)
            }
            Reading::Txn(request) => {
                let mut frozen = ReadOnly(view);
                txn::run(&mut OperationTxn::new(&mut frozen), &request).map(Reply::Txn)
            }
            Reading::LeaseKeys(lease) => view
                .lease_keys(lease)
                .map(Reply::LeaseKeys)
                .map_err(Fault::Store),
        };
        Answer::of(done)
    }
}

/// A call that may write.
#[derive(Debug)]
#[must_use = "an operation does nothing before it is run"]
pub struct Operation(Writing);

#[derive(Debug)]
enum Writing {
    Put(PutRequest),
    Delete(DeleteRangeRequest),
    Txn(TxnRequest),
    Compact { revision: i64, physical: bool },
    Grant { lease: i64, ttl: i64 },
    Revoke { lease: i64 },
}

/// What a transaction asks for: a query where it cannot write, whatever its conditions say.
pub(crate) enum Planned {
    Query(Query),
    Operation(Operation),
}

impl Operation {
    /// A put, as the service hands it to the store; with it a store's own tests can write without
    /// a client.
    ///
    /// # Errors
    /// What etcd refuses whatever the store holds, an empty key for instance.
    pub fn put(request: PutRequest) -> Result<Self, RequestError> {
        check::put(&request)?;
        Ok(Self(Writing::Put(request)))
    }

    pub(crate) fn delete(request: DeleteRangeRequest) -> Result<Self, RequestError> {
        check::delete(&request)?;
        Ok(Self(Writing::Delete(request)))
    }

    pub(crate) fn txn(request: TxnRequest, most: usize) -> Result<Planned, RequestError> {
        check::txn(&request, most)?;
        Ok(if txn::only_reads(&request) {
            Planned::Query(Query(Reading::Txn(request)))
        } else {
            Planned::Operation(Self(Writing::Txn(request)))
        })
    }

    pub(crate) fn compact(revision: i64, physical: bool) -> Self {
        Self(Writing::Compact { revision, physical })
    }

    /// A lease of at least `ttl` seconds; with 0 as its name, one is chosen.
    pub(crate) fn grant(lease: i64, ttl: i64) -> Result<Self, RequestError> {
        if ttl > MAX_TTL {
            return Err(RequestError::LeaseTooLong);
        }
        let ttl = ttl.max(MIN_TTL);
        Ok(Self(Writing::Grant { lease, ttl }))
    }

    /// Ends a lease: all its keys are deleted, in one revision. It is what a store runs when a
    /// lease has [`expired`](super::Leases::expired); where there is no such lease, it does
    /// nothing.
    pub fn revoke(lease: i64) -> Self {
        Self(Writing::Revoke { lease })
    }

    /// How many bytes it takes to name what it does: a store that lets operations wait can bound
    /// the memory that takes.
    #[must_use]
    pub fn size(&self) -> usize {
        match &self.0 {
            Writing::Put(request) => request.encoded_len(),
            Writing::Delete(request) => request.encoded_len(),
            Writing::Txn(request) => request.encoded_len(),
            Writing::Compact { .. } | Writing::Grant { .. } | Writing::Revoke { .. } => 16,
        }
    }

    /// Whether it writes one key at most: that is done soon, while anything else may go through
    /// the whole store, and should not hold up a thread that others need.
    #[must_use]
    pub fn is_small(&self) -> bool {
        match &self.0 {
            Writing::Put(_) => true,
            Writing::Delete(request) => request.range_end.is_empty(),
            _ => false,
        }
    }

    /// Reads and writes. To be called once, in the transaction of
    /// [`Store::write`](super::Store::write).
    ///
    /// What etcd's rules refuse is refused before anything is written, and is an answer too.
    ///
    /// # Errors
    /// What the transaction failed with: nothing of it may remain then.
    pub fn run(self, transaction: &mut dyn WriteTransaction) -> Result<Answer, StoreError> {
        let mut txn = OperationTxn::new(transaction);
        let done = match self.0 {
            Writing::Put(request) => txn.put_call(request).map(Reply::Put),
            Writing::Delete(request) => txn.delete_range(request).map(Reply::Delete),
            Writing::Txn(request) => txn::run(&mut txn, &request).map(Reply::Txn),
            Writing::Compact { revision, physical } => {
                txn.compact(revision, physical).map(|()| Reply::Compacted)
            }
            Writing::Grant { lease, ttl } => txn
                .grant(lease, ttl)
                .map(|lease| Reply::Granted { lease, ttl }),
            Writing::Revoke { lease } => txn
                .revoke(lease)
                .map(|revision| Reply::Revoked { revision }),
        };
        Answer::of(done)
    }
}

/// What an [`Operation`] or a [`Query`] answers; only for the service that asked.
#[derive(Debug)]
#[must_use = "an answer is what the client waits for"]
pub struct Answer(pub(crate) Result<Reply, RequestError>);

#[derive(Debug)]
pub(crate) enum Reply {
    Range(RangeResponse),
    Put(PutResponse),
    Delete(DeleteRangeResponse),
    Txn(TxnResponse),
    Compacted,
    Granted { lease: i64, ttl: i64 },
    Revoked { revision: i64 },
    LeaseKeys(Vec<Bytes>),
}

impl Answer {
    fn of(done: Result<Reply, Fault>) -> Result<Self, StoreError> {
        match done {
            Ok(reply) => Ok(Self(Ok(reply))),
            Err(Fault::Request(refusal)) => Ok(Self(Err(refusal))),
            Err(Fault::Store(error)) => Err(error),
        }
    }
}

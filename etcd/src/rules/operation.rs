//! The work that the services hand to a store: one request, with etcd's rules in it.

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

/// A request that only reads.
#[derive(Debug)]
#[must_use = "a query does nothing until it is run"]
pub struct Query(QueryKind);

#[derive(Debug)]
enum QueryKind {
    Range(RangeRequest),
    Txn(TxnRequest),
    LeaseKeys(i64),
}

impl Query {
    pub(crate) fn range(request: RangeRequest) -> Result<Self, RequestError> {
        check::range(&request)?;
        Ok(Self(QueryKind::Range(request)))
    }

    pub(crate) fn lease_keys(lease: i64) -> Self {
        Self(QueryKind::LeaseKeys(lease))
    }

    /// Whether the query reads at most one key. Any other query may read the whole store, and
    /// should not block a thread that serves other calls.
    #[must_use]
    pub fn is_small(&self) -> bool {
        matches!(&self.0, QueryKind::Range(request) if request.range_end.is_empty())
    }

    /// Runs the query. For [`Store::read`](crate::Store::read), once per query.
    ///
    /// # Errors
    /// If the view fails. A request that etcd's rules refuse is not an error but an answer.
    pub fn run(self, view: &dyn ReadTransaction) -> Result<Answer, StoreError> {
        let result = match self.0 {
            QueryKind::Range(request) => {
                range::range(view, view.revision(), &request).map(Reply::Range)
            }
            QueryKind::Txn(request) => {
                let mut view = ReadOnly(view);
                let mut operation = OperationTxn::new(&mut view);
                txn::run(&mut operation, &request).map(Reply::Txn)
            }
            QueryKind::LeaseKeys(lease) => view
                .lease_keys(lease)
                .map(Reply::LeaseKeys)
                .map_err(Fault::Store),
        };
        Answer::from_result(result)
    }
}

/// A request that may write.
#[derive(Debug)]
#[must_use = "an operation does nothing until it is run"]
pub struct Operation(OperationKind);

#[derive(Debug)]
enum OperationKind {
    Put(PutRequest),
    Delete(DeleteRangeRequest),
    Txn(TxnRequest),
    Compact { revision: i64, physical: bool },
    Grant { lease: i64, ttl: i64 },
    Revoke { lease: i64 },
}

/// A transaction: a query if none of its branches can write, an operation otherwise.
pub(crate) enum TxnKind {
    Query(Query),
    Operation(Operation),
}

impl Operation {
    /// A put, as the service makes it of a request. Public so that a store's tests can write
    /// without a client.
    ///
    /// # Errors
    /// If etcd refuses the request whatever the store holds, for example an empty key.
    pub fn put(request: PutRequest) -> Result<Self, RequestError> {
        check::put(&request)?;
        Ok(Self(OperationKind::Put(request)))
    }

    pub(crate) fn delete(request: DeleteRangeRequest) -> Result<Self, RequestError> {
        check::delete(&request)?;
        Ok(Self(OperationKind::Delete(request)))
    }

    pub(crate) fn txn(request: TxnRequest, max_operations: usize) -> Result<TxnKind, RequestError> {
        check::txn(&request, max_operations)?;
        Ok(if txn::only_reads(&request) {
            TxnKind::Query(Query(QueryKind::Txn(request)))
        } else {
            TxnKind::Operation(Self(OperationKind::Txn(request)))
        })
    }

    pub(crate) fn compact(revision: i64, physical: bool) -> Self {
        Self(OperationKind::Compact { revision, physical })
    }

    /// A new lease of at least [`MIN_TTL`] seconds. With 0 as its id, an unused id is chosen.
    pub(crate) fn grant(lease: i64, ttl: i64) -> Result<Self, RequestError> {
        if ttl > MAX_TTL {
            return Err(RequestError::LeaseTooLong);
        }
        let ttl = ttl.max(MIN_TTL);
        Ok(Self(OperationKind::Grant { lease, ttl }))
    }

    /// Ends a lease and deletes its keys, under one revision. A store runs it for every lease that
    /// has [`expired`](crate::Leases::expired). A lease that does not exist is left alone.
    pub fn revoke(lease: i64) -> Self {
        Self(OperationKind::Revoke { lease })
    }

    /// The bytes of the encoded request, approximately. A store can bound the memory of waiting
    /// operations with it.
    #[must_use]
    pub fn size(&self) -> usize {
        match &self.0 {
            OperationKind::Put(request) => request.encoded_len(),
            OperationKind::Delete(request) => request.encoded_len(),
            OperationKind::Txn(request) => request.encoded_len(),
            OperationKind::Compact { .. }
            | OperationKind::Grant { .. }
            | OperationKind::Revoke { .. } => 16,
        }
    }

    /// Whether the operation writes at most one key. Any other operation may go through the whole
    /// store, and should not block a thread that serves other calls.
    #[must_use]
    pub fn is_small(&self) -> bool {
        match &self.0 {
            OperationKind::Put(_) => true,
            OperationKind::Delete(request) => request.range_end.is_empty(),
            _ => false,
        }
    }

    /// Runs the operation. For the transaction of [`Store::write`](crate::Store::write), once per
    /// operation.
    ///
    /// An operation that etcd's rules refuse writes nothing, and the refusal is an answer, not an
    /// error.
    ///
    /// # Errors
    /// If the transaction fails. Nothing that the operation wrote may remain then.
    pub fn run(self, transaction: &mut dyn WriteTransaction) -> Result<Answer, StoreError> {
        let mut operation = OperationTxn::new(transaction);
        let result = match self.0 {
            OperationKind::Put(request) => operation.put_call(request).map(Reply::Put),
            OperationKind::Delete(request) => operation.delete_range(request).map(Reply::Delete),
            OperationKind::Txn(request) => txn::run(&mut operation, &request).map(Reply::Txn),
            OperationKind::Compact { revision, physical } => operation
                .compact(revision, physical)
                .map(|()| Reply::Compacted),
            OperationKind::Grant { lease, ttl } => operation
                .grant(lease, ttl)
                .map(|lease| Reply::Granted { lease, ttl }),
            OperationKind::Revoke { lease } => operation
                .revoke(lease)
                .map(|revision| Reply::Revoked { revision }),
        };
        Answer::from_result(result)
    }
}

/// The answer of a [`Query`] or an [`Operation`]. The store passes it back to the service, which
/// alone can read it.
#[derive(Debug)]
#[must_use = "the client waits for the answer"]
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
    fn from_result(result: Result<Reply, Fault>) -> Result<Self, StoreError> {
        match result {
            Ok(reply) => Ok(Self(Ok(reply))),
            Err(Fault::Request(error)) => Ok(Self(Err(error))),
            Err(Fault::Store(error)) => Err(error),
        }
    }
}

//! The writes of one operation, under one revision.

use std::ops::ControlFlow;

use bytes::Bytes;
use kvwatch::Revision;

use crate::error::{Fault, RequestError, StoreError};
use crate::header;
use crate::keys::KeyRange;
use crate::random;
use crate::transaction::{ReadTransaction, WriteTransaction};
use crate::wire::etcdserverpb::{DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse};
use crate::wire::mvccpb::KeyValue;

/// One operation inside a store's transaction.
pub(crate) struct OperationTxn<'a> {
    transaction: &'a mut dyn WriteTransaction,
    /// Whether the operation put or deleted anything, and so has a revision of its own.
    changed: bool,
}

impl<'a> OperationTxn<'a> {
    pub(crate) fn new(transaction: &'a mut dyn WriteTransaction) -> Self {
        Self {
            transaction,
            changed: false,
        }
    }

    /// The store with the operation's own writes.
    pub(crate) fn view(&self) -> &dyn ReadTransaction {
        self.transaction
    }

    /// The last revision before the operation.
    pub(crate) fn base_revision(&self) -> Revision {
        self.transaction.revision()
    }

    /// The last revision, counting the operation's own if it has one.
    pub(crate) fn revision(&self) -> Revision {
        self.base_revision() + Revision::from(self.changed)
    }

    /// A put outside a transaction. etcd checks the lease before the key here, and after the key in
    /// a transaction.
    pub(crate) fn put_call(&mut self, request: PutRequest) -> Result<PutResponse, Fault> {
        self.check_lease(request.lease)?;
        self.check_existing(&request)?;
        Ok(self.put(request)?)
    }

    pub(crate) fn check_lease(&self, lease: i64) -> Result<(), Fault> {
        if lease != 0 && !self.transaction.has_lease(lease)? {
            return Err(RequestError::LeaseNotFound.into());
        }
        Ok(())
    }

    /// A put that keeps the value or the lease needs an existing key.
    pub(crate) fn check_existing(&self, request: &PutRequest) -> Result<(), Fault> {
        let needs_key = request.ignore_value || request.ignore_lease;
        if needs_key && self.get(&request.key)?.is_none() {
            return Err(RequestError::KeyNotFound.into());
        }
        Ok(())
    }

    /// A put whose lease and key were checked.
    pub(crate) fn put(&mut self, request: PutRequest) -> Result<PutResponse, StoreError> {
        let old = self.get(&request.key)?;
        let revision = (self.base_revision() + 1).cast_signed();
        let mut kv = KeyValue {
            key: request.key,
            create_revision: revision,
            mod_revision: revision,
            version: 1,
            value: request.value,
            lease: request.lease,
        };
        if let Some(old) = &old {
            kv.create_revision = old.create_revision;
            kv.version = old.version + 1;
            if request.ignore_value {
                kv.value = old.value.clone();
            }
            if request.ignore_lease {
                kv.lease = old.lease;
            }
        }
        let prev_kv = old.clone().filter(|_| request.prev_kv);
        self.transaction.put(kv, old)?;
        self.changed = true;
        Ok(PutResponse {
            header: header::at_revision(self.revision()),
            prev_kv,
        })
    }

    pub(crate) fn delete_range(
        &mut self,
        request: DeleteRangeRequest,
    ) -> Result<DeleteRangeResponse, Fault> {
        let keys = KeyRange::from_wire(request.key, request.range_end);
        let mut deleted = Vec::new();
        if !keys.is_empty() {
            self.transaction.scan(&keys, self.revision(), &mut |kv| {
                deleted.push(kv);
                ControlFlow::Continue(())
            })?;
        }
        let count = deleted.len() as i64;
        let prev_kvs = if request.prev_kv {
            deleted.clone()
        } else {
            vec![]
        };
        self.delete_all(deleted)?;
        Ok(DeleteRangeResponse {
            header: header::at_revision(self.revision()),
            deleted: count,
            prev_kvs,
        })
    }

    pub(crate) fn compact(&mut self, revision: i64, physical: bool) -> Result<(), Fault> {
        let target = Revision::try_from(revision).unwrap_or(0);
        // The first revision of an empty store can be compacted, revision 0 cannot.
        if target <= self.transaction.compacted() {
            return Err(RequestError::Compacted.into());
        }
        if target > self.base_revision() {
            return Err(RequestError::FutureRevision.into());
        }
        Ok(self.transaction.compact(target, physical)?)
    }

    /// Returns the lease's id, which is chosen here if `lease` is 0.
    pub(crate) fn grant(&mut self, lease: i64, ttl: i64) -> Result<i64, Fault> {
        let lease = match lease {
            0 => self.unused_lease()?,
            id if self.transaction.has_lease(id)? => {
                return Err(RequestError::LeaseExists.into());
            }
            id => id,
        };
        self.transaction.grant(lease, ttl)?;
        Ok(lease)
    }

    fn unused_lease(&self) -> Result<i64, Fault> {
        loop {
            let id = i64::from_le_bytes(random::bytes()?) & i64::MAX;
            if id != 0 && !self.transaction.has_lease(id)? {
                return Ok(id);
            }
        }
    }

    /// Returns the last revision, counting the operation's own.
    pub(crate) fn revoke(&mut self, lease: i64) -> Result<i64, Fault> {
        if !self.transaction.has_lease(lease)? {
            return Err(RequestError::LeaseNotFound.into());
        }
        let mut deleted = Vec::new();
        for key in self.transaction.lease_keys(lease)? {
            deleted.extend(self.get(&key)?);
        }
        self.delete_all(deleted)?;
        self.transaction.revoke(lease)?;
        Ok(self.revision().cast_signed())
    }

    fn get(&self, key: &Bytes) -> Result<Option<KeyValue>, StoreError> {
        self.transaction.get(key, self.revision())
    }

    fn delete_all(&mut self, kvs: Vec<KeyValue>) -> Result<(), StoreError> {
        for kv in kvs {
            self.transaction.delete(kv)?;
            self.changed = true;
        }
        Ok(())
    }
}

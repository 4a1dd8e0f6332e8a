//! The txn of one operation to write: it has one revision for all that it changes.

use std::ops::ControlFlow;

use bytes::Bytes;

use crate::error::{Fault, RequestError, StoreError};
use crate::header;
use crate::keys::KeyRange;
use crate::random;
use crate::transaction::{ReadTransaction, WriteTransaction};
use crate::wire::etcdserverpb::{DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse};
use crate::wire::mvccpb::KeyValue;
use kvwatch::Revision;

/// One operation, writing.
pub(crate) struct OperationTxn<'a> {
    transaction: &'a mut dyn WriteTransaction,
    /// Something was put or deleted: there is a revision of this operation's own.
    changed: bool,
}

impl<'a> OperationTxn<'a> {
    pub(crate) fn new(transaction: &'a mut dyn WriteTransaction) -> Self {
        Self {
            transaction,
            changed: false,
        }
    }

    /// What this txn can read, its own writes included.
    pub(crate) fn view(&self) -> &dyn ReadTransaction {
        self.transaction
    }

    /// The revision before this txn.
    pub(crate) fn base_revision(&self) -> Revision {
        self.transaction.revision()
    }

    /// The revision that there is now.
    pub(crate) fn revision(&self) -> Revision {
        self.base_revision() + Revision::from(self.changed)
    }

    /// A put on its own: the lease is looked at before the key, as etcd does it here alone.
    pub(crate) fn put_call(&mut self, request: PutRequest) -> Result<PutResponse, Fault> {
        self.check_lease(request.lease)?;
        self.check_kept(&request)?;
        Ok(self.put(request)?)
    }

    pub(crate) fn check_lease(&self, lease: i64) -> Result<(), Fault> {
        if lease != 0 && !self.transaction.has_lease(lease)? {
            return Err(RequestError::LeaseNotFound.into());
        }
        Ok(())
    }

    /// A put that keeps something needs a key that has it.
    pub(crate) fn check_kept(&self, request: &PutRequest) -> Result<(), Fault> {
        let keeps = request.ignore_value || request.ignore_lease;
        if keeps && self.get(&request.key)?.is_none() {
            return Err(RequestError::KeyNotFound.into());
        }
        Ok(())
    }

    /// What it needs was checked before.
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
        let mut gone = Vec::new();
        if !keys.is_empty() {
            self.transaction.scan(&keys, self.revision(), &mut |kv| {
                gone.push(kv);
                ControlFlow::Continue(())
            })?;
        }
        let deleted = gone.len() as i64;
        let prev_kvs = if request.prev_kv {
            gone.clone()
        } else {
            vec![]
        };
        self.delete_all(gone)?;
        Ok(DeleteRangeResponse {
            header: header::at_revision(self.revision()),
            deleted,
            prev_kvs,
        })
    }

    pub(crate) fn compact(&mut self, revision: i64, physical: bool) -> Result<(), Fault> {
        let wanted = Revision::try_from(revision).unwrap_or(0);
        // An empty store's first revision can be compacted, and nothing before it.
        if wanted <= self.transaction.compacted() {
            return Err(RequestError::Compacted.into());
        }
        if wanted > self.base_revision() {
            return Err(RequestError::FutureRevision.into());
        }
        Ok(self.transaction.compact(wanted, physical)?)
    }

    /// Returns the lease's name.
    pub(crate) fn grant(&mut self, lease: i64, ttl: i64) -> Result<i64, Fault> {
        let lease = match lease {
            0 => self.unused_lease()?,
            taken if self.transaction.has_lease(taken)? => {
                return Err(RequestError::LeaseExists.into());
            }
            free => free,
        };
        self.transaction.grant(lease, ttl)?;
        Ok(lease)
    }

    fn unused_lease(&self) -> Result<i64, Fault> {
        loop {
            let name = i64::from_le_bytes(random::bytes()?) & i64::MAX;
            if name != 0 && !self.transaction.has_lease(name)? {
                return Ok(name);
            }
        }
    }

    /// Returns the revision afterwards.
    pub(crate) fn revoke(&mut self, lease: i64) -> Result<i64, Fault> {
        if !self.transaction.has_lease(lease)? {
            return Err(RequestError::LeaseNotFound.into());
        }
        let mut gone = Vec::new();
        for key in self.transaction.lease_keys(lease)? {
            gone.extend(self.get(&key)?);
        }
        self.delete_all(gone)?;
        self.transaction.revoke(lease)?;
        Ok(self.revision().cast_signed())
    }

    fn get(&self, key: &Bytes) -> Result<Option<KeyValue>, StoreError> {
        self.transaction.get(key, self.revision())
    }

    fn delete_all(&mut self, gone: Vec<KeyValue>) -> Result<(), StoreError> {
        for kv in gone {
            self.transaction.delete(kv)?;
            self.changed = true;
        }
        Ok(())
    }
}

//! The turn of one operation to write: it has one revision for all that it changes.

use std::ops::ControlFlow;

use bytes::Bytes;

use super::error::{Fault, Refusal, StoreError};
use super::header;
use super::keys::KeyRange;
use super::random;
use super::store::{Read, Write};
use super::wire::etcdserverpb::{DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse};
use super::wire::mvccpb::KeyValue;
use crate::Revision;

/// One operation, writing.
pub(crate) struct Turn<'a> {
    transaction: &'a mut dyn Write,
    /// Something was put or deleted: there is a revision of this operation's own.
    changed: bool,
}

impl<'a> Turn<'a> {
    pub(crate) fn new(transaction: &'a mut dyn Write) -> Self {
        Self {
            transaction,
            changed: false,
        }
    }

    /// What this turn can read, its own writes included.
    pub(crate) fn view(&self) -> &dyn Read {
        self.transaction
    }

    /// The revision before this turn.
    pub(crate) fn before(&self) -> Revision {
        self.transaction.revision()
    }

    /// The revision that there is now.
    pub(crate) fn now(&self) -> Revision {
        self.before() + Revision::from(self.changed)
    }

    /// A put on its own: the lease is looked at before the key, as etcd does it here alone.
    pub(crate) fn put_call(&mut self, request: PutRequest) -> Result<PutResponse, Fault> {
        self.check_lease(request.lease)?;
        self.check_kept(&request)?;
        Ok(self.put(request)?)
    }

    pub(crate) fn check_lease(&self, lease: i64) -> Result<(), Fault> {
        if lease != 0 && !self.transaction.has_lease(lease)? {
            return Err(Refusal::LeaseNotFound.into());
        }
        Ok(())
    }

    /// A put that keeps something needs a key that has it.
    pub(crate) fn check_kept(&self, request: &PutRequest) -> Result<(), Fault> {
        let keeps = request.ignore_value || request.ignore_lease;
        if keeps && self.get(&request.key)?.is_none() {
            return Err(Refusal::KeyNotFound.into());
        }
        Ok(())
    }

    /// What it needs was checked before.
    pub(crate) fn put(&mut self, request: PutRequest) -> Result<PutResponse, StoreError> {
        let old = self.get(&request.key)?;
        let revision = (self.before() + 1).cast_signed();
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
            header: header::at(self.now()),
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
            self.transaction.scan(&keys, self.now(), &mut |kv| {
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
            header: header::at(self.now()),
            deleted,
            prev_kvs,
        })
    }

    pub(crate) fn compact(&mut self, revision: i64, physical: bool) -> Result<(), Fault> {
        let wanted = Revision::try_from(revision).unwrap_or(0);
        // An empty store's first revision can be compacted, and nothing before it.
        if wanted <= self.transaction.compacted() {
            return Err(Refusal::Compacted.into());
        }
        if wanted > self.before() {
            return Err(Refusal::FutureRevision.into());
        }
        Ok(self.transaction.compact(wanted, physical)?)
    }

    /// Returns the lease's name.
    pub(crate) fn grant(&mut self, lease: i64, ttl: i64) -> Result<i64, Fault> {
        let lease = match lease {
            0 => self.unused_lease()?,
            taken if self.transaction.has_lease(taken)? => {
                return Err(Refusal::LeaseExists.into());
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
            return Err(Refusal::LeaseNotFound.into());
        }
        let mut gone = Vec::new();
        for key in self.transaction.lease_keys(lease)? {
            gone.extend(self.get(&key)?);
        }
        self.delete_all(gone)?;
        self.transaction.revoke(lease)?;
        Ok(self.now().cast_signed())
    }

    fn get(&self, key: &Bytes) -> Result<Option<KeyValue>, StoreError> {
        self.transaction.get(key, self.now())
    }

    fn delete_all(&mut self, gone: Vec<KeyValue>) -> Result<(), StoreError> {
        for kv in gone {
            self.transaction.delete(kv)?;
            self.changed = true;
        }
        Ok(())
    }
}

/// A view in a transaction's place, for transactions that only read.
pub(crate) struct Frozen<'a>(pub(crate) &'a dyn Read);

impl Read for Frozen<'_> {
    fn revision(&self) -> Revision {
        self.0.revision()
    }

    fn compacted(&self) -> Revision {
        self.0.compacted()
    }

    fn scan(
        &self,
        keys: &KeyRange,
        revision: Revision,
        show: &mut dyn FnMut(KeyValue) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.0.scan(keys, revision, show)
    }

    fn count(&self, keys: &KeyRange, revision: Revision) -> Result<u64, StoreError> {
        self.0.count(keys, revision)
    }

    fn get(&self, key: &Bytes, revision: Revision) -> Result<Option<KeyValue>, StoreError> {
        self.0.get(key, revision)
    }

    fn has_lease(&self, lease: i64) -> Result<bool, StoreError> {
        self.0.has_lease(lease)
    }

    fn lease_keys(&self, lease: i64) -> Result<Vec<Bytes>, StoreError> {
        self.0.lease_keys(lease)
    }
}

/// Nobody comes here: a query has nothing to write.
impl Write for Frozen<'_> {
    fn put(&mut self, _: KeyValue, _: Option<KeyValue>) -> Result<(), StoreError> {
        Err(frozen())
    }

    fn delete(&mut self, _: KeyValue) -> Result<(), StoreError> {
        Err(frozen())
    }

    fn compact(&mut self, _: Revision, _: bool) -> Result<(), StoreError> {
        Err(frozen())
    }

    fn grant(&mut self, _: i64, _: i64) -> Result<(), StoreError> {
        Err(frozen())
    }

    fn revoke(&mut self, _: i64) -> Result<(), StoreError> {
        Err(frozen())
    }
}

fn frozen() -> StoreError {
    StoreError::failed("a query cannot write")
}

//! A view in the role of a write transaction.

use std::ops::ControlFlow;

use bytes::Bytes;
use kvwatch::Revision;

use crate::error::StoreError;
use crate::keys::KeyRange;
use crate::transaction::{ReadTransaction, WriteTransaction};
use crate::wire::mvccpb::KeyValue;

/// A view in the role of a write transaction, for transactions of the API that only read: they
/// share the code of those that write.
pub(crate) struct ReadOnly<'a>(pub(crate) &'a dyn ReadTransaction);

impl ReadTransaction for ReadOnly<'_> {
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
        visit: &mut dyn FnMut(KeyValue) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.0.scan(keys, revision, visit)
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

/// Never called: a query has no write.
impl WriteTransaction for ReadOnly<'_> {
    fn put(&mut self, _: KeyValue, _: Option<KeyValue>) -> Result<(), StoreError> {
        Err(cannot_write())
    }

    fn delete(&mut self, _: KeyValue) -> Result<(), StoreError> {
        Err(cannot_write())
    }

    fn compact(&mut self, _: Revision, _: bool) -> Result<(), StoreError> {
        Err(cannot_write())
    }

    fn grant(&mut self, _: i64, _: i64) -> Result<(), StoreError> {
        Err(cannot_write())
    }

    fn revoke(&mut self, _: i64) -> Result<(), StoreError> {
        Err(cannot_write())
    }
}

fn cannot_write() -> StoreError {
    StoreError::failed("a query cannot write")
}

//! What etcd's rules need of a store: a view to read from, a transaction to write into.

use std::ops::ControlFlow;

use bytes::Bytes;
use kvwatch::Revision;

use crate::error::StoreError;
use crate::keys::KeyRange;
use crate::wire::mvccpb::KeyValue;

/// A view of a store for reading.
pub trait ReadTransaction {
    /// The last revision committed before this view was made. In a transaction, what the
    /// transaction itself has written comes under the revision after it.
    fn revision(&self) -> Revision;

    /// Up to where the store was compacted: the oldest revision that can be read. 0 if it never
    /// was.
    fn compacted(&self) -> Revision;

    /// Shows every key of the range as it stood at `revision`, ascending, until `show` breaks.
    /// The revision is neither compacted nor in the future.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn scan(
        &self,
        keys: &KeyRange,
        revision: Revision,
        show: &mut dyn FnMut(KeyValue) -> ControlFlow<()>,
    ) -> Result<(), StoreError>;

    /// How many keys [`scan`](Self::scan) would show. A store that can count without reading
    /// values should.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn count(&self, keys: &KeyRange, revision: Revision) -> Result<u64, StoreError> {
        let mut count = 0;
        self.scan(keys, revision, &mut |_| {
            count += 1;
            ControlFlow::Continue(())
        })?;
        Ok(count)
    }

    /// One key as it stood at `revision`.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn get(&self, key: &Bytes, revision: Revision) -> Result<Option<KeyValue>, StoreError> {
        let mut found = None;
        self.scan(&KeyRange::one(key.clone()), revision, &mut |kv| {
            found = Some(kv);
            ControlFlow::Break(())
        })?;
        Ok(found)
    }

    /// Whether there is such a lease.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn has_lease(&self, lease: i64) -> Result<bool, StoreError>;

    /// The keys attached to a lease now, ascending.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn lease_keys(&self, lease: i64) -> Result<Vec<Bytes>, StoreError>;
}

/// A transaction on a store. Reads of the revision after [`revision`](Read::revision) see what it
/// has written so far. All that is put and deleted in it shares that revision.
pub trait WriteTransaction: ReadTransaction {
    /// The key is now `kv`, and attached to `kv.lease` where that is not 0; before it was `old`.
    ///
    /// # Errors
    /// If the store cannot be written.
    fn put(&mut self, kv: KeyValue, old: Option<KeyValue>) -> Result<(), StoreError>;

    /// The key is gone; before it was `old`. That is to be readable at older revisions, and a
    /// watch that starts at the delete's revision must get it even where the store was compacted
    /// up to that revision.
    ///
    /// # Errors
    /// If the store cannot be written.
    fn delete(&mut self, old: KeyValue) -> Result<(), StoreError>;

    /// Revisions below this one need not be readable any more. The hub's publisher is to be told
    /// ([`Publisher::compact`](kvwatch::Publisher::compact)). If `physical`, their space should be
    /// free when the write returns, else it may be freed later.
    ///
    /// # Errors
    /// If the store cannot be written.
    fn compact(&mut self, revision: Revision, physical: bool) -> Result<(), StoreError>;

    /// There is a new lease of `ttl` seconds. Once that is durable, [`Store::leases`] is to know
    /// it.
    ///
    /// # Errors
    /// If the store cannot be written.
    fn grant(&mut self, lease: i64, ttl: i64) -> Result<(), StoreError>;

    /// The lease is gone; its keys were deleted before. Once that is durable, [`Store::leases`]
    /// is to forget it.
    ///
    /// # Errors
    /// If the store cannot be written.
    fn revoke(&mut self, lease: i64) -> Result<(), StoreError>;
}

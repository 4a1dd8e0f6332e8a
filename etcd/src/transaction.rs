//! The two transactions that etcd's rules run in.

use std::ops::ControlFlow;

use bytes::Bytes;
use kvwatch::Revision;

use crate::error::StoreError;
use crate::keys::KeyRange;
use crate::wire::mvccpb::KeyValue;

/// A view of a store.
pub trait ReadTransaction {
    /// The last revision committed before this view. In a write transaction, its own writes belong
    /// to the revision after this one.
    fn revision(&self) -> Revision;

    /// The oldest revision that can be read: the store is compacted up to it. 0 if the store never
    /// was compacted.
    fn compacted(&self) -> Revision;

    /// Calls `visit` with every key of the range as it was at `revision`, ascending, until `visit`
    /// breaks. The revision is neither compacted nor in the future, and the range is not
    /// [empty](KeyRange::is_empty).
    ///
    /// # Errors
    /// If the store cannot be read.
    fn scan(
        &self,
        keys: &KeyRange,
        revision: Revision,
        visit: &mut dyn FnMut(KeyValue) -> ControlFlow<()>,
    ) -> Result<(), StoreError>;

    /// Counts the keys that [`scan`](Self::scan) would visit. A store that can count without
    /// reading values should override it.
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

    /// One key as it was at `revision`.
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

    /// Whether the lease exists.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn has_lease(&self, lease: i64) -> Result<bool, StoreError>;

    /// The keys that are attached to a lease, ascending.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn lease_keys(&self, lease: i64) -> Result<Vec<Bytes>, StoreError>;
}

/// A transaction that writes. Its puts and deletes share one revision, the one after
/// [`revision`](ReadTransaction::revision). Reads at that revision see the writes so far.
pub trait WriteTransaction: ReadTransaction {
    /// Replaces `old`, the key's current state, with `kv`. Attaches the key to `kv.lease` unless
    /// that is 0.
    ///
    /// # Errors
    /// If the store cannot be written.
    fn put(&mut self, kv: KeyValue, old: Option<KeyValue>) -> Result<(), StoreError>;

    /// Deletes a key. `old` is its current state, which must remain readable at older revisions. A
    /// watch that starts at the delete's revision must receive the delete, even if the store is
    /// compacted up to that revision.
    ///
    /// # Errors
    /// If the store cannot be written.
    fn delete(&mut self, old: KeyValue) -> Result<(), StoreError>;

    /// Compacts the store: revisions below this one need not remain readable. The store must pass
    /// the compaction on to [`Publisher::compact`](kvwatch::Publisher::compact). If `physical`, the
    /// space should be free when [`Store::write`](crate::Store::write) returns; otherwise it may be
    /// freed later.
    ///
    /// # Errors
    /// If the store cannot be written.
    fn compact(&mut self, revision: Revision, physical: bool) -> Result<(), StoreError>;

    /// Creates a lease of `ttl` seconds. Once that is durable, the store must add it to
    /// [`Store::leases`](crate::Store::leases).
    ///
    /// # Errors
    /// If the store cannot be written.
    fn grant(&mut self, lease: i64, ttl: i64) -> Result<(), StoreError>;

    /// Removes a lease, whose keys were deleted before. Once that is durable, the store must remove
    /// it from [`Store::leases`](crate::Store::leases).
    ///
    /// # Errors
    /// If the store cannot be written.
    fn revoke(&mut self, lease: i64) -> Result<(), StoreError>;
}

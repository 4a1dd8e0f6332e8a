//! A view of the store after some commit, for queries.

use std::ops::ControlFlow;

use bytes::Bytes;
use kvwatch::Revision;
use kvwatch_etcd::wire::mvccpb::KeyValue;
use kvwatch_etcd::{KeyRange, ReadTransaction, StoreError};
use redb::{Database, ReadOnlyTable, ReadableDatabase, ReadableTable};

use crate::tables::{
    ATTACHED, COMPACTED, LEASES, REVISION, STATE, VERSIONS, VersionKey, attached_to, count_alive,
    failed, number, scan_alive,
};

/// The store as it was after some commit.
pub(crate) struct Snapshot {
    versions: ReadOnlyTable<VersionKey, &'static [u8]>,
    leases: ReadOnlyTable<i64, i64>,
    attached: ReadOnlyTable<(i64, &'static [u8]), ()>,
    revision: Revision,
    compacted: Revision,
}

impl Snapshot {
    pub(crate) fn of(database: &Database) -> Result<Self, StoreError> {
        let transaction = database.begin_read().map_err(failed)?;
        let state = transaction.open_table(STATE).map_err(failed)?;
        Ok(Self {
            versions: transaction.open_table(VERSIONS).map_err(failed)?,
            leases: transaction.open_table(LEASES).map_err(failed)?,
            attached: transaction.open_table(ATTACHED).map_err(failed)?,
            revision: number(&state, REVISION)?,
            compacted: number(&state, COMPACTED)?,
        })
    }

    /// Every lease with its TTL in seconds.
    pub(crate) fn all_leases(&self) -> Result<Vec<(i64, i64)>, StoreError> {
        let mut all = Vec::new();
        for row in self.leases.iter().map_err(failed)? {
            let (lease, ttl) = row.map_err(failed)?;
            all.push((lease.value(), ttl.value()));
        }
        Ok(all)
    }
}

impl ReadTransaction for Snapshot {
    fn revision(&self) -> Revision {
        self.revision
    }

    fn compacted(&self) -> Revision {
        self.compacted
    }

    fn scan(
        &self,
        keys: &KeyRange,
        revision: Revision,
        visit: &mut dyn FnMut(KeyValue) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        scan_alive(&self.versions, keys, revision, visit)
    }

    fn count(&self, keys: &KeyRange, revision: Revision) -> Result<u64, StoreError> {
        count_alive(&self.versions, keys, revision)
    }

    fn has_lease(&self, lease: i64) -> Result<bool, StoreError> {
        Ok(self.leases.get(lease).map_err(failed)?.is_some())
    }

    fn lease_keys(&self, lease: i64) -> Result<Vec<Bytes>, StoreError> {
        attached_to(&self.attached, lease)
    }
}

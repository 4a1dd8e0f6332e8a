//! Reading: a snapshot for queries, and what the watch engine no longer has in memory.

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use kvwatch::etcd::wire::mvccpb::KeyValue;
use kvwatch::etcd::{KeyRange, Read, StoreError};
use kvwatch::{Change, PrevValue, Replay, ReplayError, Replayed, Revision};
use redb::{Database, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable};

use super::tables::{
    ATTACHED, COMPACTED, LEASES, LOG, REVISION, STATE, VERSIONS, VersionKey, alive, failed, newest,
    number, scan,
};

/// The store as it was after some commit.
pub(super) struct Snapshot {
    versions: ReadOnlyTable<VersionKey, &'static [u8]>,
    leases: ReadOnlyTable<i64, i64>,
    attached: ReadOnlyTable<(i64, &'static [u8]), ()>,
    revision: Revision,
    compacted: Revision,
}

impl Snapshot {
    pub(super) fn of(database: &Database) -> Result<Self, StoreError> {
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

    /// Every lease with its seconds.
    pub(super) fn all_leases(&self) -> Result<Vec<(i64, i64)>, StoreError> {
        let mut all = Vec::new();
        for row in self.leases.iter().map_err(failed)? {
            let (lease, ttl) = row.map_err(failed)?;
            all.push((lease.value(), ttl.value()));
        }
        Ok(all)
    }
}

impl Read for Snapshot {
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
        show: &mut dyn FnMut(KeyValue) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        scan_alive(&self.versions, keys, revision, show)
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

pub(super) fn scan_alive(
    versions: &impl ReadableTable<VersionKey, &'static [u8]>,
    keys: &KeyRange,
    at: Revision,
    show: &mut dyn FnMut(KeyValue) -> ControlFlow<()>,
) -> Result<(), StoreError> {
    let mut wrong = None;
    scan(
        versions,
        keys,
        at,
        &mut |key, record| match alive(key, Bytes::copy_from_slice(record)) {
            Ok(Some(kv)) => show(kv),
            Ok(None) => ControlFlow::Continue(()),
            Err(error) => {
                wrong = Some(error);
                ControlFlow::Break(())
            }
        },
    )?;
    wrong.map_or(Ok(()), Err)
}

pub(super) fn count_alive(
    versions: &impl ReadableTable<VersionKey, &'static [u8]>,
    keys: &KeyRange,
    at: Revision,
) -> Result<u64, StoreError> {
    let mut count = 0;
    scan(versions, keys, at, &mut |_, _| {
        count += 1;
        ControlFlow::Continue(())
    })?;
    Ok(count)
}

pub(super) fn attached_to(
    attached: &impl ReadableTable<(i64, &'static [u8]), ()>,
    lease: i64,
) -> Result<Vec<Bytes>, StoreError> {
    let mut keys = Vec::new();
    for row in attached.range((lease, &[][..])..).map_err(failed)? {
        let (place, ()) = row.map(|(place, _)| (place, ())).map_err(failed)?;
        let (of, key) = place.value();
        if of != lease {
            break;
        }
        keys.push(Bytes::copy_from_slice(key));
    }
    Ok(keys)
}

/// Serves watchers with what the history in memory has forgotten.
pub(super) struct Log {
    pub(super) database: Arc<Database>,
}

fn wrong(error: StoreError) -> ReplayError {
    ReplayError::Failed(error.into())
}

fn compacted(transaction: &ReadTransaction) -> Result<Revision, StoreError> {
    number(&transaction.open_table(STATE).map_err(failed)?, COMPACTED)
}

/// What was published from one revision to another, in whole transactions, and about as many
/// events as were asked for.
fn replayed(
    transaction: &ReadTransaction,
    from: Revision,
    to: Revision,
    limit: usize,
) -> Result<Replayed, StoreError> {
    let log = transaction.open_table(LOG).map_err(failed)?;
    let versions = transaction.open_table(VERSIONS).map_err(failed)?;
    let mut transactions: Vec<(Revision, Vec<Change>)> = Vec::new();
    let rows = log.range((from, 0)..=(to, u32::MAX)).map_err(failed)?;
    for (events, row) in rows.enumerate() {
        let (place, key) = row.map_err(failed)?;
        let revision = place.value().0;
        let change = change(&versions, key.value(), revision)?;
        match transactions.last_mut() {
            Some((last, changes)) if *last == revision => changes.push(change),
            last => {
                if let Some((last, _)) = last.filter(|_| events >= limit) {
                    let upto = *last;
                    return Ok(Replayed { transactions, upto });
                }
                transactions.push((revision, vec![change]));
            }
        }
    }
    Ok(Replayed {
        transactions,
        upto: to,
    })
}

/// What was published for this key under this revision.
fn change(
    versions: &impl ReadableTable<VersionKey, &'static [u8]>,
    key: &[u8],
    revision: Revision,
) -> Result<Change, StoreError> {
    let own = versions.get((key, revision)).map_err(failed)?;
    let own = own.ok_or_else(|| StoreError::failed("the log names a version that is gone"))?;
    let record = Bytes::copy_from_slice(own.value());
    let old = newest(versions, key, revision - 1)?.map(|(_, record)| record);
    let prev = match old.filter(|record| !record.is_empty()) {
        Some(old) => PrevValue::Value(old),
        None if makes(key, &record, revision)? => PrevValue::Absent,
        // Freed by a compaction up to this revision.
        None => PrevValue::Unavailable,
    };
    let key = Bytes::copy_from_slice(key);
    let change = if record.is_empty() {
        Change::delete(key)
    } else {
        Change::put(key, record)
    };
    Ok(change.with_prev_value(prev))
}

/// Whether there was no such key before this revision. A delete's there was.
fn makes(key: &[u8], record: &Bytes, revision: Revision) -> Result<bool, StoreError> {
    let kv = alive(key, record.clone())?;
    Ok(kv.is_some_and(|kv| kv.create_revision == revision.cast_signed()))
}

impl Replay for Log {
    fn oldest(&self) -> Revision {
        let transaction = self.database.begin_read().map_err(failed);
        let compacted = transaction.and_then(|transaction| compacted(&transaction));
        // A file that cannot be read serves nothing, and says so when it is read.
        compacted.unwrap_or(0).max(1)
    }

    fn read(&self, from: Revision, to: Revision, limit: usize) -> Result<Replayed, ReplayError> {
        // One view of all tables: what a compaction frees meanwhile is still in it.
        let transaction = self.database.begin_read().map_err(failed).map_err(wrong)?;
        let oldest = compacted(&transaction).map_err(wrong)?;
        if from < oldest {
            return Err(ReplayError::Compacted { oldest });
        }
        replayed(&transaction, from, to, limit).map_err(wrong)
    }
}

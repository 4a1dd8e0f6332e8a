//! Replays the log to watchers that start, or fall, behind the history in memory.

use std::sync::Arc;

use bytes::Bytes;
use kvwatch::{Change, PrevValue, Replay, ReplayError, Replayed, Revision};
use kvwatch_etcd::StoreError;
use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable};

use crate::tables::{COMPACTED, LOG, STATE, VERSIONS, VersionKey, alive, failed, newest, number};

/// The store's log, as the watch engine reads it.
pub(crate) struct ReplayLog {
    pub(crate) database: Arc<Database>,
}

impl Replay for ReplayLog {
    fn oldest(&self) -> Revision {
        let transaction = self.database.begin_read().map_err(failed);
        let compacted = transaction.and_then(|transaction| compacted(&transaction));
        // A file that cannot be read fails in `read`, with the reason.
        compacted.unwrap_or(0).max(1)
    }

    fn read(&self, from: Revision, to: Revision, limit: usize) -> Result<Replayed, ReplayError> {
        // One snapshot of all tables: a concurrent compaction removes nothing from it.
        let transaction = self
            .database
            .begin_read()
            .map_err(failed)
            .map_err(replay_error)?;
        let oldest = compacted(&transaction).map_err(replay_error)?;
        if from < oldest {
            return Err(ReplayError::Compacted { oldest });
        }
        replayed(&transaction, from, to, limit).map_err(replay_error)
    }
}

fn replay_error(error: StoreError) -> ReplayError {
    ReplayError::Failed(error.into())
}

fn compacted(transaction: &ReadTransaction) -> Result<Revision, StoreError> {
    number(&transaction.open_table(STATE).map_err(failed)?, COMPACTED)
}

/// The transactions from one revision to another, both inclusive. Stops at the first end of a
/// transaction after `limit` events.
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
        let (position, key) = row.map_err(failed)?;
        let revision = position.value().0;
        let change = published(&versions, key.value(), revision)?;
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

/// The change of this key that was published under this revision.
fn published(
    versions: &impl ReadableTable<VersionKey, &'static [u8]>,
    key: &[u8],
    revision: Revision,
) -> Result<Change, StoreError> {
    let own = versions.get((key, revision)).map_err(failed)?;
    let own = own.ok_or_else(|| StoreError::failed("the log names a missing version"))?;
    let record = Bytes::copy_from_slice(own.value());
    let old = newest(versions, key, revision - 1)?.map(|(_, record)| record);
    let prev = match old.filter(|record| !record.is_empty()) {
        Some(old) => PrevValue::Value(old),
        None if creates_key(key, &record, revision)? => PrevValue::Absent,
        // A compaction up to this revision removed the previous version.
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

/// Whether the record is a put of a key that did not exist before this revision.
fn creates_key(key: &[u8], record: &Bytes, revision: Revision) -> Result<bool, StoreError> {
    let kv = alive(key, record.clone())?;
    Ok(kv.is_some_and(|kv| kv.create_revision == revision.cast_signed()))
}

//! Replays the log to watchers that start, or fall, behind the history in memory.

use std::sync::Arc;

use bytes::Bytes;
use kvwatch::{Change, PrevValue, Replay, ReplayError, ReplayRequest, Replayed, Revision};
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

    fn read(&self, request: ReplayRequest<'_>) -> Result<Replayed, ReplayError> {
        // One snapshot of all tables: a concurrent compaction removes nothing from it.
        let transaction = self
            .database
            .begin_read()
            .map_err(failed)
            .map_err(replay_error)?;
        let oldest = compacted(&transaction).map_err(replay_error)?;
        if request.from < oldest {
            return Err(ReplayError::Compacted { oldest });
        }
        replayed(&transaction, request).map_err(replay_error)
    }

    /// The log names each key once for a revision.
    fn keeps_every_change(&self) -> bool {
        false
    }
}

fn replay_error(error: StoreError) -> ReplayError {
    ReplayError::Failed(error.into())
}

fn compacted(transaction: &ReadTransaction) -> Result<Revision, StoreError> {
    number(&transaction.open_table(STATE).map_err(failed)?, COMPACTED)
}

/// The most rows of the log that one step looks at, so that a watcher of a rare key does not keep
/// the thread that polls it.
const STEP_ROWS: usize = 16 * 1024;

/// The transactions that the request asks for, less the keys that its selector does not match.
fn replayed(
    transaction: &ReadTransaction,
    request: ReplayRequest<'_>,
) -> Result<Replayed, StoreError> {
    let log = transaction.open_table(LOG).map_err(failed)?;
    let versions = transaction.open_table(VERSIONS).map_err(failed)?;
    let mut transactions: Vec<(Revision, Vec<Change>)> = Vec::new();
    let (mut events, mut bytes) = (0, 0);
    let mut upto = request.from;
    let rows = log
        .range((request.from, 0)..=(request.to, u32::MAX))
        .map_err(failed)?;
    for (count, row) in rows.enumerate() {
        let (position, key) = row.map_err(failed)?;
        let revision = position.value().0;
        let is_full =
            events >= request.max_events || bytes >= request.max_bytes || count >= STEP_ROWS;
        if is_full && revision > upto {
            return Ok(Replayed { transactions, upto });
        }
        upto = revision;
        if !request.selector.matches(key.value()) {
            continue;
        }
        let change = published(&versions, key.value(), revision, request.prev_values)?;
        events += 1;
        bytes += held_bytes(&change);
        match transactions.last_mut() {
            Some((last, changes)) if *last == revision => changes.push(change),
            _ => transactions.push((revision, vec![change])),
        }
    }
    Ok(Replayed {
        transactions,
        upto: request.to,
    })
}

/// The bytes of a change's key and values.
fn held_bytes(change: &Change) -> usize {
    let prev = match change.prev_value() {
        PrevValue::Value(prev) => prev.len(),
        PrevValue::Absent | PrevValue::Unavailable => 0,
    };
    change.key().len() + change.value().map_or(0, Bytes::len) + prev
}

/// The change of this key that was published under this revision.
fn published(
    versions: &impl ReadableTable<VersionKey, &'static [u8]>,
    key: &[u8],
    revision: Revision,
    with_prev: bool,
) -> Result<Change, StoreError> {
    let own = versions.get((key, revision)).map_err(failed)?;
    let own = own.ok_or_else(|| StoreError::failed("the log names a missing version"))?;
    let record = Bytes::copy_from_slice(own.value());
    let prev = if with_prev {
        previous(versions, key, &record, revision)?
    } else {
        PrevValue::Unavailable
    };
    let key = Bytes::copy_from_slice(key);
    let change = if record.is_empty() {
        Change::delete(key)
    } else {
        Change::put(key, record)
    };
    Ok(change.with_prev_value(prev))
}

/// The value of the key before this revision, whose record is `record`.
fn previous(
    versions: &impl ReadableTable<VersionKey, &'static [u8]>,
    key: &[u8],
    record: &Bytes,
    revision: Revision,
) -> Result<PrevValue, StoreError> {
    let old = newest(versions, key, revision - 1)?.map(|(_, record)| record);
    Ok(match old.filter(|record| !record.is_empty()) {
        Some(old) => PrevValue::Value(old),
        None if creates_key(key, record, revision)? => PrevValue::Absent,
        // A compaction up to this revision removed the previous version.
        None => PrevValue::Unavailable,
    })
}

/// Whether the record is a put of a key that did not exist before this revision.
fn creates_key(key: &[u8], record: &Bytes, revision: Revision) -> Result<bool, StoreError> {
    let kv = alive(key, record.clone())?;
    Ok(kv.is_some_and(|kv| kv.create_revision == revision.cast_signed()))
}

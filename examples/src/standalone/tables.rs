//! What is in the file, and how a key is found in it at some revision.

use std::ops::{Bound, ControlFlow};

use bytes::Bytes;
use kvwatch::Revision;
use kvwatch::etcd::wire::mvccpb::KeyValue;
use kvwatch::etcd::{End, KeyRange, StoreError, record};
use redb::{Range, ReadableTable, TableDefinition};

/// Key and revision to record; an empty record is a delete.
pub(super) const VERSIONS: TableDefinition<VersionKey, &[u8]> = TableDefinition::new("versions");
/// Revision and place in its transaction to the key changed.
pub(super) const LOG: TableDefinition<(Revision, u32), &[u8]> = TableDefinition::new("log");
/// Lease to its seconds.
pub(super) const LEASES: TableDefinition<i64, i64> = TableDefinition::new("leases");
/// The keys attached to each lease.
pub(super) const ATTACHED: TableDefinition<(i64, &[u8]), ()> = TableDefinition::new("attached");
/// Numbers by name: the constants below.
pub(super) const STATE: TableDefinition<&str, u64> = TableDefinition::new("state");

/// In [`STATE`]: the last revision.
pub(super) const REVISION: &str = "revision";
/// In [`STATE`]: up to where it is compacted.
pub(super) const COMPACTED: &str = "compacted";
/// In [`STATE`]: up to which compaction the file was cleaned.
pub(super) const CLEANED: &str = "cleaned";
/// In [`STATE`]: the number of the last commit, as the journal counts them.
pub(super) const COMMIT: &str = "commit";
/// In [`STATE`]: the name of the cluster of one that this store is.
pub(super) const CLUSTER: &str = "cluster";

/// An empty store is at this revision.
pub(super) const FIRST: Revision = 1;

/// Told a key and its record, until it breaks.
pub(super) type Show<'s> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 's;

pub(super) type VersionKey = (&'static [u8], Revision);

/// How many versions of a key are passed over one by one before they are jumped over.
const STEPS: usize = 8;

/// Whatever redb failed with.
pub(super) fn failed(error: impl Into<redb::Error>) -> StoreError {
    StoreError::failed(error.into())
}

/// The number that [`STATE`] has under this name, 0 if none.
pub(super) fn number(
    state: &impl ReadableTable<&'static str, u64>,
    name: &str,
) -> Result<u64, StoreError> {
    let found = state.get(name).map_err(failed)?;
    Ok(found.map_or(0, |found| found.value()))
}

/// One key at a revision, deleted or not: the newest record there is of it by then.
pub(super) fn newest(
    versions: &impl ReadableTable<VersionKey, &'static [u8]>,
    key: &[u8],
    at: Revision,
) -> Result<Option<(Revision, Bytes)>, StoreError> {
    let mut upto = versions.range((key, 0)..=(key, at)).map_err(failed)?;
    let Some(row) = upto.next_back() else {
        return Ok(None);
    };
    let (place, record) = row.map_err(failed)?;
    let record = Bytes::copy_from_slice(record.value());
    Ok(Some((place.value().1, record)))
}

/// A record as etcd's clients know it; `None` for a delete.
pub(super) fn alive(key: &[u8], record: Bytes) -> Result<Option<KeyValue>, StoreError> {
    if record.is_empty() {
        return Ok(None);
    }
    let kv = record::decode(Bytes::copy_from_slice(key), record);
    kv.map(Some)
        .ok_or_else(|| StoreError::failed("there is a record that is too short"))
}

/// Shows every key of the range that is alive at a revision, with its record, until `show` breaks.
pub(super) fn scan(
    versions: &impl ReadableTable<VersionKey, &'static [u8]>,
    keys: &KeyRange,
    at: Revision,
    show: &mut Show<'_>,
) -> Result<(), StoreError> {
    if *keys.end() == End::Alone {
        let key = &keys.start()[..];
        if let Some((_, record)) = newest(versions, key, at)?
            && !record.is_empty()
        {
            // It is the only one.
            let _ = show(key, &record);
        }
        return Ok(());
    }
    let end = match keys.bounds().1 {
        Bound::Excluded(end) => Bound::Excluded((end, 0)),
        Bound::Included(end) => Bound::Included((end, Revision::MAX)),
        Bound::Unbounded => Bound::Unbounded,
    };
    let mut rows = rows_from(versions, (keys.start(), 0), end)?;
    // The newest record so far of the key that the rows are at, and how many rows were passed.
    let mut key = Vec::new();
    let mut record = Vec::new();
    let mut passed = 0;
    while let Some(row) = rows.next() {
        let (place, found) = row.map_err(failed)?;
        let (of, revision) = place.value();
        if of != key {
            if !record.is_empty() && show(&key, &record).is_break() {
                return Ok(());
            }
            key.clear();
            key.extend_from_slice(of);
            record.clear();
            passed = 0;
        }
        if revision <= at {
            record.clear();
            record.extend_from_slice(found.value());
        }
        passed += 1;
        if passed == STEPS {
            if let Some((_, newest)) = newest(versions, &key, at)? {
                record.clear();
                record.extend_from_slice(&newest);
            }
            rows = rows_from(versions, (&key, Revision::MAX), end)?;
        }
    }
    if !record.is_empty() {
        let _ = show(&key, &record);
    }
    Ok(())
}

fn rows_from<'v>(
    versions: &'v impl ReadableTable<VersionKey, &'static [u8]>,
    start: (&[u8], Revision),
    end: Bound<(&[u8], Revision)>,
) -> Result<Range<'v, VersionKey, &'static [u8]>, StoreError> {
    let range = (Bound::Included(start), end);
    versions.range::<(&[u8], Revision)>(range).map_err(failed)
}

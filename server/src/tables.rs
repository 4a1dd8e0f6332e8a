//! The tables of the file, and how a key is found in them at a revision.

use std::ops::{Bound, ControlFlow};

use bytes::Bytes;
use kvwatch::Revision;
use kvwatch_etcd::wire::mvccpb::KeyValue;
use kvwatch_etcd::{End, KeyRange, StoreError, record};
use redb::{Range, ReadableTable, TableDefinition};

/// Key and revision to record. An empty record is a delete.
pub(crate) const VERSIONS: TableDefinition<VersionKey, &[u8]> = TableDefinition::new("versions");
/// Revision and position in its transaction to the changed key.
pub(crate) const LOG: TableDefinition<(Revision, u32), &[u8]> = TableDefinition::new("log");
/// Lease to its TTL in seconds.
pub(crate) const LEASES: TableDefinition<i64, i64> = TableDefinition::new("leases");
/// The keys attached to each lease.
pub(crate) const ATTACHED: TableDefinition<(i64, &[u8]), ()> = TableDefinition::new("attached");
/// Numbers by name: the constants below.
pub(crate) const STATE: TableDefinition<&str, u64> = TableDefinition::new("state");

/// In [`STATE`]: the last revision.
pub(crate) const REVISION: &str = "revision";
/// In [`STATE`]: the revision up to which the store is compacted.
pub(crate) const COMPACTED: &str = "compacted";
/// In [`STATE`]: the last compaction whose rows were all removed.
pub(crate) const CLEANED: &str = "cleaned";
/// In [`STATE`]: the journal's number of the last commit.
pub(crate) const COMMIT: &str = "commit";
/// In [`STATE`]: the cluster's id.
pub(crate) const CLUSTER: &str = "cluster";

/// The revision of an empty store.
pub(crate) const FIRST: Revision = 1;

/// Called with each key and its record, until it breaks.
pub(crate) type Visit<'s> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 's;

pub(crate) type VersionKey = (&'static [u8], Revision);

/// How many versions of one key a scan reads one by one before it looks the right one up and skips
/// the rest.
const VERSIONS_BEFORE_SKIP: usize = 8;

/// An error of redb.
pub(crate) fn failed(error: impl Into<redb::Error>) -> StoreError {
    StoreError::failed(error.into())
}

/// The number of this name in [`STATE`], 0 if there is none.
pub(crate) fn number(
    state: &impl ReadableTable<&'static str, u64>,
    name: &str,
) -> Result<u64, StoreError> {
    let found = state.get(name).map_err(failed)?;
    Ok(found.map_or(0, |found| found.value()))
}

/// The newest record of a key up to `revision`, deletes included, with its own revision.
pub(crate) fn newest(
    versions: &impl ReadableTable<VersionKey, &'static [u8]>,
    key: &[u8],
    revision: Revision,
) -> Result<Option<(Revision, Bytes)>, StoreError> {
    let mut rows = versions.range((key, 0)..=(key, revision)).map_err(failed)?;
    let Some(row) = rows.next_back() else {
        return Ok(None);
    };
    let (version, record) = row.map_err(failed)?;
    let record = Bytes::copy_from_slice(record.value());
    Ok(Some((version.value().1, record)))
}

/// Decodes a record. `None` for a delete.
pub(crate) fn alive(key: &[u8], record: Bytes) -> Result<Option<KeyValue>, StoreError> {
    if record.is_empty() {
        return Ok(None);
    }
    let kv = record::decode(Bytes::copy_from_slice(key), record);
    kv.map(Some)
        .ok_or_else(|| StoreError::failed("there is a record that is too short"))
}

/// Visits every key of the range that exists at `revision`, ascending, until `visit` breaks.
pub(crate) fn scan_alive(
    versions: &impl ReadableTable<VersionKey, &'static [u8]>,
    keys: &KeyRange,
    revision: Revision,
    visit: &mut dyn FnMut(KeyValue) -> ControlFlow<()>,
) -> Result<(), StoreError> {
    let mut broken_record = None;
    scan(versions, keys, revision, &mut |key, record| match alive(
        key,
        Bytes::copy_from_slice(record),
    ) {
        Ok(Some(kv)) => visit(kv),
        Ok(None) => ControlFlow::Continue(()),
        Err(error) => {
            broken_record = Some(error);
            ControlFlow::Break(())
        }
    })?;
    broken_record.map_or(Ok(()), Err)
}

/// Counts the keys of the range that exist at `revision`.
pub(crate) fn count_alive(
    versions: &impl ReadableTable<VersionKey, &'static [u8]>,
    keys: &KeyRange,
    revision: Revision,
) -> Result<u64, StoreError> {
    let mut count = 0;
    scan(versions, keys, revision, &mut |_, _| {
        count += 1;
        ControlFlow::Continue(())
    })?;
    Ok(count)
}

/// The keys attached to a lease, ascending.
pub(crate) fn attached_to(
    attached: &impl ReadableTable<(i64, &'static [u8]), ()>,
    lease: i64,
) -> Result<Vec<Bytes>, StoreError> {
    let mut keys = Vec::new();
    for row in attached.range((lease, &[][..])..).map_err(failed)? {
        let (attachment, ()) = row.map(|(key, _)| (key, ())).map_err(failed)?;
        let (owner, key) = attachment.value();
        if owner != lease {
            break;
        }
        keys.push(Bytes::copy_from_slice(key));
    }
    Ok(keys)
}

/// Visits the record of every key of the range that exists at `revision`, ascending, until `visit`
/// breaks.
fn scan(
    versions: &impl ReadableTable<VersionKey, &'static [u8]>,
    keys: &KeyRange,
    revision: Revision,
    visit: &mut Visit<'_>,
) -> Result<(), StoreError> {
    if *keys.end() == End::Key {
        let key = &keys.start()[..];
        if let Some((_, record)) = newest(versions, key, revision)?
            && !record.is_empty()
        {
            // There is no second key to break before.
            let _ = visit(key, &record);
        }
        return Ok(());
    }
    let end = match keys.bounds().1 {
        Bound::Excluded(end) => Bound::Excluded((end, 0)),
        Bound::Included(end) => Bound::Included((end, Revision::MAX)),
        Bound::Unbounded => Bound::Unbounded,
    };
    let mut rows = rows_from(versions, (keys.start(), 0), end)?;
    // The current key, its newest record so far, and how many of its rows were read.
    let mut key = Vec::new();
    let mut record = Vec::new();
    let mut rows_of_key = 0;
    while let Some(row) = rows.next() {
        let (version, found) = row.map_err(failed)?;
        let (row_key, row_revision) = version.value();
        if row_key != key {
            if !record.is_empty() && visit(&key, &record).is_break() {
                return Ok(());
            }
            key.clear();
            key.extend_from_slice(row_key);
            record.clear();
            rows_of_key = 0;
        }
        if row_revision <= revision {
            record.clear();
            record.extend_from_slice(found.value());
        }
        rows_of_key += 1;
        if rows_of_key == VERSIONS_BEFORE_SKIP {
            if let Some((_, newest)) = newest(versions, &key, revision)? {
                record.clear();
                record.extend_from_slice(&newest);
            }
            rows = rows_from(versions, (&key, Revision::MAX), end)?;
        }
    }
    if !record.is_empty() {
        let _ = visit(&key, &record);
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

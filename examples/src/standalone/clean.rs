//! Freeing what compactions left: versions that no revision still readable shows, and the log of
//! revisions that no watch can start from.
//!
//! The log says which keys changed up to the compaction. Of each, everything older than the
//! newest version by then goes, and that too if it is a delete; but what the compacted revision
//! itself did stays, for a watch may start there.

use bytes::Bytes;
use kvwatch::Revision;
use kvwatch::etcd::StoreError;
use redb::ReadableTable;

use super::tables::{failed, newest};
use super::transaction::Transaction;

/// Goes on where the step before ended; returns whether all is done.
pub(super) fn step(
    transaction: &mut Transaction<'_>,
    compacted: Revision,
    rows: usize,
) -> Result<bool, StoreError> {
    let mut due = Vec::new();
    let mut done = true;
    for row in transaction
        .log
        .range(..=(compacted, u32::MAX))
        .map_err(failed)?
    {
        let (place, key) = row.map_err(failed)?;
        let place = place.value();
        // The rows of the compacted revision stay, so they must be gone through in one go.
        if due.len() >= rows && place.0 < compacted {
            done = false;
            break;
        }
        due.push((place, Bytes::copy_from_slice(key.value())));
    }
    for (place, key) in due {
        forget(transaction, &key, compacted)?;
        if place.0 < compacted {
            transaction.log.remove(place).map_err(failed)?;
        }
    }
    Ok(done)
}

fn forget(
    transaction: &mut Transaction<'_>,
    key: &Bytes,
    compacted: Revision,
) -> Result<(), StoreError> {
    let versions = &mut transaction.versions;
    let Some((last, record)) = newest(versions, key, compacted)? else {
        return Ok(());
    };
    let first_kept = if record.is_empty() && last < compacted {
        last + 1
    } else {
        last
    };
    let range = (&key[..], 0)..(&key[..], first_kept);
    versions.retain_in(range, |_, _| false).map_err(failed)
}

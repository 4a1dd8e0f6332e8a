//! Removes what compactions made unreadable: versions that no readable revision shows, and the
//! log of revisions at which no watch can start.
//!
//! The log names the keys that changed up to the compaction. Of each key, every version older than
//! the newest one by then is removed, and that one too if it is a delete. The compacted revision's
//! own changes stay, because a watch may start there.

use bytes::Bytes;
use kvwatch::Revision;
use kvwatch_etcd::StoreError;
use redb::{ReadableTable, Table};

use crate::tables::{VersionKey, failed, newest};

/// Continues after the previous step and goes through about `rows` rows of the log. Returns
/// whether nothing is left to remove.
pub(crate) fn step(
    versions: &mut Table<'_, VersionKey, &'static [u8]>,
    log: &mut Table<'_, (Revision, u32), &'static [u8]>,
    compacted: Revision,
    rows: usize,
) -> Result<bool, StoreError> {
    let mut visited = Vec::new();
    let mut complete = true;
    for row in log.range(..=(compacted, u32::MAX)).map_err(failed)? {
        let (position, key) = row.map_err(failed)?;
        let position = position.value();
        // The compacted revision's rows stay in the log, so one step must visit all of them.
        if visited.len() >= rows && position.0 < compacted {
            complete = false;
            break;
        }
        visited.push((position, Bytes::copy_from_slice(key.value())));
    }
    for (position, key) in visited {
        remove_versions(versions, &key, compacted)?;
        if position.0 < compacted {
            log.remove(position).map_err(failed)?;
        }
    }
    Ok(complete)
}

/// Removes the versions of one key that no revision from `compacted` on shows.
fn remove_versions(
    versions: &mut Table<'_, VersionKey, &'static [u8]>,
    key: &Bytes,
    compacted: Revision,
) -> Result<(), StoreError> {
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

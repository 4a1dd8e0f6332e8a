//! One commit: the operations in it, each under a revision of its own.

use std::ops::ControlFlow;

use bytes::Bytes;
use kvwatch::{Change, PrevValue, Revision};
use kvwatch_etcd::wire::mvccpb::KeyValue;
use kvwatch_etcd::{KeyRange, Leases, ReadTransaction, StoreError, WriteTransaction, record};
use redb::{ReadableTable, Table, WriteTransaction as RedbTransaction};

use crate::clean;
use crate::journal::Row;
use crate::tables::{
    ATTACHED, CLEANED, COMMIT, COMPACTED, LEASES, LOG, REVISION, STATE, VERSIONS, VersionKey,
    attached_to, count_alive, failed, number, scan_alive,
};

/// The tables of one commit, and its effects outside the file.
///
/// The tables of the leases are opened only where they are needed: redb writes back each open
/// table at the commit, changed or not.
pub(crate) struct Transaction<'t> {
    redb: &'t RedbTransaction,
    versions: Table<'t, VersionKey, &'static [u8]>,
    log: Table<'t, (Revision, u32), &'static [u8]>,
    state: Table<'t, &'static str, u64>,
    /// The last revision, of the file or of an operation that ended in this commit.
    revision: Revision,
    compacted: Revision,
    /// What the current operation changed, under the revision after `revision`.
    changes: Vec<Change>,
    outcome: Outcome,
}

/// What a commit did: for the journal, the watch engine and the clock of the leases.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) transactions: Vec<(Revision, Vec<Change>)>,
    pub(crate) compacted: Option<Revision>,
    leases: Vec<LeaseChange>,
    /// The commit's rows for the journal. They must be durable before the commit is announced.
    pub(crate) rows: Vec<u8>,
    /// The commit's number in the journal.
    pub(crate) commit: u64,
    /// Whether redb has anything to commit; removing compacted rows counts.
    pub(crate) changed: bool,
}

enum LeaseChange {
    Granted(i64, i64),
    Revoked(i64),
}

impl Outcome {
    /// Applies the changes of leases to their clock, in the order of the operations.
    pub(crate) fn update_leases(&self, leases: &Leases) {
        for change in &self.leases {
            match *change {
                LeaseChange::Granted(lease, ttl) => leases.grant(lease, ttl),
                LeaseChange::Revoked(lease) => leases.forget(lease),
            }
        }
    }
}

impl<'t> Transaction<'t> {
    pub(crate) fn new(redb: &'t RedbTransaction) -> Result<Self, StoreError> {
        let state = redb.open_table(STATE).map_err(failed)?;
        Ok(Self {
            redb,
            versions: redb.open_table(VERSIONS).map_err(failed)?,
            log: redb.open_table(LOG).map_err(failed)?,
            revision: number(&state, REVISION)?,
            compacted: number(&state, COMPACTED)?,
            state,
            changes: Vec::new(),
            outcome: Outcome::default(),
        })
    }

    fn leases(&self) -> Result<Table<'t, i64, i64>, StoreError> {
        self.redb.open_table(LEASES).map_err(failed)
    }

    fn attached(&self) -> Result<Table<'t, (i64, &'static [u8]), ()>, StoreError> {
        self.redb.open_table(ATTACHED).map_err(failed)
    }

    /// Ends the current operation. If it changed anything, it gets the next revision.
    pub(crate) fn end_operation(&mut self) {
        if !self.changes.is_empty() {
            self.revision += 1;
            let changes = std::mem::take(&mut self.changes);
            self.outcome.transactions.push((self.revision, changes));
        }
    }

    /// Removes about `rows` rows that compactions left. Returns whether none is left.
    pub(crate) fn clean(&mut self, rows: usize) -> Result<bool, StoreError> {
        if number(&self.state, CLEANED)? >= self.compacted {
            return Ok(true);
        }
        self.outcome.changed = true;
        let complete = clean::step(&mut self.versions, &mut self.log, self.compacted, rows)?;
        if complete {
            let compacted = self.compacted;
            self.state.insert(CLEANED, compacted).map_err(failed)?;
        }
        Ok(complete)
    }

    /// Writes the commit's number and revision, and returns its effects outside the file.
    pub(crate) fn finish(mut self) -> Result<Outcome, StoreError> {
        if !self.outcome.rows.is_empty() {
            let commit = number(&self.state, COMMIT)? + 1;
            self.write_state(commit)?;
        }
        Ok(self.outcome)
    }

    /// Runs a commit again, from its rows in the journal.
    pub(crate) fn replay(mut self, commit: u64, mut rows: &[u8]) -> Result<(), StoreError> {
        while !rows.is_empty() {
            let row = Row::decode(&mut rows);
            let row = row.ok_or_else(|| StoreError::failed("the journal holds an unknown row"))?;
            self.apply(row)?;
            if let Row::Version { revision, .. } = row {
                self.revision = revision;
            }
        }
        self.write_state(commit)
    }

    fn write_state(&mut self, commit: u64) -> Result<(), StoreError> {
        let revision = self.revision;
        self.state.insert(REVISION, revision).map_err(failed)?;
        self.state.insert(COMMIT, commit).map_err(failed)?;
        self.outcome.commit = commit;
        self.outcome.changed = true;
        Ok(())
    }

    /// Adds a row to the journal's rows and applies it to the tables.
    fn write(&mut self, row: Row<'_>) -> Result<(), StoreError> {
        row.encode(&mut self.outcome.rows);
        self.apply(row)
    }

    fn apply(&mut self, row: Row<'_>) -> Result<(), StoreError> {
        match row {
            Row::Version {
                revision,
                position,
                key,
                record,
            } => {
                self.versions
                    .insert((key, revision), record)
                    .map_err(failed)?;
                self.log.insert((revision, position), key).map_err(failed)?;
            }
            Row::Attach { lease, key } => {
                self.attached()?.insert((lease, key), ()).map_err(failed)?;
            }
            Row::Detach { lease, key } => {
                self.attached()?.remove((lease, key)).map_err(failed)?;
            }
            Row::Grant { lease, ttl } => {
                self.leases()?.insert(lease, ttl).map_err(failed)?;
            }
            Row::Revoke { lease } => {
                self.leases()?.remove(lease).map_err(failed)?;
            }
            Row::Compact { revision } => {
                self.compacted = revision;
                self.state.insert(COMPACTED, revision).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Writes a version of a key and keeps `change` to be published.
    fn write_version(
        &mut self,
        key: &Bytes,
        record: &[u8],
        change: Change,
    ) -> Result<(), StoreError> {
        let position = u32::try_from(self.changes.len()).map_err(StoreError::failed)?;
        self.write(Row::Version {
            revision: self.revision + 1,
            position,
            key,
            record,
        })?;
        self.changes.push(change);
        Ok(())
    }

    fn detach(&mut self, old: &KeyValue) -> Result<(), StoreError> {
        if old.lease != 0 {
            self.write(Row::Detach {
                lease: old.lease,
                key: &old.key,
            })?;
        }
        Ok(())
    }
}

impl ReadTransaction for Transaction<'_> {
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
        Ok(self.leases()?.get(lease).map_err(failed)?.is_some())
    }

    fn lease_keys(&self, lease: i64) -> Result<Vec<Bytes>, StoreError> {
        attached_to(&self.attached()?, lease)
    }
}

impl WriteTransaction for Transaction<'_> {
    fn put(&mut self, kv: KeyValue, old: Option<KeyValue>) -> Result<(), StoreError> {
        if let Some(old) = &old {
            self.detach(old)?;
        }
        if kv.lease != 0 {
            self.write(Row::Attach {
                lease: kv.lease,
                key: &kv.key,
            })?;
        }
        let record = record::encode(&kv);
        let prev = old.map_or(PrevValue::Absent, |old| {
            PrevValue::Value(record::encode(&old))
        });
        // The key is a slice of the request's buffer: without a copy the history would keep the
        // whole request in memory.
        let key = Bytes::copy_from_slice(&kv.key);
        let change = Change::put(key, record.clone()).with_prev_value(prev);
        self.write_version(&kv.key, &record, change)
    }

    fn delete(&mut self, old: KeyValue) -> Result<(), StoreError> {
        self.detach(&old)?;
        let prev = PrevValue::Value(record::encode(&old));
        let change = Change::delete(old.key.clone()).with_prev_value(prev);
        self.write_version(&old.key, &[], change)
    }

    fn compact(&mut self, revision: Revision, physical: bool) -> Result<(), StoreError> {
        self.write(Row::Compact { revision })?;
        self.outcome.compacted = Some(revision);
        if physical {
            self.clean(usize::MAX)?;
        }
        Ok(())
    }

    fn grant(&mut self, lease: i64, ttl: i64) -> Result<(), StoreError> {
        self.write(Row::Grant { lease, ttl })?;
        self.outcome.leases.push(LeaseChange::Granted(lease, ttl));
        Ok(())
    }

    fn revoke(&mut self, lease: i64) -> Result<(), StoreError> {
        self.write(Row::Revoke { lease })?;
        self.outcome.leases.push(LeaseChange::Revoked(lease));
        Ok(())
    }
}

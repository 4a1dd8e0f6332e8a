//! Writing: the operations of one commit, each in a turn of its own.

use std::ops::ControlFlow;

use bytes::Bytes;
use kvwatch::etcd::wire::mvccpb::KeyValue;
use kvwatch::etcd::{KeyRange, Leases, Read, StoreError, Write, record};
use kvwatch::{Change, PrevValue, Revision};
use redb::{ReadableTable, Table, WriteTransaction};

use super::clean;
use super::journal::Row;
use super::tables::{
    ATTACHED, CLEANED, COMMIT, COMPACTED, LEASES, LOG, REVISION, STATE, VERSIONS, VersionKey,
    failed, number,
};
use super::view::{attached_to, count_alive, scan_alive};

/// The tables of one commit, and what is to happen once it is durable.
///
/// Those of the leases are opened where they are needed: each open table is written back at the
/// commit, changed or not.
pub(super) struct Transaction<'t> {
    within: &'t WriteTransaction,
    pub(super) versions: Table<'t, VersionKey, &'static [u8]>,
    pub(super) log: Table<'t, (Revision, u32), &'static [u8]>,
    state: Table<'t, &'static str, u64>,
    revision: Revision,
    compacted: Revision,
    /// What the present turn has changed, under the revision after the last.
    turn: Vec<Change>,
    outcome: Outcome,
}

/// What a commit did, for those who must hear of it.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) transactions: Vec<(Revision, Vec<Change>)>,
    pub(super) compacted: Option<Revision>,
    leases: Vec<LeaseChange>,
    /// What must be durable before anybody hears of it, for the journal.
    pub(super) rows: Vec<u8>,
    /// The commit's number there.
    pub(super) commit: u64,
    /// There is something to be committed, if only room that was freed.
    pub(super) changed: bool,
}

enum LeaseChange {
    Granted(i64, i64),
    Revoked(i64),
}

impl Outcome {
    /// Tells the leases' clock, in the order in which it happened.
    pub(super) fn tell(&self, leases: &Leases) {
        for change in &self.leases {
            match *change {
                LeaseChange::Granted(lease, ttl) => leases.grant(lease, ttl),
                LeaseChange::Revoked(lease) => leases.forget(lease),
            }
        }
    }
}

impl<'t> Transaction<'t> {
    pub(super) fn open(transaction: &'t WriteTransaction) -> Result<Self, StoreError> {
        let state = transaction.open_table(STATE).map_err(failed)?;
        Ok(Self {
            within: transaction,
            versions: transaction.open_table(VERSIONS).map_err(failed)?,
            log: transaction.open_table(LOG).map_err(failed)?,
            revision: number(&state, REVISION)?,
            compacted: number(&state, COMPACTED)?,
            state,
            turn: Vec::new(),
            outcome: Outcome::default(),
        })
    }

    fn leases(&self) -> Result<Table<'t, i64, i64>, StoreError> {
        self.within.open_table(LEASES).map_err(failed)
    }

    fn attached(&self) -> Result<Table<'t, (i64, &'static [u8]), ()>, StoreError> {
        self.within.open_table(ATTACHED).map_err(failed)
    }

    /// An operation is over: what comes next has a revision of its own.
    pub(super) fn end_turn(&mut self) {
        if !self.turn.is_empty() {
            self.revision += 1;
            let changes = std::mem::take(&mut self.turn);
            self.outcome.transactions.push((self.revision, changes));
        }
    }

    /// Frees about so many rows that compactions left; returns whether there are none any more.
    pub(super) fn clean(&mut self, rows: usize) -> Result<bool, StoreError> {
        if number(&self.state, CLEANED)? >= self.compacted {
            return Ok(true);
        }
        self.outcome.changed = true;
        let done = clean::step(self, self.compacted, rows)?;
        if done {
            let compacted = self.compacted;
            self.state.insert(CLEANED, compacted).map_err(failed)?;
        }
        Ok(done)
    }

    /// What is to happen once the commit is durable.
    pub(super) fn finish(mut self) -> Result<Outcome, StoreError> {
        if !self.outcome.rows.is_empty() {
            let commit = number(&self.state, COMMIT)? + 1;
            self.settle(commit)?;
        }
        Ok(self.outcome)
    }

    /// Does again what a commit did, by its rows in the journal.
    pub(super) fn replay(mut self, commit: u64, mut rows: &[u8]) -> Result<(), StoreError> {
        while !rows.is_empty() {
            let row = Row::decode(&mut rows);
            let row = row.ok_or_else(|| StoreError::failed("the journal holds an unknown row"))?;
            self.apply(row)?;
            if let Row::Version { revision, .. } = row {
                self.revision = revision;
            }
        }
        self.settle(commit)
    }

    fn settle(&mut self, commit: u64) -> Result<(), StoreError> {
        let revision = self.revision;
        self.state.insert(REVISION, revision).map_err(failed)?;
        self.state.insert(COMMIT, commit).map_err(failed)?;
        self.outcome.commit = commit;
        self.outcome.changed = true;
        Ok(())
    }

    fn write(&mut self, row: Row<'_>) -> Result<(), StoreError> {
        row.encode(&mut self.outcome.rows);
        self.apply(row)
    }

    fn apply(&mut self, row: Row<'_>) -> Result<(), StoreError> {
        match row {
            Row::Version {
                revision,
                place,
                key,
                record,
            } => {
                self.versions
                    .insert((key, revision), record)
                    .map_err(failed)?;
                self.log.insert((revision, place), key).map_err(failed)?;
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

    fn log(&mut self, key: &Bytes, record: &[u8], change: Change) -> Result<(), StoreError> {
        let place = u32::try_from(self.turn.len()).map_err(StoreError::failed)?;
        self.write(Row::Version {
            revision: self.revision + 1,
            place,
            key,
            record,
        })?;
        self.turn.push(change);
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

impl Read for Transaction<'_> {
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
        Ok(self.leases()?.get(lease).map_err(failed)?.is_some())
    }

    fn lease_keys(&self, lease: i64) -> Result<Vec<Bytes>, StoreError> {
        attached_to(&self.attached()?, lease)
    }
}

impl Write for Transaction<'_> {
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
        // Copied: the key is a part of the request's buffer, and would keep all of it in memory
        // for as long as the history has it.
        let key = Bytes::copy_from_slice(&kv.key);
        let change = Change::put(key, record.clone()).with_prev_value(prev);
        self.log(&kv.key, &record, change)
    }

    fn delete(&mut self, old: KeyValue) -> Result<(), StoreError> {
        self.detach(&old)?;
        let prev = PrevValue::Value(record::encode(&old));
        let change = Change::delete(old.key.clone()).with_prev_value(prev);
        self.log(&old.key, &[], change)
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

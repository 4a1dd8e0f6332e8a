//! What the user's store must be able to do.
//!
//! ```text
//!   client ─▶ KV service ─▶ Operation ─▶ Store::write ─▶ Operation::run(Write) ─▶ Answer
//!                           Query ─────▶ Store::read ──▶ Query::run(Read) ──────▶ Answer
//! ```
//!
//! What etcd's calls mean (conditions, sorting, limits, what is refused and in which words) is
//! known to [`Query`] and [`Operation`]; the store gives them a view to read from and a
//! transaction to write into, and decides when and on which thread they run.

use std::future::Future;
use std::ops::ControlFlow;

use bytes::Bytes;
use prost::Message;

use super::error::StoreError;
use super::keys::KeyRange;
use super::lease::Leases;
use super::operation::{Answer, Operation, Query};
use super::wire::mvccpb::{Event, KeyValue};
use crate::{EventRef, Revision};

/// A store that etcd's clients may read and write.
///
/// Its hub must be told everything that [`write`](Self::write) changes, after it became durable
/// and readable, under the store's own revisions: an empty store is at revision 1
/// ([`Builder::revision`](crate::Builder::revision)), its first change has revision 2, and none
/// is skipped. A store that keeps what changed should serve it to the hub with
/// [`Builder::replay`](crate::Builder::replay): then a watch can start at any revision that is
/// not compacted.
///
/// The futures are polled by tonic, on the caller's runtime. A call that was cancelled (its client
/// hung up) drops its future; what it asked for may happen all the same.
pub trait Store: Send + Sync + 'static {
    /// Runs `query` on a view of the store that contains every write answered before.
    ///
    /// # Errors
    /// If the store cannot be read, or is shut down.
    fn read(&self, query: Query) -> impl Future<Output = Result<Answer, StoreError>> + Send;

    /// Runs `operation` in a transaction of its own, in order with all others. Returns what it
    /// answered once that is durable, and the hub was told.
    ///
    /// Where [`Operation::run`] fails, nothing of it may remain. Several operations may share one
    /// commit, each with a revision of its own.
    ///
    /// # Errors
    /// If the store cannot be written, or is shut down.
    fn write(
        &self,
        operation: Operation,
    ) -> impl Future<Output = Result<Answer, StoreError>> + Send;

    /// What was published, as etcd's clients want it: a put with its whole [`KeyValue`], a delete
    /// with only its key and, as `mod_revision`, its revision; `prev_kv` where the event has a
    /// previous value. Called for each event and watch that it is sent to: it should look
    /// nothing up. [`record::event`](super::record::event) does it for stores that publish
    /// records.
    fn event(&self, event: EventRef<'_>) -> Event;

    /// Appends what [`event`](Self::event) returns to `bytes`, as protobuf. A store that can do so
    /// without an `Event` saves its allocations:
    /// [`record::encode_event`](super::record::encode_event) does it for stores that publish
    /// records.
    fn encode_event(&self, event: EventRef<'_>, bytes: &mut Vec<u8>) {
        let event = self.event(event);
        bytes.reserve(event.encoded_len());
        event.encode_raw(bytes);
    }

    /// The time that leases have left.
    fn leases(&self) -> &Leases;

    /// How large the store is.
    fn size(&self) -> Size;
}

/// How large a store is, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// On disk.
    pub allocated: u64,
    /// Of that, in use.
    pub used: u64,
}

/// A view of a store for reading.
pub trait Read {
    /// The last revision committed before this view was made. In a transaction, what the
    /// transaction itself has written comes under the revision after it.
    fn revision(&self) -> Revision;

    /// Up to where the store was compacted: the oldest revision that can be read. 0 if it never
    /// was.
    fn compacted(&self) -> Revision;

    /// Shows every key of the range as it stood at `revision`, ascending, until `show` breaks.
    /// The revision is neither compacted nor in the future.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn scan(
        &self,
        keys: &KeyRange,
        revision: Revision,
        show: &mut dyn FnMut(KeyValue) -> ControlFlow<()>,
    ) -> Result<(), StoreError>;

    /// How many keys [`scan`](Self::scan) would show. A store that can count without reading
    /// values should.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn count(&self, keys: &KeyRange, revision: Revision) -> Result<u64, StoreError> {
        let mut count = 0;
        self.scan(keys, revision, &mut |_| {
            count += 1;
            ControlFlow::Continue(())
        })?;
        Ok(count)
    }

    /// One key as it stood at `revision`.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn get(&self, key: &Bytes, revision: Revision) -> Result<Option<KeyValue>, StoreError> {
        let mut found = None;
        self.scan(&KeyRange::one(key.clone()), revision, &mut |kv| {
            found = Some(kv);
            ControlFlow::Break(())
        })?;
        Ok(found)
    }

    /// Whether there is such a lease.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn has_lease(&self, lease: i64) -> Result<bool, StoreError>;

    /// The keys attached to a lease now, ascending.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn lease_keys(&self, lease: i64) -> Result<Vec<Bytes>, StoreError>;
}

/// A transaction on a store. Reads of the revision after [`revision`](Read::revision) see what it
/// has written so far. All that is put and deleted in it shares that revision.
pub trait Write: Read {
    /// The key is now `kv`, and attached to `kv.lease` where that is not 0; before it was `old`.
    ///
    /// # Errors
    /// If the store cannot be written.
    fn put(&mut self, kv: KeyValue, old: Option<KeyValue>) -> Result<(), StoreError>;

    /// The key is gone; before it was `old`. That is to be readable at older revisions, and a
    /// watch that starts at the delete's revision must get it even where the store was compacted
    /// up to that revision.
    ///
    /// # Errors
    /// If the store cannot be written.
    fn delete(&mut self, old: KeyValue) -> Result<(), StoreError>;

    /// Revisions below this one need not be readable any more. The hub's publisher is to be told
    /// ([`Publisher::compact`](crate::Publisher::compact)). If `physical`, their space should be
    /// free when the write returns, else it may be freed later.
    ///
    /// # Errors
    /// If the store cannot be written.
    fn compact(&mut self, revision: Revision, physical: bool) -> Result<(), StoreError>;

    /// There is a new lease of `ttl` seconds. Once that is durable, [`Store::leases`] is to know
    /// it.
    ///
    /// # Errors
    /// If the store cannot be written.
    fn grant(&mut self, lease: i64, ttl: i64) -> Result<(), StoreError>;

    /// The lease is gone; its keys were deleted before. Once that is durable, [`Store::leases`]
    /// is to forget it.
    ///
    /// # Errors
    /// If the store cannot be written.
    fn revoke(&mut self, lease: i64) -> Result<(), StoreError>;
}

//! The store that the services read and write.
//!
//! ```text
//!   client ─▶ service ─▶ Operation ─▶ Store::write ─▶ Operation::run(WriteTransaction) ─▶ Answer
//!                        Query ─────▶ Store::read ──▶ Query::run(ReadTransaction) ─────▶ Answer
//! ```
//!
//! [`Query`] and [`Operation`] know etcd's rules: conditions, sorting, limits, errors. The store
//! gives them a view to read from and a transaction to write into, and decides when and on which
//! thread they run.

use std::future::Future;

use kvwatch::EventRef;
use prost::Message;

use crate::error::StoreError;
use crate::leases::Leases;
use crate::rules::{Answer, Operation, Query};
use crate::wire::mvccpb::Event;

/// A store that etcd's clients can read and write.
///
/// The store publishes everything that [`write`](Self::write) changes to its hub, after the change
/// is durable and readable, under the store's own revisions. An empty store is at revision 1
/// ([`Builder::start_revision`](kvwatch::Builder::start_revision)), its first change has revision
/// 2, and no revision is skipped. A store that keeps a log of its changes should give it to the hub
/// with [`Builder::replay`](kvwatch::Builder::replay): then watches can start at any revision that
/// is not compacted.
///
/// tonic polls the returned futures, on the server's runtime. When a client cancels a call, its
/// future is dropped; the operation may run all the same.
pub trait Store: Send + Sync + 'static {
    /// Runs `query` on a view of the store that contains every write answered before.
    ///
    /// # Errors
    /// If the store cannot be read, or is shut down.
    fn read(&self, query: Query) -> impl Future<Output = Result<Answer, StoreError>> + Send;

    /// Runs `operation` in a transaction of its own, in order with all other operations. Returns
    /// its answer once the transaction is durable and published.
    ///
    /// Nothing of an operation may remain if [`Operation::run`] fails. Several operations may share
    /// one commit, each under a revision of its own.
    ///
    /// # Errors
    /// If the store cannot be written, is busy, or is shut down.
    fn write(
        &self,
        operation: Operation,
    ) -> impl Future<Output = Result<Answer, StoreError>> + Send;

    /// Converts a published event to etcd's. A put has its whole
    /// [`KeyValue`](crate::wire::mvccpb::KeyValue). A delete has only its key and, as
    /// `mod_revision`, its revision. `prev_kv` is set if the event has a previous value.
    ///
    /// Called for each event and each watch that receives the event, so it should not read the
    /// store. [`record::event`](crate::record::event) does it for stores that publish records.
    fn event(&self, event: EventRef<'_>) -> Event;

    /// Appends the result of [`event`](Self::event) to `bytes`, encoded as protobuf.
    ///
    /// A store that can encode without building an [`Event`] saves allocations.
    /// [`record::encode_event`](crate::record::encode_event) does it for stores that publish
    /// records.
    fn encode_event(&self, event: EventRef<'_>, bytes: &mut Vec<u8>) {
        let event = self.event(event);
        bytes.reserve(event.encoded_len());
        event.encode_raw(bytes);
    }

    /// When the store's leases expire.
    fn leases(&self) -> &Leases;

    /// The size of the store.
    fn size(&self) -> Size;
}

/// The size of a store, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// The space that the store takes on disk.
    pub allocated: u64,
    /// The part of it that is in use.
    pub used: u64,
}

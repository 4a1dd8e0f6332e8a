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

use prost::Message;

use crate::error::StoreError;
use crate::leases::Leases;
use crate::rules::{Answer, Operation, Query};
use crate::wire::mvccpb::Event;
use kvwatch::EventRef;

/// A store that etcd's clients may read and write.
///
/// Its hub must be told everything that [`write`](Self::write) changes, after it became durable
/// and readable, under the store's own revisions: an empty store is at revision 1
/// ([`Builder::revision`](kvwatch::Builder::revision)), its first change has revision 2, and none
/// is skipped. A store that keeps what changed should serve it to the hub with
/// [`Builder::replay`](kvwatch::Builder::replay): then a watch can start at any revision that is
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
    /// nothing up. [`record::event`](crate::record::event) does it for stores that publish
    /// records.
    fn event(&self, event: EventRef<'_>) -> Event;

    /// Appends what [`event`](Self::event) returns to `bytes`, as protobuf. A store that can do so
    /// without an `Event` saves its allocations:
    /// [`record::encode_event`](crate::record::encode_event) does it for stores that publish
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

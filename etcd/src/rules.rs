//! etcd's rules over a store: what a request means, what is refused, and with which error.
//!
//! ```text
//!   operation   Query, Operation: one request, checked and ready to run
//!     check       what a request alone gets wrong
//!     range       reading
//!     write       put, delete, compact, grant and revoke, under one revision
//!     txn         conditions and branches
//! ```
//!
//! Nothing in here knows of gRPC servers, connections or watches.

mod check;
mod operation;
mod range;
mod read_only;
mod txn;
mod write;

pub use self::operation::{Answer, Operation, Query};
pub(crate) use self::operation::{Reply, TxnKind};

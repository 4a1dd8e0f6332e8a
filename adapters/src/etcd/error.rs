//! Why a call is refused, in the words that etcd's clients compare.

use std::error::Error;
use std::fmt;

use tonic::{Code, Status};

/// Why a call is refused. Its text and gRPC code are etcd's own where etcd has such a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// A call on no key.
    EmptyKey,
    /// A put that keeps a value or lease where there is no key.
    KeyNotFound,
    /// A put with a value that is to be ignored.
    ValueProvided,
    /// A put with a lease that is to be ignored.
    LeaseProvided,
    /// More operations or conditions in a transaction than are allowed.
    TooManyOperations,
    /// A transaction that changes a key twice.
    DuplicateKey,
    /// A sort order or target that does not exist.
    InvalidSortOption,
    /// The revision is compacted.
    Compacted,
    /// The revision lies in the future.
    FutureRevision,
    /// There is no such lease.
    LeaseNotFound,
    /// There is such a lease already.
    LeaseExists,
    /// A lease for longer than is allowed.
    LeaseTooLong,
    /// A request of more bytes than is allowed.
    RequestTooLarge,
    /// A wrong name or password.
    AuthFailed,
    /// A login where no user is configured.
    AuthNotEnabled,
    /// A token that was never given out, or has run out.
    InvalidToken,
    /// A call without a token where users are configured.
    UserEmpty,
    /// The user may not read, or not write, all of the keys.
    PermissionDenied,
    /// A watch whose end does not lie behind its start.
    EmptyWatch,
    /// A watch with an id that its stream already uses.
    DuplicateWatch,
    /// A watch from a negative revision.
    NegativeStart,
    /// As many watches on one stream as the limits allow.
    TooManyWatches,
    /// As many watches in total as the limits allow.
    ServerFull,
    /// As many streams on one connection, or in total, as the limits allow.
    TooManyStreams,
    /// As much waiting to be written as the store lets wait.
    TooManyRequests,
    /// The store or the engine was shut down.
    Stopped,
}

impl Refusal {
    /// The gRPC code.
    #[must_use]
    pub fn code(self) -> Code {
        match self {
            Self::Compacted | Self::FutureRevision | Self::LeaseTooLong => Code::OutOfRange,
            Self::LeaseNotFound => Code::NotFound,
            Self::LeaseExists | Self::AuthNotEnabled => Code::FailedPrecondition,
            Self::InvalidToken => Code::Unauthenticated,
            Self::PermissionDenied => Code::PermissionDenied,
            Self::TooManyWatches
            | Self::ServerFull
            | Self::TooManyStreams
            | Self::TooManyRequests => Code::ResourceExhausted,
            Self::Stopped => Code::Unavailable,
            _ => Code::InvalidArgument,
        }
    }

    /// The text.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::EmptyKey => "etcdserver: key is not provided",
            Self::KeyNotFound => "etcdserver: key not found",
            Self::ValueProvided => "etcdserver: value is provided",
            Self::LeaseProvided => "etcdserver: lease is provided",
            Self::TooManyOperations => "etcdserver: too many operations in txn request",
            Self::DuplicateKey => "etcdserver: duplicate key given in txn request",
            Self::InvalidSortOption => "etcdserver: invalid sort option",
            Self::Compacted => "etcdserver: mvcc: required revision has been compacted",
            Self::FutureRevision => "etcdserver: mvcc: required revision is a future revision",
            Self::LeaseNotFound => "etcdserver: requested lease not found",
            Self::LeaseExists => "etcdserver: lease already exists",
            Self::LeaseTooLong => "etcdserver: too large lease TTL",
            Self::RequestTooLarge => "etcdserver: request is too large",
            Self::AuthFailed => "etcdserver: authentication failed, invalid user ID or password",
            Self::AuthNotEnabled => "etcdserver: authentication is not enabled",
            Self::InvalidToken => "etcdserver: invalid auth token",
            Self::UserEmpty => "etcdserver: user name is empty",
            Self::PermissionDenied => "etcdserver: permission denied",
            Self::EmptyWatch => "mvcc: watcher range is empty",
            Self::DuplicateWatch => "mvcc: duplicate watch ID provided on the WatchStream",
            Self::NegativeStart => "mvcc: the watch's start revision is negative",
            Self::TooManyWatches => "kvwatch: too many watches on this stream",
            Self::ServerFull => "kvwatch: too many watches on this server",
            Self::TooManyStreams => "kvwatch: too many watch streams",
            Self::TooManyRequests => "etcdserver: too many requests",
            Self::Stopped => "etcdserver: server stopped",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl Error for Refusal {}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.code(), refusal.text())
    }
}

/// Why a store could not do its work, which no client is to blame for.
#[derive(Debug)]
#[non_exhaustive]
pub enum StoreError {
    /// It is shut down: clients are told that the server stopped.
    Closed,
    /// As much is waiting for it as it lets wait: nothing was done, and clients are told to try
    /// later ([`Refusal::TooManyRequests`]).
    Busy,
    /// It failed. Clients get INTERNAL without the reason, which goes to `tracing`.
    Failed(Box<dyn Error + Send + Sync>),
}

impl StoreError {
    /// The store failed with this.
    pub fn failed(reason: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Failed(reason.into())
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "the store is shut down",
            Self::Busy => "too much waits for the store",
            Self::Failed(_) => "the store failed",
        })
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Failed(reason) => Some(&**reason),
            Self::Closed | Self::Busy => None,
        }
    }
}

impl From<StoreError> for Status {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Closed => Refusal::Stopped.into(),
            StoreError::Busy => Refusal::TooManyRequests.into(),
            StoreError::Failed(reason) => {
                tracing::error!(%reason, "the store failed");
                Self::internal("kvwatch: the store failed")
            }
        }
    }
}

/// Why an operation did not happen: by the rules, or because of the store.
#[derive(Debug)]
pub(crate) enum Fault {
    Refused(Refusal),
    Store(StoreError),
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

//! Errors: what a request got wrong, with the messages that etcd's clients compare, and what went
//! wrong in the store.

use std::error::Error;
use std::fmt;

use tonic::{Code, Status};

/// Why a request was refused.
///
/// [`code`](Self::code) and [`message`](Self::message) are etcd's own wherever etcd has such an
/// error: clients compare both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RequestError {
    /// The key is empty.
    EmptyKey,
    /// A put keeps the value or lease of a key that does not exist.
    KeyNotFound,
    /// A put has a value and asks to ignore it.
    ValueProvided,
    /// A put has a lease and asks to ignore it.
    LeaseProvided,
    /// A transaction has more operations or conditions than [`Limits`](crate::Limits) allow.
    TooManyOperations,
    /// A transaction changes a key twice.
    DuplicateKey,
    /// The sort order or sort target does not exist.
    InvalidSortOption,
    /// The revision is compacted.
    Compacted,
    /// The revision is in the future.
    FutureRevision,
    /// The lease does not exist.
    LeaseNotFound,
    /// The lease exists already.
    LeaseExists,
    /// The lease would last longer than [`MAX_TTL`](crate::MAX_TTL).
    LeaseTooLong,
    /// The request has more bytes than [`Limits`](crate::Limits) allow.
    RequestTooLarge,
    /// The user does not exist, or the password is wrong.
    AuthFailed,
    /// A login where no user is configured.
    AuthNotEnabled,
    /// The token was never issued, or has expired.
    InvalidToken,
    /// A call without a token where users are configured.
    UserEmpty,
    /// The user lacks the permission for some of the keys.
    PermissionDenied,
    /// The range of a watch is empty.
    EmptyWatch,
    /// The stream has a watch of this id already.
    DuplicateWatch,
    /// A watch starts at a negative revision.
    NegativeStart,
    /// The stream has as many watches as [`Limits`](crate::Limits) allow.
    TooManyWatches,
    /// The server has as many watches as [`Limits`](crate::Limits) allow.
    ServerFull,
    /// The connection or the server has as many watch streams as [`Limits`](crate::Limits) allow.
    TooManyStreams,
    /// The store is [busy](StoreError::Busy).
    TooManyRequests,
    /// The store or the watch engine was shut down.
    Stopped,
}

impl RequestError {
    /// The gRPC status code.
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

    /// The message of the gRPC status.
    #[must_use]
    pub fn message(self) -> &'static str {
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

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl Error for RequestError {}

impl From<RequestError> for Status {
    fn from(error: RequestError) -> Self {
        Self::new(error.code(), error.message())
    }
}

/// Why a store could not run a query or an operation, through no fault of the client.
#[derive(Debug)]
#[non_exhaustive]
pub enum StoreError {
    /// The store is shut down. Clients receive [`RequestError::Stopped`].
    Closed,
    /// The store has as many operations waiting as it accepts, and did nothing. Clients receive
    /// [`RequestError::TooManyRequests`] and may try again later.
    Busy,
    /// The store failed. Clients receive INTERNAL without the reason, which is logged with
    /// `tracing`.
    Failed(Box<dyn Error + Send + Sync>),
}

impl StoreError {
    /// [`Failed`](Self::Failed) for this reason.
    pub fn failed(reason: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Failed(reason.into())
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "the store is shut down",
            Self::Busy => "too many operations wait for the store",
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
            StoreError::Closed => RequestError::Stopped.into(),
            StoreError::Busy => RequestError::TooManyRequests.into(),
            StoreError::Failed(reason) => {
                tracing::error!(%reason, "the store failed");
                Self::internal("kvwatch: the store failed")
            }
        }
    }
}

/// Why an operation did not happen: etcd's rules refused it, or the store failed.
#[derive(Debug)]
pub(crate) enum Fault {
    Request(RequestError),
    Store(StoreError),
}

impl From<RequestError> for Fault {
    fn from(error: RequestError) -> Self {
        Self::Request(error)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

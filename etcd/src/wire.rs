//! The messages and services of etcd's API that are served, as generated from `proto`.
//!
//! Field numbers and types are etcd's own, so that its clients understand them. Byte strings are
//! [`bytes::Bytes`]. The clients are here too, over any transport: tests are written with them.

// Generated code follows its generator's taste.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::must_use_candidate,
    clippy::semicolon_if_nothing_returned
)]

#[cfg(any(feature = "client", feature = "server"))]
pub(crate) mod codec;

/// Package `mvccpb`: keys and events.
pub mod mvccpb {
    include!("wire/mvccpb.rs");
}

/// Package `etcdserverpb`: calls, and the services that answer them.
pub mod etcdserverpb {
    include!("wire/etcdserverpb.rs");
}

//! The messages of etcd's API, and its generated services and clients.
//!
//! Only the calls that this crate serves are here. Names, field numbers and types are etcd's own.
//! Byte strings are [`bytes::Bytes`]. The modules `*_server` need feature `server`, the modules
//! `*_client` feature `client`.

// The code is generated.
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

/// Package `etcdserverpb`: requests, responses and services.
pub mod etcdserverpb {
    include!("wire/etcdserverpb.rs");
}

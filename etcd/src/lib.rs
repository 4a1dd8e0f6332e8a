//! etcd's v3 API over a [`Hub`](kvwatch::Hub) and a store of your own.
//!
//! With feature `server`, a store that implements [`Store`] and publishes to a hub becomes the
//! services of etcd's API. [`Etcd`] makes them, and they are mounted into a [`tonic`] server of
//! your own, with its TLS, its interceptors and its other services:
//!
#![cfg_attr(feature = "server", doc = "```no_run")]
#![cfg_attr(not(feature = "server"), doc = "```ignore")]
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use kvwatch::Hub;
//! use kvwatch_etcd::{Etcd, Store};
//!
//! async fn serve(hub: Hub, store: Arc<impl Store>) -> Result<(), Box<dyn std::error::Error>> {
//!     let etcd = Etcd::builder(hub, store).build();
//!     tonic::transport::Server::builder()
//!         .max_concurrent_streams(10_000)
//!         .http2_keepalive_interval(Some(Duration::from_secs(30)))
//!         .add_service(etcd.kv())
//!         .add_service(etcd.watch())
//!         .add_service(etcd.lease())
//!         .add_service(etcd.maintenance())
//!         .add_service(etcd.cluster())
//!         .add_service(etcd.auth())
//!         .serve("127.0.0.1:2379".parse()?)
//!         .await?;
//!     Ok(())
//! }
//! ```
//!
//! # Features
//!
//! None is on by default.
//!
//! | feature | adds |
//! | --- | --- |
//! | none | the messages of the wire ([`wire`]), ranges of keys ([`KeyRange`]) and etcd's events as published values ([`record`]); depends on prost, not on tonic |
//! | `server` | [`Etcd`], the services; [`Store`], the trait to implement |
//! | `client` | the generated clients in [`wire::etcdserverpb`], over any transport |
//!
//! # Services
//!
//! | service | calls |
//! | --- | --- |
//! | `KV` | Range, Put, DeleteRange, Txn, Compact |
//! | `Watch` | Watch |
//! | `Lease` | LeaseGrant, LeaseRevoke, LeaseKeepAlive, LeaseTimeToLive, LeaseLeases |
//! | `Maintenance` | Status, Alarm (GET only) |
//! | `Cluster` | MemberList |
//! | `Auth` | Authenticate, where users are configured |
//!
//! Every other call is answered with UNIMPLEMENTED. Errors have etcd's codes and messages:
//! [`RequestError`] lists them.
//!
//! Each gRPC watch is one [`Watcher`](kvwatch::Watcher) of the hub, and keeps its promises: order,
//! atomic revisions, progress. A watcher that lags is cancelled with the compacted revision.
//!
//! The crate `kvwatch-server` is a complete single-node server built on this one.
#![cfg_attr(
    not(feature = "server"),
    doc = "\n[`Etcd`]: https://docs.rs/kvwatch-etcd\n[`Store`]: https://docs.rs/kvwatch-etcd\n\
           [`RequestError`]: https://docs.rs/kvwatch-etcd\n[`tonic`]: https://docs.rs/tonic"
)]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

#[cfg(feature = "server")]
mod error;
#[cfg(feature = "server")]
mod header;
#[cfg(feature = "server")]
mod identity;
mod keys;
#[cfg(feature = "server")]
mod leases;
#[cfg(feature = "server")]
mod limits;
#[cfg(feature = "server")]
mod random;
pub mod record;
#[cfg(feature = "server")]
mod rules;
#[cfg(feature = "server")]
mod services;
#[cfg(feature = "server")]
mod store;
#[cfg(feature = "server")]
mod transaction;
pub mod wire;

#[cfg(feature = "server")]
pub use error::{RequestError, StoreError};
#[cfg(feature = "server")]
pub use identity::Identity;
pub use keys::{End, KeyRange};
#[cfg(feature = "server")]
pub use leases::{LeaseTime, Leases, MAX_TTL, MIN_TTL};
#[cfg(feature = "server")]
pub use limits::Limits;
#[cfg(feature = "server")]
pub use rules::{Answer, Operation, Query};
#[cfg(feature = "server")]
pub use services::{
    Access, Etcd, EtcdBuilder, KeepAlive, User, WatchServer, WatchStream, WatchStreamResponse,
};
#[cfg(feature = "server")]
pub use store::{Size, Store};
#[cfg(feature = "server")]
pub use transaction::{ReadTransaction, WriteTransaction};

//! Serving a hub and a store to the clients of etcd, in any language. Feature `etcd-server`.
//!
//! A store that implements [`Store`] and publishes to a [`Hub`](crate::Hub) becomes the services
//! of etcd's API with [`Etcd`], to be mounted into a [`tonic`] server of the user's own, with its
//! TLS, its interceptors and its other services:
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use kvwatch::{Hub, etcd::{Etcd, Store}};
//! # async fn serve(hub: Hub, store: Arc<impl Store>) -> Result<(), Box<dyn std::error::Error>> {
//! let etcd = Etcd::builder(hub, store).build();
//! tonic::transport::Server::builder()
//!     .max_concurrent_streams(10_000)
//!     .http2_keepalive_interval(Some(std::time::Duration::from_secs(30)))
//!     .add_service(etcd.kv())
//!     .add_service(etcd.watch())
//!     .add_service(etcd.lease())
//!     .add_service(etcd.maintenance())
//!     .add_service(etcd.cluster())
//!     .add_service(etcd.auth())
//!     .serve("127.0.0.1:2379".parse()?)
//!     .await?;
//! # Ok(())
//! # }
//! ```
//!
//! What is served: `KV` (Range, Put, DeleteRange, Txn, Compact), `Watch`, `Lease` (Grant, Revoke,
//! KeepAlive, TimeToLive, Leases), `Maintenance` (Status, Alarm GET), `Cluster` (MemberList) and,
//! where users are configured, `Auth` (Authenticate). Everything else is answered with
//! UNIMPLEMENTED. Errors have etcd's codes and texts: [`Refusal`] lists them.
//!
//! Each gRPC watch is one [`Watcher`](crate::Watcher) of the hub: with its order, its atomic
//! revisions, its progress; a lag becomes a cancel with the compacted revision. Example
//! `standalone` of this repository is a whole server on redb.

mod census;
mod check;
mod cluster;
mod codec;
mod error;
mod header;
mod identity;
mod keys;
mod kv;
mod lease;
mod lease_service;
mod limits;
mod operation;
mod random;
mod range;
pub mod record;
mod service;
mod store;
mod txn;
mod users;
mod watch;
pub mod wire;
mod write;

pub use error::{Refusal, StoreError};
pub use identity::Identity;
pub use keys::{End, KeyRange};
pub use lease::{LeaseTime, Leases, MAX_TTL, MIN_TTL};
pub use lease_service::KeepAlive;
pub use limits::Limits;
pub use operation::{Answer, Operation, Query};
pub use service::{Etcd, EtcdBuilder};
pub use store::{Read, Size, Store, Write};
pub use users::{Access, User};
pub use watch::{Response as WatchStreamResponse, WatchServer, WatchStream};

//! The gRPC services.
//!
//! ```text
//!   builder        EtcdBuilder: options in, services out
//!     kv, lease, maintenance, cluster, auth, watch
//!       etcd         Etcd: what all services share
//!         quota        how many streams and watches are open
//!         event_cache  events encoded once for equal watches
//! ```

mod auth;
mod authorize;
mod builder;
mod cluster;
mod etcd;
mod event_cache;
mod kv;
mod lease;
mod maintenance;
mod quota;
mod users;
mod watch;

pub use self::builder::EtcdBuilder;
pub use self::etcd::Etcd;
pub use self::lease::KeepAlive;
pub use self::users::{Access, User};
pub use self::watch::{WatchServer, WatchStream, WatchStreamResponse};

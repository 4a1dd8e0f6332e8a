//! Serving a hub and a store to the clients of etcd.

mod codec;
pub mod wire;

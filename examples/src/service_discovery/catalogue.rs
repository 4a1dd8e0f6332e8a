//! The servers' entries in the store: a key with the server's name, and its address as the value.

use std::net::SocketAddr;
use std::sync::Arc;

use kvwatch::{Change, Hub, Selector};
use parking_lot::Mutex;

use crate::AnyError;
use crate::store::{Reader, Store};

const PREFIX: &str = "services/web/";

/// A handle to the entries. Clones share the store.
#[derive(Clone, Debug)]
pub(crate) struct Catalogue {
    /// `None` after shutting down.
    store: Arc<Mutex<Option<Store>>>,
    pub(crate) reader: Reader,
    pub(crate) hub: Hub,
}

/// The name in an entry's key.
pub(crate) fn name(key: &[u8]) -> Result<String, AnyError> {
    let name = key.strip_prefix(PREFIX.as_bytes()).ok_or("another key")?;
    Ok(std::str::from_utf8(name)?.to_owned())
}

/// The address in an entry's value.
pub(crate) fn address(value: &[u8]) -> Result<SocketAddr, AnyError> {
    Ok(std::str::from_utf8(value)?.parse()?)
}

impl Catalogue {
    pub(crate) fn new(store: Store) -> Self {
        Self {
            reader: store.reader(),
            hub: store.hub(),
            store: Arc::new(Mutex::new(Some(store))),
        }
    }

    /// Selects all entries.
    pub(crate) fn entries() -> Selector {
        Selector::prefix(PREFIX)
    }

    /// Puts an entry. A heartbeat puts the same entry again, and does not wait for the disk.
    pub(crate) async fn put(
        &self,
        name: &str,
        address: SocketAddr,
        heartbeat: bool,
    ) -> Result<(), AnyError> {
        let key = format!("{PREFIX}{name}");
        self.commit(Change::put(key, address.to_string()), !heartbeat)
            .await
    }

    pub(crate) async fn delete(&self, name: &str) -> Result<(), AnyError> {
        self.commit(Change::delete(format!("{PREFIX}{name}")), true)
            .await
    }

    /// Commits on another thread, because the wait for the disk must not block the executor.
    async fn commit(&self, change: Change, durable: bool) -> Result<(), AnyError> {
        let store = Arc::clone(&self.store);
        smol::unblock(move || {
            let mut store = store.lock();
            let store = store.as_mut().ok_or("the catalogue is shut down")?;
            store.commit(vec![change], "", durable).map(drop)
        })
        .await
    }

    /// Shuts the store down, which ends all watchers.
    pub(crate) async fn shut_down(&self) -> Result<(), AnyError> {
        let store = self.store.lock().take();
        smol::unblock(|| store.map_or(Ok(()), Store::shut_down)).await
    }
}

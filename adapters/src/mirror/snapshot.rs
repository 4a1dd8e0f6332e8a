//! What a mirror reads from the store: its first state, and a new one after a lag.

use std::fmt;
use std::future::{Future, ready};

use bytes::Bytes;

use super::view::View;
use crate::{Revision, Selector};

/// Reads a store for a mirror. Any `FnMut(SnapshotRequest) -> Result<Snapshot, E>` is one; a
/// closure that returns a future becomes one by [`read_async`].
///
/// A read must be of one revision: everything that was committed up to it, and nothing above it.
/// In a store that reads in pages, all of them come from the same version, or transaction:
///
/// ```
/// use kvwatch::mirror::{Snapshot, SnapshotReader, SnapshotRequest};
/// # #[derive(Clone)] struct Store;
/// # impl Store {
/// #     async fn revision(&self) -> u64 { 9 }
/// #     async fn page(&self, at: u64, after: Option<bytes::Bytes>) -> Result<Vec<(bytes::Bytes, bytes::Bytes)>, std::io::Error> {
/// #         Ok(if after.is_none() { vec![("a".into(), "1".into())] } else { vec![] })
/// #     }
/// # }
///
/// struct Pages(Store);
///
/// impl SnapshotReader for Pages {
///     type Error = std::io::Error;
///
///     async fn read(&mut self, _: SnapshotRequest) -> Result<Snapshot, Self::Error> {
///         let mut snapshot = Snapshot::at(self.0.revision().await);
///         let mut after = None;
///         loop {
///             let page = self.0.page(snapshot.revision(), after).await?;
///             let Some((last, _)) = page.last() else {
///                 return Ok(snapshot);
///             };
///             after = Some(last.clone());
///             snapshot.extend(page);
///         }
///     }
/// }
/// # let mut pages = Pages(Store);
/// # let read = pages.read(SnapshotRequest::new(kvwatch::Selector::all(), 0));
/// # assert_eq!(futures::executor::block_on(read).unwrap().into_view().len(), 1);
/// ```
pub trait SnapshotReader {
    /// Why the store could not be read.
    type Error;

    /// Reads every key that the request's selector matches, and says at which revision.
    ///
    /// What it returns beyond the selector is left out of the mirror, so a small store may just
    /// return all. A read that is given up before it is done is begun again later.
    ///
    /// # Errors
    /// Whatever kept it from reading. The mirror keeps the state that it has, and its driver
    /// returns the error: see [`MirrorDriver`](super::MirrorDriver).
    fn read(
        &mut self,
        request: SnapshotRequest,
    ) -> impl Future<Output = Result<Snapshot, Self::Error>> + Send;
}

impl<F, E> SnapshotReader for F
where
    F: FnMut(SnapshotRequest) -> Result<Snapshot, E>,
    E: Send,
{
    type Error = E;

    fn read(
        &mut self,
        request: SnapshotRequest,
    ) -> impl Future<Output = Result<Snapshot, E>> + Send {
        ready(self(request))
    }
}

/// A closure that returns a future, as a [`SnapshotReader`].
///
/// ```
/// use kvwatch::mirror::{Mirror, Snapshot, SnapshotRequest, read_async};
/// use kvwatch::{Builder, Selector};
///
/// # futures::executor::block_on(async {
/// let (_publisher, hub) = Builder::new().spawn()?;
/// let read = read_async(|request: SnapshotRequest| async move {
///     Ok::<_, std::io::Error>(Snapshot::at(request.at_least()))
/// });
/// let (mirror, mut driver) = Mirror::watch(&hub, Selector::all(), read)?;
/// driver.step_async().await?;
/// assert!(mirror.view().unwrap().is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
pub fn read_async<F, R, E>(read: F) -> ReadAsync<F>
where
    F: FnMut(SnapshotRequest) -> R,
    R: Future<Output = Result<Snapshot, E>> + Send,
{
    ReadAsync { read }
}

/// From [`read_async`].
#[must_use = "it reads nothing by itself"]
pub struct ReadAsync<F> {
    read: F,
}

impl<F, R, E> SnapshotReader for ReadAsync<F>
where
    F: FnMut(SnapshotRequest) -> R,
    R: Future<Output = Result<Snapshot, E>> + Send,
{
    type Error = E;

    fn read(
        &mut self,
        request: SnapshotRequest,
    ) -> impl Future<Output = Result<Snapshot, E>> + Send {
        (self.read)(request)
    }
}

impl<F> fmt::Debug for ReadAsync<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadAsync").finish_non_exhaustive()
    }
}

/// What a mirror wants to know from its store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotRequest {
    selector: Selector,
    at_least: Revision,
}

impl SnapshotRequest {
    /// As a mirror asks, for tests of a reader.
    #[must_use]
    pub fn new(selector: Selector, at_least: Revision) -> Self {
        Self { selector, at_least }
    }

    /// Which keys.
    #[must_use]
    pub fn selector(&self) -> &Selector {
        &self.selector
    }

    /// The lowest revision of a read that is good in any case: events above it are at hand. A
    /// store that a change is readable from before it is published has it by now; a replica may
    /// wait until it has. An older read will do only while the engine's history, or
    /// [`Replay`](crate::Replay) source, still has what came after it.
    #[must_use]
    pub fn at_least(&self) -> Revision {
        self.at_least
    }
}

/// All keys and values of a selector at one revision: what a [`SnapshotReader`] returns.
///
/// A key that is inserted twice, as two parts of a union match it, counts once, with its last
/// value. Keys and values are kept as they are handed in: a `Bytes` that is a slice of a larger
/// buffer keeps that in memory.
#[derive(Clone, Debug)]
#[must_use]
pub struct Snapshot {
    view: View,
}

impl Snapshot {
    /// A state without keys, at this revision.
    pub fn at(revision: Revision) -> Self {
        Self {
            view: View::empty(revision),
        }
    }

    /// Adds a key, or overwrites its value.
    pub fn insert(&mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.view.map.insert_mut(key.into(), value.into());
    }

    /// The revision that this was read at.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.view.revision
    }

    /// The same, to be read.
    #[must_use]
    pub fn into_view(self) -> View {
        self.view
    }

    /// Only what this selector matches.
    pub(super) fn of(self, selector: &Selector) -> View {
        let mut view = self.view;
        let others: Vec<Bytes> = view
            .iter()
            .filter(|(key, _)| !selector.matches(key))
            .map(|(key, _)| key.clone())
            .collect();
        for key in others {
            view.map.remove_mut(&key);
        }
        view
    }
}

impl<K: Into<Bytes>, V: Into<Bytes>> Extend<(K, V)> for Snapshot {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, entries: I) {
        for (key, value) in entries {
            self.insert(key, value);
        }
    }
}

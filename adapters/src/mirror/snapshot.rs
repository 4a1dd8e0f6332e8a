//! Reading the store for a mirror.

use std::fmt;
use std::future::{Future, ready};

use bytes::Bytes;

use super::view::View;
use crate::{Revision, Selector};

/// Reads a store for a mirror: for its first state, and again after a lag.
///
/// Every `FnMut(SnapshotRequest) -> Result<Snapshot, E>` is a reader. [`read_async`] turns a closure
/// that returns a future into one.
///
/// A read must be consistent: it contains every commit up to its revision and no later commit. A
/// store that is read in pages must read all pages at the same version, or in one transaction:
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
    /// The error of a read that failed.
    type Error;

    /// Reads every key that the selector of the request matches. The snapshot carries the revision
    /// of the read.
    ///
    /// The mirror leaves out keys that the selector does not match, so a small store may return
    /// all of its keys. If the future is dropped before it completes, the read is started again
    /// later.
    ///
    /// # Errors
    /// The driver returns the error from its step, and the mirror keeps its state: see
    /// [`MirrorDriver`](super::MirrorDriver).
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

/// Turns a closure that returns a future into a [`SnapshotReader`].
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

/// A [`SnapshotReader`] that calls a closure: from [`read_async`].
#[must_use = "a reader does nothing unless a mirror uses it"]
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

/// The request that a mirror passes to its [`SnapshotReader`].
///
/// ```
/// use kvwatch::Selector;
/// use kvwatch::mirror::SnapshotRequest;
///
/// let request = SnapshotRequest::new(Selector::prefix("app/"), 7);
/// assert!(request.selector().matches(b"app/a"));
/// assert_eq!(request.at_least(), 7);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotRequest {
    selector: Selector,
    at_least: Revision,
}

impl SnapshotRequest {
    /// Creates a request, for tests of a reader.
    #[must_use]
    pub fn new(selector: Selector, at_least: Revision) -> Self {
        Self { selector, at_least }
    }

    /// The selector of the keys to read.
    #[must_use]
    pub fn selector(&self) -> &Selector {
        &self.selector
    }

    /// The lowest revision at which a read always succeeds: the watcher delivers every event above
    /// it. A store that makes each change readable before publishing it can be read at this revision
    /// at once; a replica may have to wait for it. An older read succeeds only if the history, or
    /// the [`Replay`](crate::Replay) source, still holds the events after it.
    #[must_use]
    pub fn at_least(&self) -> Revision {
        self.at_least
    }
}

/// All keys and values of a selector at one revision: the result of a [`SnapshotReader`].
///
/// A key may be inserted more than once, for example because two parts of a union match it; the last
/// value counts. Keys and values are not copied, so a `Bytes` that is a slice of a larger buffer
/// keeps the whole buffer in memory.
///
/// ```
/// use kvwatch::mirror::Snapshot;
///
/// let mut snapshot = Snapshot::at(7);
/// snapshot.insert("app/a", "1");
/// snapshot.extend([("app/a", "2"), ("app/b", "3")]);
/// assert_eq!(snapshot.revision(), 7);
/// assert_eq!(snapshot.into_view().get("app/a").unwrap(), "2");
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Snapshot {
    view: View,
}

impl Snapshot {
    /// An empty snapshot at this revision.
    pub fn at(revision: Revision) -> Self {
        Self {
            view: View::empty(revision),
        }
    }

    /// Inserts a key, or replaces its value.
    pub fn insert(&mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.view.map.insert_mut(key.into(), value.into());
    }

    /// The revision of the read.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.view.revision
    }

    /// Returns the state as a view, to read its keys.
    #[must_use]
    pub fn into_view(self) -> View {
        self.view
    }

    /// Returns the state without the keys that `selector` does not match.
    pub(super) fn into_matching(self, selector: &Selector) -> View {
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

//! Reading from the store's own log what the history no longer holds.

use crate::change::{Change, Revision};
use crate::error::ReplayError;

/// A store's own log or versions, from which watchers read what the history no longer holds: for a
/// watch from further back, or a watcher that fell far behind.
///
/// It is called on the receiving thread or task, without any lock, one bounded step at a time, and
/// may block as that receiver may. It must return what was published: the same changes in the same
/// order, under the same revisions. A revision must be readable when it is published.
///
/// - *If I am slow:* only the watcher that reads waits.
/// - *If I fail:* the watcher gets the revisions that could not be read as a
///   [`Lagged`](crate::Lagged), and goes on after them.
///
/// Set it with [`Builder::replay`](crate::Builder::replay).
///
/// ```
/// # use kvwatch_core as kvwatch;
/// use kvwatch::{Builder, Change, Replay, ReplayError, Replayed, Revision, WatchOptions};
///
/// /// A store that keeps every transaction, from revision 1 on.
/// struct Log(Vec<Change>);
///
/// impl Replay for Log {
///     fn oldest(&self) -> Revision {
///         1
///     }
///
///     fn read(&self, from: Revision, to: Revision, limit: usize) -> Result<Replayed, ReplayError> {
///         let upto = to.min(from + limit as Revision);
///         let read = |revision| (revision, vec![self.0[revision as usize - 1].clone()]);
///         let transactions = (from..=upto).map(read).collect();
///         Ok(Replayed { transactions, upto })
///     }
/// }
///
/// let log = Log(vec![Change::put("a", "1"), Change::put("a", "2")]);
/// let (_publisher, hub) = Builder::new().start_revision(2).replay(log).spawn()?;
/// let mut watcher = hub.watch_with("a", WatchOptions::new().start_revision(1))?;
/// assert_eq!(watcher.recv()?.value().unwrap(), "1");
/// assert_eq!(watcher.recv()?.value().unwrap(), "2");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Replay: Send + Sync {
    /// The oldest revision from which a [`read`](Self::read) succeeds.
    fn oldest(&self) -> Revision;

    /// Reads whole transactions with revisions in `from..=to`, in growing order: about `limit`
    /// events, and at least one transaction if there is one in this range.
    ///
    /// # Errors
    /// [`ReplayError::Compacted`] if `from` was removed, [`ReplayError::Failed`] if the source cannot
    /// be read. The watcher gets either as a [`Lagged`](crate::Lagged).
    fn read(&self, from: Revision, to: Revision, limit: usize) -> Result<Replayed, ReplayError>;
}

/// The result of one step of a [`Replay`].
#[derive(Clone, Debug, Default)]
pub struct Replayed {
    /// Whole transactions, with growing revisions.
    pub transactions: Vec<(Revision, Vec<Change>)>,
    /// Everything up to this revision is in `transactions`; the next step reads on after it. At least
    /// the last transaction's revision, and at most the `to` that was asked for.
    pub upto: Revision,
}

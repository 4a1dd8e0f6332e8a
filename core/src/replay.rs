//! Reading from the store's own log what the history no longer holds.

use crate::change::{Change, Revision};
use crate::error::ReplayError;
use crate::log::history::STEP_BYTES;
use crate::log::segment::SEGMENT_EVENTS;
use crate::selector::Selector;

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
/// use kvwatch::{Builder, Change, Replay, ReplayError, ReplayRequest, Replayed, Revision};
/// use kvwatch::WatchOptions;
///
/// /// A store that keeps every transaction, from revision 1 on.
/// struct Log(Vec<Change>);
///
/// impl Replay for Log {
///     fn oldest(&self) -> Revision {
///         1
///     }
///
///     fn read(&self, request: ReplayRequest<'_>) -> Result<Replayed, ReplayError> {
///         let (mut read, mut bytes) = (Replayed::default(), 0);
///         for revision in request.from..=request.to {
///             read.upto = revision;
///             let change = &self.0[revision as usize - 1];
///             if request.selector.matches(change.key()) {
///                 bytes += change.key().len() + change.value().map_or(0, |value| value.len());
///                 read.transactions.push((revision, vec![change.clone()]));
///             }
///             if read.transactions.len() >= request.max_events || bytes >= request.max_bytes {
///                 break;
///             }
///         }
///         Ok(read)
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

    /// Reads one step: transactions with revisions in `request.from..=request.to`, in growing order.
    /// [`ReplayRequest`] says how much, and which changes may be left out.
    ///
    /// # Errors
    /// [`ReplayError::Compacted`] if `request.from` was removed, [`ReplayError::Failed`] if the source
    /// cannot be read. The watcher gets either as a [`Lagged`](crate::Lagged); a failed read is tried
    /// again before that.
    fn read(&self, request: ReplayRequest<'_>) -> Result<Replayed, ReplayError>;

    /// Whether the source returns every change of a transaction, also where two of them change the
    /// same key. Default: yes.
    ///
    /// A store that keeps one version for each key and revision cannot: it must answer `false`. Then
    /// the publisher refuses a transaction that changes a key twice
    /// ([`PublishErrorKind::DuplicateKey`](crate::PublishErrorKind::DuplicateKey)), because a replay
    /// would differ from what live watchers got.
    fn keeps_every_change(&self) -> bool {
        true
    }
}

/// What one step of a [`Replay`] is to read.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ReplayRequest<'a> {
    /// The first revision to read.
    pub from: Revision,
    /// The last revision to read.
    pub to: Revision,
    /// The step should end after the transaction that reaches this number of events.
    pub max_events: usize,
    /// The step must end after the transaction that reaches this number of bytes in keys, values and
    /// previous values: the watcher holds them in memory, whether they match or not. A transaction is
    /// never split.
    pub max_bytes: usize,
    /// Whether the watcher wants previous values. If not, they may be left out, as
    /// [`PrevValue::Unavailable`](crate::PrevValue::Unavailable).
    pub prev_values: bool,
    /// Changes of keys that this does not match may be left out, so a store need not read them.
    /// They are filtered in any case.
    pub selector: &'a Selector,
}

impl<'a> ReplayRequest<'a> {
    /// A request as an engine makes it, for the tests of a source: for the revisions `from..=to` of
    /// the keys that `selector` matches, with previous values, in steps of 256 events or 256 KiB.
    #[must_use]
    pub fn new(selector: &'a Selector, from: Revision, to: Revision) -> Self {
        Self {
            from,
            to,
            max_events: SEGMENT_EVENTS,
            max_bytes: STEP_BYTES,
            prev_values: true,
            selector,
        }
    }
}

/// The result of one step of a [`Replay`].
#[derive(Clone, Debug, Default)]
pub struct Replayed {
    /// Transactions with growing revisions, whole but for changes that do not match.
    pub transactions: Vec<(Revision, Vec<Change>)>,
    /// Everything up to this revision that matches is in `transactions`; the next step reads on after
    /// it. At least the last transaction's revision and the `from` that was asked for, also without a
    /// transaction, and at most the `to`.
    pub upto: Revision,
}

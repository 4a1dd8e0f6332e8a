//! Reading on from the store where the history in memory no longer reaches.

use crate::error::ReplayError;
use crate::event::{Change, Revision};
use crate::records::Records;
use crate::segment::Segment;

/// A store's own log or versions, from which watchers are served what the history in memory no
/// longer holds: a watch from further back, or a watcher that fell far behind.
///
/// It is called on the receiving thread or task, outside of every lock, one bounded step at a
/// time; it may block as the receiver may. What is read must be what was published: the same
/// changes in the same order, under the same revisions. It must have a revision at the latest
/// when that is published.
///
/// Set it with [`Builder::replay`](crate::Builder::replay).
pub trait Replay: Send + Sync {
    /// The oldest revision from which a [`read`](Self::read) succeeds.
    fn oldest(&self) -> Revision;

    /// Whole transactions with revisions in `from..=to`, growing: about `limit` events, and at
    /// least one transaction if there is any in there.
    ///
    /// # Errors
    /// [`ReplayError::Compacted`] where `from` is forgotten, [`ReplayError::Failed`] where the
    /// source cannot be read. Either reaches the watcher as a [`Lagged`](crate::Lagged).
    fn read(&self, from: Revision, to: Revision, limit: usize) -> Result<Replayed, ReplayError>;
}

/// What a [`Replay`] source read.
#[derive(Clone, Debug, Default)]
pub struct Replayed {
    /// Whole transactions, their revisions growing.
    pub transactions: Vec<(Revision, Vec<Change>)>,
    /// Everything up to this revision is in `transactions`; reading goes on behind it. At least
    /// the last transaction's revision, at most the `to` that was asked for.
    pub upto: Revision,
}

/// A step read from the source: its records, if there are any, and where it ends.
pub(crate) struct Fetched {
    pub(crate) segment: Option<Segment>,
    pub(crate) upto: Revision,
}

/// Reads one step and checks that the source keeps its word.
pub(crate) fn fetch(
    source: &dyn Replay,
    from: Revision,
    to: Revision,
    limit: usize,
) -> Result<Fetched, ReplayError> {
    let Replayed { transactions, upto } = source.read(from, to, limit)?;
    let broken = |what: String| Err(ReplayError::Failed(what.into()));
    let mut records = Records::default();
    let mut last = from - 1;
    for (revision, changes) in transactions {
        if revision <= last || revision > to {
            return broken(format!(
                "the replay source returned revision {revision} where one of {}..={to} was due",
                last + 1
            ));
        }
        last = revision;
        for change in &changes {
            records.push(revision, change);
        }
    }
    if upto < last.max(from) || upto > to {
        return broken(format!(
            "the replay source says that it read up to revision {upto}, which must be in {}..={to}",
            last.max(from)
        ));
    }
    let segment = (!records.is_empty()).then(|| Segment::new(records));
    Ok(Fetched { segment, upto })
}

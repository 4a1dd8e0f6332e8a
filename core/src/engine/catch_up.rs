//! How a watcher that is behind reads on: from the history, or from the store's own log.

use crate::change::Revision;
use crate::engine::Engine;
use crate::error::{Lagged, ReplayError};
use crate::log::history::Step;
use crate::log::records::Records;
use crate::log::runs::Runs;
use crate::log::segment::{Picking, Run, SEGMENT_EVENTS, Segment};
use crate::options::Filter;
use crate::registry::queue::Queue;
use crate::replay::{Replay, Replayed};
use crate::selector::Selector;

/// A watcher's position in the history, kept from step to step.
#[derive(Debug, Default)]
pub(crate) struct HistoryCursor {
    entry: u64,
}

impl HistoryCursor {
    /// Reads one bounded step at `next`, and adds what matches to `ready`. Returns the revisions
    /// missed, if there is a lag at `next`.
    ///
    /// Runs on the receiver's thread. The history is locked only while its segments' reference
    /// counts are raised; matching, and reading from the store, happen without a lock.
    pub(crate) fn read_on(
        &mut self,
        engine: &Engine,
        selector: &Selector,
        queue: &Queue,
        next: Revision,
        ready: &mut Runs,
    ) -> Option<Lagged> {
        let step = engine.history.read().read(next, &mut self.entry);
        let (lagged, upto) = match step {
            Step::Head(head) => (None, head),
            Step::Segments(segments, skip) => {
                let upto = segments[segments.len() - 1].last();
                let skips = std::iter::once(skip).chain(std::iter::repeat(0));
                for (segment, skip) in segments.iter().zip(skips) {
                    select(queue.filter, selector, segment, skip, ready);
                }
                (None, upto)
            }
            Step::Lagged(lagged) => match replay(engine, lagged) {
                Ok(Some(replayed)) => {
                    if let Some(segment) = &replayed.segment {
                        select(queue.filter, selector, segment, 0, ready);
                    }
                    (None, replayed.upto)
                }
                Ok(None) => (Some(lagged), lagged.last),
                Err(missing) => (Some(missing), missing.last),
            },
        };
        if queue.advance((upto + 1).max(next), || engine.revisions.appended()) {
            engine.counters.caught_up.add(1);
            tracing::debug!(watcher = %queue.id, revision = upto, "watcher caught up");
            // Events published before this watcher registered may still wait, or may be sent late:
            // the publisher has checked the interest without it.
            engine.request_dispatch(engine.revisions.claimed());
        }
        if let Some(lagged) = lagged {
            engine.counters.lagged.add(1);
            tracing::warn!(watcher = %queue.id, first = lagged.first, last = lagged.last, "watcher lagged");
        }
        lagged
    }
}

/// One step read from the store: its records, if there are any, and the revision it reaches up to.
struct ReplayStep {
    segment: Option<Segment>,
    upto: Revision,
}

/// Reads revisions from the store that the history does not hold. `None` if the store offers no
/// replay; `Err` with the revisions missed if the store has compacted them, or has failed.
fn replay(engine: &Engine, missing: Lagged) -> Result<Option<ReplayStep>, Lagged> {
    let Some(source) = engine.replay() else {
        return Ok(None);
    };
    match read_checked(source, missing.first, missing.last, SEGMENT_EVENTS) {
        Ok(step) => Ok(Some(step)),
        Err(ReplayError::Compacted { oldest }) => Err(Lagged {
            first: missing.first,
            last: (oldest.max(missing.first + 1) - 1).min(missing.last),
        }),
        Err(ReplayError::Failed(error)) => {
            tracing::error!(%error, first = missing.first, last = missing.last, "replay source failed");
            Err(missing)
        }
    }
}

/// Reads one step, and checks that the source returns what [`Replay::read`] demands.
fn read_checked(
    source: &dyn Replay,
    from: Revision,
    to: Revision,
    limit: usize,
) -> Result<ReplayStep, ReplayError> {
    let Replayed { transactions, upto } = source.read(from, to, limit)?;
    let broken = |what: String| Err(ReplayError::Failed(what.into()));
    let mut records = Records::default();
    let mut last = from - 1;
    for (revision, changes) in transactions {
        if revision <= last || revision > to {
            return broken(format!(
                "the replay source returned revision {revision}; it must be in {}..={to}",
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
            "the replay source reports that it read up to revision {upto}; it must be in {}..={to}",
            last.max(from)
        ));
    }
    let segment = (!records.is_empty()).then(|| Segment::new(records));
    Ok(ReplayStep { segment, upto })
}

/// Adds the records of a segment that a watcher wants, from `skip` on, to `ready`.
fn select(filter: Filter, selector: &Selector, segment: &Segment, skip: usize, ready: &mut Runs) {
    let mut picking: Option<Picking> = None;
    for span in segment.records.spans(skip) {
        let first = &segment.records[span.start as usize];
        if filter.passes(first.kind()) && selector.matches(segment.records.key(first)) {
            match &mut picking {
                Some(picking) => picking.add(span),
                None => picking = Some(Picking::new(span)),
            }
        }
    }
    if let Some(picking) = picking {
        ready.push_back(Run::new(segment, picking).detach_if_sparse());
    }
}

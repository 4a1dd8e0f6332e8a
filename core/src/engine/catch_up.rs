//! How a watcher that is behind reads on: from the history, or from the store's own log.

use crate::change::Revision;
use crate::engine::Engine;
use crate::error::ReplayError;
use crate::lagged::{LagReason, Lagged};
use crate::log::history::Step;
use crate::log::records::Records;
use crate::log::runs::Runs;
use crate::log::segment::{Picking, Run, Segment};
use crate::options::Filter;
use crate::registry::queue::Queue;
use crate::replay::{Replay, ReplayRequest, Replayed};
use crate::selector::Selector;

/// The number of times in a row that a failed read of the store is tried before it becomes a lag.
const MAX_ATTEMPTS: u32 = 3;

/// A watcher's position in the history, kept from step to step.
#[derive(Debug, Default)]
pub(crate) struct HistoryCursor {
    entry: u64,
    /// Everything up to here must be read from the store, whatever was dispatched: without a history,
    /// events that no watcher wanted were not sent.
    unsent_up_to: Revision,
}

impl HistoryCursor {
    pub(crate) fn new(unsent_up_to: Revision) -> Self {
        Self {
            entry: 0,
            unsent_up_to,
        }
    }

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
            Step::Lagged(missing) => match replay(engine, selector, queue, missing, ready) {
                Ok(upto) => (None, upto),
                Err(lagged) => (Some(lagged), lagged.last),
            },
        };
        let appended = || engine.revisions.appended().max(self.unsent_up_to);
        if queue.advance((upto + 1).max(next), appended) {
            engine.counters.caught_up.add(1);
            tracing::debug!(watcher = %queue.id, revision = upto, "watcher caught up");
            // Events published before this watcher registered may still wait, or may be sent late:
            // the publisher has checked the interest without it.
            engine.request_dispatch(engine.revisions.claimed());
        }
        if let Some(Lagged {
            first,
            last,
            reason,
        }) = lagged
        {
            engine.counters.lagged.add(1);
            tracing::warn!(watcher = %queue.id, first, last, %reason, "watcher lagged");
        }
        lagged
    }
}

/// Reads revisions from the store that the history does not hold. Returns the revision up to which
/// they were read, or those that are lost.
fn replay(
    engine: &Engine,
    selector: &Selector,
    queue: &Queue,
    missing: Lagged,
    ready: &mut Runs,
) -> Result<Revision, Lagged> {
    let Some(source) = engine.replay() else {
        return Err(missing);
    };
    let Lagged { first, last, .. } = missing;
    let request = ReplayRequest {
        prev_values: queue.with_prev,
        ..ReplayRequest::new(selector, first, last)
    };
    for attempt in 1..=MAX_ATTEMPTS {
        match read_checked(source, request) {
            Ok(step) => {
                if let Some(segment) = &step.segment {
                    select(queue.filter, selector, segment, 0, ready);
                }
                return Ok(step.upto);
            }
            Err(ReplayError::Compacted { oldest }) => {
                return Err(Lagged {
                    last: (oldest - 1).min(last),
                    ..missing
                });
            }
            Err(ReplayError::Failed(error)) => {
                engine.counters.replay_failures.add(1);
                tracing::error!(%error, first, last, attempt, "replay source failed");
            }
        }
    }
    Err(Lagged {
        reason: LagReason::ReplayFailed,
        ..missing
    })
}

/// One step read from the store: its records, if there are any, and the revision it reaches up to.
struct ReplayStep {
    segment: Option<Segment>,
    upto: Revision,
}

/// Reads one step, and checks that the source returns what [`Replay::read`] demands.
fn read_checked(
    source: &dyn Replay,
    request: ReplayRequest<'_>,
) -> Result<ReplayStep, ReplayError> {
    let ReplayRequest { from, to, .. } = request;
    let broken = |what: String| Err(ReplayError::Failed(what.into()));
    let Replayed { transactions, upto } = match source.read(request) {
        Ok(replayed) => replayed,
        Err(ReplayError::Compacted { oldest }) if oldest <= from => {
            return broken(format!(
                "the replay source refused revision {from} as compacted, and names {oldest} as the \
                 oldest; it must be above {from}"
            ));
        }
        Err(error) => return Err(error),
    };
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

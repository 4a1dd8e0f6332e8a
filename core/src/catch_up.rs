//! How a watcher that is behind reads on: from the history in memory, or from the store.

use crate::engine::Engine;
use crate::error::{Lagged, ReplayError};
use crate::event::Revision;
use crate::history::Step;
use crate::options::Filter;
use crate::queue::Queue;
use crate::replay::{Fetched, fetch};
use crate::runs::Runs;
use crate::segment::{Picking, Run, SEGMENT_EVENTS, Segment};
use crate::selector::Selector;

/// Where in the history a watcher reads, from step to step.
#[derive(Debug, Default)]
pub(crate) struct Place {
    cursor: u64,
}

impl Place {
    /// One bounded step of reading on at `next`: what matches goes into `ready`. Returns the
    /// revisions missed, if that is what there is at `next`.
    ///
    /// Runs on the receiver's thread. The history is locked only while its segments' counts are
    /// raised; matching and the store's reading happen outside.
    pub(crate) fn read_on(
        &mut self,
        engine: &Engine,
        selector: &Selector,
        queue: &Queue,
        next: Revision,
        ready: &mut Runs,
    ) -> Option<Lagged> {
        let step = engine.history.read().read(next, &mut self.cursor);
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
            Step::Lagged(lagged) => match ask_source(engine, lagged) {
                Ok(Some(fetched)) => {
                    if let Some(segment) = &fetched.segment {
                        select(queue.filter, selector, segment, 0, ready);
                    }
                    (None, fetched.upto)
                }
                Ok(None) => (Some(lagged), lagged.to),
                Err(closer) => (Some(closer), closer.to),
            },
        };
        if queue.advance((upto + 1).max(next), || engine.appended()) {
            engine.counters.caught_up.add(1);
            tracing::debug!(watcher = %queue.id, revision = upto, "watcher caught up");
            // What was published before it came may have been left lying, or may yet be: the
            // publisher asked who is interested when this watcher was not there.
            engine.hasten(engine.opened());
        }
        if let Some(lagged) = lagged {
            engine.counters.lagged.add(1);
            tracing::warn!(watcher = %queue.id, from = lagged.from, to = lagged.to, "watcher lagged");
        }
        lagged
    }
}

/// What the store has of these revisions, which the history in memory has not: `None` if there is
/// nobody to ask. `Err` if it has forgotten them too, or could not be read.
fn ask_source(engine: &Engine, missing: Lagged) -> Result<Option<Fetched>, Lagged> {
    let Some(source) = engine.replay() else {
        return Ok(None);
    };
    match fetch(source, missing.from, missing.to, SEGMENT_EVENTS) {
        Ok(fetched) => Ok(Some(fetched)),
        Err(ReplayError::Compacted { oldest }) => Err(Lagged {
            from: missing.from,
            to: (oldest.max(missing.from + 1) - 1).min(missing.to),
        }),
        Err(ReplayError::Failed(error)) => {
            tracing::error!(%error, from = missing.from, to = missing.to, "replay source failed");
            Err(missing)
        }
    }
}

/// What a watcher wants of a segment's records, from `skip` on, goes into `ready`.
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
        ready.push_back(Run::new(segment, picking).lean());
    }
}

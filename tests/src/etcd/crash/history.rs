//! The history of a run: the witness's events, matched with the writes.

use std::collections::BTreeMap;

use kvwatch::{Change, Revision};

use super::world::Writes;
use super::write::Model;
use crate::record::{Item, Log, Seen, Trace};

/// The log, and the store's state at some revisions.
pub(super) struct History {
    pub(super) log: Log,
    pub(super) states: BTreeMap<Revision, Model>,
}

impl History {
    /// Matches each revision with a write: the one whose answer has the revision, or one without an
    /// answer that has exactly the revision's effect. Values are unique, so the match is. Keeps the
    /// store's state at the revisions in `kept`.
    pub(super) fn explained(
        witness: &Trace,
        mut writes: Writes,
        last: Revision,
        kept: &[Revision],
    ) -> Result<Self, String> {
        if let Some((revision, write)) = writes.twice.pop() {
            return Err(format!("revision {revision} was answered twice: {write:?}"));
        }
        if let Some((revision, write)) = writes.answered.range(last + 1..).next() {
            return Err(format!("revision {revision} is lost: {write:?}"));
        }
        let mut events: BTreeMap<Revision, Vec<Seen>> = BTreeMap::new();
        for item in &witness.items {
            if let Item::Batch(batch) = item {
                for event in batch {
                    let revision = events.entry(event.revision).or_default();
                    revision.push(event.clone());
                }
            }
        }
        let mut model = Model::default();
        let (mut log, mut states) = (Log::default(), BTreeMap::new());
        for revision in 2..=last {
            let events = events.remove(&revision).unwrap_or_default();
            let changes = match writes.answered.remove(&revision) {
                Some(write) => {
                    let changes = model.run(&write, revision.cast_signed());
                    if !same(&changes, &events) {
                        return Err(format!(
                            "revision {revision} is the answer to {write:?}: {changes:?}\n\
                             and the witness received {events:?}"
                        ));
                    }
                    changes
                }
                None => match_unanswered(&mut model, &mut writes, revision, &events)
                    .ok_or_else(|| format!("revision {revision} matches no write: {events:?}"))?,
            };
            log.transactions.push((revision, changes));
            if kept.contains(&revision) {
                states.insert(revision, model.clone());
            }
        }
        Ok(Self { log, states })
    }
}

fn same(changes: &[Change], events: &[Seen]) -> bool {
    let is = |(change, event): (&Change, &Seen)| Seen::of(event.revision, change, true) == *event;
    changes.len() == events.len() && changes.iter().zip(events).all(is)
}

/// Finds the write without an answer that has these events as its effect, and applies it.
fn match_unanswered(
    model: &mut Model,
    writes: &mut Writes,
    revision: Revision,
    events: &[Seen],
) -> Option<Vec<Change>> {
    for index in 0..writes.unanswered.len() {
        let mut next = model.clone();
        let changes = next.run(&writes.unanswered[index], revision.cast_signed());
        if !changes.is_empty() && same(&changes, events) {
            writes.unanswered.remove(index);
            *model = next;
            return Some(changes);
        }
    }
    None
}

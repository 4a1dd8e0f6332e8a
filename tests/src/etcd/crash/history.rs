//! What was committed, as far as the witness and the answers of the writes say the same.

use std::collections::BTreeMap;

use kvwatch::{Change, Revision};

use super::world::Writes;
use super::write::Model;
use crate::record::{Item, Log, Seen, Trace};

/// The log, and what the store held at some revisions.
pub(super) struct History {
    pub(super) log: Log,
    pub(super) states: BTreeMap<Revision, Model>,
}

impl History {
    /// Explains each revision by a write: the one that was answered with it, or else one without
    /// an answer that would have done just that. Every value is unique, so it is the one. Holds
    /// fast what the store held at the revisions in `kept`.
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
                            "revision {revision} was answered to {write:?}: {changes:?}\n\
                             and the witness got {events:?}"
                        ));
                    }
                    changes
                }
                None => open(&mut model, &mut writes, revision, &events).ok_or_else(|| {
                    format!("revision {revision} is none that was asked for: {events:?}")
                })?,
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

fn open(
    model: &mut Model,
    writes: &mut Writes,
    revision: Revision,
    events: &[Seen],
) -> Option<Vec<Change>> {
    for at in 0..writes.open.len() {
        let mut then = model.clone();
        let changes = then.run(&writes.open[at], revision.cast_signed());
        if !changes.is_empty() && same(&changes, events) {
            writes.open.remove(at);
            *model = then;
            return Some(changes);
        }
    }
    None
}

//! Judges what a watcher received against what was committed, promise by promise.

use std::fmt;

use kvwatch::{EndReason, Lagged, PrevValue, Revision};

use crate::record::{Item, Log, Seen, Trace};
use crate::want::passes;

/// The promises that a trace can break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// Revisions never go back.
    Ordered,
    /// No event twice.
    Unique,
    /// Nothing missing that no lag names.
    Reliable,
    /// A revision's events together.
    Atomic,
    /// From the revision asked for, everything.
    Resumable,
    /// Progress never ahead of an event, and never back.
    Bookmarkable,
    /// Nothing from below the start.
    ExactStart,
    /// Only what was asked for, as it was committed.
    Faithful,
    /// One end, nothing after it, and everything before it.
    Clean,
}

/// What was broken, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The watcher's name.
    pub watcher: String,
    /// Which promise.
    pub promise: Promise,
    /// The place among the trace's items.
    pub at: usize,
    /// What was wrong.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} broken for watcher {} at item {}: {}",
            self.promise, self.watcher, self.at, self.what
        )
    }
}

/// How far a watcher must have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Complete {
    /// It may have stopped anywhere.
    No,
    /// Everything up to this revision must have been received or reported as missed.
    UpTo(Revision),
}

struct Judge<'a> {
    log: &'a Log,
    trace: &'a Trace,
    /// How many lags there were.
    lags: usize,
    /// What matches from the start on, with its place in the log.
    due: Vec<Seen>,
    /// How many of `due` have come, or were reported as missed.
    done: usize,
    /// The revision delivered or missed last.
    reached: Revision,
    progress: Revision,
    ended: Option<EndReason>,
    at: usize,
}

impl Judge<'_> {
    fn broken(&self, promise: Promise, what: impl Into<String>) -> Violation {
        Violation {
            watcher: self.trace.name.clone(),
            promise,
            at: self.at,
            what: what.into(),
        }
    }

    /// Whether this is what was due, or all of it that is left.
    fn is_due(&self, event: &Seen) -> bool {
        let Some(due) = self.due.get(self.done) else {
            return false;
        };
        if event.prev == PrevValue::Unavailable && self.log.compacted.contains(&event.revision) {
            let prev = due.prev.clone();
            let event = event.clone();
            return *due == Seen { prev, ..event };
        }
        due == event
    }

    fn event(&mut self, event: &Seen) -> Result<(), Violation> {
        if self.is_due(event) {
            self.done += 1;
            self.reached = event.revision;
            return Ok(());
        }
        let next = self.due.get(self.done);
        let what = format!("got {event:?} where {next:?} was due");
        let promise = if event.revision < self.trace.start {
            Promise::ExactStart
        } else if event.revision < self.reached {
            Promise::Ordered
        } else if self.due[..self.done].contains(event) {
            Promise::Unique
        } else if self.due[self.done..].contains(event) {
            self.missing()
        } else {
            Promise::Faithful
        };
        Err(self.broken(promise, what))
    }

    /// What is broken where something due did not come: who asked for a start and has not got
    /// anything yet was not resumed where it asked to be.
    fn missing(&self) -> Promise {
        if self.trace.asked.is_some() && self.reached == 0 {
            Promise::Resumable
        } else {
            Promise::Reliable
        }
    }

    fn batch(&mut self, batch: &[Seen]) -> Result<(), Violation> {
        for event in batch {
            self.event(event)?;
        }
        let (last, next) = (batch.last(), self.due.get(self.done));
        match (last, next) {
            (None, _) => Err(self.broken(Promise::Atomic, "an empty batch")),
            (Some(last), Some(next)) if last.revision == next.revision => {
                let what = format!("revision {} is split by a batch", last.revision);
                Err(self.broken(Promise::Atomic, what))
            }
            _ => Ok(()),
        }
    }

    fn lagged(&mut self, lagged: Lagged) -> Result<(), Violation> {
        let Lagged { from, to } = lagged;
        if from > to || from < self.trace.start {
            return Err(self.broken(Promise::Reliable, format!("a lag from {from} to {to}")));
        }
        if from <= self.reached {
            let what = format!("a lag from {from} behind revision {}", self.reached);
            return Err(self.broken(Promise::Ordered, what));
        }
        if let Some(floor) = self.trace.floors.get(self.lags)
            && let Some(held) = self.held(lagged, *floor)
        {
            let what = format!(
                "a lag from {from} to {to}, and revision {held} was held: the oldest was {floor}"
            );
            return Err(self.broken(Promise::Reliable, what));
        }
        self.lags += 1;
        let next = self.due.get(self.done);
        if let Some(next) = next.filter(|next| next.revision < from) {
            let promise = if next.revision == self.reached {
                Promise::Atomic
            } else {
                self.missing()
            };
            let what = format!("{next:?} is missing before the lag from {from} to {to}");
            return Err(self.broken(promise, what));
        }
        self.done += self.due[self.done..]
            .iter()
            .take_while(|due| due.revision <= to)
            .count();
        self.reached = to;
        Ok(())
    }

    /// A revision within a lag that was neither dropped on its way in nor forgotten.
    fn held(&self, lagged: Lagged, floor: Revision) -> Option<Revision> {
        let start = lagged.from.max(floor);
        let transactions = &self.log.transactions;
        let first = transactions.partition_point(|entry| entry.0 < start);
        transactions[first..]
            .iter()
            .map(|entry| entry.0)
            .take_while(|revision| *revision <= lagged.to)
            .find(|revision| !self.log.dropped.contains(revision))
    }

    fn progressed(&mut self, progress: Revision) -> Result<(), Violation> {
        if progress < self.progress {
            let what = format!("progress went from {} to {progress}", self.progress);
            return Err(self.broken(Promise::Bookmarkable, what));
        }
        self.progress = progress;
        match self.due.get(self.done) {
            Some(next) if next.revision <= progress => {
                let what = format!("progress {progress} is ahead of {next:?}");
                Err(self.broken(Promise::Bookmarkable, what))
            }
            _ => Ok(()),
        }
    }

    fn item(&mut self, item: &Item) -> Result<(), Violation> {
        if let (Some(reason), false) = (self.ended, matches!(item, Item::Progress(_))) {
            let what = format!("{item:?} after the end ({reason:?})");
            return Err(self.broken(Promise::Clean, what));
        }
        match item {
            Item::Event(event) => self.event(event),
            Item::Batch(batch) => self.batch(batch),
            Item::Lagged(lagged) => self.lagged(*lagged),
            Item::Progress(progress) => self.progressed(*progress),
            Item::End(reason) => {
                self.ended = Some(*reason);
                Ok(())
            }
        }
    }
}

/// Whether a trace keeps every promise that can be seen from it.
///
/// # Errors
/// The first promise broken.
pub fn judge(log: &Log, trace: &Trace, complete: Complete) -> Result<(), Violation> {
    let due = log
        .transactions
        .iter()
        .filter(|(revision, _)| *revision >= trace.start)
        .flat_map(|(revision, changes)| changes.iter().map(|change| (*revision, change)))
        .filter(|(_, change)| trace.want.wants(change.key()) && passes(trace.filter, change))
        .map(|(revision, change)| Seen::of(revision, change, trace.prev))
        .collect();
    let mut judge = Judge {
        log,
        trace,
        lags: 0,
        due,
        done: 0,
        reached: 0,
        progress: 0,
        ended: None,
        at: 0,
    };
    if let Some(asked) = trace.asked.filter(|asked| *asked != trace.start) {
        let what = format!("asked for {asked} and was started at {}", trace.start);
        return Err(judge.broken(Promise::Resumable, what));
    }
    for (at, item) in trace.items.iter().enumerate() {
        judge.at = at;
        judge.item(item)?;
    }
    if let Complete::UpTo(revision) = complete
        && let Some(missing) = judge.due.get(judge.done)
        && missing.revision <= revision
    {
        let what = format!("it never got {missing:?}");
        return Err(judge.broken(judge.missing(), what));
    }
    Ok(())
}

/// The same, for tests.
///
/// # Panics
/// If a promise is broken.
pub fn assert_kept(log: &Log, trace: &Trace, complete: Complete) {
    if let Err(violation) = judge(log, trace, complete) {
        panic!("{violation}");
    }
}

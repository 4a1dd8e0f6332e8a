//! Checks what a watcher received against what was committed, promise by promise.

use std::fmt;

use kvwatch::{EndReason, LagReason, Lagged, PrevValue, Revision};

use crate::record::{Item, Log, Seen, Trace};
use crate::selector::passes;

/// The promises that a trace can break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// Revisions never go back.
    Ordered,
    /// No event is delivered twice.
    Unique,
    /// No matching event is missing unless a lag names its revision.
    Reliable,
    /// The events of one revision arrive together.
    Atomic,
    /// A watch delivers every matching event from its requested start revision on.
    Resumable,
    /// Progress is never ahead of an event that is not delivered, and never goes back.
    Bookmarkable,
    /// No event is from below the start revision.
    ExactStart,
    /// Each event matches the selector and the filter, and is as it was committed.
    Faithful,
    /// There is one end, and it is the last item.
    Clean,
}

/// A broken promise, and where it was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The name of the watcher.
    pub watcher: String,
    /// The promise.
    pub promise: Promise,
    /// The index of the item among the trace's items.
    pub item_index: usize,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} broken for watcher {} at item {}: {}",
            self.promise, self.watcher, self.item_index, self.what
        )
    }
}

/// How much a watcher must have received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Complete {
    /// The watcher may have stopped anywhere.
    No,
    /// Every matching event up to this revision was received, or is inside a lag.
    UpTo(Revision),
}

struct Checker<'a> {
    log: &'a Log,
    trace: &'a Trace,
    /// The number of lags so far.
    lags: usize,
    /// The matching events from the start revision on, in the order of the log.
    expected: Vec<Seen>,
    /// How many of `expected` were received, or are inside a lag.
    matched: usize,
    /// The last revision received, or inside a lag.
    last_revision: Revision,
    progress: Revision,
    ended: Option<EndReason>,
    item_index: usize,
}

impl Checker<'_> {
    fn broken(&self, promise: Promise, what: impl Into<String>) -> Violation {
        Violation {
            watcher: self.trace.name.clone(),
            promise,
            item_index: self.item_index,
            what: what.into(),
        }
    }

    /// Whether this is the next event expected. Its previous value may be unavailable if the
    /// store was compacted at its revision.
    fn is_expected(&self, event: &Seen) -> bool {
        let Some(expected) = self.expected.get(self.matched) else {
            return false;
        };
        if event.prev == PrevValue::Unavailable && self.log.compacted.contains(&event.revision) {
            let prev = expected.prev.clone();
            let event = event.clone();
            return *expected == Seen { prev, ..event };
        }
        expected == event
    }

    fn event(&mut self, event: &Seen) -> Result<(), Violation> {
        if self.is_expected(event) {
            self.matched += 1;
            self.last_revision = event.revision;
            return Ok(());
        }
        let next = self.expected.get(self.matched);
        let what = format!("got {event:?}, expected {next:?}");
        let promise = if event.revision < self.trace.start {
            Promise::ExactStart
        } else if event.revision < self.last_revision {
            Promise::Ordered
        } else if self.expected[..self.matched].contains(event) {
            Promise::Unique
        } else if self.expected[self.matched..].contains(event) {
            self.missing()
        } else {
            Promise::Faithful
        };
        Err(self.broken(promise, what))
    }

    /// The promise that a missing event breaks. A watch with a requested start that has received
    /// nothing yet was not resumed there.
    fn missing(&self) -> Promise {
        if self.trace.requested_start.is_some() && self.last_revision == 0 {
            Promise::Resumable
        } else {
            Promise::Reliable
        }
    }

    fn batch(&mut self, batch: &[Seen]) -> Result<(), Violation> {
        for event in batch {
            self.event(event)?;
        }
        let (last, next) = (batch.last(), self.expected.get(self.matched));
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
        let Lagged {
            first: from,
            last: to,
            reason,
        } = lagged;
        if from > to || from < self.trace.start {
            return Err(self.broken(Promise::Reliable, format!("a lag from {from} to {to}")));
        }
        if from <= self.last_revision {
            let what = format!("a lag from {from} after revision {}", self.last_revision);
            return Err(self.broken(Promise::Ordered, what));
        }
        if let Some(floor) = self.trace.floors.get(self.lags)
            && let Some(held) = self.held(lagged, *floor)
        {
            let what = format!(
                "a lag from {from} to {to}, but the history held revision {held}: its oldest was {floor}"
            );
            return Err(self.broken(Promise::Reliable, what));
        }
        if reason == LagReason::Dropped
            && let Some(kept) = self.held(lagged, 0)
        {
            let what = format!("a lag from {from} to {to} as dropped, but {kept} was published");
            return Err(self.broken(Promise::Reliable, what));
        }
        self.lags += 1;
        let next = self.expected.get(self.matched);
        if let Some(next) = next.filter(|next| next.revision < from) {
            let promise = if next.revision == self.last_revision {
                Promise::Atomic
            } else {
                self.missing()
            };
            let what = format!("{next:?} is missing before the lag from {from} to {to}");
            return Err(self.broken(promise, what));
        }
        self.matched += self.expected[self.matched..]
            .iter()
            .take_while(|event| event.revision <= to)
            .count();
        self.last_revision = to;
        Ok(())
    }

    /// A revision inside the lag that was not dropped at the ingress and that the history held.
    fn held(&self, lagged: Lagged, floor: Revision) -> Option<Revision> {
        let start = lagged.first.max(floor);
        let transactions = &self.log.transactions;
        let first = transactions.partition_point(|entry| entry.0 < start);
        transactions[first..]
            .iter()
            .map(|entry| entry.0)
            .take_while(|revision| *revision <= lagged.last)
            .find(|revision| !self.log.dropped.contains(revision))
    }

    fn progress(&mut self, progress: Revision) -> Result<(), Violation> {
        if progress < self.progress {
            let what = format!("progress went from {} to {progress}", self.progress);
            return Err(self.broken(Promise::Bookmarkable, what));
        }
        self.progress = progress;
        let next = self.expected.get(self.matched);
        let is_whole = next.is_none_or(|next| next.revision > self.last_revision);
        if is_whole && progress < self.last_revision {
            let what = format!(
                "progress {progress} is behind revision {}: a resume repeats it",
                self.last_revision
            );
            return Err(self.broken(Promise::Bookmarkable, what));
        }
        match self.expected.get(self.matched) {
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
            Item::Progress(progress) => self.progress(*progress),
            Item::End(reason) => {
                self.ended = Some(*reason);
                Ok(())
            }
        }
    }
}

/// Checks every promise that a trace can show.
///
/// # Errors
/// The first broken promise.
pub fn check(log: &Log, trace: &Trace, complete: Complete) -> Result<(), Violation> {
    let expected = log
        .transactions
        .iter()
        .filter(|(revision, _)| *revision >= trace.start)
        .flat_map(|(revision, changes)| changes.iter().map(|change| (*revision, change)))
        .filter(|(_, change)| trace.selector.matches(change.key()) && passes(trace.filter, change))
        .map(|(revision, change)| Seen::of(revision, change, trace.prev))
        .collect();
    let mut checker = Checker {
        log,
        trace,
        lags: 0,
        expected,
        matched: 0,
        last_revision: 0,
        progress: 0,
        ended: None,
        item_index: 0,
    };
    if let Some(requested) = trace.requested_start.filter(|start| *start != trace.start) {
        let what = format!("requested {requested} and started at {}", trace.start);
        return Err(checker.broken(Promise::Resumable, what));
    }
    for (item_index, item) in trace.items.iter().enumerate() {
        checker.item_index = item_index;
        checker.item(item)?;
    }
    if let Complete::UpTo(revision) = complete
        && let Some(missing) = checker.expected.get(checker.matched)
        && missing.revision <= revision
    {
        let what = format!("{missing:?} never arrived");
        return Err(checker.broken(checker.missing(), what));
    }
    Ok(())
}

/// Checks as [`check`] does, and panics.
///
/// # Panics
/// If a promise is broken.
pub fn assert_kept(log: &Log, trace: &Trace, complete: Complete) {
    if let Err(violation) = check(log, trace, complete) {
        panic!("{violation}");
    }
}

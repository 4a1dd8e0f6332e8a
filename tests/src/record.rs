//! Records of what a store committed and of what a watcher received.

use std::collections::BTreeSet;

use bytes::Bytes;
use kvwatch::{
    Change, EndReason, Event, EventKind, EventRef, Filter, Lagged, PrevValue, RecvError, Revision,
    Watcher,
};

use crate::selector::NaiveSelector;

/// The transactions of a store, in order.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// Every transaction that was published, or dropped by a lossy publish.
    pub transactions: Vec<(Revision, Vec<Change>)>,
    /// The revisions that a lossy publish dropped.
    pub dropped: BTreeSet<Revision>,
    /// The revisions that the store was compacted at. The previous values of their changes may be
    /// unavailable.
    pub compacted: BTreeSet<Revision>,
}

impl Log {
    /// The last committed revision.
    #[must_use]
    pub fn last(&self) -> Revision {
        self.transactions.last().map_or(0, |entry| entry.0)
    }
}

/// An event as a watcher received it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The revision.
    pub revision: Revision,
    /// Put or delete.
    pub kind: EventKind,
    /// The key.
    pub key: Bytes,
    /// The value.
    pub value: Option<Bytes>,
    /// The previous value.
    pub prev: PrevValue,
}

impl Seen {
    /// The event that a watch receives for a change committed at this revision.
    #[must_use]
    pub fn of(revision: Revision, change: &Change, with_prev: bool) -> Self {
        Self {
            revision,
            kind: change.kind(),
            key: change.key().clone(),
            value: change.value().cloned(),
            prev: if with_prev {
                change.prev_value().clone()
            } else {
                PrevValue::Unavailable
            },
        }
    }
}

impl From<EventRef<'_>> for Seen {
    fn from(event: EventRef<'_>) -> Self {
        Self {
            revision: event.revision(),
            kind: event.kind(),
            key: event.key_bytes(),
            value: event.value_bytes(),
            prev: event.prev_value_bytes(),
        }
    }
}

impl From<&Event> for Seen {
    fn from(event: &Event) -> Self {
        event.as_ref().into()
    }
}

/// One observation of a watcher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// An event received alone.
    Event(Seen),
    /// Events received as one batch.
    Batch(Vec<Seen>),
    /// A lag.
    Lagged(Lagged),
    /// The value of `progress()`.
    Progress(Revision),
    /// The end of the watcher.
    End(EndReason),
}

/// The observations of one watcher.
#[derive(Clone, Debug)]
pub struct Trace {
    /// The name that reports use.
    pub name: String,
    /// The selector of the watch.
    pub selector: NaiveSelector,
    /// The filter of the watch.
    pub filter: Filter,
    /// Whether the watch requested previous values.
    pub prev: bool,
    /// The value of `start_revision()`.
    pub start: Revision,
    /// The start revision that the watch requested, if any.
    pub requested_start: Option<Revision>,
    /// The observations, in order.
    pub items: Vec<Item>,
    /// For the first lags, in order: the oldest revision that the history held just after the lag
    /// was received. May be shorter than the number of lags.
    pub floors: Vec<Revision>,
}

impl Trace {
    /// The trace of a watcher without a filter and without previous values.
    #[must_use]
    pub fn new(name: impl Into<String>, selector: NaiveSelector, watcher: &Watcher) -> Self {
        Self {
            name: name.into(),
            selector,
            filter: Filter::All,
            prev: false,
            start: watcher.start_revision(),
            requested_start: None,
            items: Vec::new(),
            floors: Vec::new(),
        }
    }

    /// Records the result of a receive, and the progress of the watcher. Returns false once the
    /// watcher has ended.
    pub fn received(&mut self, received: &Result<Event, RecvError>, watcher: &Watcher) -> bool {
        let is_open = self.record(match received {
            Ok(event) => Ok(Item::Event(event.into())),
            Err(error) => Err(*error),
        });
        self.items.push(Item::Progress(watcher.progress()));
        is_open
    }

    /// Records an item or an error. Returns false once the watcher has ended.
    pub fn record(&mut self, received: Result<Item, RecvError>) -> bool {
        let item = match received {
            Ok(item) => item,
            Err(RecvError::Lagged(lagged)) => Item::Lagged(lagged),
            Err(RecvError::Closed(reason)) => Item::End(reason),
        };
        let is_open = !matches!(item, Item::End(_));
        self.items.push(item);
        is_open
    }

    /// Receives one event after the other until the watcher ends.
    pub fn drain(&mut self, watcher: &mut Watcher) {
        loop {
            let received = watcher.recv();
            if !self.received(&received, watcher) {
                return;
            }
        }
    }

    /// The number of events received.
    #[must_use]
    pub fn events(&self) -> usize {
        let count = |item: &Item| match item {
            Item::Event(_) => 1,
            Item::Batch(batch) => batch.len(),
            _ => 0,
        };
        self.items.iter().map(count).sum()
    }

    /// The lags received.
    #[must_use]
    pub fn lags(&self) -> Vec<Lagged> {
        let lags = self.items.iter().filter_map(|item| match item {
            Item::Lagged(lagged) => Some(*lagged),
            _ => None,
        });
        lags.collect()
    }

    /// The end, if the watcher has ended.
    #[must_use]
    pub fn end(&self) -> Option<EndReason> {
        match self
            .items
            .iter()
            .rev()
            .find(|i| !matches!(i, Item::Progress(_)))
        {
            Some(Item::End(reason)) => Some(*reason),
            _ => None,
        }
    }
}

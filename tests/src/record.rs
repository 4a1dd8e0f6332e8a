//! What was committed and what a watcher received, written down as it happened.

use std::collections::BTreeSet;

use bytes::Bytes;
use kvwatch::{
    Change, EndReason, Event, EventKind, EventRef, Filter, Lagged, PrevValue, RecvError, Revision,
    Watcher,
};

use crate::want::Want;

/// The commits of a store, in order.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// Each transaction that was published, or dropped by a lossy publish.
    pub transactions: Vec<(Revision, Vec<Change>)>,
    /// Those that were dropped.
    pub dropped: BTreeSet<Revision>,
    /// Those up to which the store was compacted: what their changes replaced may be gone.
    pub compacted: BTreeSet<Revision>,
}

impl Log {
    /// The last revision committed.
    #[must_use]
    pub fn last(&self) -> Revision {
        self.transactions.last().map_or(0, |entry| entry.0)
    }
}

/// An event's content, on its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its revision.
    pub revision: Revision,
    /// Put or delete.
    pub kind: EventKind,
    /// Its key.
    pub key: Bytes,
    /// Its value.
    pub value: Option<Bytes>,
    /// Its previous value.
    pub prev: PrevValue,
}

impl Seen {
    /// What a watch gets of a change committed under this revision.
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

/// One thing that a watcher received, or said of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// One event by itself.
    Event(Seen),
    /// Events that arrived together.
    Batch(Vec<Seen>),
    /// Revisions missed.
    Lagged(Lagged),
    /// What `progress()` returned.
    Progress(Revision),
    /// The end.
    End(EndReason),
}

/// The life of one watcher.
#[derive(Clone, Debug)]
pub struct Trace {
    /// For reports.
    pub name: String,
    /// What it asked for.
    pub want: Want,
    /// Which kinds it asked for.
    pub filter: Filter,
    /// Whether it asked for previous values.
    pub prev: bool,
    /// What its `start_revision()` said.
    pub start: Revision,
    /// The start revision that it asked for, if it did.
    pub asked: Option<Revision>,
    /// What it received, in order.
    pub items: Vec<Item>,
    /// For each lag, as far as it was written down: the oldest revision that the history held
    /// just after.
    pub floors: Vec<Revision>,
}

impl Trace {
    /// Of a watcher of both kinds without previous values.
    #[must_use]
    pub fn new(name: impl Into<String>, want: Want, watcher: &Watcher) -> Self {
        Self {
            name: name.into(),
            want,
            filter: Filter::All,
            prev: false,
            start: watcher.start_revision(),
            asked: None,
            items: Vec::new(),
            floors: Vec::new(),
        }
    }

    /// Writes down what a receive returned, and what the watcher says of its progress. Returns
    /// whether it goes on.
    pub fn received(&mut self, received: &Result<Event, RecvError>, watcher: &Watcher) -> bool {
        let goes_on = self.write(match received {
            Ok(event) => Ok(Item::Event(event.into())),
            Err(error) => Err(*error),
        });
        self.items.push(Item::Progress(watcher.progress()));
        goes_on
    }

    /// The same for a batch.
    pub fn write(&mut self, received: Result<Item, RecvError>) -> bool {
        let item = match received {
            Ok(item) => item,
            Err(RecvError::Lagged(lagged)) => Item::Lagged(lagged),
            Err(RecvError::Closed(reason)) => Item::End(reason),
        };
        let goes_on = !matches!(item, Item::End(_));
        self.items.push(item);
        goes_on
    }

    /// Receives everything to the end, one event after the other.
    pub fn drain(&mut self, watcher: &mut Watcher) {
        loop {
            let received = watcher.recv();
            if !self.received(&received, watcher) {
                return;
            }
        }
    }

    /// How many events it received.
    #[must_use]
    pub fn events(&self) -> usize {
        let count = |item: &Item| match item {
            Item::Event(_) => 1,
            Item::Batch(batch) => batch.len(),
            _ => 0,
        };
        self.items.iter().map(count).sum()
    }

    /// The lags it was told of.
    #[must_use]
    pub fn lags(&self) -> Vec<Lagged> {
        let lags = self.items.iter().filter_map(|item| match item {
            Item::Lagged(lagged) => Some(*lagged),
            _ => None,
        });
        lags.collect()
    }

    /// Its end, if it came to one.
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

//! A naive model of the whole engine, driven side by side with the real one.
//!
//! Everything happens on one thread, and the engine dispatches on the spot: so the model knows at
//! every step what each watcher must say, and says so in the plainest way there is.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use kvwatch::{
    Builder, Change, Dispatcher, EndReason, Filter, Hub, Overflow, Publisher, Revision,
    TryRecvError, WatchError, WatchOptions, Watcher,
};

use crate::HANG;
use crate::judge::{Complete, judge};
use crate::record::{Item, Log, Trace};
use crate::want::{Want, passes};

/// One step of a schedule.
#[derive(Clone, Debug)]
pub enum Op {
    /// A transaction of these changes, under the next revision.
    Publish(Vec<Change>),
    /// Transactions with gaps before their revisions.
    PublishMany(Vec<(u64, Vec<Change>)>),
    /// A new watcher.
    Watch(Ask),
    /// One of the watchers receives, so many times, in this way.
    Receive(usize, usize, How),
    /// One of the watchers is closed.
    Close(usize),
    /// One of the watchers is dropped.
    Drop(usize),
    /// The history below the last revision but so many is forgotten.
    Compact(u64),
}

/// What a watcher asks for.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Which keys.
    pub want: Want,
    /// Which kinds.
    pub filter: Filter,
    /// With previous values.
    pub prev: bool,
    /// How many events are queued.
    pub capacity: usize,
    /// It ends at its first overflow.
    pub cancels: bool,
    /// Relative to the last revision.
    pub start: Option<i64>,
}

/// A way of receiving.
#[derive(Clone, Copy, Debug)]
pub enum How {
    /// `try_recv`
    Try,
    /// `poll_recv`
    Poll,
    /// `try_recv_batch`
    Batch,
}

/// A watcher and what is known of it.
struct Watching {
    watcher: Watcher,
    trace: Trace,
    ask: Ask,
    /// Events queued ahead of the receiver, by transaction; only kept for those that cancel.
    queued: VecDeque<usize>,
    /// It starts in the past and has not read up to the present.
    reads_on: bool,
    ended: Option<EndReason>,
}

/// The engine and the model of it.
pub struct Model {
    publisher: Publisher,
    hub: Hub,
    _dispatcher: Dispatcher,
    log: Log,
    /// The transactions that the history holds, with their number of events.
    history: VecDeque<(Revision, usize)>,
    history_bound: usize,
    floor: Revision,
    watching: Vec<Watching>,
    lags: usize,
}

impl Model {
    /// With a history of so many events.
    ///
    /// # Panics
    /// If the builder refuses.
    #[must_use]
    pub fn new(history: usize) -> Self {
        let (publisher, hub, dispatcher) = Builder::new().history(history).build().unwrap();
        Self {
            publisher,
            hub,
            _dispatcher: dispatcher,
            log: Log::default(),
            history: VecDeque::new(),
            history_bound: history,
            floor: 1,
            watching: Vec::new(),
            lags: 0,
        }
    }

    /// Does one step on both, and compares.
    ///
    /// # Errors
    /// What is not as it should be.
    pub fn step(&mut self, op: Op) -> Result<(), String> {
        match op {
            Op::Publish(changes) => self.publish(vec![(self.log.last() + 1, changes)], true),
            Op::PublishMany(entries) => {
                let mut revision = self.log.last();
                let numbered = entries.into_iter().map(|(gap, changes)| {
                    revision += gap;
                    (revision, changes)
                });
                let numbered = numbered.collect();
                self.publish(numbered, false)
            }
            Op::Watch(ask) => self.watch(ask),
            Op::Receive(which, times, how) => {
                let Some(which) = which.checked_rem(self.watching.len()) else {
                    return Ok(());
                };
                (0..times).try_for_each(|_| self.receive(which, how).map(drop))
            }
            Op::Close(which) => {
                if let Some(which) = which.checked_rem(self.watching.len()) {
                    let watching = &mut self.watching[which];
                    watching.watcher.close();
                    watching.ended.get_or_insert(EndReason::Closed);
                    // What was queued is gone: nothing is owed any more.
                    let progress = watching.watcher.progress();
                    watching.trace.items.push(Item::Progress(progress));
                    let end = watching.watcher.try_recv();
                    let expected = Err(TryRecvError::Closed(watching.ended.unwrap()));
                    if end != expected {
                        return Err(format!("{end:?} after a close, and {expected:?} was due"));
                    }
                    self.leave(which, Complete::No)?;
                }
                Ok(())
            }
            Op::Drop(which) => match which.checked_rem(self.watching.len()) {
                Some(which) => self.leave(which, Complete::No),
                None => Ok(()),
            },
            Op::Compact(back) => {
                let revision = (self.log.last() + 1).saturating_sub(back);
                self.publisher
                    .compact(revision)
                    .map_err(|e| e.to_string())?;
                self.floor = self.floor.max(revision);
                self.history.retain(|entry| entry.0 >= revision);
                self.compare_history()
            }
        }
    }

    /// Receives all that is left and shuts the engine down.
    ///
    /// # Errors
    /// What is not as it should be.
    ///
    /// # Panics
    /// If the engine does not shut down.
    pub fn finish(mut self) -> Result<(), String> {
        while !self.watching.is_empty() {
            while self.receive(0, How::Try)? {}
            let last = match self.watching[0].ended {
                Some(_) => self.watching[0].watcher.progress(),
                None => self.log.last(),
            };
            self.leave(0, Complete::UpTo(last))?;
        }
        let stats = self.hub.stats();
        if (stats.watchers, stats.keys_watched) != Default::default() {
            return Err(format!("gauges are not back to zero: {stats:?}"));
        }
        if stats.lagged != self.lags as u64 {
            return Err(format!("{} lags, counted {}", self.lags, stats.lagged));
        }
        self.publisher.shutdown(HANG).expect("it ends");
        Ok(())
    }

    fn publish(
        &mut self,
        entries: Vec<(Revision, Vec<Change>)>,
        single: bool,
    ) -> Result<(), String> {
        for (revision, changes) in &entries {
            self.log.transactions.push((*revision, changes.clone()));
            for watching in &mut self.watching {
                watching.expect(*revision, changes);
            }
            if !changes.is_empty() && self.history_bound > 0 {
                self.history.push_back((*revision, changes.len()));
            }
        }
        let published = if single {
            let (_, changes) = entries.into_iter().next().expect("one entry");
            self.publisher
                .publish_batch(changes)
                .map_err(|e| e.to_string())
        } else {
            self.publisher
                .publish_many(entries)
                .map_err(|e| e.to_string())
        };
        if published != Ok(self.log.last()) {
            return Err(format!("published {published:?}"));
        }
        self.publisher.flush(HANG).map_err(|e| e.to_string())?;
        while self.history.len() > 1 && self.history_events() > self.history_bound {
            let (gone, _) = self.history.pop_front().expect("more than one");
            self.floor = self.floor.max(gone + 1);
        }
        if self.history_bound == 0 {
            self.floor = self.log.last() + 1;
        }
        self.compare_history()?;
        self.watching.iter_mut().try_for_each(Watching::compare)
    }

    fn history_events(&self) -> usize {
        self.history.iter().map(|entry| entry.1).sum()
    }

    fn compare_history(&self) -> Result<(), String> {
        let held = self.hub.stats().history;
        let expected = (self.floor, self.log.last(), self.history_events());
        if (held.oldest, held.newest, held.events) == expected {
            Ok(())
        } else {
            Err(format!("the history is {held:?}, and {expected:?} was due"))
        }
    }

    fn watch(&mut self, ask: Ask) -> Result<(), String> {
        let last = self.log.last();
        let mut options = WatchOptions::new()
            .capacity(ask.capacity)
            .filter(ask.filter)
            .prev_value(ask.prev);
        if ask.cancels {
            options = options.overflow(Overflow::Cancel);
        }
        let start = ask.start.map(|start| last.saturating_add_signed(start));
        if let Some(start) = start {
            options = options.start_revision(start);
        }
        let watched = self.hub.watch_with(ask.want.selector(), options);
        let due = start.unwrap_or(last + 1).max(1);
        let watcher = match watched {
            Ok(watcher) if watcher.start_revision() == due && due >= self.floor => watcher,
            Err(WatchError::Compacted { requested, oldest })
                if requested == due && oldest == self.floor && due < self.floor =>
            {
                return Ok(());
            }
            Err(WatchError::EmptyRange { .. } | WatchError::EmptyUnion) if ask.want.is_void() => {
                return Ok(());
            }
            other => return Err(format!("{ask:?} from {start:?} at {last} gave {other:?}")),
        };
        let mut trace = Trace::new(format!("{ask:?}"), ask.want.clone(), &watcher);
        trace.filter = ask.filter;
        trace.prev = ask.prev;
        let mut watching = Watching {
            watcher,
            trace,
            ask,
            queued: VecDeque::new(),
            reads_on: due <= last,
            ended: None,
        };
        watching.compare()?;
        self.watching.push(watching);
        Ok(())
    }

    /// One receive; returns whether it brought anything.
    fn receive(&mut self, which: usize, how: How) -> Result<bool, String> {
        let floor = self.floor;
        let watching = &mut self.watching[which];
        let before = watching.watcher.progress();
        let received = watching.receive(how);
        let item = match received {
            Ok(item) => item,
            Err(TryRecvError::Empty) => {
                watching.reads_on = false;
                return watching.empty(self.log.last()).map(|()| false);
            }
            Err(TryRecvError::Lagged(lagged)) => {
                // Legal only where the history has really passed by, and exactly so far.
                let start = watching.trace.start;
                if lagged.to != floor - 1 || before >= lagged.to || lagged.from < start {
                    return Err(format!("{lagged:?} with {floor} the oldest, at {before}"));
                }
                self.lags += 1;
                Item::Lagged(lagged)
            }
            Err(TryRecvError::Closed(reason)) => {
                if watching.ended != Some(reason) {
                    return Err(format!("ended: {reason}"));
                }
                return Ok(false);
            }
        };
        watching.trace.items.push(item);
        watching.compare()?;
        Ok(true)
    }

    /// Judges a watcher that leaves.
    fn leave(&mut self, which: usize, complete: Complete) -> Result<(), String> {
        let gone = self.watching.swap_remove(which);
        judge(&self.log, &gone.trace, complete).map_err(|violation| violation.to_string())
    }
}

impl Watching {
    fn receive(&mut self, how: How) -> Result<Item, TryRecvError> {
        // A receive takes all that is queued; those that cancel have room again.
        if self.watcher_is_dry() {
            self.queued.clear();
        }
        match how {
            How::Try => self
                .watcher
                .try_recv()
                .map(|event| Item::Event((&event).into())),
            How::Batch => {
                let batch = self.watcher.try_recv_batch();
                batch.map(|batch| Item::Batch(batch.iter().map(Into::into).collect()))
            }
            How::Poll => match self
                .watcher
                .poll_recv(&mut Context::from_waker(Waker::noop()))
            {
                Poll::Ready(received) => Ok(Item::Event((&received?).into())),
                // It may be one step of reading on that brought nothing.
                Poll::Pending => Ok(Item::Event((&self.watcher.try_recv()?).into())),
            },
        }
    }

    /// Whether everything that was taken out of the queue has been handed out.
    fn watcher_is_dry(&self) -> bool {
        self.watcher.len() == self.queued.iter().sum::<usize>()
    }

    /// What a transaction means for a watcher that cancels.
    fn expect(&mut self, revision: Revision, changes: &[Change]) {
        let wanted =
            |change: &&Change| self.ask.want.wants(change.key()) && passes(self.ask.filter, change);
        let matching = changes.iter().filter(wanted).count();
        let concerned = self.ask.cancels && !self.reads_on && revision >= self.trace.start;
        if matching == 0 || !concerned || self.ended.is_some() {
            return;
        }
        let queued: usize = self.queued.iter().sum();
        if queued == 0 || queued + matching <= self.ask.capacity {
            self.queued.push_back(matching);
        } else {
            self.ended = Some(EndReason::Overflow);
        }
    }

    /// What can be said at any time.
    fn compare(&mut self) -> Result<(), String> {
        // When exactly a replay has come to the present is not to be seen; from then on it can
        // overflow.
        if self.reads_on && self.ask.cancels {
            self.ended = self.watcher.end();
        }
        if self.watcher.end() != self.ended {
            return Err(format!(
                "{:?} ended with {:?}, and {:?} was due",
                self.ask,
                self.watcher.end(),
                self.ended
            ));
        }
        Ok(())
    }

    /// Nothing is at hand: then it has all there is.
    fn empty(&mut self, last: Revision) -> Result<(), String> {
        let progress = self.watcher.progress();
        self.trace.items.push(Item::Progress(progress));
        if progress == last.max(self.trace.start - 1) {
            Ok(())
        } else {
            Err(format!("it is empty at {last} with progress {progress}"))
        }
    }
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut out = f.debug_struct("Model");
        out.field("last", &self.log.last());
        out.field("floor", &self.floor).finish_non_exhaustive()
    }
}

//! A naive model of the whole engine, run side by side with the real one.
//!
//! Everything happens on one thread and the engine dispatches inline. So the model knows after each
//! step what each watcher must return, and computes it in the simplest way.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use kvwatch::{
    Builder, Change, Dispatcher, EndReason, Filter, Hub, Overflow, Publisher, Revision,
    TryRecvError, WatchError, WatchOptions, Watcher,
};

use crate::HANG;
use crate::checker::{Complete, check};
use crate::record::{Item, Log, Trace};
use crate::selector::{NaiveSelector, passes};

/// One step of a schedule.
#[derive(Clone, Debug)]
pub enum Op {
    /// Publish a transaction of these changes at the next revision.
    Publish(Vec<Change>),
    /// Publish transactions. The number is the distance to the previous revision.
    PublishMany(Vec<(u64, Vec<Change>)>),
    /// Register a watcher.
    Watch(WatchSpec),
    /// Receive with one of the watchers: its index, the number of receives, and the way.
    Receive(usize, usize, ReceiveMode),
    /// Close one of the watchers.
    Close(usize),
    /// Drop one of the watchers.
    Drop(usize),
    /// Compact the history this many revisions before the next one.
    Compact(u64),
}

/// The parameters of a watch.
#[derive(Clone, Debug)]
pub struct WatchSpec {
    /// The selector.
    pub selector: NaiveSelector,
    /// The filter.
    pub filter: Filter,
    /// Whether previous values are requested.
    pub prev: bool,
    /// The capacity of the queue, in events.
    pub capacity: usize,
    /// Whether the watcher ends at its first overflow.
    pub cancels: bool,
    /// The start revision relative to the last revision, if one is requested.
    pub start: Option<i64>,
}

/// A way to receive.
#[derive(Clone, Copy, Debug)]
pub enum ReceiveMode {
    /// `try_recv`
    Try,
    /// `poll_recv`
    Poll,
    /// `try_recv_batch`
    Batch,
}

/// A watcher, with what the model knows about it.
struct ModelWatcher {
    watcher: Watcher,
    trace: Trace,
    spec: WatchSpec,
    /// The number of queued events of each transaction. Kept for watchers that cancel only.
    queued: VecDeque<usize>,
    /// Whether the watcher started in the past and may not have caught up yet.
    catching_up: bool,
    ended: Option<EndReason>,
}

/// The engine and its model.
pub struct Model {
    publisher: Publisher,
    hub: Hub,
    _dispatcher: Dispatcher,
    log: Log,
    /// The transactions in the history: revision and number of events.
    history: VecDeque<(Revision, usize)>,
    history_bound: usize,
    floor: Revision,
    watching: Vec<ModelWatcher>,
    lags: usize,
}

impl Model {
    /// A model of an engine with a history of this many events.
    ///
    /// # Panics
    /// If the builder refuses the options.
    #[must_use]
    pub fn new(history: usize) -> Self {
        let (publisher, hub, dispatcher) = Builder::new().history_events(history).build().unwrap();
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

    /// Runs one step on the engine and on the model, and compares them.
    ///
    /// # Errors
    /// The difference.
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
            Op::Watch(spec) => self.watch(spec),
            Op::Receive(which, times, mode) => {
                let Some(which) = which.checked_rem(self.watching.len()) else {
                    return Ok(());
                };
                (0..times).try_for_each(|_| self.receive(which, mode).map(drop))
            }
            Op::Close(which) => {
                if let Some(which) = which.checked_rem(self.watching.len()) {
                    let watching = &mut self.watching[which];
                    watching.watcher.close();
                    watching.ended.get_or_insert(EndReason::Closed);
                    // A close discards the queue, so no further event is expected.
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

    /// Receives all remaining events, and shuts the engine down.
    ///
    /// # Errors
    /// The difference.
    ///
    /// # Panics
    /// If the engine does not shut down.
    pub fn finish(mut self) -> Result<(), String> {
        while !self.watching.is_empty() {
            while self.receive(0, ReceiveMode::Try)? {}
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
        self.watching.iter_mut().try_for_each(ModelWatcher::compare)
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

    fn watch(&mut self, spec: WatchSpec) -> Result<(), String> {
        let last = self.log.last();
        let mut options = WatchOptions::new()
            .capacity(spec.capacity)
            .filter(spec.filter)
            .prev_value(spec.prev);
        if spec.cancels {
            options = options.overflow(Overflow::Cancel);
        }
        let start = spec.start.map(|start| last.saturating_add_signed(start));
        if let Some(start) = start {
            options = options.start_revision(start);
        }
        let watched = self.hub.watch_with(spec.selector.to_selector(), options);
        let due = start.unwrap_or(last + 1).max(1);
        let watcher = match watched {
            Ok(watcher) if watcher.start_revision() == due && due >= self.floor => watcher,
            Err(WatchError::Compacted { requested, oldest })
                if requested == due && oldest == self.floor && due < self.floor =>
            {
                return Ok(());
            }
            Err(WatchError::EmptyRange { .. } | WatchError::EmptyUnion)
                if spec.selector.is_void() =>
            {
                return Ok(());
            }
            other => return Err(format!("{spec:?} from {start:?} at {last} gave {other:?}")),
        };
        let mut trace = Trace::new(format!("{spec:?}"), spec.selector.clone(), &watcher);
        trace.filter = spec.filter;
        trace.prev = spec.prev;
        let mut watching = ModelWatcher {
            watcher,
            trace,
            spec,
            queued: VecDeque::new(),
            catching_up: due <= last,
            ended: None,
        };
        watching.compare()?;
        self.watching.push(watching);
        Ok(())
    }

    /// Receives once. Returns whether there was an event or a lag.
    fn receive(&mut self, which: usize, mode: ReceiveMode) -> Result<bool, String> {
        let floor = self.floor;
        let watching = &mut self.watching[which];
        let before = watching.watcher.progress();
        let received = watching.receive(mode);
        let item = match received {
            Ok(item) => item,
            Err(TryRecvError::Empty) => {
                watching.catching_up = false;
                return watching.check_empty(self.log.last()).map(|()| false);
            }
            Err(TryRecvError::Lagged(lagged)) => {
                // A lag must end just below the oldest revision of the history.
                let start = watching.trace.start;
                if lagged.last != floor - 1 || before >= lagged.last || lagged.first < start {
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

    /// Removes a watcher and checks its trace.
    fn leave(&mut self, which: usize, complete: Complete) -> Result<(), String> {
        let gone = self.watching.swap_remove(which);
        check(&self.log, &gone.trace, complete).map_err(|violation| violation.to_string())
    }
}

impl ModelWatcher {
    fn receive(&mut self, mode: ReceiveMode) -> Result<Item, TryRecvError> {
        // A receive takes the whole queue, so that a watcher that cancels has room again.
        if self.watcher_is_dry() {
            self.queued.clear();
        }
        match mode {
            ReceiveMode::Try => self
                .watcher
                .try_recv()
                .map(|event| Item::Event((&event).into())),
            ReceiveMode::Batch => {
                let batch = self.watcher.try_recv_batch();
                batch.map(|batch| Item::Batch(batch.iter().map(Into::into).collect()))
            }
            ReceiveMode::Poll => match self
                .watcher
                .poll_recv(&mut Context::from_waker(Waker::noop()))
            {
                Poll::Ready(received) => Ok(Item::Event((&received?).into())),
                // A step of catching up may return nothing although more follows.
                Poll::Pending => Ok(Item::Event((&self.watcher.try_recv()?).into())),
            },
        }
    }

    /// Whether every event taken out of the queue has been received.
    fn watcher_is_dry(&self) -> bool {
        self.watcher.len() == self.queued.iter().sum::<usize>()
    }

    /// Updates the expectations of a watcher that cancels.
    fn expect(&mut self, revision: Revision, changes: &[Change]) {
        let wanted = |change: &&Change| {
            self.spec.selector.matches(change.key()) && passes(self.spec.filter, change)
        };
        let matching = changes.iter().filter(wanted).count();
        let concerned = self.spec.cancels && !self.catching_up && revision >= self.trace.start;
        if matching == 0 || !concerned || self.ended.is_some() {
            return;
        }
        let queued: usize = self.queued.iter().sum();
        if queued == 0 || queued + matching <= self.spec.capacity {
            self.queued.push_back(matching);
        } else {
            self.ended = Some(EndReason::Overflow);
        }
    }

    /// Compares the end of the watcher, which is defined at any time.
    fn compare(&mut self) -> Result<(), String> {
        // The model does not see when a catch-up ends. From then on the watcher can overflow.
        if self.catching_up && self.spec.cancels {
            self.ended = self.watcher.end_reason();
        }
        if self.watcher.end_reason() != self.ended {
            return Err(format!(
                "{:?} ended with {:?}, and {:?} was due",
                self.spec,
                self.watcher.end_reason(),
                self.ended
            ));
        }
        Ok(())
    }

    /// Checks a watcher without a queued event: it has received everything.
    fn check_empty(&mut self, last: Revision) -> Result<(), String> {
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

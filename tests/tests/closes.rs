//! Watchers that another thread closes while they receive: their progress never goes back, and a
//! watch resumed behind it neither repeats nor misses an event.
//!
//! `make soak` runs 100,000 races of each kind, `CLOSES=n` any number.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};
use std::thread;

use kvwatch::{
    Builder, Change, Closer, EndReason, Hub, Publisher, RecvError, Replay, ReplayError,
    ReplayRequest, Replayed, Revision, Selector, TryRecvError, WatchOptions, Watcher,
};
use kvwatch_tests::{Rng, in_time, inline_engine, join_in_time, ready_revisions};

/// One revision of so many changes the key that is watched.
const WATCHED: Revision = 4;

fn change(revision: Revision) -> Change {
    let is_watched = revision.is_multiple_of(WATCHED);
    Change::put(if is_watched { "watched" } else { "other" }, "v")
}

/// A store that holds every revision.
struct Formula;

impl Replay for Formula {
    fn oldest(&self) -> Revision {
        1
    }

    fn read(&self, request: ReplayRequest<'_>) -> Result<Replayed, ReplayError> {
        // In steps of a few events, so that a watcher is behind for long.
        let upto = request.to.min(request.from + 7);
        let wanted = (request.from..=upto)
            .filter(|&revision| request.selector.matches(change(revision).key()));
        Ok(Replayed {
            transactions: wanted
                .map(|revision| (revision, vec![change(revision)]))
                .collect(),
            upto,
        })
    }
}

#[derive(Clone, Copy, Debug)]
enum Setup {
    OwnThread,
    WithoutInlineDispatch,
    /// Each publish dispatches on the publisher's thread.
    Threadless,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Position {
    Live,
    /// It reads on from the history.
    Behind,
    /// It reads on from the store.
    Replaying,
}

/// What was received, and the progress seen last.
struct Judge {
    name: String,
    progress: Revision,
    received: Revision,
}

impl Judge {
    fn new(name: String, watcher: &Watcher) -> Self {
        let before = watcher.start_revision() - 1;
        Self {
            name,
            progress: before,
            received: before,
        }
    }

    fn event(&mut self, revision: Revision) {
        let Self {
            name,
            progress,
            received,
        } = &self;
        let next = (received + 1).next_multiple_of(WATCHED);
        assert_eq!(revision, next, "{name}: the event after {received}");
        assert!(
            revision > *progress,
            "{name}: {revision} after progress {progress}"
        );
        self.received = revision;
    }

    fn progress(&mut self, now: Revision) {
        let Self {
            name,
            progress,
            received,
        } = &self;
        assert!(
            now >= *progress,
            "{name}: progress went from {progress} to {now}"
        );
        assert!(
            now >= *received,
            "{name}: progress {now} repeats {received}"
        );
        self.progress = now;
    }

    /// Everything up to the last progress was received.
    fn end(&self) {
        let missed = (self.received + 1).next_multiple_of(WATCHED);
        let Self { name, progress, .. } = self;
        assert!(
            missed > *progress,
            "{name}: progress {progress} skips {missed}"
        );
    }
}

#[derive(Clone, Copy, Debug)]
enum Way {
    Blocking,
    Async,
    /// It looks at the progress again and again while nothing comes.
    Trying,
}

impl Way {
    /// `None` if there is nothing to receive.
    async fn receive(self, watcher: &mut Watcher) -> Result<Option<Revision>, RecvError> {
        let event = match self {
            Self::Blocking => watcher.recv()?,
            Self::Async => poll_fn(|cx| watcher.poll_recv(cx)).await?,
            Self::Trying => match watcher.try_recv() {
                Ok(event) => event,
                Err(TryRecvError::Empty) => return Ok(None),
                Err(TryRecvError::Lagged(lagged)) => return Err(RecvError::Lagged(lagged)),
                Err(TryRecvError::Closed(reason)) => return Err(RecvError::Closed(reason)),
            },
        };
        Ok(Some(event.revision()))
    }
}

/// Registers watchers one after the other, each of which is closed while it receives.
fn race(hub: &Hub, closing: &Sender<Closer>, position: Position, way: Way, count: u64) {
    for number in 0..count {
        let head = hub.revision();
        let options = match position {
            Position::Live => WatchOptions::new(),
            Position::Behind | Position::Replaying => {
                WatchOptions::new().start_revision(head.saturating_sub(60).max(1))
            }
        };
        let mut watcher = match hub.watch_with("watched", options) {
            Ok(watcher) => watcher,
            // The history has moved on since.
            Err(kvwatch::WatchError::Compacted { .. }) => continue,
            Err(refused) => panic!("{refused}"),
        };
        closing.send(watcher.closer()).unwrap();
        let mut judge = Judge::new(format!("{position:?}, {way:?} {number}"), &watcher);
        let end = futures::executor::block_on(async {
            loop {
                judge.progress(watcher.progress());
                match way.receive(&mut watcher).await {
                    Ok(Some(revision)) => judge.event(revision),
                    Ok(None) => {}
                    Err(RecvError::Lagged(lagged)) => judge.received = lagged.last,
                    Err(RecvError::Closed(reason)) => return reason,
                }
            }
        });
        assert_eq!(end, EndReason::Closed);
        judge.progress(watcher.progress());
        judge.end();
    }
}

fn publish(mut publisher: Publisher, stopped: &AtomicBool) {
    while !stopped.load(Ordering::Relaxed) {
        let revision = publisher.revision() + 1;
        publisher.publish(change(revision)).unwrap();
        if revision.is_multiple_of(8) {
            thread::yield_now();
        }
    }
}

fn races(setup: Setup, position: Position) {
    let count = std::env::var("CLOSES").map_or(5_000, |count| count.parse().expect("a number"));
    let mut builder = Builder::new().start_revision(1_000).queue_capacity(16);
    if position == Position::Replaying {
        builder = builder.history_events(0).replay(Formula);
    }
    let (publisher, hub, _dispatcher) = match setup {
        Setup::Threadless => {
            let (publisher, hub, dispatcher) = inline_engine(builder);
            (publisher, hub, Some(dispatcher))
        }
        Setup::OwnThread | Setup::WithoutInlineDispatch => {
            let inline = matches!(setup, Setup::OwnThread);
            let (publisher, hub) = builder.inline_dispatch(inline).spawn().unwrap();
            (publisher, hub, None)
        }
    };
    let stopped = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&stopped);
    let publishing = thread::spawn(move || publish(publisher, &stop));
    let (closing, to_close) = mpsc::channel::<Closer>();
    let closer = thread::spawn(move || {
        let mut rng = Rng::new(7);
        for watcher in to_close {
            for _ in 0..rng.next_below(300) {
                std::hint::spin_loop();
            }
            watcher.close();
        }
    });
    // Several at a time, so that a close also meets what another watcher does.
    let racing = [Way::Blocking, Way::Async, Way::Trying].map(|way| {
        let (hub, closing) = (hub.clone(), closing.clone());
        thread::spawn(move || race(&hub, &closing, position, way, count))
    });
    let [_, _, _] = racing.map(join_in_time);
    drop(closing);
    join_in_time(closer);
    stopped.store(true, Ordering::Relaxed);
    join_in_time(publishing);
}

#[test]
fn bookmarkable_progress_never_goes_back_when_a_live_watcher_is_closed() {
    races(Setup::OwnThread, Position::Live);
    races(Setup::WithoutInlineDispatch, Position::Live);
    races(Setup::Threadless, Position::Live);
}

#[test]
fn bookmarkable_progress_never_goes_back_when_a_watcher_is_closed_that_reads_the_history() {
    races(Setup::OwnThread, Position::Behind);
    races(Setup::WithoutInlineDispatch, Position::Behind);
    races(Setup::Threadless, Position::Behind);
}

#[test]
fn bookmarkable_progress_never_goes_back_when_a_watcher_is_closed_that_reads_the_store() {
    races(Setup::OwnThread, Position::Replaying);
    races(Setup::WithoutInlineDispatch, Position::Replaying);
    races(Setup::Threadless, Position::Replaying);
}

/// A store that closes the watcher that reads it.
#[derive(Clone, Default)]
struct Closing(Arc<Mutex<Option<Closer>>>);

impl Replay for Closing {
    fn oldest(&self) -> Revision {
        1
    }

    fn read(&self, request: ReplayRequest<'_>) -> Result<Replayed, ReplayError> {
        if let Some(closer) = self.0.lock().unwrap().take() {
            closer.close();
        }
        let all = request.from..=request.to;
        Ok(Replayed {
            transactions: all
                .map(|revision| (revision, vec![change(revision)]))
                .collect(),
            upto: request.to,
        })
    }
}

#[test]
fn bookmarkable_progress_stays_behind_what_was_read_when_the_read_closes_the_watcher() {
    let store = Closing::default();
    let builder = Builder::new().start_revision(5).replay(store.clone());
    let (_publisher, hub, _dispatcher) = inline_engine(builder);
    let from = |start| WatchOptions::new().start_revision(start);
    let mut watcher = hub.watch_with(Selector::all(), from(1)).unwrap();
    *store.0.lock().unwrap() = Some(watcher.closer());
    let mut seen = Vec::new();
    while let Ok(event) = watcher.recv() {
        seen.push((event.revision(), watcher.progress()));
    }
    assert_eq!(seen, [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5)]);
    assert_eq!(watcher.progress(), 5);
    let mut resumed = hub.watch_with(Selector::all(), from(6)).unwrap();
    assert_eq!(ready_revisions(&mut resumed), []);
}

/// Promise 7: a store that is read at `Hub::revision` right behind `Hub::watch` and the watcher's
/// later events leave out nothing.
#[test]
fn exact_start_revision_is_not_above_the_revision_that_the_hub_names_after_it() {
    let (publisher, hub) = Builder::new().spawn().unwrap();
    let stopped = Arc::new(AtomicBool::new(false));
    let (stop, rounds) = (Arc::clone(&stopped), AtomicU64::new(0));
    let publishing = thread::spawn(move || publish(publisher, &stop));
    in_time(move || {
        while rounds.fetch_add(1, Ordering::Relaxed) < 20_000 {
            let watcher = hub.watch("watched").unwrap();
            let (revision, start) = (hub.revision(), watcher.start_revision());
            assert!(revision >= start - 1, "{revision} is below {start} - 1");
        }
    });
    stopped.store(true, Ordering::Relaxed);
    join_in_time(publishing);
}

//! Mirrors of a store that changes at random: with lags, reads that fail, reads that are old, and
//! threads that check every state that a mirror shows.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use futures::channel::oneshot;
use futures::future::{Either, select};
use kvwatch::mirror::{MirrorError, Snapshot, SnapshotReader, SnapshotRequest, Step};
use kvwatch::{Builder, Change, EndReason, Hub, Mirror, MirrorDriver, Revision, Selector};
use kvwatch_tests::committed::Committed;
use kvwatch_tests::mirrors::MirrorRuntime;
use kvwatch_tests::runtimes::{Publish, yield_now};
use kvwatch_tests::shared::running;
use kvwatch_tests::{Rng, in_every_runtime, join_in_time};

in_every_runtime![
    reliable_a_mirror_shows_states_of_the_store_when_it_lags_and_resyncs,
    atomic_no_reader_sees_a_mixed_state_when_transactions_are_applied,
];

const CHANGES: u64 = 500_000;
/// The queue of the driver: fewer events than most transactions have.
const QUEUE: usize = 4;
/// A history of fewer events than are written between two waits.
const SHORT: usize = 16;
/// How often each thing that the test is about is forced.
const FORCED: u64 = 120;

/// A union of overlapping parts. It matches half of the keys `a/0` to `d/19`.
fn union() -> Selector {
    Selector::any([
        Selector::prefix("a/"),
        Selector::range("a/5".."c"),
        Selector::exact("c/7"),
        Selector::exact("a/7"),
    ])
}

/// No, one or several changes; some keys twice.
fn transaction(rng: &mut Rng) -> Vec<Change> {
    let changes = (0..rng.next_below(12)).map(|_| {
        let folder = ["a", "b", "c", "d"][rng.next_below(4) as usize];
        let key = format!("{folder}/{}", rng.next_below(20));
        if rng.next_below(4) == 0 {
            Change::delete(key)
        } else {
            Change::put(key, rng.next_below(1_000_000).to_string())
        }
    });
    changes.collect()
}

/// Counts of the steps of a driver. Clones share them.
#[derive(Clone, Debug, Default)]
struct Steps(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    /// Events applied.
    applied: AtomicU64,
    lags: AtomicU64,
    resyncs: AtomicU64,
    failed_reads: AtomicU64,
    /// Reads refused because they were too old or went back.
    refused_reads: AtomicU64,
}

fn count(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::SeqCst)
}

/// Stops a driver between two steps. Clones share the gate.
#[derive(Clone, Debug, Default)]
struct Gate(Arc<Mutex<Option<Stop>>>);

#[derive(Debug)]
struct Stop {
    stopped: oneshot::Sender<()>,
    resume: oneshot::Receiver<()>,
}

impl Gate {
    /// Stops the driver at its next step. The first channel says when it has stopped. The driver
    /// goes on once the second one is dropped.
    fn close(&self) -> (oneshot::Receiver<()>, oneshot::Sender<()>) {
        let (stopped, has_stopped) = oneshot::channel();
        let (resume, resumed) = oneshot::channel();
        let stop = Stop {
            stopped,
            resume: resumed,
        };
        *self.0.lock().expect("no panic while it is locked") = Some(stop);
        (has_stopped, resume)
    }

    /// Waits here while the gate is closed.
    async fn pass(&self) {
        let stop = self.0.lock().expect("no panic while it is locked").take();
        if let Some(stop) = stop {
            stop.stopped.send(()).expect("the writer waits");
            // The writer drops its end.
            let _ = stop.resume.await;
        }
    }
}

/// A reader of the store. Some reads fail, and some return the snapshot of an earlier read.
fn unsteady(
    store: Committed,
    seed: u64,
) -> impl FnMut(SnapshotRequest) -> Result<Snapshot, String> {
    let mut rng = Rng::new(seed);
    let mut before = store.snapshot();
    move |request| match rng.next_below(8) {
        0 => Err("out of order".to_owned()),
        1 => Ok(before.clone()),
        _ => {
            before = store.snapshot();
            assert!(before.revision() >= request.at_least());
            Ok(before.clone())
        }
    }
}

/// Steps until the end, and counts.
async fn drive<Rt, R>(mut driver: MirrorDriver<R>, steps: Steps, gate: Gate)
where
    Rt: MirrorRuntime,
    R: SnapshotReader<Error = String> + Send,
{
    let add = |counter: &AtomicU64, number: u64| _ = counter.fetch_add(number, Ordering::SeqCst);
    let counts = &steps.0;
    loop {
        gate.pass().await;
        match Rt::step(&mut driver).await {
            Ok(Step::Applied { events, .. }) => add(&counts.applied, events as u64),
            Ok(Step::Lagged(_)) => add(&counts.lags, 1),
            Ok(Step::Resynced { .. }) => add(&counts.resyncs, 1),
            Ok(Step::Loaded { .. }) => {}
            Ok(Step::Ended(reason)) => {
                assert_eq!(reason, EndReason::ShutDown);
                return;
            }
            Ok(step) => panic!("{step:?}"),
            Err(MirrorError::Read(_)) => add(&counts.failed_reads, 1),
            Err(MirrorError::Stale { .. } | MirrorError::WentBack { .. }) => {
                add(&counts.refused_reads, 1);
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// Threads that check the state of a mirror again and again, until they are stopped.
struct Observers {
    stop: Arc<AtomicBool>,
    /// How many states they saw, all together.
    seen: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Observers {
    fn start(
        mirror: &Mirror,
        check: impl Fn(&kvwatch::mirror::View) + Clone + Send + 'static,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::new(AtomicU64::new(0));
        let threads = (0..2).map(|_| {
            let (mirror, check) = (mirror.clone(), check.clone());
            let (stop, seen) = (Arc::clone(&stop), Arc::clone(&seen));
            thread::spawn(move || {
                let mut last: Option<Revision> = None;
                while !stop.load(Ordering::SeqCst) {
                    let view = mirror.view();
                    if let Some(view) = view.filter(|view| last != Some(view.revision())) {
                        assert!(last < Some(view.revision()), "a view went back");
                        check(&view);
                        last = Some(view.revision());
                        seen.fetch_add(1, Ordering::SeqCst);
                    }
                    thread::yield_now();
                }
            })
        });
        let threads = threads.collect();
        Self {
            stop,
            seen,
            threads,
        }
    }

    fn stop(mut self) -> u64 {
        self.stop.store(true, Ordering::SeqCst);
        self.threads.drain(..).for_each(join_in_time);
        self.seen.load(Ordering::SeqCst)
    }
}

/// The threads stop, too, if the test fails.
impl Drop for Observers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

/// The writer of the store, which also controls the driver.
struct Writer<Rt: MirrorRuntime> {
    publisher: Rt::Publisher,
    store: Committed,
    mirror: Mirror,
    steps: Steps,
    gate: Gate,
    /// A change that matches, to force things with.
    one: Change,
}

impl<Rt: MirrorRuntime> Writer<Rt> {
    async fn write(&mut self, transaction: Vec<Change>) -> Revision {
        let revision = self.store.commit(&transaction);
        let published = self.publisher.publish_batch(transaction).await;
        assert_eq!(published, Ok(revision));
        revision
    }

    async fn wait_for(&mut self, revision: Revision) {
        let view = Rt::wait_for(&self.mirror, revision).await;
        let view = view.expect("the driver goes on");
        assert!(view.revision() >= revision, "{view:?} for {revision}");
        self.store.assert_was(&view);
    }

    async fn write_one(&mut self) -> Revision {
        self.write(vec![self.one.clone()]).await
    }

    /// Makes the driver apply some events one by one, whatever else it did before: each is
    /// awaited, so that the driver comes to follow live.
    async fn force_applied(&mut self, events: u64) {
        let enough = count(&self.steps.0.applied) + events;
        while count(&self.steps.0.applied) < enough {
            let revision = self.write_one().await;
            self.wait_for(revision).await;
        }
    }

    /// Publishes more than the queue and a history of [`SHORT`] hold while the driver is stopped,
    /// and waits until the driver has made up for it: by a resync, or from a long history.
    async fn force_lag(&mut self) {
        let (mut stopped, resume) = self.gate.close();
        loop {
            // A driver that waits for an event reaches the gate once it has one. It may have the
            // event from a resync already, and then it needs another.
            let revision = self.write_one().await;
            match select(&mut stopped, self.mirror.wait_for_async(revision)).await {
                Either::Left((stopped, _)) => break stopped.expect("the driver goes on"),
                Either::Right((view, _)) => drop(view.expect("the driver goes on")),
            }
            yield_now().await;
        }
        for _ in 0..4 * (QUEUE + SHORT) {
            self.write_one().await;
        }
        self.publisher.flush().await.expect("it runs");
        drop(resume);
        let last = self.store.revision();
        self.wait_for(last).await;
    }

    /// Waits until the observers have seen another state.
    async fn force_seen(&mut self, seen: &AtomicU64) {
        let before = count(seen);
        self.force_applied(1).await;
        while count(seen) == before {
            yield_now().await;
        }
    }

    /// Writes this many changes in random transactions, and waits for some of them in the mirror.
    /// In regular intervals it forces what the test is about. Returns how many random waits were
    /// checked.
    async fn run(mut self, changes: u64, seed: u64, seen: Arc<AtomicU64>) -> u64 {
        let mut rng = Rng::new(seed);
        let first = self.write_one().await;
        self.wait_for(first).await;
        let (mut written, mut waits, mut forced) = (0, 0, 0);
        while written < changes {
            let transaction = transaction(&mut rng);
            written += transaction.len() as u64;
            let revision = self.write(transaction).await;
            // Sometimes for an old revision, mostly for the last one.
            if rng.next_below(60) == 0 {
                let wanted = revision - rng.next_below(3).min(revision);
                self.wait_for(wanted).await;
                waits += 1;
            }
            if written >= changes * forced / FORCED {
                self.force_lag().await;
                self.force_applied(10).await;
                self.force_seen(&seen).await;
                forced += 1;
            }
        }
        self.publisher.shutdown().await.expect("it ran");
        waits
    }
}

async fn reliable_a_mirror_shows_states_of_the_store_when_it_lags_and_resyncs<Rt: MirrorRuntime>() {
    // No history, a short one, and one that holds all that a stopped driver misses.
    for history in [0, SHORT, 65_536] {
        let (publisher, hub) =
            running::<Rt>(Builder::new().history_events(history).queue_capacity(QUEUE));
        let store = Committed::new(union());
        let (mirror, driver) = watch(&hub, &store);
        let observers = {
            let store = store.clone();
            Observers::start(&mirror, move |view| store.assert_was(view))
        };
        let (steps, gate) = (Steps::default(), Gate::default());
        let driving = Rt::spawn(drive::<Rt, _>(driver, steps.clone(), gate.clone()));
        let writer = Writer::<Rt> {
            publisher,
            store: store.clone(),
            mirror: mirror.clone(),
            steps: steps.clone(),
            gate,
            one: Change::put("a/0", "forced"),
        };
        let seen = Arc::clone(&observers.seen);
        let waits = Rt::spawn(writer.run(CHANGES, history as u64, seen)).await;
        driving.await;
        let seen = observers.stop();
        println!("history {history}: {CHANGES} changes, {steps:?}, {waits} waits, {seen} seen");
        store.assert_is(&mirror.view().expect("it was read"));
        assert!(
            waits > 500 && seen >= FORCED,
            "{waits} waits, {seen} states seen"
        );
        let steps = &steps.0;
        assert!(count(&steps.applied) >= 10 * FORCED, "{steps:?}");
        if history > SHORT {
            assert_eq!((count(&steps.lags), count(&steps.resyncs)), (0, 0));
            assert!(count(&steps.applied) > 200_000, "{steps:?}");
        } else {
            let [lags, resyncs] = [&steps.lags, &steps.resyncs].map(count);
            assert!(lags >= FORCED && resyncs >= FORCED, "{steps:?}");
            // Of the reads so many fail, by their seed.
            let [failed, refused] = [&steps.failed_reads, &steps.refused_reads].map(count);
            assert!(failed > 10 && refused > 10, "{steps:?}");
        }
    }
}

fn watch(
    hub: &Hub,
    store: &Committed,
) -> (
    Mirror,
    MirrorDriver<impl SnapshotReader<Error = String> + Send + use<>>,
) {
    Mirror::watch(hub, union(), unsteady(store.clone(), 7)).expect("it runs")
}

async fn atomic_no_reader_sees_a_mixed_state_when_transactions_are_applied<Rt: MirrorRuntime>() {
    const ACCOUNTS: u64 = 10;
    const TOTAL: u64 = 1000;
    let (mut publisher, hub) =
        running::<Rt>(Builder::new().history_events(0).queue_capacity(QUEUE));
    let store = Committed::new(Selector::all());
    let (mut rng, mut amounts) = (Rng::new(11), vec![TOTAL / ACCOUNTS; ACCOUNTS as usize]);
    let account =
        |number: usize, amount: u64| Change::put(format!("account/{number}"), amount.to_string());
    let opening: Vec<Change> = (0..)
        .zip(&amounts)
        .map(|(n, &amount)| account(n, amount))
        .collect();
    assert_eq!(store.commit(&opening), 1);
    publisher.publish_batch(opening).await.expect("it runs");

    let read = {
        let store = store.clone();
        move |_| Ok::<_, String>(store.snapshot())
    };
    let (mirror, driver) =
        Mirror::watch(&hub, Selector::prefix("account/"), read).expect("it runs");
    let (steps, gate) = (Steps::default(), Gate::default());
    let driving = Rt::spawn(drive::<Rt, _>(driver, steps.clone(), gate.clone()));
    // Every transaction keeps the sum. A part of one does not.
    let observers = Observers::start(&mirror, |view| {
        let amounts = view.iter().map(|(_, amount)| {
            let amount = std::str::from_utf8(amount).expect("text");
            amount.parse::<u64>().expect("a number")
        });
        assert_eq!(amounts.sum::<u64>(), TOTAL, "{view:?}");
        assert_eq!(view.len() as u64, ACCOUNTS);
    });
    let mut writer = Writer::<Rt> {
        publisher,
        store: store.clone(),
        mirror: mirror.clone(),
        steps: steps.clone(),
        gate,
        one: account(0, amounts[0]),
    };
    writer.force_applied(1).await;
    writer.force_lag().await;
    for _ in 0..20_000 {
        let (from, to) = (
            rng.next_below(ACCOUNTS) as usize,
            rng.next_below(ACCOUNTS) as usize,
        );
        let moved = rng.next_below(amounts[from] + 1);
        amounts[from] -= moved;
        amounts[to] += moved;
        let transfer = vec![account(from, amounts[from]), account(to, amounts[to])];
        let revision = writer.write(transfer).await;
        if rng.next_below(20) == 0 {
            writer.wait_for(revision).await;
        }
    }
    writer.publisher.shutdown().await.expect("it ran");
    driving.await;
    println!("{steps:?}, {} states seen", observers.stop());
    let (lags, applied) = (count(&steps.0.lags), count(&steps.0.applied));
    assert!(lags > 0 && applied > 0, "{steps:?}");
    store.assert_is(&mirror.view().expect("it was read"));
}

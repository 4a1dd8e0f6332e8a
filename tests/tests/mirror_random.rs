//! Mirrors against a store that changes at random, with lags forced by a tiny queue and hardly any
//! history, reads that fail and reads that are old, and readers that look all the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use kvwatch::mirror::{MirrorError, Snapshot, SnapshotReader, SnapshotRequest, Step};
use kvwatch::{Builder, Change, EndReason, Hub, Mirror, MirrorDriver, Revision, Selector};
use kvwatch_tests::bodies::running;
use kvwatch_tests::committed::Committed;
use kvwatch_tests::mirrors::MirrorWorld;
use kvwatch_tests::worlds::Publish;
use kvwatch_tests::{Rng, in_every_world, join_in_time};

in_every_world![
    bar_4_half_a_million_changes_with_lags_and_resyncs,
    atomic_no_reader_sees_a_mixed_state,
];

const CHANGES: u64 = 500_000;
/// Events queued ahead of the driver: fewer than most transactions have.
const QUEUE: usize = 4;

/// Of overlapping parts. The keys are `a/0` to `d/19`: half of them match.
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
    let changes = (0..rng.below(12)).map(|_| {
        let folder = ["a", "b", "c", "d"][rng.below(4) as usize];
        let key = format!("{folder}/{}", rng.below(20));
        if rng.below(4) == 0 {
            Change::delete(key)
        } else {
            Change::put(key, rng.below(1_000_000).to_string())
        }
    });
    changes.collect()
}

/// What became of the steps of a driver.
#[derive(Debug, Default)]
struct Steps {
    applied: u64,
    lags: u64,
    resyncs: u64,
    failed_reads: u64,
    /// Reads refused as too old, or as going back.
    refused_reads: u64,
}

/// Reads the store; sometimes it fails, and sometimes it tells what it told before.
fn unsteady(
    store: Committed,
    seed: u64,
) -> impl FnMut(SnapshotRequest) -> Result<Snapshot, String> {
    let mut rng = Rng::new(seed);
    let mut before = store.snapshot();
    move |request| match rng.below(8) {
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
async fn drive<W, R>(mut driver: MirrorDriver<R>) -> Steps
where
    W: MirrorWorld,
    R: SnapshotReader<Error = String> + Send,
{
    let mut steps = Steps::default();
    loop {
        match W::step(&mut driver).await {
            Ok(Step::Applied { events, .. }) => steps.applied += events as u64,
            Ok(Step::Lagged(_)) => steps.lags += 1,
            Ok(Step::Resynced { .. }) => steps.resyncs += 1,
            Ok(Step::Loaded { .. }) => {}
            Ok(Step::Ended(reason)) => {
                assert_eq!(reason, EndReason::ShutDown);
                return steps;
            }
            Ok(step) => panic!("{step:?}"),
            Err(MirrorError::Read(_)) => steps.failed_reads += 1,
            Err(MirrorError::Stale { .. } | MirrorError::WentBack { .. }) => {
                steps.refused_reads += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// Threads that look at a mirror until told to stop; how often they saw another state.
struct Looking {
    stop: Arc<AtomicBool>,
    seen: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Looking {
    fn at(
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

/// They stop with a test that fails, too.
impl Drop for Looking {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

/// Writes so many changes in random transactions, and waits for some of them in the mirror.
/// Returns how many waits were checked.
async fn write<W: MirrorWorld>(
    mut publisher: W::Publisher,
    store: Committed,
    mirror: Mirror,
    changes: u64,
    seed: u64,
) -> u64 {
    let mut rng = Rng::new(seed);
    let (mut written, mut waits) = (0, 0);
    while written < changes {
        let transaction = transaction(&mut rng);
        written += transaction.len() as u64;
        let revision = store.commit(&transaction);
        let published = publisher.publish_batch(transaction).await;
        assert_eq!(published, Ok(revision));
        // Sometimes of what is long past; mostly of what was just written.
        if rng.below(60) == 0 {
            let wanted = revision - rng.below(3).min(revision);
            let view = W::wait_for(&mirror, wanted).await.expect("it goes on");
            assert!(view.revision() >= wanted, "{view:?} for {wanted}");
            store.assert_was(&view);
            waits += 1;
        }
    }
    publisher.shutdown().await.expect("it ran");
    waits
}

async fn bar_4_half_a_million_changes_with_lags_and_resyncs<W: MirrorWorld>() {
    // None, less than is written between two waits, and more: then nothing is missed.
    for history in [0, 16, 65_536] {
        let (publisher, hub) = running::<W>(Builder::new().history(history).queue(QUEUE));
        let store = Committed::new(union());
        let (mirror, driver) = watch(&hub, &store);
        let looking = {
            let store = store.clone();
            Looking::at(&mirror, move |view| store.assert_was(view))
        };
        let driving = W::spawn(drive::<W, _>(driver));
        let seed = history as u64;
        let writing = write::<W>(publisher, store.clone(), mirror.clone(), CHANGES, seed);
        let waits = W::spawn(writing).await;
        let steps = driving.await;
        let seen = looking.stop();
        println!("history {history}: {CHANGES} changes, {steps:?}, {waits} waits, {seen} seen");
        store.assert_is(&mirror.view().expect("it was read"));
        assert!(
            waits > 500 && seen > 10,
            "{waits} waits, {seen} states seen"
        );
        if history > 16 {
            assert_eq!((steps.lags, steps.resyncs), (0, 0), "{steps:?}");
            assert!(steps.applied > 200_000, "{steps:?}");
        } else {
            assert!(steps.lags > 100 && steps.resyncs > 100, "{steps:?}");
            assert!(
                steps.failed_reads > 10 && steps.refused_reads > 10,
                "{steps:?}"
            );
            assert!(steps.applied > 1000, "{steps:?}");
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

async fn atomic_no_reader_sees_a_mixed_state<W: MirrorWorld>() {
    const ACCOUNTS: u64 = 10;
    const TOTAL: u64 = 1000;
    let (mut publisher, hub) = running::<W>(Builder::new().history(0).queue(QUEUE));
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
    let driving = W::spawn(drive::<W, _>(driver));
    // Every transaction keeps the sum; half of one does not.
    let looking = Looking::at(&mirror, |view| {
        let amounts = view.iter().map(|(_, amount)| {
            let amount = std::str::from_utf8(amount).expect("text");
            amount.parse::<u64>().expect("a number")
        });
        assert_eq!(amounts.sum::<u64>(), TOTAL, "{view:?}");
        assert_eq!(view.len() as u64, ACCOUNTS);
    });
    for _ in 0..20_000 {
        let (from, to) = (rng.below(ACCOUNTS) as usize, rng.below(ACCOUNTS) as usize);
        let moved = rng.below(amounts[from] + 1);
        amounts[from] -= moved;
        amounts[to] += moved;
        let transfer = vec![account(from, amounts[from]), account(to, amounts[to])];
        let revision = store.commit(&transfer);
        assert_eq!(publisher.publish_batch(transfer).await, Ok(revision));
        if rng.below(20) == 0 {
            W::wait_for(&mirror, revision).await.expect("it goes on");
        }
    }
    publisher.shutdown().await.expect("it ran");
    let steps = driving.await;
    println!("{steps:?}, {} states seen", looking.stop());
    assert!(steps.lags > 0 && steps.applied > 0, "{steps:?}");
    store.assert_is(&mirror.view().expect("it was read"));
}

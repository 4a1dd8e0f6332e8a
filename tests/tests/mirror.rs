//! Mirrors, step by step, in every runtime. `mirror_random.rs` has random ones.

use std::convert::Infallible;

use kvwatch::mirror::{
    MirrorEnd, MirrorError, MirrorOptions, MirrorWaitError, Snapshot, SnapshotReader, Step,
};
use kvwatch::{Builder, Change, EndReason, Mirror, MirrorDriver, Selector, WatchError};
use kvwatch_tests::mirrors::{MirrorFixture, MirrorRuntime};
use kvwatch_tests::runtimes::Publish;
use kvwatch_tests::shared::running;
use kvwatch_tests::{in_every_runtime, removed};

in_every_runtime![
    exact_start_events_up_to_the_snapshot_are_skipped,
    reliable_mirror_goes_on_when_the_snapshot_is_ahead_of_the_watch,
    reliable_old_snapshot_is_caught_up_from_the_history,
    reliable_old_snapshot_is_refused_when_the_history_does_not_reach_it,
    ordered_snapshot_is_refused_when_it_goes_back,
    ordered_snapshot_is_refused_when_its_revision_cannot_be_published,
    atomic_resync_replaces_the_state_at_once,
    atomic_transaction_is_applied_whole_when_it_exceeds_the_queue,
    unique_key_counts_once_when_two_parts_match_it,
    clean_nothing_changes_when_a_read_fails,
    bookmarkable_revision_advances_when_no_change_matches,
    clean_mirror_is_drained_at_shutdown,
    clean_mirror_is_drained_when_the_shutdown_precedes_the_first_read,
    clean_every_wait_ends_when_the_driver_is_dropped,
    clean_run_fails_when_the_dispatcher_fails,
    clean_waiting_driver_ends_when_it_is_closed,
];

fn a(value: &'static str) -> Change {
    Change::put("a", value)
}

async fn exact_start_events_up_to_the_snapshot_are_skipped<Rt: MirrorRuntime>() {
    let mut fixture = MirrorFixture::<Rt>::new(Selector::all(), Builder::new());
    let (mirror, mut driver) =
        Mirror::watch(&fixture.hub, Selector::all(), fixture.script.reader()).unwrap();
    assert!(mirror.view().is_none());
    fixture.write([a("1"), Change::put("b", "1")]).await;
    fixture.write([Change::delete("a")]).await;
    fixture.write([a("3"), Change::delete("b")]).await;
    fixture.script.answer(fixture.store.snapshot());
    // A deletion of a key that the snapshot does not have.
    fixture
        .write([Change::delete("c"), Change::put("d", "4")])
        .await;

    assert_eq!(
        Rt::step(&mut driver).await.unwrap(),
        Step::Loaded { revision: 3 }
    );
    let first = mirror.view().unwrap();
    assert_eq!(
        (first.revision(), first.get("a").unwrap()),
        (3, &"3".into())
    );
    fixture.store.assert_was(&first);
    let applied = Step::Applied {
        events: 2,
        revision: 4,
    };
    assert_eq!(Rt::step(&mut driver).await.unwrap(), applied);
    assert_eq!(driver.try_step().unwrap(), Step::Idle);
    fixture.store.assert_is(&mirror.view().unwrap());
    // A view taken earlier does not change.
    fixture.store.assert_was(&first);
    assert!(!first.contains_key("d"));
    assert_eq!(fixture.script.required(), [0]);
}

async fn reliable_mirror_goes_on_when_the_snapshot_is_ahead_of_the_watch<Rt: MirrorRuntime>() {
    // The store commits before it publishes, so a snapshot may be ahead of the publisher.
    let mut fixture = MirrorFixture::<Rt>::new(Selector::all(), Builder::new());
    let (mirror, mut driver) =
        Mirror::watch(&fixture.hub, Selector::all(), fixture.script.reader()).unwrap();
    let changes = vec![a("1")];
    assert_eq!(fixture.store.commit(&changes), 1);
    fixture.script.answer(fixture.store.snapshot());
    assert_eq!(
        Rt::step(&mut driver).await.unwrap(),
        Step::Loaded { revision: 1 }
    );
    fixture.publisher.publish_batch(changes).await.unwrap();
    assert_eq!(driver.try_step().unwrap(), Step::Idle);
    fixture.write([a("2")]).await;
    let applied = Step::Applied {
        events: 1,
        revision: 2,
    };
    assert_eq!(Rt::step(&mut driver).await.unwrap(), applied);
    fixture
        .store
        .assert_is(&Rt::wait_for(&mirror, 2).await.unwrap());
}

async fn reliable_old_snapshot_is_caught_up_from_the_history<Rt: MirrorRuntime>() {
    let mut fixture = MirrorFixture::<Rt>::new(Selector::all(), Builder::new());
    let _keeps_everything = fixture.hub.watch(Selector::all()).unwrap();
    fixture.write([a("1")]).await;
    fixture.script.answer(fixture.store.snapshot());
    fixture.write([a("2"), Change::put("b", "2")]).await;
    fixture.write([Change::delete("b")]).await;
    let (mirror, mut driver) =
        Mirror::watch(&fixture.hub, Selector::all(), fixture.script.reader()).unwrap();
    fixture.write([a("4")]).await;
    assert_eq!(
        Rt::step(&mut driver).await.unwrap(),
        Step::Loaded { revision: 1 }
    );
    while driver.try_step().unwrap() != Step::Idle {
        fixture.store.assert_was(&mirror.view().unwrap());
    }
    fixture.store.assert_is(&mirror.view().unwrap());
    assert_eq!(fixture.script.required(), [3]);
    // The first watcher of the mirror is gone.
    assert_eq!(fixture.hub.stats().watchers.total, 2);
}

async fn reliable_old_snapshot_is_refused_when_the_history_does_not_reach_it<Rt: MirrorRuntime>() {
    let mut fixture = MirrorFixture::<Rt>::new(Selector::all(), Builder::new().history_events(0));
    let empty = fixture.store.snapshot();
    fixture.write([a("1")]).await;
    let old = fixture.store.snapshot();
    fixture.write([a("2")]).await;
    let (mirror, mut driver) =
        Mirror::watch(&fixture.hub, Selector::all(), fixture.script.reader()).unwrap();
    for (answer, revision) in [(empty, 0), (old, 1)] {
        fixture.script.answer(answer);
        let refused = Rt::step(&mut driver).await.unwrap_err();
        assert!(refused.is_retryable());
        let text = refused.to_string();
        assert!(text.contains("must be read at 2 or later"), "{text}");
        let MirrorError::Stale {
            revision: read,
            at_least: 2,
            oldest: Some(3),
        } = refused
        else {
            panic!("{refused:?}");
        };
        assert_eq!(read, revision);
        assert!(mirror.view().is_none());
    }
    fixture.write([a("3")]).await;
    fixture.script.answer(fixture.store.snapshot());
    assert_eq!(
        Rt::step(&mut driver).await.unwrap(),
        Step::Loaded { revision: 3 }
    );
    fixture.store.assert_is(&mirror.view().unwrap());
    assert_eq!(fixture.script.required(), [2, 2, 2]);
}

/// A mirror at revision 1 that has lagged: revisions 2 to 4 are lost.
async fn lagged<Rt: MirrorRuntime>(
    fixture: &mut MirrorFixture<Rt>,
) -> (
    Mirror,
    MirrorDriver<impl SnapshotReader<Error = String> + Send + use<Rt>>,
) {
    let options = MirrorOptions::new().capacity(1);
    let reader = fixture.script.reader();
    let watched = Mirror::watch_with(&fixture.hub, Selector::all(), options, reader);
    let (mirror, mut driver) = watched.unwrap();
    fixture.script.answer(fixture.store.snapshot());
    Rt::step(&mut driver).await.unwrap();
    fixture.write([a("1"), Change::put("b", "1")]).await;
    fixture.write([Change::delete("a")]).await;
    fixture.write([Change::delete("b")]).await;
    fixture.write([Change::put("c", "4")]).await;
    let applied = Step::Applied {
        events: 2,
        revision: 1,
    };
    assert_eq!(Rt::step(&mut driver).await.unwrap(), applied);
    let missed = Step::Lagged(removed(2, 4));
    assert_eq!(Rt::step(&mut driver).await.unwrap(), missed);
    (mirror, driver)
}

async fn ordered_snapshot_is_refused_when_it_goes_back<Rt: MirrorRuntime>() {
    let mut fixture = MirrorFixture::<Rt>::new(Selector::all(), Builder::new().history_events(0));
    let empty = fixture.store.snapshot();
    let (mirror, mut driver) = lagged::<Rt>(&mut fixture).await;
    fixture.script.answer(empty);
    let refused = Rt::step(&mut driver).await.unwrap_err();
    let text = refused.to_string();
    assert!(text.contains("must not go back"), "{text}");
    let MirrorError::WentBack {
        revision: 0,
        applied: 1,
    } = refused
    else {
        panic!("{refused:?}");
    };
    fixture.store.assert_was(&mirror.view().unwrap());
    assert_eq!(mirror.view().unwrap().revision(), 1);
    fixture.script.answer(fixture.store.snapshot());
    assert_eq!(
        Rt::step(&mut driver).await.unwrap(),
        Step::Resynced { revision: 4 }
    );
    fixture.store.assert_is(&mirror.view().unwrap());
}

async fn ordered_snapshot_is_refused_when_its_revision_cannot_be_published<Rt: MirrorRuntime>() {
    let mut fixture = MirrorFixture::<Rt>::new(Selector::all(), Builder::new());
    let reader = fixture.script.reader();
    let (mirror, mut driver) = Mirror::watch(&fixture.hub, Selector::all(), reader).unwrap();
    fixture.script.answer(Snapshot::at(u64::MAX));
    let refused = Rt::step(&mut driver).await.unwrap_err();
    assert_eq!(refused, MirrorError::Revision { revision: u64::MAX });
    assert!(refused.is_retryable() && mirror.view().is_none());
    assert!(refused.to_string().contains(&(u64::MAX - 1).to_string()));
    fixture.script.answer(fixture.store.snapshot());
    Rt::step(&mut driver).await.unwrap();
    fixture.write([a("1")]).await;
    Rt::step(&mut driver).await.unwrap();
    fixture.store.assert_is(&mirror.view().unwrap());
}

async fn atomic_resync_replaces_the_state_at_once<Rt: MirrorRuntime>() {
    let mut fixture = MirrorFixture::<Rt>::new(Selector::all(), Builder::new().history_events(0));
    let (mirror, mut driver) = lagged::<Rt>(&mut fixture).await;
    // Readers see the old state until the new one is complete. A view of it stays.
    let before = mirror.view().unwrap();
    assert_eq!((before.revision(), before.len()), (1, 2));
    // Published while the driver reads the store.
    fixture.script.answer(fixture.store.snapshot());
    fixture.write([Change::put("d", "5")]).await;
    assert_eq!(
        Rt::step(&mut driver).await.unwrap(),
        Step::Resynced { revision: 4 }
    );
    let between = mirror.view().unwrap();
    fixture.store.assert_was(&between);
    assert_eq!(between.len(), 1);
    assert_eq!(fixture.script.required(), [0, 4]);
    fixture.store.assert_is(&{
        Rt::step(&mut driver).await.unwrap();
        mirror.view().unwrap()
    });
    fixture.store.assert_was(&before);
}

async fn atomic_transaction_is_applied_whole_when_it_exceeds_the_queue<Rt: MirrorRuntime>() {
    let mut fixture = MirrorFixture::<Rt>::new(Selector::all(), Builder::new().queue_capacity(2));
    let (mirror, mut driver) =
        Mirror::watch(&fixture.hub, Selector::all(), fixture.script.reader()).unwrap();
    fixture.script.answer(fixture.store.snapshot());
    Rt::step(&mut driver).await.unwrap();
    // Larger than the queue and than a segment. Some keys occur several times.
    let large = (0..1000).map(|n| Change::put(format!("k{}", n % 700), n.to_string()));
    fixture.write(large).await;
    let applied = Step::Applied {
        events: 1000,
        revision: 1,
    };
    assert_eq!(Rt::step(&mut driver).await.unwrap(), applied);
    let view = mirror.view().unwrap();
    assert_eq!((view.len(), view.prefix("k69").count()), (700, 11));
    fixture.store.assert_is(&view);
}

async fn unique_key_counts_once_when_two_parts_match_it<Rt: MirrorRuntime>() {
    let union = Selector::any([
        Selector::prefix("a/"),
        Selector::range("a/5".."b/3"),
        Selector::exact("a/7"),
    ]);
    let mut fixture = MirrorFixture::<Rt>::new(union.clone(), Builder::new());
    fixture
        .write([Change::put("a/6", "0"), Change::put("b/4", "0")])
        .await;
    let (mirror, mut driver) = Mirror::watch(&fixture.hub, union, fixture.script.reader()).unwrap();
    // One key does not match. Another is inserted once for each part that matches it.
    let mut snapshot = fixture.store.snapshot();
    snapshot.insert("a/6", "0");
    fixture.script.answer(snapshot);
    Rt::step(&mut driver).await.unwrap();
    fixture.store.assert_is(&mirror.view().unwrap());
    fixture
        .write([Change::put("a/7", "2"), Change::put("b/5", "2")])
        .await;
    let applied = Step::Applied {
        events: 1,
        revision: 2,
    };
    assert_eq!(Rt::step(&mut driver).await.unwrap(), applied);
    fixture.store.assert_is(&mirror.view().unwrap());
}

async fn clean_nothing_changes_when_a_read_fails<Rt: MirrorRuntime>() {
    let mut fixture = MirrorFixture::<Rt>::new(Selector::all(), Builder::new().history_events(0));
    let (mirror, mut driver) = lagged::<Rt>(&mut fixture).await;
    for _ in 0..2 {
        let failed = Rt::run(&mut driver).await.unwrap_err();
        assert!(failed.is_retryable());
        let MirrorError::Read(said) = &failed else {
            panic!("{failed:?}");
        };
        assert_eq!(said, "no answer");
        assert_eq!(
            (mirror.view().unwrap().revision(), mirror.end_reason()),
            (1, None)
        );
    }
    fixture.script.answer(fixture.store.snapshot());
    Rt::step(&mut driver).await.unwrap();
    fixture.store.assert_is(&mirror.view().unwrap());
}

async fn bookmarkable_revision_advances_when_no_change_matches<Rt: MirrorRuntime>() {
    let (mut publisher, hub) = running::<Rt>(Builder::new());
    let read = |_| Ok::<_, Infallible>(Snapshot::at(0));
    let (mirror, mut driver) = Mirror::watch(&hub, Selector::prefix("a/"), read).unwrap();
    let driving = Rt::spawn(async move { Rt::run(&mut driver).await });
    assert_eq!(Rt::wait_for(&mirror, 0).await.unwrap().revision(), 0);
    for _ in 0..100 {
        publisher.publish_batch(vec![]).await.unwrap();
        let revision = publisher.publish(Change::put("b", "")).await.unwrap();
        let view = Rt::wait_for(&mirror, revision).await.unwrap();
        assert_eq!((view.revision(), view.len()), (revision, 0));
    }
    // Several waits before the publish, the highest revision first.
    let waits: Vec<_> = [203, 202, 201, 201]
        .map(|revision| {
            let mirror = mirror.clone();
            Rt::spawn(async move { Rt::wait_for(&mirror, revision).await.unwrap() })
        })
        .into();
    for key in ["b", "a/1", "b"] {
        publisher.publish(Change::put(key, "")).await.unwrap();
    }
    for wait in waits {
        assert!(wait.await.revision() >= 201);
    }
    publisher.shutdown().await.unwrap();
    assert_eq!(driving.await.unwrap(), EndReason::ShutDown);
    assert_eq!(mirror.view().unwrap().revision(), 203);
}

async fn clean_mirror_is_drained_at_shutdown<Rt: MirrorRuntime>() {
    let mut fixture = MirrorFixture::<Rt>::new(Selector::all(), Builder::new().queue_capacity(2));
    let (mirror, mut driver) =
        Mirror::watch(&fixture.hub, Selector::all(), fixture.script.reader()).unwrap();
    fixture.script.answer(fixture.store.snapshot());
    Rt::step(&mut driver).await.unwrap();
    for number in 0..10 {
        fixture.write([Change::put(number.to_string(), "")]).await;
    }
    fixture.write([]).await;
    let waiting = mirror.wait_for_async(12);
    drop(fixture.publisher);
    assert_eq!(Rt::run(&mut driver).await.unwrap(), EndReason::ShutDown);
    assert_eq!(Rt::run(&mut driver).await.unwrap(), EndReason::ShutDown);
    assert_eq!(driver.try_step().unwrap(), Step::Ended(EndReason::ShutDown));
    let end = MirrorEnd::Watch(EndReason::ShutDown);
    let closed = MirrorWaitError::Closed {
        wanted: 12,
        applied: Some(11),
        end,
    };
    assert_eq!(waiting.await.unwrap_err(), closed);
    assert_eq!(Rt::wait_for(&mirror, 12).await.unwrap_err(), closed);
    assert!(closed.to_string().contains("12"), "{closed}");
    drop(driver);
    // Applied revisions can still be read and waited for. The end does not change.
    fixture
        .store
        .assert_is(&Rt::wait_for(&mirror, 11).await.unwrap());
    assert_eq!(mirror.end_reason(), Some(end));
    let refused = Mirror::watch(&fixture.hub, Selector::all(), fixture.script.reader());
    let refused = refused.map(|_| ()).unwrap_err();
    assert_eq!(refused, WatchError::Closed(EndReason::ShutDown));
}

async fn clean_mirror_is_drained_when_the_shutdown_precedes_the_first_read<Rt: MirrorRuntime>() {
    let mut fixture = MirrorFixture::<Rt>::new(Selector::all(), Builder::new());
    let (mirror, mut driver) =
        Mirror::watch(&fixture.hub, Selector::all(), fixture.script.reader()).unwrap();
    fixture.write([a("1")]).await;
    fixture.script.answer(fixture.store.snapshot());
    fixture.write([Change::put("b", "2")]).await;
    drop(fixture.publisher);
    assert_eq!(Rt::run(&mut driver).await.unwrap(), EndReason::ShutDown);
    fixture.store.assert_is(&mirror.view().unwrap());
}

async fn clean_every_wait_ends_when_the_driver_is_dropped<Rt: MirrorRuntime>() {
    let (_publisher, hub) = running::<Rt>(Builder::new());
    let read = |_| Ok::<_, Infallible>(Snapshot::at(0));
    for loaded in [false, true] {
        let (mirror, mut driver) = Mirror::watch(&hub, Selector::all(), read).unwrap();
        if loaded {
            Rt::step(&mut driver).await.unwrap();
        }
        let waiting = {
            let mirror = mirror.clone();
            Rt::spawn(async move { Rt::wait_for(&mirror, 1).await.unwrap_err() })
        };
        let polled = mirror.wait_for_async(2);
        let dropping = Rt::spawn(async move { drop(driver) });
        let applied = loaded.then_some(0);
        let end = MirrorEnd::Dropped;
        let closed = |wanted| MirrorWaitError::Closed {
            wanted,
            applied,
            end,
        };
        assert_eq!(waiting.await, closed(1));
        assert_eq!(polled.await.unwrap_err(), closed(2));
        dropping.await;
        assert_eq!(mirror.end_reason(), Some(end));
        assert_eq!(mirror.view().is_some(), loaded);
        assert_eq!(hub.stats().watchers.total, 0);
    }
}

async fn clean_run_fails_when_the_dispatcher_fails<Rt: MirrorRuntime>() {
    let mut fixture = MirrorFixture::<Rt>::new(Selector::all(), Builder::new());
    let (mirror, mut driver) =
        Mirror::watch(&fixture.hub, Selector::all(), fixture.script.reader()).unwrap();
    fixture.script.answer(fixture.store.snapshot());
    Rt::step(&mut driver).await.unwrap();
    fixture.write([a("1")]).await;
    drop(fixture.dispatcher);
    for _ in 0..2 {
        let ended = Rt::run(&mut driver).await.unwrap_err();
        assert!(!ended.is_retryable());
        assert!(matches!(ended, MirrorError::Ended(EndReason::Failed)));
    }
    fixture.store.assert_is(&mirror.view().unwrap());
    assert_eq!(
        mirror.end_reason(),
        Some(MirrorEnd::Watch(EndReason::Failed))
    );
}

async fn clean_waiting_driver_ends_when_it_is_closed<Rt: MirrorRuntime>() {
    let (_publisher, hub) = running::<Rt>(Builder::new());
    let read = |_| Ok::<_, Infallible>(Snapshot::at(0));
    let (mirror, mut driver) = Mirror::watch(&hub, Selector::all(), read).unwrap();
    let closer = driver.closer();
    let driving = Rt::spawn(async move { Rt::run(&mut driver).await });
    Rt::wait_for(&mirror, 0).await.unwrap();
    closer.close();
    assert_eq!(driving.await.unwrap(), EndReason::Closed);
    assert_eq!(
        mirror.end_reason(),
        Some(MirrorEnd::Watch(EndReason::Closed))
    );
    assert!(mirror.view().is_some());
    closer.close();
}

//! Mirrors, step by step, in every world. Random ones are in `mirror_random.rs`.

use std::convert::Infallible;

use kvwatch::mirror::{
    MirrorEnd, MirrorError, MirrorOptions, MirrorWaitError, Snapshot, SnapshotReader, Step,
};
use kvwatch::{Builder, Change, EndReason, Lagged, Mirror, MirrorDriver, Selector, WatchError};
use kvwatch_tests::bodies::running;
use kvwatch_tests::in_every_world;
use kvwatch_tests::mirrors::{ByHand, MirrorWorld};
use kvwatch_tests::worlds::Publish;

in_every_world![
    exact_start_events_up_to_the_read_are_skipped,
    reliable_a_read_that_is_ahead_waits_for_nothing,
    reliable_an_old_read_is_caught_up_from_the_history,
    reliable_an_old_read_that_the_history_does_not_reach_is_refused,
    ordered_a_read_that_goes_back_is_refused,
    atomic_a_resync_takes_the_old_states_place_at_once,
    atomic_a_transaction_is_applied_whole,
    unique_what_is_matched_twice_counts_once,
    clean_a_read_that_fails_changes_nothing,
    bookmarkable_what_does_not_concern_it_moves_the_revision,
    clean_a_shutdown_is_drained,
    clean_a_shutdown_before_the_first_read_is_drained,
    clean_a_dropped_driver_ends_every_wait,
    clean_an_end_that_nobody_asked_for_is_an_error,
    clean_a_closer_ends_a_waiting_driver,
];

fn a(value: &'static str) -> Change {
    Change::put("a", value)
}

async fn exact_start_events_up_to_the_read_are_skipped<W: MirrorWorld>() {
    let mut hand = ByHand::<W>::new(Selector::all(), Builder::new());
    let (mirror, mut driver) =
        Mirror::watch(&hand.hub, Selector::all(), hand.script.reader()).unwrap();
    assert!(mirror.view().is_none());
    hand.write([a("1"), Change::put("b", "1")]).await;
    hand.write([Change::delete("a")]).await;
    hand.write([a("3"), Change::delete("b")]).await;
    hand.script.answer(hand.store.snapshot());
    // Of a key that the read does not have.
    hand.write([Change::delete("c"), Change::put("d", "4")])
        .await;

    assert_eq!(
        W::step(&mut driver).await.unwrap(),
        Step::Loaded { revision: 3 }
    );
    let first = mirror.view().unwrap();
    assert_eq!(
        (first.revision(), first.get("a").unwrap()),
        (3, &"3".into())
    );
    hand.store.assert_was(&first);
    let applied = Step::Applied {
        events: 2,
        revision: 4,
    };
    assert_eq!(W::step(&mut driver).await.unwrap(), applied);
    assert_eq!(driver.try_step().unwrap(), Step::Idle);
    hand.store.assert_is(&mirror.view().unwrap());
    // What was taken before stays as it was.
    hand.store.assert_was(&first);
    assert!(!first.contains_key("d"));
    assert_eq!(hand.script.asked(), [0]);
}

async fn reliable_a_read_that_is_ahead_waits_for_nothing<W: MirrorWorld>() {
    // The store commits before it publishes, so a read may be ahead of what is published.
    let mut hand = ByHand::<W>::new(Selector::all(), Builder::new());
    let (mirror, mut driver) =
        Mirror::watch(&hand.hub, Selector::all(), hand.script.reader()).unwrap();
    let changes = vec![a("1")];
    assert_eq!(hand.store.commit(&changes), 1);
    hand.script.answer(hand.store.snapshot());
    assert_eq!(
        W::step(&mut driver).await.unwrap(),
        Step::Loaded { revision: 1 }
    );
    hand.publisher.publish_batch(changes).await.unwrap();
    assert_eq!(driver.try_step().unwrap(), Step::Idle);
    hand.write([a("2")]).await;
    let applied = Step::Applied {
        events: 1,
        revision: 2,
    };
    assert_eq!(W::step(&mut driver).await.unwrap(), applied);
    hand.store
        .assert_is(&W::wait_for(&mirror, 2).await.unwrap());
}

async fn reliable_an_old_read_is_caught_up_from_the_history<W: MirrorWorld>() {
    let mut hand = ByHand::<W>::new(Selector::all(), Builder::new());
    let _keeps_everything = hand.hub.watch(Selector::all()).unwrap();
    hand.write([a("1")]).await;
    hand.script.answer(hand.store.snapshot());
    hand.write([a("2"), Change::put("b", "2")]).await;
    hand.write([Change::delete("b")]).await;
    let (mirror, mut driver) =
        Mirror::watch(&hand.hub, Selector::all(), hand.script.reader()).unwrap();
    hand.write([a("4")]).await;
    assert_eq!(
        W::step(&mut driver).await.unwrap(),
        Step::Loaded { revision: 1 }
    );
    while driver.try_step().unwrap() != Step::Idle {
        hand.store.assert_was(&mirror.view().unwrap());
    }
    hand.store.assert_is(&mirror.view().unwrap());
    assert_eq!(hand.script.asked(), [3]);
    // The watcher that was there first is gone.
    assert_eq!(hand.hub.stats().watchers.total, 2);
}

async fn reliable_an_old_read_that_the_history_does_not_reach_is_refused<W: MirrorWorld>() {
    let mut hand = ByHand::<W>::new(Selector::all(), Builder::new().history(0));
    let empty = hand.store.snapshot();
    hand.write([a("1")]).await;
    let old = hand.store.snapshot();
    hand.write([a("2")]).await;
    let (mirror, mut driver) =
        Mirror::watch(&hand.hub, Selector::all(), hand.script.reader()).unwrap();
    for (answer, revision) in [(empty, 0), (old, 1)] {
        hand.script.answer(answer);
        let refused = W::step(&mut driver).await.unwrap_err();
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
    hand.write([a("3")]).await;
    hand.script.answer(hand.store.snapshot());
    assert_eq!(
        W::step(&mut driver).await.unwrap(),
        Step::Loaded { revision: 3 }
    );
    hand.store.assert_is(&mirror.view().unwrap());
    assert_eq!(hand.script.asked(), [2, 2, 2]);
}

/// A mirror that shows revision 1 and has lagged: revisions 2 to 4 are gone.
async fn lagged<W: MirrorWorld>(
    hand: &mut ByHand<W>,
) -> (
    Mirror,
    MirrorDriver<impl SnapshotReader<Error = String> + Send + use<W>>,
) {
    let options = MirrorOptions::new().capacity(1);
    let reader = hand.script.reader();
    let watched = Mirror::watch_with(&hand.hub, Selector::all(), options, reader);
    let (mirror, mut driver) = watched.unwrap();
    hand.script.answer(hand.store.snapshot());
    W::step(&mut driver).await.unwrap();
    hand.write([a("1"), Change::put("b", "1")]).await;
    hand.write([Change::delete("a")]).await;
    hand.write([Change::delete("b")]).await;
    hand.write([Change::put("c", "4")]).await;
    let applied = Step::Applied {
        events: 2,
        revision: 1,
    };
    assert_eq!(W::step(&mut driver).await.unwrap(), applied);
    let missed = Step::Lagged(Lagged { from: 2, to: 4 });
    assert_eq!(W::step(&mut driver).await.unwrap(), missed);
    (mirror, driver)
}

async fn ordered_a_read_that_goes_back_is_refused<W: MirrorWorld>() {
    let mut hand = ByHand::<W>::new(Selector::all(), Builder::new().history(0));
    let empty = hand.store.snapshot();
    let (mirror, mut driver) = lagged::<W>(&mut hand).await;
    hand.script.answer(empty);
    let refused = W::step(&mut driver).await.unwrap_err();
    let text = refused.to_string();
    assert!(text.contains("must not go back"), "{text}");
    let MirrorError::WentBack {
        revision: 0,
        applied: 1,
    } = refused
    else {
        panic!("{refused:?}");
    };
    hand.store.assert_was(&mirror.view().unwrap());
    assert_eq!(mirror.view().unwrap().revision(), 1);
    hand.script.answer(hand.store.snapshot());
    assert_eq!(
        W::step(&mut driver).await.unwrap(),
        Step::Resynced { revision: 4 }
    );
    hand.store.assert_is(&mirror.view().unwrap());
}

async fn atomic_a_resync_takes_the_old_states_place_at_once<W: MirrorWorld>() {
    let mut hand = ByHand::<W>::new(Selector::all(), Builder::new().history(0));
    let (mirror, mut driver) = lagged::<W>(&mut hand).await;
    // Readers keep the old state until the new one is there, and after that.
    let before = mirror.view().unwrap();
    assert_eq!((before.revision(), before.len()), (1, 2));
    // Published while the store is read.
    hand.script.answer(hand.store.snapshot());
    hand.write([Change::put("d", "5")]).await;
    assert_eq!(
        W::step(&mut driver).await.unwrap(),
        Step::Resynced { revision: 4 }
    );
    let between = mirror.view().unwrap();
    hand.store.assert_was(&between);
    assert_eq!(between.len(), 1);
    assert_eq!(hand.script.asked(), [0, 4]);
    hand.store.assert_is(&{
        W::step(&mut driver).await.unwrap();
        mirror.view().unwrap()
    });
    hand.store.assert_was(&before);
}

async fn atomic_a_transaction_is_applied_whole<W: MirrorWorld>() {
    let mut hand = ByHand::<W>::new(Selector::all(), Builder::new().queue(2));
    let (mirror, mut driver) =
        Mirror::watch(&hand.hub, Selector::all(), hand.script.reader()).unwrap();
    hand.script.answer(hand.store.snapshot());
    W::step(&mut driver).await.unwrap();
    // Larger than the queue, and than a segment; one key several times.
    let large = (0..1000).map(|n| Change::put(format!("k{}", n % 700), n.to_string()));
    hand.write(large).await;
    let applied = Step::Applied {
        events: 1000,
        revision: 1,
    };
    assert_eq!(W::step(&mut driver).await.unwrap(), applied);
    let view = mirror.view().unwrap();
    assert_eq!((view.len(), view.prefix("k69").count()), (700, 11));
    hand.store.assert_is(&view);
}

async fn unique_what_is_matched_twice_counts_once<W: MirrorWorld>() {
    let union = Selector::any([
        Selector::prefix("a/"),
        Selector::range("a/5".."b/3"),
        Selector::exact("a/7"),
    ]);
    let mut hand = ByHand::<W>::new(union.clone(), Builder::new());
    hand.write([Change::put("a/6", "0"), Change::put("b/4", "0")])
        .await;
    let (mirror, mut driver) = Mirror::watch(&hand.hub, union, hand.script.reader()).unwrap();
    // With a key that the selector does not match, and another that is read for each part.
    let mut snapshot = hand.store.snapshot();
    snapshot.insert("a/6", "0");
    hand.script.answer(snapshot);
    W::step(&mut driver).await.unwrap();
    hand.store.assert_is(&mirror.view().unwrap());
    hand.write([Change::put("a/7", "2"), Change::put("b/5", "2")])
        .await;
    let applied = Step::Applied {
        events: 1,
        revision: 2,
    };
    assert_eq!(W::step(&mut driver).await.unwrap(), applied);
    hand.store.assert_is(&mirror.view().unwrap());
}

async fn clean_a_read_that_fails_changes_nothing<W: MirrorWorld>() {
    let mut hand = ByHand::<W>::new(Selector::all(), Builder::new().history(0));
    let (mirror, mut driver) = lagged::<W>(&mut hand).await;
    for _ in 0..2 {
        let failed = W::run(&mut driver).await.unwrap_err();
        assert!(failed.is_retryable());
        let MirrorError::Read(said) = &failed else {
            panic!("{failed:?}");
        };
        assert_eq!(said, "no answer");
        assert_eq!(
            (mirror.view().unwrap().revision(), mirror.ended()),
            (1, None)
        );
    }
    hand.script.answer(hand.store.snapshot());
    W::step(&mut driver).await.unwrap();
    hand.store.assert_is(&mirror.view().unwrap());
}

async fn bookmarkable_what_does_not_concern_it_moves_the_revision<W: MirrorWorld>() {
    let (mut publisher, hub) = running::<W>(Builder::new());
    let read = |_| Ok::<_, Infallible>(Snapshot::at(0));
    let (mirror, mut driver) = Mirror::watch(&hub, Selector::prefix("a/"), read).unwrap();
    let driving = W::spawn(async move { W::run(&mut driver).await });
    assert_eq!(W::wait_for(&mirror, 0).await.unwrap().revision(), 0);
    for _ in 0..100 {
        publisher.publish_batch(vec![]).await.unwrap();
        let revision = publisher.publish(Change::put("b", "")).await.unwrap();
        let view = W::wait_for(&mirror, revision).await.unwrap();
        assert_eq!((view.revision(), view.len()), (revision, 0));
    }
    // Waits before it is published, several at once, the highest first.
    let waits: Vec<_> = [203, 202, 201, 201]
        .map(|revision| {
            let mirror = mirror.clone();
            W::spawn(async move { W::wait_for(&mirror, revision).await.unwrap() })
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

async fn clean_a_shutdown_is_drained<W: MirrorWorld>() {
    let mut hand = ByHand::<W>::new(Selector::all(), Builder::new().queue(2));
    let (mirror, mut driver) =
        Mirror::watch(&hand.hub, Selector::all(), hand.script.reader()).unwrap();
    hand.script.answer(hand.store.snapshot());
    W::step(&mut driver).await.unwrap();
    for number in 0..10 {
        hand.write([Change::put(number.to_string(), "")]).await;
    }
    hand.write([]).await;
    let waiting = mirror.applied(12);
    drop(hand.publisher);
    assert_eq!(W::run(&mut driver).await.unwrap(), EndReason::ShutDown);
    assert_eq!(W::run(&mut driver).await.unwrap(), EndReason::ShutDown);
    assert_eq!(driver.try_step().unwrap(), Step::Ended(EndReason::ShutDown));
    let end = MirrorEnd::Watch(EndReason::ShutDown);
    let closed = MirrorWaitError::Closed {
        wanted: 12,
        applied: Some(11),
        end,
    };
    assert_eq!(waiting.await.unwrap_err(), closed);
    assert_eq!(W::wait_for(&mirror, 12).await.unwrap_err(), closed);
    assert!(closed.to_string().contains("12"), "{closed}");
    drop(driver);
    // What was applied can be read and waited for, for ever, and the end stays the first.
    hand.store
        .assert_is(&W::wait_for(&mirror, 11).await.unwrap());
    assert_eq!(mirror.ended(), Some(end));
    let refused = Mirror::watch(&hand.hub, Selector::all(), hand.script.reader());
    let refused = refused.map(|_| ()).unwrap_err();
    assert_eq!(refused, WatchError::Closed(EndReason::ShutDown));
}

async fn clean_a_shutdown_before_the_first_read_is_drained<W: MirrorWorld>() {
    let mut hand = ByHand::<W>::new(Selector::all(), Builder::new());
    let (mirror, mut driver) =
        Mirror::watch(&hand.hub, Selector::all(), hand.script.reader()).unwrap();
    hand.write([a("1")]).await;
    hand.script.answer(hand.store.snapshot());
    hand.write([Change::put("b", "2")]).await;
    drop(hand.publisher);
    assert_eq!(W::run(&mut driver).await.unwrap(), EndReason::ShutDown);
    hand.store.assert_is(&mirror.view().unwrap());
}

async fn clean_a_dropped_driver_ends_every_wait<W: MirrorWorld>() {
    let (_publisher, hub) = running::<W>(Builder::new());
    let read = |_| Ok::<_, Infallible>(Snapshot::at(0));
    for loaded in [false, true] {
        let (mirror, mut driver) = Mirror::watch(&hub, Selector::all(), read).unwrap();
        if loaded {
            W::step(&mut driver).await.unwrap();
        }
        let waiting = {
            let mirror = mirror.clone();
            W::spawn(async move { W::wait_for(&mirror, 1).await.unwrap_err() })
        };
        let polled = mirror.applied(2);
        let dropping = W::spawn(async move { drop(driver) });
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
        assert_eq!(mirror.ended(), Some(end));
        assert_eq!(mirror.view().is_some(), loaded);
        assert_eq!(hub.stats().watchers.total, 0);
    }
}

async fn clean_an_end_that_nobody_asked_for_is_an_error<W: MirrorWorld>() {
    let mut hand = ByHand::<W>::new(Selector::all(), Builder::new());
    let (mirror, mut driver) =
        Mirror::watch(&hand.hub, Selector::all(), hand.script.reader()).unwrap();
    hand.script.answer(hand.store.snapshot());
    W::step(&mut driver).await.unwrap();
    hand.write([a("1")]).await;
    drop(hand.dispatcher);
    for _ in 0..2 {
        let ended = W::run(&mut driver).await.unwrap_err();
        assert!(!ended.is_retryable());
        assert!(matches!(ended, MirrorError::Ended(EndReason::Failed)));
    }
    hand.store.assert_is(&mirror.view().unwrap());
    assert_eq!(mirror.ended(), Some(MirrorEnd::Watch(EndReason::Failed)));
}

async fn clean_a_closer_ends_a_waiting_driver<W: MirrorWorld>() {
    let (_publisher, hub) = running::<W>(Builder::new());
    let read = |_| Ok::<_, Infallible>(Snapshot::at(0));
    let (mirror, mut driver) = Mirror::watch(&hub, Selector::all(), read).unwrap();
    let closer = driver.closer();
    let driving = W::spawn(async move { W::run(&mut driver).await });
    W::wait_for(&mirror, 0).await.unwrap();
    closer.close();
    assert_eq!(driving.await.unwrap(), EndReason::Closed);
    assert_eq!(mirror.ended(), Some(MirrorEnd::Watch(EndReason::Closed)));
    assert!(mirror.view().is_some());
    closer.close();
}

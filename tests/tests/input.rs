//! Input of every kind, good and bad: a defined answer, a typed error that says what would be
//! right, and everything handed back.

use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use kvwatch::{
    BuildError, Builder, Change, CompactError, EndReason, MAX_REVISION, PublishErrorKind,
    RecvError, Selector, WaitError, WatchError, WatchOptions,
};
use kvwatch_tests::want::Want;
use kvwatch_tests::{HANG, at_hand, by_hand, join_in_time, put};

/// Keys at the edges: empty, zero bytes, 0xff bytes, neighbours, 64 KiB.
fn edge_keys() -> Vec<Vec<u8>> {
    let mut keys: Vec<Vec<u8>> = [
        &b""[..],
        b"\0",
        b"\0\0",
        b"a",
        b"a\0",
        b"aa",
        b"ab",
        b"b",
        b"\xfe\xff",
        b"\xff",
        b"\xff\xff",
        b"\xff\xff\xff",
    ]
    .map(<[u8]>::to_vec)
    .to_vec();
    keys.push(vec![b'a'; 65_536]);
    keys.push(vec![0xff; 65_536]);
    keys
}

#[test]
fn every_selector_answers_for_every_key_at_the_edges() {
    let keys = edge_keys();
    let mut wants = vec![Want::All];
    for key in &keys {
        wants.push(Want::Exact(key.clone()));
        wants.push(Want::Prefix(key.clone()));
        wants.push(Want::From(key.clone()));
        for end in &keys {
            wants.push(Want::Range(key.clone(), end.clone()));
            wants.push(Want::Any(vec![
                Want::Exact(end.clone()),
                Want::Prefix(key.clone()),
            ]));
        }
    }
    wants.push(Want::Any(vec![]));
    let (mut publisher, hub, _dispatcher) = by_hand(Builder::new());
    let mut watchers = Vec::new();
    for want in wants {
        match hub.watch(want.selector()) {
            Ok(watcher) => {
                assert!(!want.is_void());
                watchers.push((want, watcher));
            }
            Err(error) => {
                assert!(want.is_void(), "{error}");
                match (&want, error) {
                    (Want::Range(start, end), WatchError::EmptyRange { start: s, end: e }) => {
                        assert_eq!((&s[..], &e[..]), (&start[..], &end[..]), "named as given");
                    }
                    (Want::Any(_), WatchError::EmptyUnion) => {}
                    (want, error) => panic!("{want:?}: {error}"),
                }
            }
        }
    }
    assert!(watchers.len() > 200);
    for key in &keys {
        let published = publisher.publish(Change::put(key.clone(), "")).unwrap();
        for (want, watcher) in &mut watchers {
            let expected: &[u64] = if want.wants(key) { &[published] } else { &[] };
            assert_eq!(at_hand(watcher), expected, "{want:?} and {key:?}");
            assert_eq!(watcher.selector().matches(key), want.wants(key));
        }
    }
}

#[test]
fn a_union_with_an_empty_range_within_is_refused() {
    let (_publisher, hub, _dispatcher) = by_hand(Builder::new());
    let any = Selector::any([Selector::exact("k"), Selector::range("b".."a")]);
    let refused = hub.watch(any).unwrap_err();
    assert!(matches!(refused, WatchError::EmptyRange { .. }));
    assert!(refused.to_string().contains("b\"a\""), "{refused}");
}

#[test]
fn zero_capacities_are_refused_by_name() {
    let names = |builder: Builder| match builder.build().unwrap_err() {
        BuildError::ZeroCapacity { what } => what,
        other => panic!("{other}"),
    };
    assert!(names(Builder::new().queue(0)).contains("Builder::queue"));
    assert!(names(Builder::new().queue_bytes(0)).contains("Builder::queue_bytes"));
    assert!(names(Builder::new().ingress(0)).contains("Builder::ingress"));
    assert!(names(Builder::new().watchers(0)).contains("Builder::watchers"));
    assert!(Builder::new().history(0).history_bytes(0).build().is_ok());
    let (_publisher, hub, _dispatcher) = by_hand(Builder::new());
    for options in [
        WatchOptions::new().capacity(0),
        WatchOptions::new().capacity_bytes(0),
    ] {
        let refused = hub.watch_with("k", options).unwrap_err();
        assert!(matches!(refused, WatchError::ZeroCapacity { .. }));
        assert!(refused.to_string().contains("at least 1"), "{refused}");
    }
    assert_eq!(hub.stats().watchers.total, 0);
}

#[test]
fn a_revision_that_does_not_grow_is_refused_and_handed_back() {
    let (mut publisher, hub, _dispatcher) = by_hand(Builder::new().revision(10));
    let mut watcher = hub.watch(Selector::all()).unwrap();
    let entry = |revision, key| (revision, vec![put(key)]);
    for (entries, given, last) in [
        (vec![entry(10, "a")], 10, 10),
        (vec![entry(0, "a")], 0, 10),
        (vec![entry(11, "a"), entry(11, "b")], 11, 11),
        (vec![entry(11, "a"), entry(20, "b"), entry(19, "c")], 19, 20),
        (vec![entry(11, "a"), entry(u64::MAX, "b")], u64::MAX, 11),
    ] {
        let refused = publisher.publish_many(entries.clone()).unwrap_err();
        assert_eq!(refused.kind(), PublishErrorKind::Revision { given, last });
        assert!(refused.to_string().contains(&given.to_string()));
        assert_eq!(refused.into_input(), entries);
    }
    assert_eq!(publisher.revision(), 10, "nothing of it was published");
    let entries = [entry(11, "a"), (15, vec![]), entry(MAX_REVISION, "b")];
    assert_eq!(publisher.publish_many(entries).unwrap(), MAX_REVISION);
    assert_eq!(at_hand(&mut watcher), [11, MAX_REVISION]);
    assert_eq!(watcher.progress(), MAX_REVISION);
    let refused = publisher.publish(put("c")).unwrap_err();
    assert!(refused.to_string().contains("largest"), "{refused}");
    let refused = publisher.publish_batch([put("c")]).unwrap_err();
    assert_eq!(refused.into_input(), [put("c")]);
    let too_far = Builder::new().revision(MAX_REVISION).build().unwrap_err();
    assert!(matches!(too_far, BuildError::Revision { .. }));
}

#[test]
fn publishing_nothing_is_fine() {
    let (mut publisher, hub, _dispatcher) = by_hand(Builder::new());
    let mut watcher = hub.watch(Selector::all()).unwrap();
    let none: [(u64, Vec<Change>); 0] = [];
    assert_eq!(publisher.publish_many(none).unwrap(), 0, "no transaction");
    assert_eq!(publisher.publish_batch([]).unwrap(), 1, "an empty one");
    publisher.publish_many([(5, vec![])]).unwrap();
    assert_eq!((at_hand(&mut watcher), watcher.progress()), (vec![], 5));
    assert_eq!(hub.stats().published_transactions, 2);
}

#[test]
fn a_full_ingress_gives_everything_back() {
    let (mut publisher, hub, dispatcher) = by_hand(Builder::new().inline(false).ingress(2));
    let mut watcher = hub.watch(Selector::all()).unwrap();
    for _ in 0..2 {
        publisher.try_publish(put("k")).unwrap();
    }
    let full = PublishErrorKind::Full { capacity: 2 };
    let change = put("handed in").with_prev_value(kvwatch::PrevValue::Absent);
    let refused = publisher.try_publish(change.clone()).unwrap_err();
    assert_eq!((refused.kind(), refused.input()), (full, &change));
    let refused = publisher
        .publish_timeout(change.clone(), Duration::from_millis(1))
        .unwrap_err();
    assert_eq!(
        (refused.kind(), refused.into_input()),
        (full, change.clone())
    );
    let changes = vec![change.clone(), put("b")];
    let refused = publisher.try_publish_batch(changes.clone()).unwrap_err();
    assert_eq!(
        (refused.kind(), refused.into_input()),
        (full, changes.clone())
    );
    let entries = vec![(7, changes), (9, vec![]), (12, vec![change])];
    let refused = publisher.try_publish_many(entries.clone()).unwrap_err();
    assert_eq!(
        (refused.kind(), refused.into_input()),
        (full, entries.clone())
    );
    assert_eq!(publisher.revision(), 2, "no revision was used up");
    assert_eq!(hub.stats().ingress_depth, 2);
    // Whoever waits goes on once there is room.
    let waiting = thread::spawn(move || {
        publisher.publish_many(entries).unwrap();
        publisher
    });
    let running = thread::spawn(|| dispatcher.run());
    drop(join_in_time(waiting));
    join_in_time(running);
    assert_eq!(at_hand(&mut watcher), [1, 2, 7, 7, 12]);
}

#[test]
fn publishing_after_the_end_is_refused_and_handed_back() {
    let (mut publisher, hub, dispatcher) = by_hand(Builder::new().inline(false).ingress(1));
    publisher.publish(put("k")).unwrap();
    let waiting = thread::spawn(move || {
        // It waits for room that never comes, or comes after the end.
        let refused = publisher.publish(put("waited")).unwrap_err();
        assert_eq!(refused.kind(), PublishErrorKind::Closed(EndReason::Failed));
        assert_eq!(refused.into_input(), put("waited"));
        publisher
    });
    drop(dispatcher);
    let mut publisher = join_in_time(waiting);
    let closed = PublishErrorKind::Closed(EndReason::Failed);
    let refused = publisher.publish_batch([put("a"), put("b")]).unwrap_err();
    assert_eq!((refused.kind(), refused.input().len()), (closed, 2));
    let refused = publisher.publish_lossy(put("a")).unwrap_err();
    assert_eq!((refused.kind(), refused.into_input()), (closed, put("a")));
    assert_eq!(
        hub.wait_for(1, HANG),
        Err(WaitError::Closed(EndReason::Failed))
    );
    assert_eq!(
        publisher.shutdown(HANG),
        Err(WaitError::Closed(EndReason::Failed))
    );
}

#[test]
fn compaction_forgets_up_to_the_present_and_no_further() {
    let (mut publisher, hub, _dispatcher) = by_hand(Builder::new());
    let mut live = hub.watch("k").unwrap();
    let mut behind = hub
        .watch_with("k", WatchOptions::new().capacity(1))
        .unwrap();
    for _ in 0..10 {
        publisher.publish(put("k")).unwrap();
    }
    let refused = CompactError::Future {
        requested: 12,
        largest: 11,
    };
    assert_eq!(publisher.compact(12), Err(refused));
    assert!(refused.to_string().contains("11"), "{refused}");
    publisher.compact(6).unwrap();
    publisher.compact(3).unwrap();
    assert_eq!(hub.stats().history.oldest, 6);
    assert_eq!(at_hand(&mut live).len(), 10, "live watchers notice nothing");
    let items: Vec<_> = behind.try_iter().collect();
    assert_eq!(items[0].as_ref().unwrap().revision(), 1);
    let lag = kvwatch::Lagged { from: 2, to: 5 };
    assert_eq!(items[1], Err(RecvError::Lagged(lag)));
    assert_eq!(items.len(), 7);
    publisher.compact(11).unwrap();
    let stats = hub.stats().history;
    assert_eq!((stats.oldest, stats.events, stats.bytes), (11, 0, 0));
}

#[test]
fn the_limit_on_watchers_is_exact_under_concurrent_registration() {
    let (_publisher, hub) = Builder::new().watchers(100).spawn().unwrap();
    let start = Arc::new(Barrier::new(4));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (hub, start) = (hub.clone(), Arc::clone(&start));
            thread::spawn(move || {
                start.wait();
                let mut mine = Vec::new();
                for _ in 0..2000 {
                    match hub.watch("k") {
                        Ok(watcher) => mine.push(watcher),
                        Err(WatchError::TooManyWatchers { limit: 100 }) => {
                            mine.truncate(mine.len() / 2);
                        }
                        Err(other) => panic!("{other}"),
                    }
                    assert!(hub.stats().watchers.total <= 100);
                }
                mine
            })
        })
        .collect();
    let mine: Vec<_> = threads.into_iter().flat_map(join_in_time).collect();
    assert_eq!(hub.stats().watchers.total, mine.len());
    let rest: Vec<_> = (mine.len()..100).map(|_| hub.watch("k").unwrap()).collect();
    let refused = hub.watch("k").unwrap_err();
    assert!(refused.to_string().contains("100"), "{refused}");
    drop((mine, rest));
    assert!(hub.watch("k").is_ok());
}

#[test]
fn ids_are_never_used_twice() {
    let (_publisher, hub) = Builder::new().watchers(10).spawn().unwrap();
    let mut ids = std::collections::HashSet::new();
    for _ in 0..1000 {
        assert!(ids.insert(hub.watch("k").unwrap().id()));
        drop(hub.watch(Selector::any([])));
    }
}

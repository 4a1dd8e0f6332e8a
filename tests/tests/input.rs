//! Valid and invalid input: the answer is defined, the error is typed and says which input is valid,
//! and the input comes back.

use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use kvwatch::{
    BuildError, Builder, Change, CompactError, EndReason, MAX_REVISION, PublishErrorKind,
    RecvError, Selector, WaitError, WatchError, WatchOptions,
};
use kvwatch_tests::selector::NaiveSelector;
use kvwatch_tests::{HANG, eventually, inline_engine, join_in_time, put, ready_revisions, removed};

/// Edge cases of keys: empty, zero bytes, 0xff bytes, neighbours, 64 KiB.
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
fn selectors_match_as_the_naive_ones_do_for_keys_at_the_edges() {
    let keys = edge_keys();
    let mut selectors = vec![NaiveSelector::All];
    for key in &keys {
        selectors.push(NaiveSelector::Exact(key.clone()));
        selectors.push(NaiveSelector::Prefix(key.clone()));
        selectors.push(NaiveSelector::From(key.clone()));
        for end in &keys {
            selectors.push(NaiveSelector::Range(key.clone(), end.clone()));
            selectors.push(NaiveSelector::Any(vec![
                NaiveSelector::Exact(end.clone()),
                NaiveSelector::Prefix(key.clone()),
            ]));
        }
    }
    selectors.push(NaiveSelector::Any(vec![]));
    let (mut publisher, hub, _dispatcher) = inline_engine(Builder::new());
    let mut watchers = Vec::new();
    for selector in selectors {
        match hub.watch(selector.to_selector()) {
            Ok(watcher) => {
                assert!(!selector.is_void());
                watchers.push((selector, watcher));
            }
            Err(error) => {
                assert!(selector.is_void(), "{error}");
                match (&selector, error) {
                    (
                        NaiveSelector::Range(start, end),
                        WatchError::EmptyRange { start: s, end: e },
                    ) => {
                        assert_eq!((&s[..], &e[..]), (&start[..], &end[..]), "named as given");
                    }
                    (NaiveSelector::Any(_), WatchError::EmptyUnion) => {}
                    (selector, error) => panic!("{selector:?}: {error}"),
                }
            }
        }
    }
    assert!(watchers.len() > 200);
    for key in &keys {
        let published = publisher.publish(Change::put(key.clone(), "")).unwrap();
        for (selector, watcher) in &mut watchers {
            let expected: &[u64] = if selector.matches(key) {
                &[published]
            } else {
                &[]
            };
            assert_eq!(
                ready_revisions(watcher),
                expected,
                "{selector:?} and {key:?}"
            );
            assert_eq!(watcher.selector().matches(key), selector.matches(key));
        }
    }
}

#[test]
fn union_is_refused_when_it_contains_an_empty_range() {
    let (_publisher, hub, _dispatcher) = inline_engine(Builder::new());
    let any = Selector::any([Selector::exact("k"), Selector::range("b".."a")]);
    let refused = hub.watch(any).unwrap_err();
    assert!(matches!(refused, WatchError::EmptyRange { .. }));
    assert!(refused.to_string().contains("b\"a\""), "{refused}");
}

#[test]
fn zero_capacity_is_refused_by_its_name() {
    let names = |builder: Builder| match builder.build().unwrap_err() {
        BuildError::ZeroCapacity { what } => what,
        other => panic!("{other}"),
    };
    assert!(names(Builder::new().queue_capacity(0)).contains("Builder::queue_capacity"));
    assert!(names(Builder::new().queue_bytes(0)).contains("Builder::queue_bytes"));
    assert!(names(Builder::new().ingress_capacity(0)).contains("Builder::ingress_capacity"));
    assert!(names(Builder::new().max_watchers(0)).contains("Builder::max_watchers"));
    assert!(
        Builder::new()
            .history_events(0)
            .history_bytes(0)
            .build()
            .is_ok()
    );
    let (_publisher, hub, _dispatcher) = inline_engine(Builder::new());
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
fn ordered_transactions_come_back_when_a_revision_does_not_grow() {
    let (mut publisher, hub, _dispatcher) = inline_engine(Builder::new().start_revision(10));
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
    assert_eq!(ready_revisions(&mut watcher), [11, MAX_REVISION]);
    assert_eq!(watcher.progress(), MAX_REVISION);
    let refused = publisher.publish(put("c")).unwrap_err();
    assert!(refused.to_string().contains("largest"), "{refused}");
    let refused = publisher.publish_batch([put("c")]).unwrap_err();
    assert_eq!(refused.into_input(), [put("c")]);
    let too_far = Builder::new()
        .start_revision(MAX_REVISION)
        .build()
        .unwrap_err();
    assert!(matches!(too_far, BuildError::Revision { .. }));
}

#[test]
fn publish_succeeds_when_there_is_nothing_to_publish() {
    let (mut publisher, hub, _dispatcher) = inline_engine(Builder::new());
    let mut watcher = hub.watch(Selector::all()).unwrap();
    let none: [(u64, Vec<Change>); 0] = [];
    assert_eq!(publisher.publish_many(none).unwrap(), 0, "no transaction");
    assert_eq!(publisher.publish_batch([]).unwrap(), 1, "an empty one");
    publisher.publish_many([(5, vec![])]).unwrap();
    assert_eq!(
        (ready_revisions(&mut watcher), watcher.progress()),
        (vec![], 5)
    );
    assert_eq!(hub.stats().published_transactions, 2);
}

#[test]
fn reliable_input_comes_back_when_the_ingress_is_full() {
    let (mut publisher, hub, dispatcher) =
        inline_engine(Builder::new().inline_dispatch(false).ingress_capacity(2));
    let mut watcher = hub.watch(Selector::all()).unwrap();
    for _ in 0..2 {
        publisher.try_publish(put("k")).unwrap();
    }
    let full = PublishErrorKind::Full {
        capacity: 2,
        capacity_bytes: 8 * 1024 * 1024,
    };
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
    // A waiting publish goes on once there is room.
    let waiting = thread::spawn(move || {
        publisher.publish_many(entries).unwrap();
        publisher
    });
    let running = thread::spawn(|| dispatcher.run());
    drop(join_in_time(waiting));
    join_in_time(running);
    assert_eq!(ready_revisions(&mut watcher), [1, 2, 7, 7, 12]);
}

#[test]
fn bounded_input_comes_back_when_the_ingress_is_full_of_bytes() {
    let builder = Builder::new()
        .inline_dispatch(false)
        .ingress_bytes(1_000_000);
    let (mut publisher, hub, dispatcher) = inline_engine(builder);
    let mut watcher = hub.watch("k").unwrap();
    let large = Change::put("k", vec![0; 300_000]);
    for _ in 0..4 {
        publisher.try_publish(large.clone()).unwrap();
    }
    let refused = publisher.try_publish(large.clone()).unwrap_err();
    let full = PublishErrorKind::Full {
        capacity: 4096,
        capacity_bytes: 1_000_000,
    };
    assert_eq!(
        (refused.kind(), refused.into_input()),
        (full, large.clone())
    );
    let waiting = thread::spawn(move || publisher.publish(large).unwrap());
    let running = thread::spawn(|| dispatcher.run());
    assert_eq!(join_in_time(waiting), 5);
    join_in_time(running);
    assert_eq!(ready_revisions(&mut watcher), [1, 2, 3, 4, 5]);
    // Without a thread and with nobody watching: a full ingress is dispatched on the spot.
    let (mut publisher, hub, _dispatcher) = inline_engine(Builder::new().ingress_bytes(256 * 1024));
    for _ in 0..20 {
        publisher
            .try_publish(Change::put("k", vec![0; 100_000]))
            .unwrap();
    }
    assert_eq!(hub.stats().dropped_events, 0);
    // One transaction that is larger than all of it.
    let (mut publisher, hub) = Builder::new().ingress_bytes(1).spawn().unwrap();
    let many = (0..1_000).map(|number| Change::put(format!("{number}"), vec![0; 1_000]));
    assert_eq!(publisher.publish_batch(many).unwrap(), 1);
    publisher.publish(put("k")).unwrap();
    hub.wait_for(2, HANG).unwrap();
}

/// Events that nobody wants are dispatched at leisure, but large ones do not stay in the ingress.
#[test]
fn bounded_large_events_are_dispatched_when_nobody_wants_them() {
    for inline in [true, false] {
        let builder = Builder::new().inline_dispatch(inline);
        let (mut publisher, hub) = builder.spawn().unwrap();
        for _ in 0..4 {
            let large = Change::put("k", vec![0; 300_000]);
            publisher.publish(large).unwrap();
        }
        eventually("the ingress is empty", || hub.stats().ingress_depth == 0);
    }
}

#[test]
fn clean_input_comes_back_when_the_engine_has_ended() {
    let (mut publisher, hub, dispatcher) =
        inline_engine(Builder::new().inline_dispatch(false).ingress_capacity(1));
    publisher.publish(put("k")).unwrap();
    let waiting = thread::spawn(move || {
        // The publish waits for room when the engine ends, or comes after the end.
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
fn resumable_compaction_is_refused_beyond_the_last_revision() {
    let (mut publisher, hub, _dispatcher) = inline_engine(Builder::new());
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
    assert_eq!(
        ready_revisions(&mut live).len(),
        10,
        "live watchers notice nothing"
    );
    let items: Vec<_> = behind.try_iter().collect();
    assert_eq!(items[0].as_ref().unwrap().revision(), 1);
    let lag = removed(2, 5);
    assert_eq!(items[1], Err(RecvError::Lagged(lag)));
    assert_eq!(items.len(), 7);
    publisher.compact(11).unwrap();
    let stats = hub.stats().history;
    assert_eq!((stats.oldest, stats.events, stats.bytes), (11, 0, 0));
}

#[test]
fn isolated_watcher_limit_is_exact_when_threads_register_at_once() {
    let (_publisher, hub) = Builder::new().max_watchers(100).spawn().unwrap();
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
fn watcher_ids_are_never_reused() {
    let (_publisher, hub) = Builder::new().max_watchers(10).spawn().unwrap();
    let mut ids = std::collections::HashSet::new();
    for _ in 0..1000 {
        assert!(ids.insert(hub.watch("k").unwrap().id()));
        drop(hub.watch(Selector::any([])));
    }
}

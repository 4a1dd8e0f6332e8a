//! Every number of every builder and option at 0, at 1 and at its largest: an error that says what is
//! valid, or an engine that works. Nothing panics.

use std::time::Duration;

use kvwatch::mirror::{MirrorOptions, Snapshot};
use kvwatch::{
    BuildError, Builder, Change, CompactError, Hub, Latest, MAX_REVISION, Mirror, PublishErrorKind,
    Publisher, RecvError, Revision, Selector, WaitError, WatchError, WatchOptions, Watcher,
};
use kvwatch_tests::{HANG, in_time, put, ready_revisions};

/// The revisions received until the publisher has shut down, lags as their last ones.
fn received(publisher: Publisher, watcher: &mut Watcher) -> Vec<Revision> {
    publisher.shutdown(HANG).unwrap();
    let revision = |item: Result<kvwatch::Event, RecvError>| match item {
        Ok(event) => event.revision(),
        Err(RecvError::Lagged(lagged)) => lagged.last,
        Err(end) => panic!("{end}"),
    };
    watcher.iter().map(revision).collect()
}

/// Publishes three events, in three ways, and receives them, or is told that they are lost.
fn works(what: &str, mut publisher: Publisher, hub: &Hub) {
    let before = publisher.revision();
    let mut watcher = match hub.watch("k") {
        Ok(watcher) => watcher,
        Err(refused) => panic!("{what}: {refused}"),
    };
    let value = vec![7; 5_000];
    publisher.publish(Change::put("k", value.clone())).unwrap();
    if before + 2 <= MAX_REVISION {
        publisher.publish_batch([Change::put("k", value)]).unwrap();
        publisher
            .publish_many([(before + 3, vec![put("k")])])
            .unwrap();
    }
    let received = received(publisher, &mut watcher);
    assert!(received.is_sorted(), "{what}: {received:?}");
    let last = received.last().copied();
    assert_eq!(
        last,
        Some(before.saturating_add(3).min(MAX_REVISION)),
        "{what}"
    );
}

type Setter = fn(Builder, usize) -> Builder;

const CAPACITIES: [(&str, Setter); 6] = [
    ("history_events", Builder::history_events),
    ("history_bytes", Builder::history_bytes),
    ("queue_capacity", Builder::queue_capacity),
    ("queue_bytes", Builder::queue_bytes),
    ("ingress_capacity", Builder::ingress_capacity),
    ("ingress_bytes", Builder::ingress_bytes),
];

#[test]
fn capacities_of_a_builder_are_refused_or_work_at_their_limits() {
    for (name, set) in CAPACITIES {
        for value in [0, 1, 2, 1 << 20, (1 << 20) + 1, usize::MAX] {
            for inline in [true, false] {
                let what = format!("{name} of {value}, inline {inline}");
                let builder = set(Builder::new(), value).inline_dispatch(inline);
                match builder.spawn() {
                    Ok((publisher, hub)) => in_time(move || works(&what, publisher, &hub)),
                    Err(BuildError::ZeroCapacity { what: named }) => {
                        assert!(value == 0 && named.contains(name), "{what}: {named}");
                        assert!(!name.starts_with("history"), "{what}: it may be 0");
                    }
                    Err(BuildError::TooLarge {
                        what: named,
                        given,
                        max,
                    }) => {
                        assert!(given == value && named.contains(name), "{what}: {named}");
                        assert!(given > max && name == "ingress_capacity", "{what}");
                    }
                    Err(refused) => panic!("{what}: {refused}"),
                }
            }
        }
    }
}

#[test]
fn capacities_work_together_at_their_limits() {
    for value in [1, usize::MAX] {
        let mut builder = Builder::new();
        for (name, set) in CAPACITIES {
            let most = if name == "ingress_capacity" {
                1 << 20
            } else {
                value
            };
            builder = set(builder, most.min(value));
        }
        let (publisher, hub) = builder.max_watchers(value).spawn().unwrap();
        in_time(move || works(&format!("all of {value}"), publisher, &hub));
    }
}

#[test]
fn start_revision_and_max_watchers_are_refused_or_work_at_their_limits() {
    for start in [0, 1, MAX_REVISION - 3, MAX_REVISION - 1] {
        let (publisher, hub) = Builder::new().start_revision(start).spawn().unwrap();
        in_time(move || works(&format!("start at {start}"), publisher, &hub));
    }
    for start in [MAX_REVISION, u64::MAX] {
        let refused = Builder::new().start_revision(start).spawn().map(|_| ());
        let Err(BuildError::Revision { given }) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(given, start);
    }
    let refused = Builder::new().max_watchers(0).spawn().map(|_| ());
    assert!(matches!(refused, Err(BuildError::ZeroCapacity { .. })));
    let (_publisher, hub) = Builder::new().max_watchers(1).spawn().unwrap();
    let _one = hub.watch("k").unwrap();
    assert!(matches!(
        hub.watch("k"),
        Err(WatchError::TooManyWatchers { limit: 1 })
    ));
}

#[test]
fn watch_options_are_refused_or_work_at_their_limits() {
    for value in [0, 1, usize::MAX] {
        let options = [
            WatchOptions::new().capacity(value),
            WatchOptions::new().capacity_bytes(value),
        ];
        for options in options {
            let (mut publisher, hub) = Builder::new().spawn().unwrap();
            match hub.watch_with("k", options) {
                Err(WatchError::ZeroCapacity { .. }) => assert_eq!(value, 0),
                Err(refused) => panic!("{refused}"),
                Ok(mut watcher) => {
                    assert_ne!(value, 0);
                    for _ in 0..3 {
                        publisher.publish(put("k")).unwrap();
                    }
                    assert_eq!(received(publisher, &mut watcher), [1, 2, 3]);
                }
            }
        }
    }
    for (start, expected) in [(0, 3), (1, 3), (2, 2), (MAX_REVISION, 0), (u64::MAX, 0)] {
        let (mut publisher, hub) = Builder::new().spawn().unwrap();
        publisher.publish(put("k")).unwrap();
        let options = WatchOptions::new().start_revision(start);
        let mut watcher = hub.watch_with("k", options).unwrap();
        assert!(watcher.progress() >= watcher.start_revision() - 1);
        publisher.publish(put("k")).unwrap();
        publisher.publish(put("k")).unwrap();
        assert_eq!(received(publisher, &mut watcher).len(), expected, "{start}");
    }
}

#[test]
fn revisions_of_calls_are_refused_or_work_at_their_limits() {
    let (mut publisher, hub) = Builder::new().spawn().unwrap();
    for given in [0, u64::MAX] {
        let refused = publisher
            .publish_many([(given, vec![put("k")])])
            .unwrap_err();
        assert_eq!(
            refused.kind(),
            PublishErrorKind::Revision { given, last: 0 }
        );
    }
    publisher.publish_many([(1, vec![put("k")])]).unwrap();
    for revision in [0, 1] {
        hub.wait_for(revision, HANG).unwrap();
        publisher.compact(revision).unwrap();
    }
    for requested in [3, u64::MAX] {
        let largest = 2;
        let refused = CompactError::Future { requested, largest };
        assert_eq!(publisher.compact(requested), Err(refused));
    }
    for revision in [2, MAX_REVISION, u64::MAX] {
        let waited = hub.wait_for(revision, Duration::ZERO);
        assert_eq!(waited, Err(WaitError::Timeout));
    }
    publisher
        .publish_many([(MAX_REVISION, vec![put("k")])])
        .unwrap();
    hub.wait_for(MAX_REVISION, HANG).unwrap();
    publisher.compact(u64::MAX).unwrap();
    let refused = publisher.publish(put("k")).unwrap_err();
    assert!(matches!(refused.kind(), PublishErrorKind::Revision { .. }));
}

#[test]
fn durations_are_valid_at_their_limits() {
    in_time(|| {
        let (mut publisher, hub) = Builder::new().ingress_capacity(1).spawn().unwrap();
        let mut watcher = hub.watch("k").unwrap();
        assert!(watcher.recv_timeout(Duration::ZERO).is_err());
        assert!(watcher.recv_batch_timeout(Duration::ZERO).is_err());
        for _ in 0..100 {
            publisher.publish_timeout(put("k"), Duration::MAX).unwrap();
        }
        assert_eq!(watcher.recv_timeout(Duration::MAX).unwrap().revision(), 1);
        assert!(
            !watcher
                .recv_batch_timeout(Duration::MAX)
                .unwrap()
                .is_empty()
        );
        hub.wait_for(100, Duration::MAX).unwrap();
        let mut latest = Latest::new(hub.watch("k").unwrap());
        assert!(latest.recv_timeout(Duration::ZERO).is_err());
        let _ = publisher.publish_timeout(put("k"), Duration::ZERO);
        publisher.publish(put("k")).unwrap();
        latest.recv_timeout(Duration::MAX).unwrap();
        let waiting = {
            let hub = hub.clone();
            std::thread::spawn(move || hub.wait_for(Revision::MAX, Duration::MAX))
        };
        publisher.shutdown(Duration::MAX).unwrap();
        assert!(matches!(waiting.join().unwrap(), Err(WaitError::Closed(_))));
    });
}

#[test]
fn mirror_options_are_refused_or_work_at_their_limits() {
    let read = |_| Ok::<_, std::convert::Infallible>(Snapshot::at(0));
    for value in [0, 1, usize::MAX] {
        let options = [
            MirrorOptions::new().capacity(value),
            MirrorOptions::new().capacity_bytes(value),
        ];
        for options in options {
            let (mut publisher, hub) = Builder::new().spawn().unwrap();
            match Mirror::watch_with(&hub, Selector::all(), options, read) {
                Err(WatchError::ZeroCapacity { .. }) => assert_eq!(value, 0),
                Err(refused) => panic!("{refused}"),
                Ok((mirror, mut driver)) => {
                    for _ in 0..3 {
                        publisher.publish(put("k")).unwrap();
                    }
                    publisher.shutdown(HANG).unwrap();
                    driver.run().unwrap();
                    mirror.wait_for(3, Duration::MAX).unwrap();
                    assert!(mirror.wait_for(u64::MAX, Duration::ZERO).is_err());
                    assert_eq!(mirror.view().unwrap().len(), 1);
                }
            }
        }
    }
}

#[tokio::test]
async fn durations_of_tasks_are_valid_at_their_limits() {
    let (mut publisher, hub) = Builder::new().spawn().unwrap();
    let watcher = hub.watch("k").unwrap();
    let mut stream = kvwatch::tokio::WatchStream::new(watcher);
    assert!(stream.recv_timeout(Duration::ZERO).await.is_err());
    publisher.publish(put("k")).unwrap();
    assert_eq!(
        stream.recv_timeout(Duration::MAX).await.unwrap().revision(),
        1
    );
    let mut publisher = kvwatch::tokio::AsyncPublisher::new(publisher);
    publisher.publish(put("k")).await.unwrap();
    hub.wait_for(2, HANG).unwrap();
    assert_eq!(ready_revisions(stream.get_mut()), [2]);
    publisher.shutdown().await.unwrap();
}

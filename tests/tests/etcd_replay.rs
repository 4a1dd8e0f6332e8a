//! Events that the server's store replays once the history in memory is past them.

use std::sync::atomic::{AtomicBool, Ordering};

use kvwatch::{
    Builder, Change, Hub, PrevValue, RecvError, Replay, ReplayError, ReplayRequest, Replayed,
    Revision, Selector, WatchError, WatchOptions, Watcher,
};
use kvwatch_etcd::wire::etcdserverpb::{CompactionRequest, DeleteRangeRequest, WatchCreateRequest};
use kvwatch_etcd::wire::mvccpb::KeyValue;
use kvwatch_tests::etcd::{Client, Local};

/// A server that keeps no event in memory: every watch from the past is served from the file.
async fn local() -> (Local, Client) {
    let local = Local::start(0, |builder| builder).await;
    let client = local.client().await;
    (local, client)
}

fn watch(hub: &Hub, start: Revision) -> Result<Watcher, WatchError> {
    let options = WatchOptions::new().start_revision(start).prev_value(true);
    hub.watch_with(Selector::all(), options)
}

/// The kind of previous value that the event of this revision has.
fn prev(hub: &Hub, revision: Revision) -> PrevValue<()> {
    let event = watch(hub, revision).unwrap().recv().unwrap();
    assert_eq!(event.revision(), revision);
    event.prev_value_bytes().map(|_| ())
}

async fn compact(client: &Client, revision: Revision) {
    let compaction = CompactionRequest {
        revision: revision.cast_signed(),
        physical: true,
    };
    client.kv().compact(compaction).await.unwrap();
}

/// A store whose disk is gone.
struct Failing;

impl Replay for Failing {
    fn oldest(&self) -> Revision {
        1
    }

    fn read(&self, _: ReplayRequest<'_>) -> Result<Replayed, ReplayError> {
        Err(ReplayError::Failed("the disk is gone".into()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_is_cancelled_with_a_reason_and_not_as_compacted_when_the_store_fails() {
    let builder = Builder::new().start_revision(5).replay(Failing);
    let (mut publisher, hub) = builder.spawn().unwrap();
    let local = Local::with_hub(hub).await;
    let mut stream = local.client().await.watch().await.unwrap();
    let watch = |start_revision| WatchCreateRequest {
        key: "k".into(),
        start_revision,
        ..WatchCreateRequest::default()
    };
    stream.create(watch(2));
    assert!(stream.next().await.unwrap().created);
    let cancelled = stream.next().await.unwrap();
    assert!(cancelled.canceled && cancelled.compact_revision == 0);
    assert!(cancelled.cancel_reason.contains("failed to read"));
    // The stream goes on.
    stream.create(watch(0));
    assert!(stream.next().await.unwrap().created);
    let record = kvwatch_etcd::record::encode(&KeyValue {
        key: "k".into(),
        ..KeyValue::default()
    });
    publisher.publish(Change::put("k", record)).unwrap();
    assert_eq!(stream.next().await.unwrap().events.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_previous_value_is_unavailable_when_a_compaction_removed_it() {
    let (local, client) = local().await;
    let hub = local.hub();
    for key in ["a", "a", "b"] {
        client.put(key, "v").await.unwrap();
    }
    let delete = DeleteRangeRequest {
        key: "a".into(),
        ..DeleteRangeRequest::default()
    };
    client.kv().delete_range(delete).await.unwrap();
    for key in ["a", "b"] {
        client.put(key, "v").await.unwrap();
    }
    let (absent, known, unknown) = (
        PrevValue::Absent,
        PrevValue::Value(()),
        PrevValue::Unavailable,
    );
    let all: Vec<_> = (2..=7).map(|revision| prev(&hub, revision)).collect();
    assert_eq!(all, [absent, known, absent, known, absent, known]);
    for (compacted, first) in [(3, unknown), (4, absent), (5, unknown), (6, absent)] {
        compact(&client, compacted).await;
        assert_eq!(prev(&hub, compacted), first, "compacted up to {compacted}");
        assert_eq!(prev(&hub, 7), known, "compacted up to {compacted}");
    }
}

/// Watches from `start` to `last`, again and again, until `start` is compacted.
fn read_until_compacted(hub: &Hub, start: Revision, last: Revision, begun: &AtomicBool) {
    loop {
        begun.store(true, Ordering::Release);
        let mut watcher = match watch(hub, start) {
            Ok(watcher) => watcher,
            Err(error) => {
                assert!(matches!(error, WatchError::Compacted { .. }), "{error}");
                return;
            }
        };
        for due in start..=last {
            match watcher.recv() {
                Ok(event) => assert_eq!(event.revision(), due, "from {start} to {last}"),
                Err(RecvError::Lagged(lagged)) => {
                    assert_eq!((lagged.first, lagged.last), (start, last - 1));
                    return;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reliable_replay_is_complete_or_reports_a_gap_when_compacted_meanwhile() {
    let (local, client) = local().await;
    for _ in 0..100 {
        for key in ["a", "b", "a"] {
            client.put(key, "v").await.unwrap();
        }
        let last = local.hub().revision();
        let (hub, begun) = (local.hub(), std::sync::Arc::new(AtomicBool::new(false)));
        let reading = std::sync::Arc::clone(&begun);
        let reader = tokio::task::spawn_blocking(move || {
            read_until_compacted(&hub, last - 2, last, &reading);
        });
        while !begun.load(Ordering::Acquire) {
            tokio::task::yield_now().await;
        }
        compact(&client, last).await;
        reader.await.unwrap();
    }
}

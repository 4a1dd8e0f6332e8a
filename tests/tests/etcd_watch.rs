//! `etcdserverpb.Watch` in detail, on the wire: the behaviour that clients rely on.

use std::time::Duration;

use kvwatch_etcd::wire::etcdserverpb::{
    CompactionRequest, DeleteRangeRequest, PutRequest, RequestOp, TxnRequest, WatchCreateRequest,
    WatchResponse, request_op,
};
use kvwatch_etcd::{Limits, RequestError};
use kvwatch_tests::etcd::{Client, Local, WatchStream};
use tonic::Code;

async fn local() -> (Local, Client) {
    let local = Local::start(1000, |builder| builder).await;
    let client = local.client().await;
    (local, client)
}

/// A watch of every key from `key` on.
fn from(key: &'static str) -> WatchCreateRequest {
    WatchCreateRequest {
        key: key.into(),
        range_end: "\0".into(),
        ..WatchCreateRequest::default()
    }
}

fn since(start_revision: i64) -> WatchCreateRequest {
    WatchCreateRequest {
        start_revision,
        ..from("")
    }
}

fn revision(response: &WatchResponse) -> i64 {
    response.header.as_ref().unwrap().revision
}

fn is_progress(response: &WatchResponse) -> bool {
    response.events.is_empty() && !response.created && !response.canceled
}

async fn created(stream: &mut WatchStream, request: WatchCreateRequest) -> WatchResponse {
    stream.create(request);
    let response = stream.next().await.unwrap();
    assert!(response.created, "{response:?}");
    response
}

/// The revisions of the next `count` events, which must arrive with no other response between.
async fn events(stream: &mut WatchStream, count: usize) -> Vec<i64> {
    let mut revisions = Vec::new();
    while revisions.len() < count {
        let response = stream.next().await.unwrap();
        assert!(!response.events.is_empty(), "{response:?}");
        let of = |event: kvwatch_etcd::wire::mvccpb::Event| event.kv.unwrap().mod_revision;
        revisions.extend(response.events.into_iter().map(of));
    }
    revisions
}

#[tokio::test]
async fn watches_go_on_when_the_client_half_closes() {
    let (_local, client) = local().await;
    let mut stream = client.watch().await.unwrap();
    let first = created(&mut stream, from("")).await;
    assert_eq!((revision(&first), first.watch_id), (1, 0));
    stream.half_close();
    client.put("a", "1").await.unwrap();
    assert_eq!(events(&mut stream, 1).await, [2]);
}

#[tokio::test]
async fn a_cancel_is_answered_once_and_only_for_a_known_watch() {
    let (_local, client) = local().await;
    let mut stream = client.watch().await.unwrap();
    created(&mut stream, from("")).await;
    stream.cancel(5);
    stream.cancel(0);
    stream.cancel(0);
    stream.progress();
    let canceled = stream.next().await.unwrap();
    assert!(canceled.canceled && canceled.watch_id == 0);
    // A stream without watches is always synced.
    let progress = stream.next().await.unwrap();
    assert!(is_progress(&progress) && progress.watch_id == -1);
    client.put("a", "1").await.unwrap();
    assert_eq!(created(&mut stream, from("")).await.watch_id, 1);
}

#[tokio::test]
async fn ids_are_as_requested_or_the_next_unused() {
    let (_local, client) = local().await;
    let mut stream = client.watch().await.unwrap();
    let with_id = |watch_id| WatchCreateRequest {
        watch_id,
        ..from("")
    };
    for (requested, given) in [(1, 1), (0, 0), (0, 2), (7, 7), (1, -1)] {
        assert_eq!(
            created(&mut stream, with_id(requested)).await.watch_id,
            given
        );
    }
    let empty = WatchCreateRequest {
        key: "b".into(),
        range_end: "a".into(),
        ..WatchCreateRequest::default()
    };
    let refused = created(&mut stream, empty).await;
    assert!(refused.canceled && refused.watch_id == -1);
    assert_eq!(refused.cancel_reason, RequestError::EmptyWatch.message());
}

#[tokio::test]
async fn a_negative_start_is_refused_without_effect_on_other_watches() {
    let (_local, client) = local().await;
    let mut stream = client.watch().await.unwrap();
    created(&mut stream, from("")).await;
    let refused = created(&mut stream, since(-1)).await;
    assert!(refused.canceled);
    assert_eq!(refused.cancel_reason, RequestError::NegativeStart.message());
    for _ in 0..3 {
        client.put("a", "1").await.unwrap();
    }
    assert_eq!(events(&mut stream, 3).await, [2, 3, 4]);
}

#[tokio::test]
async fn resumable_watch_is_cancelled_with_the_compacted_revision_when_it_starts_too_early() {
    let (local, client) = local().await;
    client.put("a", "1").await.unwrap();
    client.put("a", "2").await.unwrap();
    let delete = DeleteRangeRequest {
        key: "a".into(),
        ..DeleteRangeRequest::default()
    };
    client.kv().delete_range(delete).await.unwrap();
    client.put("a", "3").await.unwrap();
    let compaction = CompactionRequest {
        revision: 4,
        physical: true,
    };
    client.kv().compact(compaction).await.unwrap();
    let mut stream = client.watch().await.unwrap();
    let too_old = created(&mut stream, since(3)).await;
    assert!(!too_old.canceled);
    let canceled = stream.next().await.unwrap();
    assert!(canceled.canceled && canceled.compact_revision == 4);
    // The delete at the compacted revision is still delivered.
    created(&mut stream, since(4)).await;
    assert_eq!(events(&mut stream, 2).await, [4, 5]);
    drop(local);
}

#[tokio::test]
async fn exact_start_no_event_or_progress_before_a_start_in_the_future() {
    let (_local, client) = local().await;
    let mut stream = client.watch().await.unwrap();
    created(&mut stream, since(4)).await;
    client.put("a", "1").await.unwrap();
    stream.progress();
    created(&mut stream, from("")).await;
    stream.progress();
    // The first request has no answer, because its only watch has not started.
    let progress = stream.next().await.unwrap();
    assert!(is_progress(&progress) && progress.watch_id == 1 && revision(&progress) == 2);
    client.put("a", "2").await.unwrap();
    client.put("a", "3").await.unwrap();
    let mut ids = Vec::new();
    for _ in 0..3 {
        let response = stream.next().await.unwrap();
        ids.push((
            response.watch_id,
            response.events[0].kv.as_ref().unwrap().mod_revision,
        ));
        if response.events.len() == 2 {
            ids.push((response.watch_id, 4));
        }
        if ids.len() == 3 {
            break;
        }
    }
    ids.sort_unstable();
    assert_eq!(ids, [(0, 4), (1, 3), (1, 4)]);
}

#[tokio::test]
async fn bookmarkable_requested_progress_follows_every_event() {
    let (_local, client) = local().await;
    let mut stream = client.watch().await.unwrap();
    created(&mut stream, from("")).await;
    // A watch that filters out every event.
    let mute = WatchCreateRequest {
        filters: vec![0, 1],
        ..from("")
    };
    created(&mut stream, mute).await;
    let mut last = 1;
    for round in 0..200 {
        for _ in 0..round % 4 {
            client.put("a", "1").await.unwrap();
        }
        let put = client.revision().await.unwrap();
        stream.progress();
        loop {
            let response = stream.next().await.unwrap();
            if is_progress(&response) {
                assert_eq!(response.watch_id, -1);
                assert_eq!(
                    (revision(&response), last),
                    (put, put),
                    "progress ahead of events"
                );
                break;
            }
            last = response
                .events
                .last()
                .unwrap()
                .kv
                .as_ref()
                .unwrap()
                .mod_revision;
        }
    }
}

#[tokio::test]
async fn bookmarkable_quiet_watch_is_notified_of_progress_after_the_interval() {
    let interval = Duration::from_millis(20);
    let local = Local::start(1000, |builder| builder.progress_interval(interval)).await;
    let client = local.client().await;
    let mut stream = client.watch().await.unwrap();
    created(&mut stream, from("")).await;
    let notified = WatchCreateRequest {
        progress_notify: true,
        key: "elsewhere".into(),
        ..WatchCreateRequest::default()
    };
    created(&mut stream, notified).await;
    let revision_now = client.put("a", "1").await.unwrap();
    assert_eq!(events(&mut stream, 1).await, [2]);
    let mut progress = stream.next().await.unwrap();
    while revision(&progress) < revision_now {
        progress = stream.next().await.unwrap();
    }
    assert!(is_progress(&progress) && progress.watch_id == 1);
}

#[tokio::test]
async fn atomic_revisions_are_fragmented_only_for_clients_that_accept_it() {
    let (_local, client) = local().await;
    let mut stream = client.watch().await.unwrap();
    let fragments = WatchCreateRequest {
        fragment: true,
        ..from("")
    };
    created(&mut stream, fragments).await;
    let mut unfragmented = client.watch().await.unwrap();
    created(&mut unfragmented, from("")).await;
    // One revision of twelve events with 127 KiB each: almost the limit of a request.
    let put = |number: usize| RequestOp {
        request: Some(request_op::Request::RequestPut(PutRequest {
            key: format!("k{number:02}").into(),
            value: vec![b'v'; 127 * 1024].into(),
            ..PutRequest::default()
        })),
    };
    let puts: Vec<_> = (0..12).map(put).collect();
    for success in [puts.clone(), puts] {
        let txn = TxnRequest {
            success,
            ..TxnRequest::default()
        };
        client.kv().txn(txn).await.unwrap();
    }
    assert_eq!(
        events(&mut unfragmented, 24).await,
        [[2; 12], [3; 12]].concat()
    );
    let with_prev = WatchCreateRequest {
        fragment: true,
        prev_kv: true,
        ..since(3)
    };
    // With previous values the revision has twice the bytes of a response.
    let mut large = client.watch().await.unwrap();
    created(&mut large, with_prev).await;
    let first = large.next().await.unwrap();
    let second = large.next().await.unwrap();
    assert!(first.fragment);
    let mut count = first.events.len() + second.events.len();
    let mut last = second;
    while last.fragment {
        last = large.next().await.unwrap();
        count += last.events.len();
    }
    assert_eq!(count, 12);
    assert_eq!(events(&mut stream, 24).await, [[2; 12], [3; 12]].concat());
}

#[tokio::test]
async fn watches_and_streams_beyond_the_limits_are_refused() {
    let mut limits = Limits::default();
    limits.watches_per_stream = 2;
    limits.watches = 3;
    limits.streams_per_connection = 2;
    let local = Local::start(1000, |builder| builder.limits(limits)).await;
    let client = local.client().await;
    let mut stream = client.watch().await.unwrap();
    created(&mut stream, from("")).await;
    created(&mut stream, from("")).await;
    let refused = created(&mut stream, from("")).await;
    assert_eq!(
        refused.cancel_reason,
        RequestError::TooManyWatches.message()
    );
    let mut second = client.watch().await.unwrap();
    created(&mut second, from("")).await;
    let refused = created(&mut second, from("")).await;
    assert_eq!(refused.cancel_reason, RequestError::ServerFull.message());
    let third = client.watch().await.unwrap_err();
    assert_eq!(third.code(), Code::ResourceExhausted);
    assert_eq!(third.message(), RequestError::TooManyStreams.message());
    // A cancelled watch makes room for another.
    stream.cancel(1);
    assert!(stream.next().await.unwrap().canceled);
    assert!(!created(&mut second, from("")).await.canceled);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn isolated_client_that_does_not_read_loses_no_event_and_delays_no_other() {
    let (local, client) = local().await;
    let slow_client = local.client().await;
    let mut slow = slow_client.watch().await.unwrap();
    created(&mut slow, from("")).await;
    let mut quick = client.watch().await.unwrap();
    created(&mut quick, from("")).await;
    // Far more than may wait for the client, and more than the history in memory holds.
    let value = "v".repeat(4096);
    let count = 4000;
    for _ in 0..count / 100 {
        let puts = (0..100).map(|_| client.put("a", &value));
        futures::future::try_join_all(puts).await.unwrap();
        events(&mut quick, 100).await;
    }
    let expected: Vec<i64> = (2..2 + count).collect();
    assert_eq!(events(&mut slow, expected.len()).await, expected);
}

#[tokio::test]
async fn clean_dropped_streams_free_their_watches() {
    let (local, client) = local().await;
    let mut streams = Vec::new();
    for _ in 0..10 {
        let mut stream = client.watch().await.unwrap();
        for _ in 0..10 {
            created(&mut stream, from("")).await;
        }
        streams.push(stream);
    }
    let watchers = || local.hub().stats().watchers.total;
    assert_eq!(watchers(), 100);
    drop(streams);
    while watchers() != 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn clean_watches_end_after_the_last_event_when_the_store_stops() {
    let (local, client) = local().await;
    let mut stream = client.watch().await.unwrap();
    created(&mut stream, from("")).await;
    client.put("a", "1").await.unwrap();
    local.store.stop();
    assert_eq!(events(&mut stream, 1).await, [2]);
    let end = stream.next().await.unwrap_err();
    assert_eq!(end.code(), Code::Unavailable);
    let refused = client.put("a", "2").await.unwrap_err();
    assert_eq!(refused.message(), RequestError::Stopped.message());
}

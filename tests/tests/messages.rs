//! The texts of errors and of `Debug`. An error says what was wrong and what is valid. Also equality,
//! hashes, and the methods that no other test needs.

use std::collections::HashSet;
use std::error::Error;
use std::time::{Duration, Instant};

use kvwatch::{
    BuildError, Builder, Change, EndReason, EventKind, Filter, Lagged, Lossy, Overflow, PrevValue,
    RecvError, RecvTimeoutError, ReplayError, Selector, TryRecvError, WaitError, WatchOptions,
};
use kvwatch_tests::{HANG, dropped, inline_engine, put, removed, replay_failed};

const LAGGED: Lagged = removed(3, 7);

#[test]
fn receive_errors_say_what_happened_and_what_to_do() {
    let closed = EndReason::Overflow;
    let lagged = "events of revisions 3 to 7 are not available, because they were removed from the \
                  history; read the store for their result";
    let overflow = "the watcher's queue overflowed and it asked to be cancelled then";
    assert_eq!(RecvError::Lagged(LAGGED).to_string(), lagged);
    assert_eq!(RecvError::Closed(closed).to_string(), overflow);
    assert_eq!(TryRecvError::Empty.to_string(), "no event is waiting");
    assert_eq!(TryRecvError::Lagged(LAGGED).to_string(), lagged);
    assert_eq!(TryRecvError::Closed(closed).to_string(), overflow);
    let timeout = RecvTimeoutError::Timeout.to_string();
    assert_eq!(timeout, "no event came in time");
    assert_eq!(RecvTimeoutError::Lagged(LAGGED).to_string(), lagged);
    assert_eq!(RecvTimeoutError::Closed(closed).to_string(), overflow);
    let because = |lagged: Lagged| {
        lagged
            .to_string()
            .split("because ")
            .nth(1)
            .map(str::to_owned)
    };
    let dropped = because(dropped(1, 2)).unwrap();
    assert!(
        dropped.starts_with("a lossy publish dropped them"),
        "{dropped}"
    );
    let failed = because(replay_failed(1, 2)).unwrap();
    assert!(failed.starts_with("the replay source failed"), "{failed}");
    let reasons = [
        EndReason::Closed,
        EndReason::ShutDown,
        EndReason::Failed,
        EndReason::PublisherPanicked,
    ];
    assert_eq!(
        reasons.map(|reason| reason.to_string()),
        [
            "the watcher was closed",
            "the publisher was shut down",
            "the dispatcher failed",
            "the publisher's thread panicked"
        ]
    );
    // The variants that all of them have convert.
    let converted: Vec<TryRecvError> = vec![
        RecvError::Lagged(LAGGED).into(),
        RecvError::Closed(closed).into(),
    ];
    assert_eq!(
        converted,
        [TryRecvError::Lagged(LAGGED), TryRecvError::Closed(closed)]
    );
}

#[test]
fn refusals_say_which_input_is_valid() {
    let (mut publisher, hub, _dispatcher) =
        inline_engine(Builder::new().ingress_capacity(1).inline_dispatch(false));
    for _ in 0..9 {
        let _ = publisher.publish_lossy(put("k"));
    }
    let full = publisher.try_publish(put("k")).unwrap_err();
    let text = full.to_string();
    assert!(
        text.starts_with("the ingress is full (1 messages or 8388608 bytes)"),
        "{text}"
    );
    assert!(format!("{full:?}").contains("Full { capacity: 1, capacity_bytes: 8388608 }"));

    let options = WatchOptions::new().start_revision(1);
    publisher.compact(5).unwrap();
    let compacted = hub.watch_with("k", options.clone()).unwrap_err();
    assert!(compacted.to_string().contains("oldest that can be watched"));
    let none = Selector::any(std::iter::empty::<Selector>());
    let union = hub.watch(none).unwrap_err().to_string();
    assert!(union.contains("give it at least one"), "{union}");

    let zero = Builder::new().queue_capacity(0).build().unwrap_err();
    assert!(zero.to_string().contains("is 0 and must be at least 1"));
    assert!(zero.source().is_none());
    let large = Builder::new()
        .ingress_capacity(usize::MAX)
        .build()
        .unwrap_err();
    let text = large.to_string();
    assert!(
        text.contains("and must be at most 1048576") && large.source().is_none(),
        "{text}"
    );
    let high = Builder::new().start_revision(u64::MAX).build().unwrap_err();
    assert!(high.to_string().contains(&u64::MAX.to_string()), "{high}");
    let spawn = BuildError::Spawn(std::io::Error::other("no more threads"));
    assert_eq!(spawn.source().unwrap().to_string(), "no more threads");
    assert!(spawn.to_string().contains("thread could not be started"));

    let late = hub.wait_for(1_000, Duration::ZERO).unwrap_err();
    assert_eq!(late.to_string(), "the revision was not dispatched in time");
    let over = WaitError::Closed(EndReason::ShutDown).to_string();
    assert!(over.ends_with("never be dispatched: the publisher was shut down"));
    let gone = ReplayError::Compacted { oldest: 9 };
    assert!(gone.to_string().ends_with("replayed is 9") && gone.source().is_none());
    let failed = ReplayError::Failed("disk".into());
    assert_eq!(failed.source().unwrap().to_string(), "disk");
    assert_eq!(failed.to_string(), "the replay source failed");
}

#[test]
fn closed_errors_name_the_reason() {
    let (publisher, hub) = Builder::new().spawn().unwrap();
    publisher.shutdown(HANG).unwrap();
    let refused = hub.watch("k").unwrap_err().to_string();
    assert!(refused.ends_with("the engine has ended: the publisher was shut down"));

    let (mut publisher, _hub, dispatcher) = inline_engine(Builder::new());
    drop(dispatcher);
    let refused = publisher.publish(put("k")).unwrap_err();
    assert!(refused.to_string().ends_with("the dispatcher failed"));
}

#[test]
fn selectors_show_their_keys_in_debug() {
    let shown = |selector: Selector| format!("{selector:?}");
    assert_eq!(shown(Selector::exact("a\0")), r#"exact("a\x00")"#);
    assert_eq!(shown(Selector::prefix("a/")), r#"prefix("a/")"#);
    assert_eq!(shown(Selector::range("a".."b")), r#"range("a".."b")"#);
    assert_eq!(shown(Selector::from_key("a")), r#"from_key("a")"#);
    assert_eq!(shown(Selector::all()), "all()");
    let nested = Selector::any([Selector::exact("k"), Selector::prefix("p")]);
    let union = Selector::any([nested, Selector::exact("l")]);
    assert_eq!(
        shown(union),
        r#"any([exact("k"), exact("l"), prefix("p")])"#
    );
}

#[test]
fn events_show_their_content_in_debug_and_are_equal_by_it() {
    let (mut publisher, hub) = Builder::new().spawn().unwrap();
    let options = WatchOptions::new().prev_value(true);
    let mut with = hub.watch_with("k", options).unwrap();
    let mut without = hub.watch("k").unwrap();
    let change = put("k").with_prev_value(PrevValue::Absent);
    assert_eq!(
        format!("{change:?}"),
        r#"Put { key: "k", value: "v", prev_value: Absent }"#
    );
    publisher.publish(change.clone()).unwrap();
    publisher.publish(Change::delete("k")).unwrap();

    let [put, same] = [with.recv().unwrap(), without.recv().unwrap()];
    assert_eq!(
        format!("{put:?}"),
        r#"Put { revision: 1, key: "k", value: "v", prev_value: Absent }"#
    );
    assert_eq!((put.kind(), put.to_change()), (EventKind::Put, change));
    // Without the previous value it is another event.
    assert_ne!(put, same);
    let delete = with.recv().unwrap();
    assert_eq!(format!("{delete:?}"), r#"Delete { revision: 2, key: "k" }"#);
    assert_eq!(delete, without.recv().unwrap());
    let set: HashSet<_> = [put.clone(), put, same, delete.clone(), delete].into();
    assert_eq!(set.len(), 3);
}

#[test]
fn handles_show_their_state_in_debug() {
    let builder = Builder::new().queue_capacity(7).thread_name("watch");
    let shown = format!("{builder:?}");
    assert!(shown.contains("queue_capacity: 7") && shown.contains("\"watch\""));
    let (mut publisher, hub, dispatcher) = inline_engine(builder);
    let mut watcher = hub.watch("k").unwrap();
    publisher.publish(put("k")).unwrap();
    let shown = [
        format!("{publisher:?}"),
        format!("{hub:?}"),
        format!("{dispatcher:?}"),
    ];
    for shown in &shown {
        assert!(shown.contains('1'), "{shown}");
    }
    let number = watcher.id().to_string();
    assert!(number.parse::<u64>().is_ok(), "{number}");
    assert!(format!("{watcher:?}").contains("exact(\"k\")"));
    assert!(format!("{:?}", watcher.closer()).starts_with("Closer"));
    let batch = watcher.recv_batch().unwrap();
    assert!(!batch.is_empty());
    assert!(format!("{batch:?}").contains("revision: 1"));
    assert!(format!("{:?}", hub.stats()).contains("published_events: 1"));
    let options = WatchOptions::new()
        .filter(Filter::Puts)
        .overflow(Overflow::Cancel);
    assert!(format!("{options:?}").contains("Cancel"));
}

#[test]
fn every_publish_times_out_when_the_ingress_stays_full() {
    let (mut publisher, _hub, _dispatcher) =
        inline_engine(Builder::new().ingress_capacity(1).inline_dispatch(false));
    let short = Duration::from_millis(1);
    let batch = publisher.publish_batch_timeout([put("a")], short);
    assert_eq!(batch.unwrap(), 1);
    let refused = publisher.publish_many_timeout([(5, [put("a")])], short);
    let refused = refused.unwrap_err().into_input();
    assert_eq!(refused, [(5, vec![put("a")])]);
    let refused = publisher.publish_batch_timeout([put("a")], short);
    assert_eq!(refused.unwrap_err().into_input(), [put("a")]);
    let dropped = publisher.publish_lossy(put("a")).unwrap();
    assert_eq!(dropped.revision(), 2);
    assert_eq!(Lossy::Queued(8).revision(), 8);
}

#[test]
fn every_receive_times_out_when_no_event_comes() {
    let (mut publisher, hub, _dispatcher) = inline_engine(Builder::new());
    let mut watcher = hub.watch(b"k").unwrap();
    let short = Duration::from_millis(1);
    let soon = || Instant::now() + short;
    assert_eq!(
        watcher.recv_deadline(soon()),
        Err(RecvTimeoutError::Timeout)
    );
    let none = watcher.recv_batch_timeout(short).map(|batch| batch.len());
    assert_eq!(none, Err(RecvTimeoutError::Timeout));
    assert!(watcher.is_empty());

    publisher.publish(put("k")).unwrap();
    assert!(!watcher.is_empty());
    // A queued event is received after the deadline, too. A timeout beyond the clock is none.
    let past = Instant::now();
    assert_eq!(watcher.recv_deadline(past).unwrap().revision(), 1);
    publisher.publish_timeout(put("k"), Duration::MAX).unwrap();
    let batch = watcher.recv_batch_timeout(Duration::MAX);
    assert_eq!(batch.map(|batch| batch.last_revision()), Ok(2));
    publisher.shutdown(HANG).unwrap();
    assert_eq!(
        watcher.recv_deadline(soon()),
        Err(RecvTimeoutError::Closed(EndReason::ShutDown))
    );
    assert_eq!((&mut watcher).into_iter().count(), 0);
}

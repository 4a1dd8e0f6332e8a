//! The checker is checked: a true trace passes, and for each falsified trace the checker names the
//! broken promise.

use kvwatch::{Builder, Change, EndReason, PrevValue, Selector, WatchOptions};
use kvwatch_tests::checker::{Complete, Promise, check};
use kvwatch_tests::record::{Item, Log, Trace};
use kvwatch_tests::selector::NaiveSelector;
use kvwatch_tests::{inline_engine, removed};

/// A log and a true trace: each transaction has two changes of "k" and one of "other". The watch is
/// of "k", from revision 2 on.
fn recorded() -> (Log, Trace) {
    let (mut publisher, hub, _dispatcher) = inline_engine(Builder::new());
    let options = WatchOptions::new().start_revision(2).prev_value(true);
    let mut watcher = hub.watch_with(Selector::exact("k"), options).unwrap();
    let mut trace = Trace::new("recorded", NaiveSelector::Exact(b"k".to_vec()), &watcher);
    trace.prev = true;
    trace.requested_start = Some(2);
    let mut log = Log::default();
    for revision in 1..=6_u64 {
        let value = revision.to_string();
        let changes = vec![
            Change::put("k", value.clone()).with_prev_value(PrevValue::Absent),
            Change::put("other", value),
            Change::delete("k"),
        ];
        log.transactions.push((revision, changes.clone()));
        publisher.publish_batch(changes).unwrap();
    }
    drop(publisher);
    trace.drain(&mut watcher);
    (log, trace)
}

/// The indexes of the events among the items.
fn events(trace: &Trace) -> Vec<usize> {
    let is_event = |at: &usize| matches!(trace.items[*at], Item::Event(_));
    (0..trace.items.len()).filter(is_event).collect()
}

/// The promise that the checker names once `edit` has falsified the trace.
fn named(edit: impl FnOnce(&mut Trace, &[usize])) -> Promise {
    let (log, mut trace) = recorded();
    let events = events(&trace);
    edit(&mut trace, &events);
    let violation = check(&log, &trace, Complete::UpTo(log.last())).expect_err("it is falsified");
    assert!(violation.to_string().contains("recorded"), "{violation}");
    violation.promise
}

fn seen(trace: &mut Trace, at: usize) -> &mut kvwatch_tests::record::Seen {
    match &mut trace.items[at] {
        Item::Event(seen) => seen,
        other => panic!("{other:?} is no event"),
    }
}

/// Puts these events of the trace into one batch.
fn batched(trace: &mut Trace, events: &[usize]) {
    let batch = events.iter().map(|&at| seen(trace, at).clone()).collect();
    trace.items = vec![Item::Batch(batch), Item::End(EndReason::ShutDown)];
}

#[test]
fn true_trace_passes() {
    let (log, mut trace) = recorded();
    assert_eq!(trace.events(), 10);
    check(&log, &trace, Complete::UpTo(6)).unwrap();
    let events = events(&trace);
    batched(&mut trace, &events);
    check(&log, &trace, Complete::UpTo(6)).unwrap();
}

#[test]
fn ordered_is_named_when_revisions_go_back() {
    let late = named(|trace, events| {
        let lag = Item::Lagged(removed(3, 4));
        let from_within = trace.items[events[3]].clone();
        trace.items.drain(events[2]..events[6]);
        trace.items.splice(events[2]..events[2], [lag, from_within]);
    });
    assert_eq!(late, Promise::Ordered);
    let lag_behind = named(|trace, events| {
        let lag = Item::Lagged(removed(2, 2));
        trace.items.insert(events[3], lag);
    });
    assert_eq!(lag_behind, Promise::Ordered);
}

#[test]
fn unique_is_named_when_an_event_repeats() {
    let repeated = named(|trace, events| {
        let again = trace.items[events[4]].clone();
        trace.items.insert(events[5], again);
    });
    assert_eq!(repeated, Promise::Unique);
}

#[test]
fn reliable_is_named_when_an_event_is_missing() {
    let missing = named(|trace, events| {
        trace.items.retain(|item| matches!(item, Item::Event(_)));
        trace.items.drain(2..4);
        assert_eq!(trace.items.len(), events.len() - 2);
    });
    assert_eq!(missing, Promise::Reliable);
    let stuck = named(|trace, events| trace.items.truncate(events[8]));
    assert_eq!(stuck, Promise::Reliable);
    let lag_without_bounds = named(|trace, events| {
        trace.items[events[9]] = Item::Lagged(removed(7, 6));
    });
    assert_eq!(lag_without_bounds, Promise::Reliable);
    let lag_without_need = |floor| {
        move |trace: &mut Trace, events: &[usize]| {
            trace.items.truncate(events[2]);
            trace.items.push(Item::Lagged(removed(3, 6)));
            trace.floors.push(floor);
        }
    };
    assert_eq!(named(lag_without_need(6)), Promise::Reliable);
    let (log, mut trace) = recorded();
    let places = events(&trace);
    lag_without_need(7)(&mut trace, &places);
    check(&log, &trace, Complete::UpTo(6)).expect("the history had forgotten them");
}

#[test]
fn atomic_is_named_when_a_revision_is_split() {
    let split = named(|trace, events| {
        batched(trace, events);
        let Item::Batch(batch) = &mut trace.items[0] else {
            unreachable!("batched");
        };
        let rest = batch.split_off(3);
        trace.items.insert(1, Item::Batch(rest));
    });
    assert_eq!(split, Promise::Atomic);
    let lag_inside = named(|trace, events| {
        let lag = Item::Lagged(removed(3, 6));
        trace.items.truncate(events[1]);
        trace.items.push(lag);
    });
    assert_eq!(lag_inside, Promise::Atomic);
    let empty = named(|trace, events| trace.items.insert(events[0], Item::Batch(Vec::new())));
    assert_eq!(empty, Promise::Atomic);
}

#[test]
fn resumable_is_named_when_a_watch_starts_late() {
    let late = named(|trace, events| drop(trace.items.drain(..=events[1] + 1)));
    assert_eq!(late, Promise::Resumable);
    let elsewhere = named(|trace, _| trace.requested_start = Some(1));
    assert_eq!(elsewhere, Promise::Resumable);
    let nothing = named(|trace, _| trace.items.clear());
    assert_eq!(nothing, Promise::Resumable);
}

#[test]
fn bookmarkable_is_named_when_progress_is_ahead_or_goes_back() {
    let ahead = named(|trace, events| trace.items.insert(events[2], Item::Progress(3)));
    assert_eq!(ahead, Promise::Bookmarkable);
    let back = named(|trace, _| trace.items.push(Item::Progress(5)));
    assert_eq!(back, Promise::Bookmarkable);
    // The last revision is 6: a watch resumed behind 5 would repeat it.
    let behind = named(|trace, _| {
        trace
            .items
            .retain(|item| !matches!(item, Item::Progress(_)));
        trace.items.push(Item::Progress(5));
    });
    assert_eq!(behind, Promise::Bookmarkable);
}

#[test]
fn exact_start_is_named_when_an_event_is_below_the_start() {
    let early = named(|trace, events| {
        let mut early = trace.items[events[0]].clone();
        if let Item::Event(seen) = &mut early {
            seen.revision = 1;
        }
        trace.items.insert(events[0], early);
    });
    assert_eq!(early, Promise::ExactStart);
}

#[test]
fn faithful_is_named_when_an_event_differs() {
    let other_key = named(|trace, events| seen(trace, events[0]).key = "other".into());
    let other_value = named(|trace, events| seen(trace, events[0]).value = Some("9".into()));
    let other_prev =
        named(|trace, events| seen(trace, events[0]).prev = PrevValue::Value("".into()));
    assert_eq!([other_key, other_value, other_prev], [Promise::Faithful; 3]);
}

#[test]
fn previous_value_may_be_unavailable_only_at_a_compacted_revision() {
    let unknown = |compacted, prev| {
        let (mut log, mut trace) = recorded();
        let first = events(&trace)[0];
        seen(&mut trace, first).prev = prev;
        log.compacted.insert(compacted);
        check(&log, &trace, Complete::UpTo(6)).map_err(|violation| violation.promise)
    };
    assert_eq!(unknown(2, PrevValue::Unavailable), Ok(()));
    let elsewhere = unknown(3, PrevValue::Unavailable);
    let invented = unknown(2, PrevValue::Value("".into()));
    assert_eq!([elsewhere, invented], [Err(Promise::Faithful); 2]);
}

#[test]
fn clean_is_named_when_an_item_follows_the_end() {
    let after_the_end = named(|trace, _| trace.items.push(Item::End(EndReason::Closed)));
    assert_eq!(after_the_end, Promise::Clean);
}

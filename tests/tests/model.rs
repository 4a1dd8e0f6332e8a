//! Random schedules on the engine and on its naive model, compared step by step.
//!
//! proptest shrinks a failing schedule and prints it as Rust values, ready for a test of its own.

use kvwatch::{Change, Filter, PrevValue};
use kvwatch_tests::model::{Model, Op, ReceiveMode, WatchSpec};
use kvwatch_tests::selector::NaiveSelector;
use proptest::prelude::*;

/// Few keys, so that many match several selectors, and edge cases.
fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => prop::collection::vec(prop::sample::select(b"ab\xff".to_vec()), 0..4),
        1 => Just(b"ab\0".to_vec()),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    let prev = prop_oneof![
        Just(PrevValue::Unavailable),
        Just(PrevValue::Absent),
        Just(PrevValue::Value("before".into())),
    ];
    (key(), any::<bool>(), prev, 0..3_u8).prop_map(|(key, is_put, prev, value)| {
        let change = if is_put {
            Change::put(key, vec![value])
        } else {
            Change::delete(key)
        };
        change.with_prev_value(prev)
    })
}

fn part() -> impl Strategy<Value = NaiveSelector> {
    prop_oneof![
        3 => key().prop_map(NaiveSelector::Exact),
        3 => key().prop_map(NaiveSelector::Prefix),
        2 => (key(), key()).prop_map(|(start, end)| NaiveSelector::Range(start, end)),
        1 => key().prop_map(NaiveSelector::From),
        2 => Just(NaiveSelector::All),
    ]
}

fn selector() -> impl Strategy<Value = NaiveSelector> {
    prop_oneof![
        4 => part(),
        1 => prop::collection::vec(part(), 0..4).prop_map(NaiveSelector::Any),
    ]
}

fn spec() -> impl Strategy<Value = WatchSpec> {
    let filter = prop_oneof![
        3 => Just(Filter::All),
        1 => Just(Filter::Puts),
        1 => Just(Filter::Deletes),
    ];
    let start = prop::option::of(-12_i64..6);
    (
        selector(),
        filter,
        any::<bool>(),
        1..6_usize,
        prop::bool::weighted(0.3),
        start,
    )
        .prop_map(
            |(selector, filter, prev, capacity, cancels, start)| WatchSpec {
                selector,
                filter,
                prev,
                capacity,
                cancels,
                start,
            },
        )
}

fn op() -> impl Strategy<Value = Op> {
    let changes = || prop::collection::vec(change(), 0..5);
    let mode = prop::sample::select(vec![
        ReceiveMode::Try,
        ReceiveMode::Poll,
        ReceiveMode::Batch,
    ]);
    prop_oneof![
        6 => changes().prop_map(Op::Publish),
        3 => prop::collection::vec((1..4_u64, changes()), 1..6).prop_map(Op::PublishMany),
        3 => spec().prop_map(Op::Watch),
        8 => (any::<usize>(), 1..6_usize, mode)
            .prop_map(|(which, times, mode)| Op::Receive(which, times, mode)),
        1 => any::<usize>().prop_map(Op::Close),
        1 => any::<usize>().prop_map(Op::Drop),
        1 => (0..12_u64).prop_map(Op::Compact),
    ]
}

/// `PROPTEST_CASES` raises the number of cases.
fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig {
        cases: default.cases.max(4000),
        failure_persistence: None,
        ..default
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn engine_and_model_agree_on_random_schedules(
        history in prop_oneof![Just(0_usize), 1..20_usize, Just(10_000)],
        ops in prop::collection::vec(op(), 1..80),
    ) {
        let mut model = Model::new(history);
        for op in ops {
            if let Err(difference) = model.step(op.clone()) {
                prop_assert!(false, "at {op:?}: {difference}");
            }
        }
        if let Err(difference) = model.finish() {
            prop_assert!(false, "at the end: {difference}");
        }
    }
}

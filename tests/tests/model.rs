//! Random schedules on the engine and on a naive model of it, compared step by step.
//!
//! A failing schedule is shrunk, and printed as Rust values to put into a test of its own.

use kvwatch::{Change, Filter, PrevValue};
use kvwatch_tests::model::{Ask, How, Model, Op};
use kvwatch_tests::want::Want;
use proptest::prelude::*;

/// Few keys, of which many match several selectors, and the edges.
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

fn part() -> impl Strategy<Value = Want> {
    prop_oneof![
        3 => key().prop_map(Want::Exact),
        3 => key().prop_map(Want::Prefix),
        2 => (key(), key()).prop_map(|(start, end)| Want::Range(start, end)),
        1 => key().prop_map(Want::From),
        2 => Just(Want::All),
    ]
}

fn want() -> impl Strategy<Value = Want> {
    prop_oneof![
        4 => part(),
        1 => prop::collection::vec(part(), 0..4).prop_map(Want::Any),
    ]
}

fn ask() -> impl Strategy<Value = Ask> {
    let filter = prop_oneof![
        3 => Just(Filter::All),
        1 => Just(Filter::Puts),
        1 => Just(Filter::Deletes),
    ];
    let start = prop::option::of(-12_i64..6);
    (
        want(),
        filter,
        any::<bool>(),
        1..6_usize,
        prop::bool::weighted(0.3),
        start,
    )
        .prop_map(|(want, filter, prev, capacity, cancels, start)| Ask {
            want,
            filter,
            prev,
            capacity,
            cancels,
            start,
        })
}

fn op() -> impl Strategy<Value = Op> {
    let changes = || prop::collection::vec(change(), 0..5);
    let how = prop::sample::select(vec![How::Try, How::Poll, How::Batch]);
    prop_oneof![
        6 => changes().prop_map(Op::Publish),
        3 => prop::collection::vec((1..4_u64, changes()), 1..6).prop_map(Op::PublishMany),
        3 => ask().prop_map(Op::Watch),
        8 => (any::<usize>(), 1..6_usize, how)
            .prop_map(|(which, times, how)| Op::Receive(which, times, how)),
        1 => any::<usize>().prop_map(Op::Close),
        1 => any::<usize>().prop_map(Op::Drop),
        1 => (0..12_u64).prop_map(Op::Compact),
    ]
}

/// `PROPTEST_CASES` asks for more.
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
    fn the_engine_does_what_the_model_does(
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

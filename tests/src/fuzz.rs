//! The bodies of the fuzz targets. The test of the corpus runs them, too. Any bytes are an input.

use arbitrary::{Arbitrary, Result, Unstructured};
use kvwatch::{Builder, Change, Filter, PrevValue, WatchError};

use crate::model::{Model, Op, ReceiveMode, WatchSpec};
use crate::ready_revisions;
use crate::selector::NaiveSelector;

/// Mostly short keys of few letters, so that selectors match keys; sometimes any bytes.
fn key(input: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    if input.ratio(1, 16)? {
        return Vec::arbitrary(input);
    }
    let length = input.int_in_range(0..=4)?;
    (0..length)
        .map(|_| Ok(*input.choose(b"ab/\0\xff")?))
        .collect()
}

fn part(input: &mut Unstructured<'_>) -> Result<NaiveSelector> {
    Ok(match input.int_in_range(0..=4)? {
        0 => NaiveSelector::Exact(key(input)?),
        1 => NaiveSelector::Prefix(key(input)?),
        2 => NaiveSelector::Range(key(input)?, key(input)?),
        3 => NaiveSelector::From(key(input)?),
        _ => NaiveSelector::All,
    })
}

fn selector(input: &mut Unstructured<'_>) -> Result<NaiveSelector> {
    if input.ratio(3, 4)? {
        return part(input);
    }
    let parts = input.int_in_range(0..=4)?;
    (0..parts)
        .map(|_| part(input))
        .collect::<Result<_>>()
        .map(NaiveSelector::Any)
}

fn change(input: &mut Unstructured<'_>) -> Result<Change> {
    let key = key(input)?;
    let change = match input.arbitrary::<Option<u8>>()? {
        Some(value) => Change::put(key, vec![value]),
        None => Change::delete(key),
    };
    Ok(change.with_prev_value(match input.int_in_range(0..=2)? {
        0 => PrevValue::Unavailable,
        1 => PrevValue::Absent,
        _ => PrevValue::Value("before".into()),
    }))
}

fn changes(input: &mut Unstructured<'_>) -> Result<Vec<Change>> {
    let count = input.int_in_range(0..=5)?;
    (0..count).map(|_| change(input)).collect()
}

fn op(input: &mut Unstructured<'_>) -> Result<Op> {
    Ok(match input.int_in_range(0..=15)? {
        0..=4 => Op::Publish(changes(input)?),
        5 | 6 => {
            let count = input.int_in_range(1..=5)?;
            let entry = |_| Ok((input.int_in_range(1..=3)?, changes(input)?));
            Op::PublishMany((0..count).map(entry).collect::<Result<_>>()?)
        }
        7..=9 => Op::Watch(WatchSpec {
            selector: selector(input)?,
            filter: *input.choose(&[Filter::All, Filter::Puts, Filter::Deletes])?,
            prev: input.arbitrary()?,
            capacity: input.int_in_range(1..=6)?,
            cancels: input.ratio(1, 3)?,
            start: match input.arbitrary()? {
                true => Some(input.int_in_range(-12..=6)?),
                false => None,
            },
        }),
        10..=12 => {
            let mode = *input.choose(&[ReceiveMode::Try, ReceiveMode::Poll, ReceiveMode::Batch])?;
            Op::Receive(input.arbitrary()?, input.int_in_range(1..=6)?, mode)
        }
        13 => Op::Close(input.arbitrary()?),
        14 => Op::Drop(input.arbitrary()?),
        _ => Op::Compact(input.int_in_range(0..=12)?),
    })
}

/// Runs a schedule on the engine and on its model.
///
/// # Panics
/// If they differ.
pub fn operations(input: &[u8]) {
    let mut input = Unstructured::new(input);
    let history = input
        .choose(&[0, 1, 3, 8, 20, 10_000])
        .copied()
        .unwrap_or(8);
    let mut model = Model::new(history);
    let mut done = Vec::new();
    while let (false, Ok(op)) = (input.is_empty(), op(&mut input)) {
        done.push(op.clone());
        if let Err(difference) = model.step(op) {
            panic!("{difference}, with a history of {history} after {done:?}");
        }
    }
    if let Err(difference) = model.finish() {
        panic!("{difference}, with a history of {history} after {done:?}");
    }
}

/// Registers and drops watchers, and compares the watchers that an event reaches with those whose
/// naive selector matches its key.
///
/// # Panics
/// If they differ.
pub fn selectors(input: &[u8]) {
    let mut input = Unstructured::new(input);
    let (mut publisher, hub, _dispatcher) = Builder::new().build().expect("valid options");
    let mut watchers = Vec::new();
    let mut step = |input: &mut Unstructured<'_>| -> Result<()> {
        match input.int_in_range(0..=3)? {
            0 | 1 => {
                let selector = selector(input)?;
                match hub.watch(selector.to_selector()) {
                    Ok(watcher) => watchers.push((selector, watcher)),
                    Err(WatchError::EmptyRange { .. } | WatchError::EmptyUnion) => {
                        assert!(selector.is_void(), "{selector:?} was refused");
                    }
                    Err(error) => panic!("{selector:?}: {error}"),
                }
            }
            2 if !watchers.is_empty() => {
                let which = input.choose_index(watchers.len())?;
                drop(watchers.swap_remove(which));
            }
            _ => {
                let key = key(input)?;
                let change = Change::delete(key.clone());
                let revision = publisher.publish(change).expect("it runs");
                for (selector, watcher) in &mut watchers {
                    let expected: &[u64] = if selector.matches(&key) {
                        &[revision]
                    } else {
                        &[]
                    };
                    assert_eq!(
                        ready_revisions(watcher),
                        expected,
                        "{selector:?} at {key:?}"
                    );
                }
            }
        }
        Ok(())
    };
    while !input.is_empty() && step(&mut input).is_ok() {}
    drop(watchers);
    let stats = hub.stats();
    assert_eq!((stats.watchers, stats.keys_watched), Default::default());
}

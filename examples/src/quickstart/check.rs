//! Checks that a watcher received what the store has.

use std::collections::BTreeMap;

use bytes::Bytes;
use kvwatch::Change;

use super::following::Followed;
use crate::AnyError;
use crate::store::Reader;

/// What a watcher received, and the first problem with it.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) name: &'static str,
    pub(crate) followed: Followed,
    pub(crate) problem: Option<String>,
}

type State = BTreeMap<Bytes, Bytes>;

fn apply(state: &mut State, change: &Change) {
    match change.value() {
        Some(value) => state.insert(change.key().clone(), value.clone()),
        None => state.remove(change.key()),
    };
}

/// Compares the events one by one with the store's log, and the state after them with the store's
/// state.
///
/// # Errors
/// If the store cannot be read.
pub(crate) fn check(
    name: &'static str,
    followed: Followed,
    reader: &Reader,
) -> Result<Outcome, AnyError> {
    let problem = problem(&followed, reader)?;
    Ok(Outcome {
        name,
        followed,
        problem,
    })
}

fn problem(followed: &Followed, reader: &Reader) -> Result<Option<String>, AnyError> {
    let Followed {
        selector,
        start,
        events,
        lags,
    } = followed;
    if let Some(lagged) = lags.first() {
        return Ok(Some(format!("it lagged: {lagged}")));
    }
    let mut state = State::new();
    let mut expected = Vec::new();
    for (revision, change) in reader.changes_since(1)? {
        if !selector.matches(change.key()) {
            continue;
        }
        if revision < *start {
            apply(&mut state, &change);
        } else {
            expected.push((revision, change));
        }
    }
    for (number, event) in events.iter().enumerate() {
        let same = expected.get(number).is_some_and(|(revision, change)| {
            let event = (event.revision(), &event.key_bytes(), event.value_bytes());
            event == (*revision, change.key(), change.value().cloned())
        });
        if !same {
            return Ok(Some(format!(
                "it received {event:?} instead of {:?}",
                expected.get(number)
            )));
        }
        apply(&mut state, &event.to_change());
    }
    if let Some(missing) = expected.get(events.len()) {
        return Ok(Some(format!("it never received {missing:?}")));
    }
    let mut all = reader.all()?;
    all.retain(|key, _| selector.matches(key));
    Ok((state != all).then(|| "its state differs from the store's".to_owned()))
}

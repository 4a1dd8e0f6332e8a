//! One watcher per key, and events with random keys.

use super::scale::{Scale, abbreviate};
use crate::group::Group;
use crate::jobs::{Job, ManyKeys, WatchKind};
use crate::peers::names::*;
use crate::row::{RowSpec, Unit};

/// The number of keys, and the goal as a multiple of d-engine's figure.
const GOALS: [(usize, f64); 4] = [(1000, 5.0), (10_000, 5.0), (100_000, 3.5), (1_000_000, 2.5)];

/// Only this number of keys is measured for peers whose cost grows with every watcher.
const LINEAR_PEERS_KEYS: usize = 1000;

pub(super) fn groups(scale: Scale) -> Vec<Group> {
    let counts = GOALS.map(|goal| goal.0);
    scale
        .watchers(&counts)
        .zip(GOALS)
        .map(|(watchers, (_, factor))| {
            let job = |events, warm_up| {
                Job::ManyKeys(ManyKeys {
                    kind: WatchKind::Exact,
                    watchers,
                    events: scale.of(events),
                    warm_up,
                })
            };
            let mut group = Group::new("W3", &job(200_000, true), &[OURS, D_ENGINE]);
            let name = format!("one watcher a key, {} keys", abbreviate(watchers));
            let mut row = RowSpec::new(name, Unit::Events, OURS)
                .beside([D_ENGINE])
                .at_least(factor, &[D_ENGINE])
                .plot("One watcher a key: publish, dispatch and drain", watchers);
            if watchers == LINEAR_PEERS_KEYS {
                for linear in [BROADCAST, SLED] {
                    group = group.case(linear, linear, job(20_000, false));
                    row = row.beside([linear]);
                }
            }
            group.row_and_variant(row, OURS_NOT_INLINE, &job(200_000, true))
        })
        .collect()
}

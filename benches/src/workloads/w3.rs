//! One watcher a key, random keys.

use super::{Scale, spoken};
use crate::heat::{Heat, Row, Unit};
use crate::jobs::{Job, Kind, Spread};
use crate::peers::names::*;

/// Keys, and how many times the rival's figure is wanted.
const GOALS: [(usize, f64); 4] = [(1000, 5.0), (10_000, 5.0), (100_000, 3.5), (1_000_000, 2.5)];

/// With this many keys, those whose cost grows with every watcher take part too.
const FEW: usize = 1000;

pub(super) fn heats(scale: Scale) -> Vec<Heat> {
    let counts = GOALS.map(|goal| goal.0);
    scale
        .watchers(&counts)
        .zip(GOALS)
        .map(|(watchers, (_, factor))| {
            let job = |events, warm_up| {
                Job::Spread(Spread {
                    kind: Kind::Exact,
                    watchers,
                    events: scale.of(events),
                    warm_up,
                })
            };
            let mut heat = Heat::new("W3", &job(200_000, true), &[OURS, D_ENGINE]);
            let what = format!("one watcher a key, {} keys", spoken(watchers));
            let mut row = Row::new(what, Unit::Events, OURS)
                .beside([D_ENGINE])
                .at_least(factor, &[D_ENGINE])
                .plot("One watcher a key: publish, dispatch and drain", watchers);
            if watchers == FEW {
                for linear in [BROADCAST, SLED] {
                    heat = heat.entrant(linear, linear, job(20_000, false));
                    row = row.beside([linear]);
                }
            }
            heat.row_and(row, OURS_NOT_INLINE, &job(200_000, true))
        })
        .collect()
}

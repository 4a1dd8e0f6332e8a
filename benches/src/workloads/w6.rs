//! Prefixes of three lengths.

use super::{Scale, spoken};
use crate::heat::{Heat, Row, Unit};
use crate::jobs::{Job, Kind, Spread};
use crate::peers::names::*;

const COUNTS: [usize; 3] = [1000, 100_000, 1_000_000];

pub(super) fn heats(scale: Scale) -> Vec<Heat> {
    let peers = [OURS, D_ENGINE];
    let mut heats: Vec<Heat> = scale
        .watchers(&COUNTS)
        .map(|prefixes| {
            let job = Job::Lookup {
                prefixes,
                lookups: scale.of(200_000),
            };
            let what = format!("look-up among {} prefixes", spoken(prefixes));
            let row = Row::new(what, Unit::Nanoseconds, OURS)
                .beside([D_ENGINE])
                .at_most(0.25, &[D_ENGINE])
                .plot("Looking a key up among prefixes", prefixes);
            Heat::new("W6", &job, &peers).row(row)
        })
        .collect();
    let prefixes = 100_000;
    let job = Job::Spread(Spread {
        kind: Kind::Prefix,
        watchers: prefixes,
        events: scale.of(200_000),
        warm_up: true,
    });
    let what = format!(
        "publish, dispatch and drain, {} prefix watchers",
        spoken(prefixes)
    );
    // A quarter of the time is four times the rate.
    let row = Row::new(what, Unit::Events, OURS)
        .beside([D_ENGINE])
        .at_least(4.0, &[D_ENGINE]);
    heats.push(Heat::new("W6", &job, &peers).row_and(row, OURS_NOT_INLINE, &job));
    heats
}

//! Prefixes of three lengths.

use super::scale::{Scale, abbreviate};
use crate::group::Group;
use crate::jobs::{Job, ManyKeys, WatchKind};
use crate::peers::names::*;
use crate::row::{RowSpec, Unit};

const COUNTS: [usize; 3] = [1000, 100_000, 1_000_000];

pub(super) fn groups(scale: Scale) -> Vec<Group> {
    let peers = [OURS, D_ENGINE];
    let mut groups: Vec<Group> = scale
        .watchers(&COUNTS)
        .map(|prefixes| {
            let job = Job::Lookup {
                prefixes,
                lookups: scale.of(200_000),
            };
            let name = format!("look-up among {} prefixes", abbreviate(prefixes));
            let row = RowSpec::new(name, Unit::Nanoseconds, OURS)
                .beside([D_ENGINE])
                .at_most(0.25, &[D_ENGINE])
                .plot("Looking a key up among prefixes", prefixes);
            Group::new("W6", &job, &peers).row(row)
        })
        .collect();
    let prefixes = 100_000;
    let job = Job::ManyKeys(ManyKeys {
        kind: WatchKind::Prefix,
        watchers: prefixes,
        events: scale.of(200_000),
        warm_up: true,
    });
    let name = format!(
        "publish, dispatch and drain, {} prefix watchers",
        abbreviate(prefixes)
    );
    // The goal is a quarter of d-engine's time, which is four times its rate.
    let row = RowSpec::new(name, Unit::Events, OURS)
        .beside([D_ENGINE])
        .at_least(4.0, &[D_ENGINE]);
    groups.push(Group::new("W6", &job, &peers).row_and_variant(row, OURS_NOT_INLINE, &job));
    groups
}

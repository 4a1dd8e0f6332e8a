//! Publish and dispatch of events with random keys, beside watchers that match none of them.

use super::scale::{Scale, abbreviate};
use crate::group::Group;
use crate::jobs::{Job, Load, Publish, TimedUntil, WatchKind};
use crate::peers::names::*;
use crate::row::{RowSpec, Unit};

const COUNTS: [usize; 4] = [1000, 10_000, 100_000, 1_000_000];
/// The cost beside the most watchers may be this many times the cost beside the fewest.
const MAX_GROWTH: f64 = 3.0;

pub(super) fn groups(scale: Scale) -> Vec<Group> {
    let exact = "Publish and dispatch beside exact watchers that do not match";
    let prefix = "Publish and dispatch beside prefix watchers that do not match";
    vec![
        group(scale, WatchKind::Exact, "exact", exact),
        group(scale, WatchKind::Prefix, "prefix", prefix),
    ]
}

fn group(scale: Scale, kind: WatchKind, kind_name: &str, plot: &'static str) -> Group {
    let label = |peer: &str, count| format!("{peer}, {}", abbreviate(count));
    let counts: Vec<usize> = scale.watchers(&COUNTS).collect();
    let mut group = Group::new("growth", &job(scale, kind, 0), &[]);
    for &count in &counts {
        for peer in [OURS, D_ENGINE] {
            group = group.case(label(peer, count), peer, job(scale, kind, count));
        }
        let name = format!(
            "publish and dispatch, {} {kind_name} watchers that do not match",
            abbreviate(count)
        );
        let mut row = RowSpec::new(name, Unit::Nanoseconds, label(OURS, count))
            .beside([label(D_ENGINE, count).as_str()])
            .plot(plot, count);
        if count == counts[counts.len() - 1] {
            row = row.at_most(MAX_GROWTH, &[&label(OURS, counts[0])]);
        }
        group = group.row(row);
    }
    group
}

fn job(scale: Scale, kind: WatchKind, idle_watchers: usize) -> Job {
    Job::Publish(Publish {
        matching: 0,
        idle_watchers,
        kind,
        load: Load::Busy,
        until: TimedUntil::Received,
        chunk: 1,
        bursts: scale.of(50),
    })
}

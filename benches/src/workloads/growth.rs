//! Publish and dispatch of an event with random keys, beside watchers that do not match it.

use super::{Scale, spoken};
use crate::heat::{Heat, Row, Unit};
use crate::jobs::{Clock, Job, Kind, Load, Publish};
use crate::peers::names::*;

const COUNTS: [usize; 4] = [1000, 10_000, 100_000, 1_000_000];
/// By how much the cost may grow from the fewest to the most.
const FACTOR: f64 = 3.0;

pub(super) fn heats(scale: Scale) -> Vec<Heat> {
    let exact = "Publish and dispatch beside exact watchers that do not match";
    let prefix = "Publish and dispatch beside prefix watchers that do not match";
    vec![
        heat(scale, Kind::Exact, "exact", exact),
        heat(scale, Kind::Prefix, "prefix", prefix),
    ]
}

fn heat(scale: Scale, kind: Kind, called: &str, plot: &'static str) -> Heat {
    let label = |peer: &str, count| format!("{peer}, {}", spoken(count));
    let counts: Vec<usize> = scale.watchers(&COUNTS).collect();
    let mut heat = Heat::new("growth", &job(scale, kind, 0), &[]);
    for &count in &counts {
        for peer in [OURS, D_ENGINE] {
            heat = heat.entrant(label(peer, count), peer, job(scale, kind, count));
        }
        let what = format!(
            "publish and dispatch, {} {called} watchers that do not match",
            spoken(count)
        );
        let mut row = Row::new(what, Unit::Nanoseconds, label(OURS, count))
            .beside([label(D_ENGINE, count).as_str()])
            .plot(plot, count);
        if count == counts[counts.len() - 1] {
            row = row.at_most(FACTOR, &[&label(OURS, counts[0])]);
        }
        heat = heat.row(row);
    }
    heat
}

fn job(scale: Scale, kind: Kind, bystanders: usize) -> Job {
    Job::Publish(Publish {
        matching: 0,
        bystanders,
        kind,
        load: Load::Busy,
        clock: Clock::Received,
        chunk: 1,
        bursts: scale.of(50),
    })
}

//! What publishing costs the publisher.

use super::Scale;
use crate::heat::{Heat, Row, Unit};
use crate::jobs::{Clock, Job, Kind, Load, Paced, Publish, Receiver};
use crate::peers::names::*;

const PEERS: [&str; 3] = [D_ENGINE, BROADCAST, BROADCAST_ARC];
const OURS_ALL: [&str; 3] = [OURS, OURS_NO_HISTORY, OURS_NOT_INLINE];

fn job(matching: usize, load: Load, chunk: usize, bursts: usize) -> Job {
    Job::Publish(Publish {
        matching,
        bystanders: 0,
        kind: Kind::Exact,
        load,
        clock: Clock::Published,
        chunk,
        bursts,
    })
}

fn row(what: &str, ours: &str) -> Row {
    Row::new(what, Unit::Nanoseconds, ours)
}

/// A row for each of our configurations; the goals are for the first two.
fn rows(heat: Heat, what: &str, limits: [Option<f64>; 2]) -> Heat {
    let limits = limits.into_iter().chain([None]);
    OURS_ALL
        .iter()
        .zip(limits)
        .fold(heat, |heat, (ours, limit)| {
            let mut row = match *ours {
                OURS => row(what, ours).beside(PEERS),
                other => row(&format!("{what}; {other}"), ours),
            };
            if let Some(limit) = limit {
                row = row.limit(limit);
            }
            heat.row(row)
        })
}

pub(super) fn heats(scale: Scale) -> Vec<Heat> {
    let bursts = scale.of(50);
    let all = [&OURS_ALL[..], &PEERS[..]].concat();
    let nobody_idle = Heat::new("W4", &job(0, Load::Idle, 1, 1), &all);
    let nobody_busy = Heat::new("W4", &job(0, Load::Busy, 1, bursts), &all);
    let one_idle = Heat::new("W4", &job(1, Load::Idle, 1, 1), &all);
    let one_busy = Heat::new("W4", &job(1, Load::Busy, 1, bursts), &all);
    let many = Heat::new("W4", &job(1, Load::Busy, 64, bursts), &all);
    let hundred_idle = Heat::new("W4", &job(100, Load::Idle, 1, 1), &all);
    let hundred_busy = Heat::new("W4", &job(100, Load::Busy, 1, bursts / 5), &all);
    let mut heats = vec![
        rows(
            nobody_idle,
            "publish, nobody matches, idle",
            [Some(80.0), Some(25.0)],
        ),
        rows(
            nobody_busy,
            "publish, nobody matches, busy",
            [Some(60.0), Some(15.0)],
        ),
        rows(one_idle, "publish, one matches, idle", [None; 2]),
        rows(one_busy, "publish, one matches, busy", [Some(60.0), None]),
        rows(
            many,
            "publish_many of 64, one matches, busy, an event",
            [Some(36.0), None],
        ),
        rows(hundred_idle, "publish, a hundred match, idle", [None; 2]),
        rows(hundred_busy, "publish, a hundred match, busy", [None; 2]),
    ];
    heats.push(hundred_latency(scale));
    heats
}

/// What publishing to a hundred buys; what publishing to one buys is W5.
fn hundred_latency(scale: Scale) -> Heat {
    let job = Job::Paced(Paced {
        receiver: Receiver::Task,
        watchers: 100,
        events: scale.of(200),
    });
    let all = [OURS, OURS_NOT_INLINE, D_ENGINE, BROADCAST, BROADCAST_ARC];
    let what = "publish to receive, a hundred tokio tasks match, paced, p50";
    Heat::new("W4", &job, &all)
        .row(Row::new(what, Unit::Microseconds, OURS).beside(PEERS))
        .row(Row::new(
            format!("{what}; {OURS_NOT_INLINE}"),
            Unit::Microseconds,
            OURS_NOT_INLINE,
        ))
}

//! What publishing costs the publisher.

use super::Scale;
use crate::heat::{Heat, Row, Unit};
use crate::jobs::{Clock, Job, Kind, Load, Paced, Publish, Receiver};
use crate::peers::names::*;

const PEERS: [&str; 3] = [D_ENGINE, BROADCAST, BROADCAST_ARC];
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

/// A row for each of our configurations, with the most that it may take.
fn rows(what: &str, job: &Job, ours: &[(&'static str, Option<f64>)]) -> Heat {
    let entrants: Vec<&str> = ours.iter().map(|ours| ours.0).chain(PEERS).collect();
    let heat = Heat::new("W4", job, &entrants);
    ours.iter().fold(heat, |heat, &(ours, limit)| {
        let mut row = if ours == OURS {
            Row::new(what, Unit::Nanoseconds, ours).beside(PEERS)
        } else {
            Row::new(format!("{what}; {ours}"), Unit::Nanoseconds, ours)
        };
        if let Some(limit) = limit {
            row = row.limit(limit);
        }
        heat.row(row)
    })
}

pub(super) fn heats(scale: Scale) -> Vec<Heat> {
    let bursts = scale.of(200);
    let nobody = |load, default, without_history| {
        let what = format!("publish, nobody matches, {}", spoken(load));
        let ours = [
            (OURS, Some(default)),
            (OURS_NO_HISTORY, Some(without_history)),
            (OURS_NOT_INLINE, None),
        ];
        rows(&what, &job(0, load, 1, bursts), &ours)
    };
    // Not without a history: a watcher whose queue a burst overflows would be told that it lagged.
    let matching = |count, load, limit| {
        let called = if count == 1 {
            "one matches"
        } else {
            "a hundred match"
        };
        let what = format!("publish, {called}, {}", spoken(load));
        let ours = [(OURS, limit), (OURS_NOT_INLINE, None)];
        rows(&what, &job(count, load, 1, bursts.div_ceil(count)), &ours)
    };
    vec![
        nobody(Load::Idle, 80.0, 25.0),
        nobody(Load::Busy, 60.0, 15.0),
        matching(1, Load::Idle, None),
        matching(1, Load::Busy, Some(60.0)),
        rows(
            "publish_many of 64, one matches, busy, an event",
            &job(1, Load::Busy, 64, bursts),
            &[(OURS, Some(36.0)), (OURS_NOT_INLINE, None)],
        ),
        matching(100, Load::Idle, None),
        matching(100, Load::Busy, None),
        hundred_latency(scale),
    ]
}

fn spoken(load: Load) -> &'static str {
    match load {
        Load::Idle => "idle",
        Load::Busy => "busy",
    }
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

//! The publisher's cost of an event.

use super::scale::Scale;
use crate::group::Group;
use crate::jobs::{Job, Latency, Load, Publish, ReceiverKind, TimedUntil, WatchKind};
use crate::peers::names::*;
use crate::row::{RowSpec, Unit};

const PEERS: [&str; 3] = [D_ENGINE, BROADCAST, BROADCAST_ARC];

fn job(matching: usize, load: Load, chunk: usize, bursts: usize) -> Job {
    Job::Publish(Publish {
        matching,
        idle_watchers: 0,
        kind: WatchKind::Exact,
        load,
        until: TimedUntil::Published,
        chunk,
        bursts,
    })
}

/// A group with a row for each configuration of kvwatch in `ours`; the number is its goal, the most
/// ns per event.
fn rows(name: &str, job: &Job, ours: &[(&'static str, Option<f64>)]) -> Group {
    let cases: Vec<&str> = ours.iter().map(|ours| ours.0).chain(PEERS).collect();
    let group = Group::new("W4", job, &cases);
    ours.iter().fold(group, |group, &(ours, limit)| {
        let mut row = if ours == OURS {
            RowSpec::new(name, Unit::Nanoseconds, ours).beside(PEERS)
        } else {
            RowSpec::new(format!("{name}; {ours}"), Unit::Nanoseconds, ours)
        };
        if let Some(limit) = limit {
            row = row.limit(limit);
        }
        group.row(row)
    })
}

pub(super) fn groups(scale: Scale) -> Vec<Group> {
    let bursts = scale.of(200);
    let none_match = |load, default, without_history| {
        let name = format!("publish, nobody matches, {}", load_name(load));
        let ours = [
            (OURS, Some(default)),
            (OURS_NO_HISTORY, Some(without_history)),
            (OURS_NOT_INLINE, None),
        ];
        rows(&name, &job(0, load, 1, bursts), &ours)
    };
    // kvwatch without a history has no row here: a burst overflows the queue of a matching watcher,
    // which then lags.
    let matching = |count, load, limit| {
        let subject = if count == 1 {
            "one matches"
        } else {
            "a hundred match"
        };
        let name = format!("publish, {subject}, {}", load_name(load));
        let ours = [(OURS, limit), (OURS_NOT_INLINE, None)];
        rows(&name, &job(count, load, 1, bursts.div_ceil(count)), &ours)
    };
    vec![
        none_match(Load::Idle, 80.0, 25.0),
        none_match(Load::Busy, 60.0, 15.0),
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

fn load_name(load: Load) -> &'static str {
    match load {
        Load::Idle => "idle",
        Load::Busy => "busy",
    }
}

/// The latency to a hundred watchers. W5 has the latency to one.
fn hundred_latency(scale: Scale) -> Group {
    let job = Job::Latency(Latency {
        receiver: ReceiverKind::Task,
        watchers: 100,
        events: scale.of(200),
    });
    let all = [OURS, OURS_NOT_INLINE, D_ENGINE, BROADCAST, BROADCAST_ARC];
    let name = "publish to receive, a hundred tokio tasks match, paced, p50";
    Group::new("W4", &job, &all)
        .row(RowSpec::new(name, Unit::Microseconds, OURS).beside(PEERS))
        .row(RowSpec::new(
            format!("{name}; {OURS_NOT_INLINE}"),
            Unit::Microseconds,
            OURS_NOT_INLINE,
        ))
}

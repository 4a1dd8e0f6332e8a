//! Latency: one publish per millisecond, to receivers that sleep in between.

use super::scale::Scale;
use crate::group::Group;
use crate::jobs::{Job, Latency, ReceiverKind};
use crate::peers::names::*;
use crate::row::{RowSpec, Unit};

pub(super) fn groups(scale: Scale) -> Vec<Group> {
    let engines = [D_ENGINE, BROADCAST, BROADCAST_ARC, ASYNC_BROADCAST];
    let raw = [FLUME, TOKIO_MPSC];
    let blocking = [&engines[..], &[CROSSBEAM], &raw[..]].concat();
    let tasks = [&engines[..], &raw[..]].concat();
    let goals = |row: RowSpec| row.at_most(1.4, &[FLUME]);
    let task_goals = |row: RowSpec| row.at_most(1.1, &[D_ENGINE]);
    vec![
        group(scale, ReceiverKind::Thread, "blocking", &blocking, goals),
        group(scale, ReceiverKind::Task, "tokio task", &tasks, task_goals),
    ]
}

fn group(
    scale: Scale,
    receiver: ReceiverKind,
    receiver_name: &str,
    peers: &[&'static str],
    goals: impl Fn(RowSpec) -> RowSpec,
) -> Group {
    let job = Job::Latency(Latency {
        receiver,
        watchers: 1,
        events: scale.of(400),
    });
    let readings = ["p50", "p99", "p50 of publish() itself"];
    let all = [&[OURS, OURS_NOT_INLINE], peers].concat();
    let mut group = Group::new("W5", &job, &all);
    for ours in [OURS, OURS_NOT_INLINE] {
        for (reading, name) in readings.iter().enumerate() {
            let mut name = format!("publish to receive, {receiver_name}, paced, {name}");
            if ours != OURS {
                name = format!("{name}; {ours}");
            }
            let mut row = RowSpec::new(name, Unit::Microseconds, ours).reading(reading);
            if ours == OURS {
                row = row.beside(peers.iter().copied());
                if reading == 0 {
                    row = goals(row);
                }
            }
            group = group.row(row);
        }
    }
    group
}

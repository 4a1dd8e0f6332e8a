//! Latency: one publish a millisecond, receivers that sleep until then.

use super::Scale;
use crate::heat::{Heat, Row, Unit};
use crate::jobs::{Job, Paced, Receiver};
use crate::peers::names::*;

pub(super) fn heats(scale: Scale) -> Vec<Heat> {
    let engines = [D_ENGINE, BROADCAST, BROADCAST_ARC, ASYNC_BROADCAST];
    let raw = [FLUME, TOKIO_MPSC];
    let blocking = [&engines[..], &[CROSSBEAM], &raw[..]].concat();
    let tasks = [&engines[..], &raw[..]].concat();
    let goals = |row: Row| row.at_most(1.4, &[FLUME]);
    let task_goals = |row: Row| row.at_most(1.1, &[D_ENGINE]);
    vec![
        heat(scale, Receiver::Thread, "blocking", &blocking, goals),
        heat(scale, Receiver::Task, "tokio task", &tasks, task_goals),
    ]
}

fn heat(
    scale: Scale,
    receiver: Receiver,
    called: &str,
    peers: &[&'static str],
    goals: impl Fn(Row) -> Row,
) -> Heat {
    let job = Job::Paced(Paced {
        receiver,
        watchers: 1,
        events: scale.of(400),
    });
    let readings = ["p50", "p99", "p50 of publish() itself"];
    let all = [&[OURS, OURS_NOT_INLINE], peers].concat();
    let mut heat = Heat::new("W5", &job, &all);
    for ours in [OURS, OURS_NOT_INLINE] {
        for (reading, name) in readings.iter().enumerate() {
            let mut what = format!("publish to receive, {called}, paced, {name}");
            if ours != OURS {
                what = format!("{what}; {ours}");
            }
            let mut row = Row::new(what, Unit::Microseconds, ours).reading(reading);
            if ours == OURS {
                row = row.beside(peers.iter().copied());
                if reading == 0 {
                    row = goals(row);
                }
            }
            heat = heat.row(row);
        }
    }
    heat
}

//! One exact watcher, as fast as it goes.

use super::Scale;
use crate::heat::{Heat, Row, Unit};
use crate::jobs::{Job, Making, Receiver, Stream};
use crate::peers::names::*;

const BROADCASTS: [&str; 2] = [BROADCAST, BROADCAST_ARC];

pub(super) fn heats(scale: Scale) -> Vec<Heat> {
    let made = |making, receiver, chunk| {
        Job::Stream(Stream {
            events: scale.of(500_000),
            receiver,
            chunk,
            making,
        })
    };
    let job = |receiver, chunk| made(Making::Beforehand, receiver, chunk);
    let engines = [D_ENGINE, BROADCAST, BROADCAST_ARC, ASYNC_BROADCAST, SLED];
    let raw = [RTRB, CROSSBEAM, FLUME, TOKIO_MPSC, PIPE];
    let all = [&[OURS], &engines[..], &raw[..]].concat();
    let blocking = Row::new("one watcher, blocking", Unit::Events, OURS)
        .beside(all[1..].iter().copied())
        .at_least(0.9, &[PIPE])
        .at_least(8.0, &[D_ENGINE])
        .at_least(1.5, &BROADCASTS);
    let chunked = [OURS, D_ENGINE, BROADCAST, BROADCAST_ARC];
    let many = Row::new("the same, publish_many of 64", Unit::Events, OURS)
        .beside(chunked[1..].iter().copied())
        .at_least(10.0, &[D_ENGINE])
        .at_least(2.0, &BROADCASTS);
    let tasks = [&[OURS], &engines[..], &[FLUME, TOKIO_MPSC]].concat();
    let task = Row::new("one watcher, tokio task", Unit::Events, OURS)
        .beside(tasks[1..].iter().copied())
        .at_least(5.0, &[D_ENGINE])
        .at_least(1.8, &BROADCASTS);
    let heat = |receiver, chunk, peers: &[&'static str], row: Row| {
        let job = job(receiver, chunk);
        Heat::new("W1", &job, peers).row_and(row, OURS_NOT_INLINE, &job)
    };
    // What a store does: no goal was set for it.
    let fresh = made(Making::AsPublished, Receiver::Thread, 1);
    let fresh = Heat::new("W1", &fresh, &all).row(
        Row::new(
            "the same, events made as they are published",
            Unit::Events,
            OURS,
        )
        .beside(all[1..].iter().copied()),
    );
    vec![
        heat(Receiver::Thread, 1, &all, blocking),
        fresh,
        heat(Receiver::Thread, 64, &chunked, many),
        heat(Receiver::Task, 1, &tasks, task),
    ]
}

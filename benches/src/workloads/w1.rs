//! One exact watcher, as fast as it goes.

use super::scale::Scale;
use crate::group::Group;
use crate::jobs::{Allocation, Job, ReceiverKind, Throughput};
use crate::peers::names::*;
use crate::row::{RowSpec, Unit};

const BROADCASTS: [&str; 2] = [BROADCAST, BROADCAST_ARC];

pub(super) fn groups(scale: Scale) -> Vec<Group> {
    let job = |allocation, receiver, chunk| {
        Job::Throughput(Throughput {
            events: scale.of(500_000),
            receiver,
            chunk,
            allocation,
        })
    };
    let engines = [D_ENGINE, BROADCAST, BROADCAST_ARC, ASYNC_BROADCAST, SLED];
    let raw = [RTRB, CROSSBEAM, FLUME, TOKIO_MPSC, PIPE];
    let all = [&[OURS], &engines[..], &raw[..]].concat();
    let blocking = RowSpec::new("one watcher, blocking", Unit::Events, OURS)
        .beside(all[1..].iter().copied())
        .at_least(0.9, &[PIPE])
        .at_least(8.0, &[D_ENGINE])
        .at_least(1.5, &BROADCASTS);
    let chunked = [OURS, D_ENGINE, BROADCAST, BROADCAST_ARC];
    let many = RowSpec::new("the same, publish_many of 64", Unit::Events, OURS)
        .beside(chunked[1..].iter().copied())
        .at_least(10.0, &[D_ENGINE])
        .at_least(2.0, &BROADCASTS);
    let tasks = [&[OURS], &engines[..], &[FLUME, TOKIO_MPSC]].concat();
    let task = RowSpec::new("one watcher, tokio task", Unit::Events, OURS)
        .beside(tasks[1..].iter().copied())
        .at_least(5.0, &[D_ENGINE])
        .at_least(1.8, &BROADCASTS);
    let group = |receiver, chunk, peers: &[&'static str], row: RowSpec| {
        let job = job(Allocation::Upfront, receiver, chunk);
        Group::new("W1", &job, peers).row_and_variant(row, OURS_NOT_INLINE, &job)
    };
    // This row has no goal. It shows the throughput of a publisher that allocates, as a store does.
    let fresh = job(Allocation::PerPublish, ReceiverKind::Thread, 1);
    let fresh = Group::new("W1", &fresh, &all).row(
        RowSpec::new(
            "the same, events made as they are published",
            Unit::Events,
            OURS,
        )
        .beside(all[1..].iter().copied()),
    );
    vec![
        group(ReceiverKind::Thread, 1, &all, blocking),
        fresh,
        group(ReceiverKind::Thread, 64, &chunked, many),
        group(ReceiverKind::Task, 1, &tasks, task),
    ]
}

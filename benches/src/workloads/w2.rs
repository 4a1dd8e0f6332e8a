//! One key with 1000 watchers.

use super::scale::Scale;
use crate::group::Group;
use crate::jobs::{FanOut, Job, Receiving};
use crate::peers::names::*;
use crate::row::{RowSpec, Unit};

pub(super) fn groups(scale: Scale) -> Vec<Group> {
    let job = |receiving, events| {
        Job::FanOut(FanOut {
            watchers: 1000,
            events: scale.of(events),
            receiving,
        })
    };
    let peers = [OURS, D_ENGINE, BROADCAST, BROADCAST_ARC, ASYNC_BROADCAST];
    let owned = RowSpec::new(
        "1000 watchers of one key, tokio tasks",
        Unit::Deliveries,
        OURS,
    )
    .beside(peers[1..].iter().copied())
    .at_least(7.0, &[D_ENGINE])
    .at_least(1.8, &[BROADCAST, BROADCAST_ARC]);
    let polled = [OURS, D_ENGINE, BROADCAST, BROADCAST_ARC];
    let by_reference = RowSpec::new(
        "the same, one thread polling (ours: recv_batch)",
        Unit::Deliveries,
        OURS,
    )
    .beside(polled[1..].iter().copied())
    .at_least(60.0, &[D_ENGINE]);
    let group = |receiving, peers: &[&'static str], row| {
        let job = job(receiving, 8000);
        Group::new("W2", &job, peers).row_and_variant(row, OURS_NOT_INLINE, &job)
    };
    vec![
        group(Receiving::Tasks, &peers, owned),
        group(Receiving::Polling, &polled, by_reference),
    ]
}

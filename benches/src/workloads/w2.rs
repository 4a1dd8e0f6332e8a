//! A hot key with 1000 watchers.

use super::Scale;
use crate::heat::{Heat, Row, Unit};
use crate::jobs::{Crowd, Job, Taking};
use crate::peers::names::*;

pub(super) fn heats(scale: Scale) -> Vec<Heat> {
    let job = |taking, events| {
        Job::Crowd(Crowd {
            watchers: 1000,
            events: scale.of(events),
            taking,
        })
    };
    let peers = [OURS, D_ENGINE, BROADCAST, BROADCAST_ARC, ASYNC_BROADCAST];
    let owned = Row::new(
        "1000 watchers of one key, tokio tasks",
        Unit::Deliveries,
        OURS,
    )
    .beside(peers[1..].iter().copied())
    .at_least(7.0, &[D_ENGINE])
    .at_least(1.8, &[BROADCAST, BROADCAST_ARC]);
    let polled = [OURS, D_ENGINE, BROADCAST, BROADCAST_ARC];
    let by_reference = Row::new(
        "the same, one thread polling (ours: recv_batch)",
        Unit::Deliveries,
        OURS,
    )
    .beside(polled[1..].iter().copied())
    .at_least(60.0, &[D_ENGINE]);
    let heat = |taking, peers: &[&'static str], row| {
        let job = job(taking, 8000);
        Heat::new("W2", &job, peers).row_and(row, OURS_NOT_INLINE, &job)
    };
    vec![
        heat(Taking::Tasks, &peers, owned),
        heat(Taking::Polling, &polled, by_reference),
    ]
}

//! Watchers that come and go.

use super::Scale;
use crate::heat::{Heat, Row, Unit};
use crate::jobs::{Churn, Job};
use crate::peers::names::*;

pub(super) fn heats(scale: Scale) -> Vec<Heat> {
    let job = |publishing| {
        Job::Churn(Churn {
            registrations: scale.of(400_000),
            publishing,
        })
    };
    let quiet = [OURS, D_ENGINE, SLED];
    let busy = [OURS, D_ENGINE];
    let row = |what: &str, peers: &[&'static str]| {
        Row::new(what, Unit::Registrations, OURS)
            .beside(peers[1..].iter().copied())
            .at_least(8.0, &[D_ENGINE])
    };
    vec![
        Heat::new("W7", &job(false), &quiet).row(row("register and drop, quiet", &quiet)),
        Heat::new("W7", &job(true), &busy).row(row(
            "register and drop, while 128k events/s are published",
            &busy,
        )),
    ]
}

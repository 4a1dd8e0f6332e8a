//! Watchers that are registered and dropped.

use super::scale::Scale;
use crate::group::Group;
use crate::jobs::{Churn, Job};
use crate::peers::names::*;
use crate::row::{RowSpec, Unit};

pub(super) fn groups(scale: Scale) -> Vec<Group> {
    let job = |publishing| {
        Job::Churn(Churn {
            registrations: scale.of(400_000),
            publishing,
        })
    };
    let quiet = [OURS, D_ENGINE, SLED];
    let busy = [OURS, D_ENGINE];
    let row = |name: &str, peers: &[&'static str]| {
        RowSpec::new(name, Unit::Registrations, OURS)
            .beside(peers[1..].iter().copied())
            .at_least(8.0, &[D_ENGINE])
    };
    vec![
        Group::new("W7", &job(false), &quiet).row(row("register and drop, quiet", &quiet)),
        Group::new("W7", &job(true), &busy).row(row(
            "register and drop, while 128k events/s are published",
            &busy,
        )),
    ]
}

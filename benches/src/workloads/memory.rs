//! Resident bytes per watcher, including its handle.

use super::scale::{Scale, abbreviate};
use crate::group::Group;
use crate::jobs::{Job, Memory};
use crate::peers::names::*;
use crate::row::{RowSpec, Unit};

const WATCHERS: usize = 100_000;

pub(super) fn groups(_scale: Scale) -> Vec<Group> {
    let job = Job::Memory(Memory { watchers: WATCHERS });
    // kvwatch without a history, which would add the published events to the watchers' memory.
    let row = |name: &str, reading| {
        let name = format!(
            "resident bytes a watcher, {name}, {} exact watchers; {OURS_NO_HISTORY}",
            abbreviate(WATCHERS)
        );
        RowSpec::new(name, Unit::Bytes, OURS_NO_HISTORY)
            .reading(reading)
            .beside([D_ENGINE])
    };
    let idle = row("idle", 0).limit(350.0);
    let used = row("after one event drained and one pending poll", 1).limit(500.0);
    let group = Group::new("memory", &job, &[OURS_NO_HISTORY, D_ENGINE]);
    vec![group.row(idle).row(used)]
}

//! Resident bytes a watcher, its handle included.

use super::{Scale, spoken};
use crate::heat::{Heat, Row, Unit};
use crate::jobs::{Job, Resident};
use crate::peers::names::*;

const WATCHERS: usize = 100_000;

pub(super) fn heats(_scale: Scale) -> Vec<Heat> {
    let job = Job::Resident(Resident { watchers: WATCHERS });
    // Ours without a history, so that the events published do not count as the watchers'.
    let row = |what: &str, reading| {
        let what = format!(
            "resident bytes a watcher, {what}, {} exact watchers; {OURS_NO_HISTORY}",
            spoken(WATCHERS)
        );
        Row::new(what, Unit::Bytes, OURS_NO_HISTORY)
            .reading(reading)
            .beside([D_ENGINE])
    };
    let idle = row("idle", 0).limit(350.0);
    let used = row("after one event drained and one pending poll", 1).limit(500.0);
    let heat = Heat::new("memory", &job, &[OURS_NO_HISTORY, D_ENGINE]);
    vec![heat.row(idle).row(used)]
}

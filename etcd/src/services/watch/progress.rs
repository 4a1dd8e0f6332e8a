//! When a stream's clients are told how far they know everything.
//!
//! A round begins with a request, or when the interval is over. It waits until all that was
//! published then has been dispatched, lets every watch that has something say it, and looks at
//! each watch's progress only then: so progress is never ahead of an event that still waits.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

use crate::random;
use kvwatch::{Hub, Reached, Revision, WaitError};

/// Why a round is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// The client asked.
    Asked,
    /// The interval is over.
    Due,
}

/// Where a stream stands in this.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    round: Option<Round>,
    /// From the first watch on that asked for progress.
    timer: Option<Pin<Box<Sleep>>>,
}

#[derive(Debug)]
struct Round {
    why: Why,
    target: Revision,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// Until everything up to the target has been dispatched.
    Dispatch(Reached),
    /// Until as many watches had their say as rang by then.
    Say { left: usize },
}

impl Progress {
    /// Whether a round is held: further requests wait for its end.
    pub(crate) fn in_round(&self) -> bool {
        self.round.is_some()
    }

    /// Begins a round about everything up to `target`.
    pub(crate) fn begin(&mut self, why: Why, hub: &Hub, target: Revision) {
        self.round = Some(Round {
            why,
            target,
            stage: Stage::Dispatch(hub.reached(target)),
        });
    }

    /// From now on there is a round after each interval.
    pub(crate) fn start_timer(&mut self, interval: Duration) {
        if self.timer.is_none() {
            self.timer = Some(Box::pin(sleep(jittered(interval))));
        }
    }

    /// No watch wants progress any more.
    pub(crate) fn stop_timer(&mut self) {
        self.timer = None;
    }

    /// Whether the interval is over; the next begins with that.
    pub(crate) fn poll_due(&mut self, cx: &mut Context<'_>, interval: Duration) -> bool {
        let Some(timer) = &mut self.timer else {
            return false;
        };
        if timer.as_mut().poll(cx).is_pending() {
            return false;
        }
        timer.as_mut().reset(Instant::now() + jittered(interval));
        // So that the task is woken for it.
        let _ = timer.as_mut().poll(cx);
        true
    }

    /// A watch had its say.
    pub(crate) fn said(&mut self) {
        if let Some(Round {
            stage: Stage::Say { left },
            ..
        }) = &mut self.round
        {
            *left = left.saturating_sub(1);
        }
    }

    /// Ready once the round is over: why it was held, and what every watch should know by now; or
    /// that the engine has stopped, and nothing more can be said.
    /// `rung` is how many watches have something to say.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        rung: usize,
    ) -> Poll<Result<(Why, Revision), WaitError>> {
        let Some(round) = &mut self.round else {
            return Poll::Pending;
        };
        if let Stage::Dispatch(reached) = &mut round.stage {
            match Pin::new(reached).poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => {
                    self.round = None;
                    return Poll::Ready(Err(error));
                }
                Poll::Ready(Ok(())) => round.stage = Stage::Say { left: rung },
            }
        }
        if let Stage::Say { left: 0 } = round.stage {
            let over = (round.why, round.target);
            self.round = None;
            return Poll::Ready(Ok(over));
        }
        Poll::Pending
    }
}

/// Up to a tenth more, so that streams do not all wake at once.
fn jittered(interval: Duration) -> Duration {
    let dice = random::bytes::<1>().map_or(0, |[byte]| u32::from(byte));
    interval.saturating_add(interval / 10 * dice / 256)
}

//! Rounds of progress notifications.
//!
//! A round begins with a client's request, or when the interval has passed:
//!
//! 1. It waits until everything published by then is dispatched ([`Stage::Dispatch`]).
//! 2. It waits until every watch that was queued then has been polled ([`Stage::Drain`]).
//! 3. It ends, and the stream reports each watch's progress.
//!
//! So progress is never reported ahead of an event that still waits to be sent.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use kvwatch::{Hub, Reached, Revision, WaitError};
use tokio::time::{Instant, Sleep, sleep};

use crate::random;

/// The cause of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trigger {
    /// The client requested progress.
    Requested,
    /// The interval has passed.
    Interval,
}

/// The current round and the timer of one stream.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    round: Option<Round>,
    /// Runs while the stream has a watch that requests progress.
    timer: Option<Pin<Box<Sleep>>>,
}

#[derive(Debug)]
struct Round {
    trigger: Trigger,
    target: Revision,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// Until everything up to the target is dispatched.
    Dispatch(Reached),
    /// Until so many more watches are polled.
    Drain { remaining: usize },
}

impl Progress {
    /// Whether a round is under way. Requests wait for its end.
    pub(crate) fn in_round(&self) -> bool {
        self.round.is_some()
    }

    /// Begins a round about everything up to `target`.
    pub(crate) fn begin(&mut self, trigger: Trigger, hub: &Hub, target: Revision) {
        self.round = Some(Round {
            trigger,
            target,
            stage: Stage::Dispatch(hub.wait_for_async(target)),
        });
    }

    /// Starts the timer unless it runs.
    pub(crate) fn start_timer(&mut self, interval: Duration) {
        if self.timer.is_none() {
            self.timer = Some(Box::pin(sleep(with_jitter(interval))));
        }
    }

    /// Stops the timer.
    pub(crate) fn stop_timer(&mut self) {
        self.timer = None;
    }

    /// Whether the interval has passed. If so, the next interval begins.
    pub(crate) fn poll_timer(&mut self, cx: &mut Context<'_>, interval: Duration) -> bool {
        let Some(timer) = &mut self.timer else {
            return false;
        };
        if timer.as_mut().poll(cx).is_pending() {
            return false;
        }
        timer.as_mut().reset(Instant::now() + with_jitter(interval));
        // Registers the task with the timer again.
        let _ = timer.as_mut().poll(cx);
        true
    }

    /// Counts a watch that was polled.
    pub(crate) fn watch_polled(&mut self) {
        if let Some(Round {
            stage: Stage::Drain { remaining },
            ..
        }) = &mut self.round
        {
            *remaining = remaining.saturating_sub(1);
        }
    }

    /// Ready when the round ends, with its trigger and target. Fails if the watch engine has
    /// stopped. `queued` is the number of watches that wait to be polled.
    pub(crate) fn poll_round(
        &mut self,
        cx: &mut Context<'_>,
        queued: usize,
    ) -> Poll<Result<(Trigger, Revision), WaitError>> {
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
                Poll::Ready(Ok(())) => round.stage = Stage::Drain { remaining: queued },
            }
        }
        if let Stage::Drain { remaining: 0 } = round.stage {
            let ended = (round.trigger, round.target);
            self.round = None;
            return Poll::Ready(Ok(ended));
        }
        Poll::Pending
    }
}

/// Adds up to a tenth at random, so that streams do not all wake at once.
fn with_jitter(interval: Duration) -> Duration {
    let random = random::bytes::<1>().map_or(0, |[byte]| u32::from(byte));
    interval.saturating_add(interval / 10 * random / 256)
}

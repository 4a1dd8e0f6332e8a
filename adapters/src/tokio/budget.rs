//! tokio's cooperative budget.

use std::task::{Context, Poll, ready};

use ::tokio::task::coop;

/// Polls within the task's budget. A poll that is ready takes one unit of it. If the budget is
/// used up, `poll` is not called and the task is woken again after the other tasks have run.
pub(super) fn poll_in_budget<T>(
    cx: &mut Context<'_>,
    poll: impl FnOnce(&mut Context<'_>) -> Poll<T>,
) -> Poll<T> {
    let budget = ready!(coop::poll_proceed(cx));
    let polled = poll(cx);
    if polled.is_ready() {
        budget.made_progress();
    }
    polled
}

//! The result of one step of a driver.

use super::error::MirrorError;
use crate::{EndReason, Lagged, Revision};

/// The result of one step of a [`MirrorDriver`](super::MirrorDriver).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// The store was read for the first time, and readers see that state.
    Loaded {
        /// The revision of the read.
        revision: Revision,
    },
    /// The events of one or more whole revisions were applied together.
    Applied {
        /// The number of events.
        events: usize,
        /// The revision that readers see now.
        revision: Revision,
    },
    /// Events were missed, and the next step reads the store again. Readers keep the state that
    /// they have.
    Lagged(Lagged),
    /// The store was read again after a lag, and readers see the new state.
    Resynced {
        /// The revision of the read.
        revision: Revision,
    },
    /// There was nothing to do. Only [`try_step`](super::MirrorDriver::try_step) returns this.
    Idle,
    /// The publisher was shut down, or the mirror was closed. Every further step returns the same.
    Ended(EndReason),
}

impl Step {
    /// The result of a step of a mirror that ended for this reason: an error if the end is
    /// abnormal.
    pub(super) fn ended<E>(reason: EndReason) -> Result<Self, MirrorError<E>> {
        if reason.is_normal() {
            Ok(Self::Ended(reason))
        } else {
            Err(MirrorError::Ended(reason))
        }
    }
}

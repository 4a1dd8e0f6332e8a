//! The peers: kvwatch in several configurations, other watch engines, and raw channels.
//!
//! A raw channel matches no keys and has one receiver. It is an upper bound, not a competitor.

mod async_broadcast;
mod broadcast;
mod kvwatch;
pub mod names;
mod pipe;
mod raw;
mod sled;

use std::fmt;

pub use self::async_broadcast::AsyncBroadcast;
pub use broadcast::{Broadcast, Shared};
pub use kvwatch::Kvwatch;
pub use pipe::Pipe;
pub use raw::{Crossbeam, Flume, Rtrb, TokioMpsc};
pub use sled::Sled;

use crate::events::Event;
use crate::jobs::Job;
use crate::peer::{Peer, Setup};

/// A [`Peer`] as a trait object.
trait AnyPeer {
    fn name(&self) -> &'static str;
    fn run(&self, job: &Job, setup: &Setup) -> Vec<f64>;
}

impl<P: Peer> AnyPeer for P {
    fn name(&self) -> &'static str {
        Peer::name(self)
    }

    fn run(&self, job: &Job, setup: &Setup) -> Vec<f64> {
        job.run(self, setup)
    }
}

/// The peers that are measured.
pub struct Peers(Vec<Box<dyn AnyPeer>>);

impl Peers {
    /// All peers that this workspace builds.
    #[must_use]
    pub fn standard() -> Self {
        Self(Vec::new())
            .with(Kvwatch::by_default())
            .with(Kvwatch::without_history())
            .with(Kvwatch::not_inline())
            .with(Broadcast::<Event>::default())
            .with(Broadcast::<Shared>::default())
            .with(AsyncBroadcast)
            .with(Sled)
            .with(Rtrb)
            .with(Crossbeam)
            .with(Flume)
            .with(TokioMpsc)
            .with(Pipe)
    }

    /// Adds a peer.
    #[must_use]
    pub fn with(mut self, peer: impl Peer) -> Self {
        self.0.push(Box::new(peer));
        self
    }

    /// Keeps the peers with these names, or all of them if there are no names.
    ///
    /// # Errors
    /// If there is no peer with one of the names.
    pub(crate) fn only(mut self, names: &[String]) -> Result<Self, String> {
        if let Some(unknown) = names.iter().find(|name| !self.contains(name)) {
            return Err(format!("unknown peer {unknown:?}; the peers are {self:?}"));
        }
        if !names.is_empty() {
            self.0
                .retain(|peer| names.iter().any(|name| name == peer.name()));
        }
        Ok(self)
    }

    fn find(&self, name: &str) -> Option<&dyn AnyPeer> {
        let found = self.0.iter().find(|peer| peer.name() == name);
        found.map(|peer| &**peer)
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// Runs the job with this peer once, and returns its readings; `None` if there is no such peer.
    pub(crate) fn run(&self, name: &str, job: &Job, setup: &Setup) -> Option<Vec<f64>> {
        Some(self.find(name)?.run(job, setup))
    }
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.0.iter().map(|peer| peer.name());
        f.debug_list().entries(names).finish()
    }
}

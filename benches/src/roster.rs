//! Who takes part.

use std::fmt;

use crate::jobs::Job;
use crate::load::Event;
use crate::peer::{Peer, Stage};
use crate::peers::{
    AsyncBroadcast, Broadcast, Crossbeam, Flume, Kvwatch, Pipe, Rtrb, Shared, Sled, TokioMpsc,
};

/// A [`Peer`] whose types are out of sight.
trait Contestant {
    fn name(&self) -> &'static str;
    fn run(&self, job: &Job, stage: &Stage) -> Vec<f64>;
}

impl<P: Peer> Contestant for P {
    fn name(&self) -> &'static str {
        Peer::name(self)
    }

    fn run(&self, job: &Job, stage: &Stage) -> Vec<f64> {
        job.run(self, stage)
    }
}

/// The peers that are measured.
pub struct Roster(Vec<Box<dyn Contestant>>);

impl Roster {
    /// Those that this workspace can build.
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

    /// One more.
    #[must_use]
    pub fn with(mut self, peer: impl Peer) -> Self {
        self.0.push(Box::new(peer));
        self
    }

    /// Only those with these names; all where none is named.
    pub(crate) fn only(mut self, names: &[String]) -> Result<Self, String> {
        if let Some(unknown) = names.iter().find(|name| !self.has(name)) {
            return Err(format!("there is no peer {unknown:?}, but {self:?}"));
        }
        if !names.is_empty() {
            self.0
                .retain(|contestant| names.iter().any(|name| name == contestant.name()));
        }
        Ok(self)
    }

    fn find(&self, name: &str) -> Option<&dyn Contestant> {
        let found = self.0.iter().find(|contestant| contestant.name() == name);
        found.map(|contestant| &**contestant)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// Puts one to work; without readings if it is not there.
    pub(crate) fn run(&self, name: &str, job: &Job, stage: &Stage) -> Option<Vec<f64>> {
        Some(self.find(name)?.run(job, stage))
    }
}

impl fmt::Debug for Roster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.0.iter().map(|contestant| contestant.name());
        f.debug_list().entries(names).finish()
    }
}

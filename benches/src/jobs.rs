//! Ways to put a peer to work. Each takes a fresh peer, measures once, and returns its readings in
//! the order that its documentation says.

mod churn;
mod crowd;
mod paced;
mod publish;
mod resident;
mod spread;
mod stream;

use std::sync::Arc;
use std::thread;

use bytes::Bytes;
use tokio::task;

pub(crate) use churn::Churn;
pub(crate) use crowd::{Crowd, Taking};
pub(crate) use paced::Paced;
pub(crate) use publish::{Clock, Load, Publish};
pub(crate) use resident::Resident;
pub(crate) use spread::Spread;
pub(crate) use stream::{Making, Stream};

use crate::load::{self, Event};
use crate::peer::{Input, Output, Peer, Stage, Watch};
use crate::progress::{Progress, STRIDE, Window};

/// So many events have gone through before the clock starts: what a peer keeps is full by then, as
/// it soon is in a store, and memory that is touched for the first time is not what is measured.
/// A page of it takes the machine 3 µs, which is 80 ns for each event that our history holds.
pub(crate) const WARM_UP: usize = 72 * 1024;

/// The same for this peer: as many as its receiver [tells](Progress::got) of.
fn warm_up(peer: &impl Peer) -> usize {
    (WARM_UP / peer.slowness()).next_multiple_of(STRIDE as usize)
}

/// Where a receiver runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Receiver {
    /// A thread that blocks.
    Thread,
    /// A tokio task on the stage's runtime.
    Task,
}

/// What each of many watchers watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Exact,
    Prefix,
}

impl Kind {
    fn watch(self, number: usize) -> Watch {
        match self {
            Self::Exact => Watch::Exact(load::key(number)),
            Self::Prefix => Watch::Prefix(load::prefix(number)),
        }
    }

    /// A key that the `number`th watch matches, and no other.
    fn key(self, number: usize) -> Bytes {
        match self {
            Self::Exact => load::key(number),
            Self::Prefix => load::key_below(number),
        }
    }
}

/// One way, with its measures.
#[derive(Clone, Debug)]
pub(crate) enum Job {
    Stream(Stream),
    Crowd(Crowd),
    Spread(Spread),
    Publish(Publish),
    Paced(Paced),
    Churn(Churn),
    Resident(Resident),
    /// Readings: ns a look-up among that many prefixes; none from peers without an index.
    Lookup {
        prefixes: usize,
        lookups: usize,
    },
}

impl Job {
    pub(crate) fn run<P: Peer>(&self, peer: &P, stage: &Stage) -> Vec<f64> {
        match self {
            Self::Stream(job) => job.run(peer, stage),
            Self::Crowd(job) => job.run(peer, stage),
            Self::Spread(job) => job.run(peer, stage),
            Self::Publish(job) => job.run(peer, stage),
            Self::Paced(job) => job.run(peer, stage),
            Self::Churn(job) => job.run(peer, stage),
            Self::Resident(job) => job.run(peer),
            Self::Lookup { prefixes, lookups } => {
                let keys = load::random(*prefixes).map(load::key_below);
                let keys: Vec<Bytes> = keys.take(*lookups).collect();
                let prefixes: Vec<Bytes> = (0..*prefixes).map(load::prefix).collect();
                Vec::from_iter(peer.prefix_lookup(stage, &prefixes, &keys))
            }
        }
    }
}

/// A receiver at work.
enum Consumer<T> {
    Thread(thread::JoinHandle<T>),
    Task(task::JoinHandle<T>),
}

impl<T> Consumer<T> {
    /// What it came to.
    ///
    /// # Panics
    /// If it did: events were lost, or came out of order.
    fn join(self, stage: &Stage) -> T {
        match self {
            Self::Thread(thread) => thread.join().expect("the receiver got everything"),
            Self::Task(task) => stage
                .runtime
                .block_on(task)
                .expect("the receiver got everything"),
        }
    }
}

/// Publishes these one by one, each once the window lets it through.
fn feed(input: &mut impl Input, window: &mut Window<'_>, events: impl Iterator<Item = Event>) {
    // Not `for`: that moves each event in pieces of one size, and a peer that moves it on in pieces
    // of another waits for them. kvwatch, which makes a change of it, gets a tenth fewer in W1 by
    // that; no peer that a goal compares it with differs.
    events.for_each(|event| {
        window.admit(event.seq);
        input.publish(event);
    });
}

/// Starts receiver number `index`, which must get exactly the events `expected`, in that order.
fn consume<O: Output>(
    stage: &Stage,
    receiver: Receiver,
    mut output: O,
    index: usize,
    progress: &Arc<Progress>,
    expected: impl Iterator<Item = u64> + Send + 'static,
    mut got: impl FnMut(&Progress, usize, u64) + Send + 'static,
) -> Consumer<()> {
    let progress = Arc::clone(progress);
    match receiver {
        Receiver::Thread => Consumer::Thread(thread::spawn(move || {
            for expected in expected {
                assert_eq!(output.recv(), expected);
                got(&progress, index, expected);
            }
        })),
        Receiver::Task => Consumer::Task(stage.runtime.spawn(async move {
            for expected in expected {
                assert_eq!(output.recv_async().await, expected);
                got(&progress, index, expected);
            }
        })),
    }
}

//! The ways to drive and to read a mirror, and to receive the latest events, in each world.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Mutex};

use futures::StreamExt;
use kvwatch::latest::LatestEvent;
use kvwatch::mirror::{
    MirrorError, MirrorWaitError, Snapshot, SnapshotReader, SnapshotRequest, Step, View,
};
use kvwatch::{
    Builder, Change, Dispatcher, EndReason, Hub, Latest, Mirror, MirrorDriver, RecvError, Revision,
    Selector,
};

use crate::HANG;
use crate::bodies::by_hand;
use crate::committed::Committed;
use crate::worlds::{
    AsyncStd, Blocking, FuturesExecutor, Publish, Smol, TokioCurrent, TokioMulti, World,
};

/// The blocking face of mirrors and latest events, or the async one.
#[expect(missing_docs, reason = "named as what they stand for")]
pub trait MirrorWorld: World {
    fn step<R: SnapshotReader<Error: Send> + Send>(
        driver: &mut MirrorDriver<R>,
    ) -> impl Future<Output = Result<Step, MirrorError<R::Error>>> + Send;

    fn run<R: SnapshotReader<Error: Send> + Send>(
        driver: &mut MirrorDriver<R>,
    ) -> impl Future<Output = Result<EndReason, MirrorError<R::Error>>> + Send;

    fn wait_for(
        mirror: &Mirror,
        revision: Revision,
    ) -> impl Future<Output = Result<View, MirrorWaitError>> + Send;

    fn latest(latest: &mut Latest) -> impl Future<Output = Result<LatestEvent, RecvError>> + Send;

    fn latest_item(
        latest: &mut Latest,
    ) -> impl Future<Output = Option<Result<LatestEvent, RecvError>>> + Send;
}

impl MirrorWorld for Blocking {
    async fn step<R: SnapshotReader<Error: Send> + Send>(
        driver: &mut MirrorDriver<R>,
    ) -> Result<Step, MirrorError<R::Error>> {
        driver.step()
    }

    async fn run<R: SnapshotReader<Error: Send> + Send>(
        driver: &mut MirrorDriver<R>,
    ) -> Result<EndReason, MirrorError<R::Error>> {
        driver.run()
    }

    async fn wait_for(mirror: &Mirror, revision: Revision) -> Result<View, MirrorWaitError> {
        mirror.wait_for(revision, HANG)
    }

    async fn latest(latest: &mut Latest) -> Result<LatestEvent, RecvError> {
        latest.recv()
    }

    async fn latest_item(latest: &mut Latest) -> Option<Result<LatestEvent, RecvError>> {
        latest.iter().next()
    }
}

macro_rules! asynchronous {
    ($($world:ty),*) => {$(
        impl MirrorWorld for $world {
            async fn step<R: SnapshotReader<Error: Send> + Send>(
                driver: &mut MirrorDriver<R>,
            ) -> Result<Step, MirrorError<R::Error>> {
                driver.step_async().await
            }

            async fn run<R: SnapshotReader<Error: Send> + Send>(
                driver: &mut MirrorDriver<R>,
            ) -> Result<EndReason, MirrorError<R::Error>> {
                driver.run_async().await
            }

            async fn wait_for(
                mirror: &Mirror,
                revision: Revision,
            ) -> Result<View, MirrorWaitError> {
                mirror.applied(revision).await
            }

            async fn latest(latest: &mut Latest) -> Result<LatestEvent, RecvError> {
                latest.recv_async().await
            }

            async fn latest_item(
                latest: &mut Latest,
            ) -> Option<Result<LatestEvent, RecvError>> {
                latest.next().await
            }
        }
    )*};
}

asynchronous!(FuturesExecutor, TokioCurrent, TokioMulti, AsyncStd, Smol);

/// What a [`Script`] answers, one after the other.
type Answers = Arc<Mutex<VecDeque<Snapshot>>>;

/// Answers the reads of a mirror as a test says; without an answer a read fails.
#[derive(Clone, Debug, Default)]
pub struct Script {
    answers: Answers,
    /// What was asked.
    asked: Arc<Mutex<Vec<Revision>>>,
}

impl Script {
    /// The next read gets this.
    ///
    /// # Panics
    /// If another thread did.
    pub fn answer(&self, snapshot: Snapshot) {
        self.answers.lock().expect("no panic").push_back(snapshot);
    }

    /// What [`SnapshotRequest::at_least`] each read so far was asked for.
    ///
    /// # Panics
    /// If another thread did.
    #[must_use]
    pub fn asked(&self) -> Vec<Revision> {
        self.asked.lock().expect("no panic").clone()
    }

    /// What reads it.
    pub fn reader(
        &self,
    ) -> impl FnMut(SnapshotRequest) -> Result<Snapshot, String> + Send + 'static + use<> {
        let script = self.clone();
        move |request| {
            let mut asked = script.asked.lock().expect("no panic");
            asked.push(request.at_least());
            let mut answers = script.answers.lock().expect("no panic");
            answers.pop_front().ok_or_else(|| "no answer".to_owned())
        }
    }
}

/// A store, its engine, whose every step is in the test's hand, and what mirrors read.
#[expect(missing_docs, reason = "named as what they stand for")]
#[expect(missing_debug_implementations, reason = "only tests hold it")]
pub struct ByHand<W: World> {
    pub store: Committed,
    pub publisher: W::Publisher,
    pub hub: Hub,
    pub dispatcher: Dispatcher,
    pub script: Script,
}

impl<W: MirrorWorld> ByHand<W> {
    /// An empty store.
    #[must_use]
    pub fn new(selector: Selector, builder: Builder) -> Self {
        let (publisher, hub, dispatcher) = by_hand::<W>(builder);
        Self {
            store: Committed::new(selector),
            publisher,
            hub,
            dispatcher,
            script: Script::default(),
        }
    }

    /// Commits and publishes.
    ///
    /// # Panics
    /// If the engine counts otherwise than the store.
    pub async fn write(&mut self, changes: impl IntoIterator<Item = Change>) -> Revision {
        let changes: Vec<Change> = changes.into_iter().collect();
        let revision = self.store.commit(&changes);
        let published = self.publisher.publish_batch(changes).await;
        assert_eq!(published, Ok(revision));
        revision
    }
}

//! Driving and reading a mirror, and receiving the latest events, in each runtime.

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
use crate::committed::Committed;
use crate::runtimes::{
    AsyncStd, Blocking, FuturesExecutor, Publish, Runtime, Smol, TokioCurrent, TokioMulti,
};
use crate::shared::inline_engine;

/// The operations of mirrors and of latest events: the blocking ones, or the async ones.
#[expect(missing_docs, reason = "named after the operations")]
pub trait MirrorRuntime: Runtime {
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

impl MirrorRuntime for Blocking {
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
    ($($runtime:ty),*) => {$(
        impl MirrorRuntime for $runtime {
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
                mirror.wait_for_async(revision).await
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

/// The answers of a [`Script`], in order.
type Answers = Arc<Mutex<VecDeque<Snapshot>>>;

/// Snapshots for a mirror to read. A read without an answer left fails.
#[derive(Clone, Debug, Default)]
pub struct Script {
    answers: Answers,
    /// The lowest revision that each read required.
    required: Arc<Mutex<Vec<Revision>>>,
}

impl Script {
    /// Adds the answer of a read.
    ///
    /// # Panics
    /// If another thread panicked while it used the script.
    pub fn answer(&self, snapshot: Snapshot) {
        self.answers.lock().expect("no panic").push_back(snapshot);
    }

    /// The [`SnapshotRequest::at_least`] of each read so far.
    ///
    /// # Panics
    /// If another thread panicked while it used the script.
    #[must_use]
    pub fn required(&self) -> Vec<Revision> {
        self.required.lock().expect("no panic").clone()
    }

    /// The reader of this script, for a mirror.
    pub fn reader(
        &self,
    ) -> impl FnMut(SnapshotRequest) -> Result<Snapshot, String> + Send + 'static + use<> {
        let script = self.clone();
        move |request| {
            let mut required = script.required.lock().expect("no panic");
            required.push(request.at_least());
            let mut answers = script.answers.lock().expect("no panic");
            answers.pop_front().ok_or_else(|| "no answer".to_owned())
        }
    }
}

/// A store with an engine that dispatches inline, and the script that its mirrors read.
#[expect(missing_docs, reason = "named after their types")]
#[expect(missing_debug_implementations, reason = "only tests hold it")]
pub struct MirrorFixture<Rt: Runtime> {
    pub store: Committed,
    pub publisher: Rt::Publisher,
    pub hub: Hub,
    pub dispatcher: Dispatcher,
    pub script: Script,
}

impl<Rt: MirrorRuntime> MirrorFixture<Rt> {
    /// An empty store.
    #[must_use]
    pub fn new(selector: Selector, builder: Builder) -> Self {
        let (publisher, hub, dispatcher) = inline_engine::<Rt>(builder);
        Self {
            store: Committed::new(selector),
            publisher,
            hub,
            dispatcher,
            script: Script::default(),
        }
    }

    /// Commits and publishes one transaction.
    ///
    /// # Panics
    /// If the engine and the store disagree about its revision.
    pub async fn write(&mut self, changes: impl IntoIterator<Item = Change>) -> Revision {
        let changes: Vec<Change> = changes.into_iter().collect();
        let revision = self.store.commit(&changes);
        let published = self.publisher.publish_batch(changes).await;
        assert_eq!(published, Ok(revision));
        revision
    }
}

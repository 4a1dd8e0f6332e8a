//! The worlds that kvwatch runs in, behind one face, so that one body of tests runs in each.

use std::future::Future;
use std::sync::OnceLock;
use std::task::Poll;
use std::thread;

use futures::StreamExt;
use futures::channel::oneshot;
use futures::executor::ThreadPool;
use futures::stream::FusedStream;
use kvwatch::{
    AsyncPublisher, Change, Entries, Event, Permit, PublishError, Publisher, RecvError,
    ReserveError, Revision, WaitError, Watcher,
};

use crate::HANG;

/// Runs each of these bodies, generic over a [`World`], once in every world.
#[macro_export]
macro_rules! in_every_world {
    ($($bodies:ident),* $(,)?) => {
        $crate::in_worlds!([$($bodies)*] blocking = Blocking);
        $crate::in_every_async_world!($($bodies),*);
    };
}

/// The same for bodies generic over an [`AsyncWorld`].
#[macro_export]
macro_rules! in_every_async_world {
    ($($bodies:ident),* $(,)?) => {
        $crate::in_worlds!([$($bodies)*] futures_executor = FuturesExecutor);
        $crate::in_worlds!([$($bodies)*] tokio_current = TokioCurrent);
        $crate::in_worlds!([$($bodies)*] tokio_multi = TokioMulti);
        $crate::in_worlds!([$($bodies)*] async_std = AsyncStd);
        $crate::in_worlds!([$($bodies)*] smol = Smol);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! in_worlds {
    ([$($body:ident)*] $name:ident = $world:ident) => {
        mod $name {
            use $crate::worlds::{$world, World};

            $(#[test]
            fn $body() {
                $crate::in_time(|| $world::block_on(super::$body::<$world>()));
            })*
        }
    };
}

/// Blocking threads, or a runtime with the adapters meant for it.
pub trait World: 'static {
    /// How it receives.
    type Stream: Receive;
    /// How it publishes.
    type Publisher: Publish;

    /// Runs a test's body.
    fn block_on<T: Send + 'static>(body: impl Future<Output = T> + Send + 'static) -> T;

    /// Starts a task, or a thread.
    fn start(task: impl Future<Output = ()> + Send + 'static);

    /// Starts a task, and hands out what it returns.
    ///
    /// # Panics
    /// What it hands out does so if the task panicked.
    fn spawn<T: Send + 'static>(
        task: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = T> + Send {
        let (done, outcome) = oneshot::channel();
        Self::start(async {
            // Nobody may want to know.
            let _ = done.send(task.await);
        });
        async { outcome.await.expect("the task did not panic") }
    }
}

/// A world whose receives and publishes can be polled, and so cancelled.
pub trait AsyncWorld:
    World<Stream: FusedStream<Item = Result<Event, RecvError>> + Unpin, Publisher: Reserve>
{
    /// The same watcher in batches.
    fn batches(
        stream: Self::Stream,
    ) -> impl FusedStream<Item = Result<Vec<Event>, RecvError>> + Unpin + Send;
}

/// The ways to receive.
#[expect(missing_docs, reason = "named as what they stand for")]
pub trait Receive: Send + 'static {
    fn of(watcher: Watcher) -> Self;
    fn recv(&mut self) -> impl Future<Output = Result<Event, RecvError>> + Send;
    fn recv_batch(&mut self) -> impl Future<Output = Result<Vec<Event>, RecvError>> + Send;
    fn item(&mut self) -> impl Future<Output = Option<Result<Event, RecvError>>> + Send;
    fn watcher(&self) -> &Watcher;
    fn into_watcher(self) -> Watcher;
}

/// The ways to publish.
#[expect(missing_docs, reason = "named as what they stand for")]
pub trait Publish: Send + 'static {
    fn of(publisher: Publisher) -> Self;
    fn publish(
        &mut self,
        change: Change,
    ) -> impl Future<Output = Result<Revision, PublishError<Change>>> + Send;
    fn publish_batch(
        &mut self,
        changes: Vec<Change>,
    ) -> impl Future<Output = Result<Revision, PublishError<Vec<Change>>>> + Send;
    fn publish_many(
        &mut self,
        entries: Entries,
    ) -> impl Future<Output = Result<Revision, PublishError<Entries>>> + Send;
    fn flush(&mut self) -> impl Future<Output = Result<(), WaitError>> + Send;
    fn shutdown(self) -> impl Future<Output = Result<(), WaitError>> + Send;
    fn revision(&self) -> Revision;
}

/// Waiting for room by itself.
pub trait Reserve: Publish {
    /// See [`AsyncPublisher::reserve`].
    fn reserve(&mut self) -> impl Future<Output = Result<Permit<'_>, ReserveError>> + Send;
}

/// Lets other tasks run, on any executor.
pub async fn breathe() {
    let mut again = true;
    futures::future::poll_fn(|cx| {
        if std::mem::take(&mut again) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    })
    .await;
}

impl Receive for Watcher {
    fn of(watcher: Watcher) -> Self {
        watcher
    }

    async fn recv(&mut self) -> Result<Event, RecvError> {
        Watcher::recv(self)
    }

    async fn recv_batch(&mut self) -> Result<Vec<Event>, RecvError> {
        let batch = Watcher::recv_batch(self)?;
        Ok(batch.iter().map(|event| event.to_event()).collect())
    }

    async fn item(&mut self) -> Option<Result<Event, RecvError>> {
        self.iter().next()
    }

    fn watcher(&self) -> &Watcher {
        self
    }

    fn into_watcher(self) -> Watcher {
        self
    }
}

macro_rules! receive {
    ($($stream:ty),*) => {$(
        impl Receive for $stream {
            fn of(watcher: Watcher) -> Self {
                Self::new(watcher)
            }

            async fn recv(&mut self) -> Result<Event, RecvError> {
                self.recv().await
            }

            async fn recv_batch(&mut self) -> Result<Vec<Event>, RecvError> {
                let batch = self.recv_batch().await?;
                Ok(batch.iter().map(|event| event.to_event()).collect())
            }

            async fn item(&mut self) -> Option<Result<Event, RecvError>> {
                self.next().await
            }

            fn watcher(&self) -> &Watcher {
                self.get_ref()
            }

            fn into_watcher(self) -> Watcher {
                self.into_inner()
            }
        }
    )*};
}

receive!(
    kvwatch::stream::WatchStream,
    kvwatch::tokio::WatchStream,
    kvwatch::async_std::WatchStream
);

impl Publish for Publisher {
    fn of(publisher: Publisher) -> Self {
        publisher
    }

    async fn publish(&mut self, change: Change) -> Result<Revision, PublishError<Change>> {
        Publisher::publish(self, change)
    }

    async fn publish_batch(
        &mut self,
        changes: Vec<Change>,
    ) -> Result<Revision, PublishError<Vec<Change>>> {
        Publisher::publish_batch(self, changes)
    }

    async fn publish_many(&mut self, entries: Entries) -> Result<Revision, PublishError<Entries>> {
        Publisher::publish_many(self, entries)
    }

    async fn flush(&mut self) -> Result<(), WaitError> {
        Publisher::flush(self, HANG)
    }

    async fn shutdown(self) -> Result<(), WaitError> {
        Publisher::shutdown(self, HANG)
    }

    fn revision(&self) -> Revision {
        Publisher::revision(self)
    }
}

macro_rules! publish {
    ($($publisher:ty),*) => {$(
        impl Publish for $publisher {
            fn of(publisher: Publisher) -> Self {
                Self::new(publisher)
            }

            async fn publish(&mut self, change: Change) -> Result<Revision, PublishError<Change>> {
                self.publish(change).await
            }

            async fn publish_batch(
                &mut self,
                changes: Vec<Change>,
            ) -> Result<Revision, PublishError<Vec<Change>>> {
                self.publish_batch(changes).await
            }

            async fn publish_many(
                &mut self,
                entries: Entries,
            ) -> Result<Revision, PublishError<Entries>> {
                self.publish_many(entries).await
            }

            async fn flush(&mut self) -> Result<(), WaitError> {
                (*self).flush().await
            }

            async fn shutdown(self) -> Result<(), WaitError> {
                self.shutdown().await
            }

            fn revision(&self) -> Revision {
                self.revision()
            }
        }

        impl Reserve for $publisher {
            async fn reserve(&mut self) -> Result<Permit<'_>, ReserveError> {
                self.reserve().await
            }
        }
    )*};
}

publish!(AsyncPublisher, kvwatch::tokio::AsyncPublisher);

macro_rules! async_world {
    ($($world:ty),*) => {$(
        impl AsyncWorld for $world {
            fn batches(
                stream: Self::Stream,
            ) -> impl FusedStream<Item = Result<Vec<Event>, RecvError>> + Unpin + Send
            {
                stream.batches()
            }
        }
    )*};
}

async_world!(FuturesExecutor, TokioCurrent, TokioMulti, AsyncStd, Smol);

/// Plain threads.
#[derive(Debug)]
pub struct Blocking;

impl World for Blocking {
    type Stream = Watcher;
    type Publisher = Publisher;

    fn block_on<T: Send + 'static>(body: impl Future<Output = T> + Send + 'static) -> T {
        futures::executor::block_on(body)
    }

    fn start(task: impl Future<Output = ()> + Send + 'static) {
        drop(thread::spawn(|| futures::executor::block_on(task)));
    }
}

/// What `futures` has: a thread pool.
#[derive(Debug)]
pub struct FuturesExecutor;

impl World for FuturesExecutor {
    type Stream = kvwatch::stream::WatchStream;
    type Publisher = AsyncPublisher;

    fn block_on<T: Send + 'static>(body: impl Future<Output = T> + Send + 'static) -> T {
        futures::executor::block_on(body)
    }

    fn start(task: impl Future<Output = ()> + Send + 'static) {
        static POOL: OnceLock<ThreadPool> = OnceLock::new();
        POOL.get_or_init(|| ThreadPool::new().expect("threads"))
            .spawn_ok(task);
    }
}

/// Tokio on one thread.
#[derive(Debug)]
pub struct TokioCurrent;

impl World for TokioCurrent {
    type Stream = kvwatch::tokio::WatchStream;
    type Publisher = kvwatch::tokio::AsyncPublisher;

    fn block_on<T: Send + 'static>(body: impl Future<Output = T> + Send + 'static) -> T {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().expect("a runtime");
        runtime.block_on(body)
    }

    fn start(task: impl Future<Output = ()> + Send + 'static) {
        drop(tokio::spawn(task));
    }
}

/// Tokio on several threads.
#[derive(Debug)]
pub struct TokioMulti;

impl World for TokioMulti {
    type Stream = kvwatch::tokio::WatchStream;
    type Publisher = kvwatch::tokio::AsyncPublisher;

    fn block_on<T: Send + 'static>(body: impl Future<Output = T> + Send + 'static) -> T {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        runtime.block_on(async { tokio::spawn(body).await.expect("no panic") })
    }

    fn start(task: impl Future<Output = ()> + Send + 'static) {
        drop(tokio::spawn(task));
    }
}

/// async-std.
#[derive(Debug)]
pub struct AsyncStd;

impl World for AsyncStd {
    type Stream = kvwatch::async_std::WatchStream;
    type Publisher = AsyncPublisher;

    fn block_on<T: Send + 'static>(body: impl Future<Output = T> + Send + 'static) -> T {
        async_std::task::block_on(body)
    }

    fn start(task: impl Future<Output = ()> + Send + 'static) {
        drop(async_std::task::spawn(task));
    }
}

/// smol.
#[derive(Debug)]
pub struct Smol;

impl World for Smol {
    type Stream = kvwatch::stream::WatchStream;
    type Publisher = AsyncPublisher;

    fn block_on<T: Send + 'static>(body: impl Future<Output = T> + Send + 'static) -> T {
        smol::block_on(body)
    }

    fn start(task: impl Future<Output = ()> + Send + 'static) {
        smol::spawn(task).detach();
    }
}

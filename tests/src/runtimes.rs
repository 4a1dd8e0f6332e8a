//! The runtimes that kvwatch supports, behind one trait, so that one test body runs in each.

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

/// Makes a test of each of these bodies in every runtime. A body is generic over a [`Runtime`].
#[macro_export]
macro_rules! in_every_runtime {
    ($($bodies:ident),* $(,)?) => {
        $crate::in_runtimes!([$($bodies)*] blocking = Blocking);
        $crate::in_every_async_runtime!($($bodies),*);
    };
}

/// Makes a test of each of these bodies in every async runtime. A body is generic over an
/// [`AsyncRuntime`].
#[macro_export]
macro_rules! in_every_async_runtime {
    ($($bodies:ident),* $(,)?) => {
        $crate::in_runtimes!([$($bodies)*] futures_executor = FuturesExecutor);
        $crate::in_runtimes!([$($bodies)*] tokio_current = TokioCurrent);
        $crate::in_runtimes!([$($bodies)*] tokio_multi = TokioMulti);
        $crate::in_runtimes!([$($bodies)*] async_std = AsyncStd);
        $crate::in_runtimes!([$($bodies)*] smol = Smol);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! in_runtimes {
    ([$($body:ident)*] $name:ident = $runtime:ident) => {
        mod $name {
            use $crate::runtimes::{$runtime, Runtime};

            $(#[test]
            fn $body() {
                $crate::in_time(|| $runtime::block_on(super::$body::<$runtime>()));
            })*
        }
    };
}

/// Plain threads, or an async runtime with the adapters for it.
pub trait Runtime: 'static {
    /// Its adapter of a watcher.
    type Stream: Receive;
    /// Its adapter of a publisher.
    type Publisher: Publish;

    /// Runs a test body to its end.
    fn block_on<T: Send + 'static>(body: impl Future<Output = T> + Send + 'static) -> T;

    /// Starts a task, or a thread, and detaches it.
    fn spawn_detached(task: impl Future<Output = ()> + Send + 'static);

    /// Starts a task, or a thread, and returns its output.
    ///
    /// # Panics
    /// The returned future panics if the task panicked.
    fn spawn<T: Send + 'static>(
        task: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = T> + Send {
        let (done, outcome) = oneshot::channel();
        Self::spawn_detached(async {
            // The receiver may be dropped.
            let _ = done.send(task.await);
        });
        async { outcome.await.expect("the task did not panic") }
    }
}

/// A runtime in which receiving and publishing can be polled, and therefore cancelled.
pub trait AsyncRuntime:
    Runtime<Stream: FusedStream<Item = Result<Event, RecvError>> + Unpin, Publisher: Reserve>
{
    /// The stream of batches of the same watcher.
    fn batches(
        stream: Self::Stream,
    ) -> impl FusedStream<Item = Result<Vec<Event>, RecvError>> + Unpin + Send;
}

/// The operations of a watcher.
#[expect(missing_docs, reason = "named after the operations of the watcher")]
pub trait Receive: Send + 'static {
    fn of(watcher: Watcher) -> Self;
    fn recv(&mut self) -> impl Future<Output = Result<Event, RecvError>> + Send;
    fn recv_batch(&mut self) -> impl Future<Output = Result<Vec<Event>, RecvError>> + Send;
    fn item(&mut self) -> impl Future<Output = Option<Result<Event, RecvError>>> + Send;
    fn watcher(&self) -> &Watcher;
    fn into_watcher(self) -> Watcher;
}

/// The operations of a publisher.
#[expect(missing_docs, reason = "named after the operations of the publisher")]
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

/// Reserving room in the ingress.
pub trait Reserve: Publish {
    /// See [`AsyncPublisher::reserve`].
    fn reserve(&mut self) -> impl Future<Output = Result<Permit<'_>, ReserveError>> + Send;
}

/// Lets other tasks run, in any runtime.
pub async fn yield_now() {
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

macro_rules! async_runtime {
    ($($runtime:ty),*) => {$(
        impl AsyncRuntime for $runtime {
            fn batches(
                stream: Self::Stream,
            ) -> impl FusedStream<Item = Result<Vec<Event>, RecvError>> + Unpin + Send
            {
                stream.batches()
            }
        }
    )*};
}

async_runtime!(FuturesExecutor, TokioCurrent, TokioMulti, AsyncStd, Smol);

/// Plain threads.
#[derive(Debug)]
pub struct Blocking;

impl Runtime for Blocking {
    type Stream = Watcher;
    type Publisher = Publisher;

    fn block_on<T: Send + 'static>(body: impl Future<Output = T> + Send + 'static) -> T {
        futures::executor::block_on(body)
    }

    fn spawn_detached(task: impl Future<Output = ()> + Send + 'static) {
        drop(thread::spawn(|| futures::executor::block_on(task)));
    }
}

/// The thread pool of `futures`.
#[derive(Debug)]
pub struct FuturesExecutor;

impl Runtime for FuturesExecutor {
    type Stream = kvwatch::stream::WatchStream;
    type Publisher = AsyncPublisher;

    fn block_on<T: Send + 'static>(body: impl Future<Output = T> + Send + 'static) -> T {
        futures::executor::block_on(body)
    }

    fn spawn_detached(task: impl Future<Output = ()> + Send + 'static) {
        static POOL: OnceLock<ThreadPool> = OnceLock::new();
        POOL.get_or_init(|| ThreadPool::new().expect("threads"))
            .spawn_ok(task);
    }
}

/// Tokio on one thread.
#[derive(Debug)]
pub struct TokioCurrent;

impl Runtime for TokioCurrent {
    type Stream = kvwatch::tokio::WatchStream;
    type Publisher = kvwatch::tokio::AsyncPublisher;

    fn block_on<T: Send + 'static>(body: impl Future<Output = T> + Send + 'static) -> T {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().expect("a runtime");
        runtime.block_on(body)
    }

    fn spawn_detached(task: impl Future<Output = ()> + Send + 'static) {
        drop(tokio::spawn(task));
    }
}

/// Tokio on several threads.
#[derive(Debug)]
pub struct TokioMulti;

impl Runtime for TokioMulti {
    type Stream = kvwatch::tokio::WatchStream;
    type Publisher = kvwatch::tokio::AsyncPublisher;

    fn block_on<T: Send + 'static>(body: impl Future<Output = T> + Send + 'static) -> T {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        runtime.block_on(async { tokio::spawn(body).await.expect("no panic") })
    }

    fn spawn_detached(task: impl Future<Output = ()> + Send + 'static) {
        drop(tokio::spawn(task));
    }
}

/// async-std.
#[derive(Debug)]
pub struct AsyncStd;

impl Runtime for AsyncStd {
    type Stream = kvwatch::async_std::WatchStream;
    type Publisher = AsyncPublisher;

    fn block_on<T: Send + 'static>(body: impl Future<Output = T> + Send + 'static) -> T {
        async_std::task::block_on(body)
    }

    fn spawn_detached(task: impl Future<Output = ()> + Send + 'static) {
        drop(async_std::task::spawn(task));
    }
}

/// smol.
#[derive(Debug)]
pub struct Smol;

impl Runtime for Smol {
    type Stream = kvwatch::stream::WatchStream;
    type Publisher = AsyncPublisher;

    fn block_on<T: Send + 'static>(body: impl Future<Output = T> + Send + 'static) -> T {
        smol::block_on(body)
    }

    fn spawn_detached(task: impl Future<Output = ()> + Send + 'static) {
        smol::spawn(task).detach();
    }
}

//! The Watch service as tonic mounts it.
//!
//! It replaces the generated service, whose responses hold their events as messages: those would be
//! encoded again for every watch.

use std::convert::Infallible;
use std::task::{Context, Poll};

use tonic::codegen::{Body, BoxFuture, Service, StdError, http};
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Request, Response, Status, Streaming};

use super::codec::WatchCodec;
use super::response::WatchStreamResponse;
use super::stream::WatchStream;
use crate::services::etcd::Etcd;
use crate::store::Store;
use crate::wire::etcdserverpb::{WatchRequest, watch_server};

/// `etcdserverpb.Watch`, to be mounted into a tonic server. Made by [`Etcd::watch`].
#[derive(Debug)]
pub struct WatchServer<S> {
    etcd: Etcd<S>,
}

impl<S> WatchServer<S> {
    pub(crate) fn new(etcd: Etcd<S>) -> Self {
        Self { etcd }
    }
}

impl<S> Clone for WatchServer<S> {
    fn clone(&self) -> Self {
        Self::new(self.etcd.clone())
    }
}

impl<S> NamedService for WatchServer<S> {
    const NAME: &'static str = watch_server::SERVICE_NAME;
}

/// The service's only method.
struct WatchMethod<S>(Etcd<S>);

impl<S: Store> StreamingService<WatchRequest> for WatchMethod<S> {
    type Response = WatchStreamResponse;
    type ResponseStream = WatchStream<S>;
    type Future = BoxFuture<Response<WatchStream<S>>, Status>;

    fn call(&mut self, request: Request<Streaming<WatchRequest>>) -> Self::Future {
        let stream = WatchStream::new(&self.0, request);
        Box::pin(async { stream.map(Response::new) })
    }
}

impl<S, B> Service<http::Request<B>> for WatchServer<S>
where
    S: Store,
    B: Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        if request.uri().path() != "/etcdserverpb.Watch/Watch" {
            let unknown = Status::unimplemented("kvwatch: there is no such method");
            return Box::pin(async move { Ok(unknown.into_http()) });
        }
        let method = WatchMethod(self.etcd.clone());
        Box::pin(async move {
            let max_bytes = method.0.limits.decoded_bytes();
            let mut grpc =
                Grpc::new(WatchCodec).apply_max_message_size_config(Some(max_bytes), None);
            Ok(grpc.streaming(method, request).await)
        })
    }
}

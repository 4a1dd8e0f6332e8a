//! A connection that puts, and opens watch streams whose events it counts.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use futures::future::poll_fn;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::Request;
use kvwatch_etcd::wire::etcdserverpb::watch_request::RequestUnion;
use kvwatch_etcd::wire::etcdserverpb::{PutRequest, WatchCreateRequest, WatchRequest};
use prost::Message;
use tokio::net::TcpStream;

use crate::AnyError;
use crate::responses::Responses;

/// Bytes that a server may send ahead of the client, on one stream and on one connection: about the
/// windows that etcd's own client reaches under load.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// One connection. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Connection {
    requests: SendRequest<Bytes>,
    authority: Arc<str>,
}

impl Connection {
    pub(crate) async fn connect(address: SocketAddr) -> Result<Self, AnyError> {
        let tcp = TcpStream::connect(address).await?;
        tcp.set_nodelay(true)?;
        let (requests, connection) = h2::client::Builder::new()
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .handshake(tcp)
            .await?;
        tokio::spawn(async move { drop(connection.await) });
        let authority = address.to_string().into();
        Ok(Self {
            requests,
            authority,
        })
    }

    pub(crate) async fn put(&self, key: &Bytes, value: &Bytes) -> Result<(), AnyError> {
        let request = PutRequest {
            key: key.clone(),
            value: value.clone(),
            ..PutRequest::default()
        };
        let (response, _) = self.send("/etcdserverpb.KV/Put", &request, true).await?;
        let response = response.await?;
        check_status(response.headers())?;
        let mut body = response.into_body();
        while let Some(chunk) = body.data().await {
            body.flow_control().release_capacity(chunk?.len())?;
        }
        if let Some(trailers) = body.trailers().await? {
            check_status(&trailers)?;
        }
        Ok(())
    }

    /// Opens a stream with a number of watches of one prefix, and waits until all are created.
    pub(crate) async fn watch(&self, prefix: &str, watches: usize) -> Result<Watch, AnyError> {
        let mut range_end = prefix.as_bytes().to_vec();
        *range_end.last_mut().ok_or("no prefix")? += 1;
        let request = WatchRequest {
            request_union: Some(RequestUnion::CreateRequest(WatchCreateRequest {
                key: prefix.to_owned().into(),
                range_end: range_end.into(),
                ..WatchCreateRequest::default()
            })),
        };
        let path = "/etcdserverpb.Watch/Watch";
        let (response, mut requests) = self.send(path, &request, false).await?;
        for _ in 1..watches {
            requests.send_data(framed(&request), false)?;
        }
        let response = response.await?;
        check_status(response.headers())?;
        let mut watch = Watch {
            _requests: requests,
            body: response.into_body(),
            responses: Responses::default(),
        };
        while watch.responses.created < watches {
            watch.read().await?;
        }
        Ok(watch)
    }

    async fn send(
        &self,
        path: &str,
        message: &impl Message,
        last: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), AnyError> {
        let request = Request::post(format!("http://{}{path}", self.authority))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())?;
        let mut requests = self.requests.clone().ready().await?;
        let (response, mut body) = requests.send_request(request, false)?;
        body.send_data(framed(message), last)?;
        Ok((response, body))
    }
}

/// One watch stream.
pub(crate) struct Watch {
    /// Dropping it would reset the stream.
    _requests: SendStream<Bytes>,
    body: RecvStream,
    responses: Responses,
}

impl Watch {
    /// Waits for the next bytes.
    async fn read(&mut self) -> Result<(), AnyError> {
        let Self {
            body, responses, ..
        } = self;
        let chunk = poll_fn(|cx| body.poll_data(cx)).await;
        let chunk = chunk.ok_or("the server ended a watch stream")??;
        body.flow_control().release_capacity(chunk.len())?;
        responses.read(&chunk)
    }

    /// Waits for events, and returns how many have arrived so far.
    pub(crate) async fn events(&mut self) -> Result<u64, AnyError> {
        let previous = self.responses.events;
        while self.responses.events == previous {
            self.read().await?;
        }
        Ok(self.responses.events)
    }
}

fn framed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(5 + length);
    frame.put_u8(0);
    frame.put_u32(length as u32);
    message
        .encode(&mut frame)
        .expect("the buffer is large enough");
    frame.freeze()
}

fn check_status(headers: &http::HeaderMap) -> Result<(), AnyError> {
    match headers.get("grpc-status") {
        Some(status) if status != "0" => {
            let message = headers.get("grpc-message");
            Err(format!("the server answered {status:?}: {message:?}").into())
        }
        _ => Ok(()),
    }
}

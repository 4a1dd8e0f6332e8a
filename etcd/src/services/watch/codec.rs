//! The codec of watch streams.

use tonic::Status;
use tonic::codec::{BufferSettings, Codec, EncodeBuf, Encoder};
use tonic_prost::ProstDecoder;

use super::response::WatchStreamResponse;
use crate::wire::codec::buffer_settings;
use crate::wire::etcdserverpb::WatchRequest;

/// Encodes responses whose events are encoded already.
#[derive(Debug)]
pub(crate) struct WatchCodec;

#[derive(Debug)]
pub(crate) struct WatchEncoder;

impl Codec for WatchCodec {
    type Encode = WatchStreamResponse;
    type Decode = WatchRequest;
    type Encoder = WatchEncoder;
    type Decoder = ProstDecoder<WatchRequest>;

    fn encoder(&mut self) -> WatchEncoder {
        WatchEncoder
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::new(buffer_settings())
    }
}

impl Encoder for WatchEncoder {
    type Item = WatchStreamResponse;
    type Error = Status;

    fn encode(
        &mut self,
        response: WatchStreamResponse,
        buffer: &mut EncodeBuf<'_>,
    ) -> Result<(), Status> {
        buffer.reserve(response.encoded_len());
        response
            .encode(buffer)
            .map_err(|error| Status::internal(error.to_string()))
    }

    fn buffer_settings(&self) -> BufferSettings {
        buffer_settings()
    }
}

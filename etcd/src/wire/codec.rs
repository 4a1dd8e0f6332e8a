//! The codec of all calls: protobuf, with buffers that start small.

use std::marker::PhantomData;

use prost::Message;
use tonic::codec::BufferSettings;
use tonic_prost::{ProstDecoder, ProstEncoder};

/// Bytes that a call's buffers hold before its first message. tonic's default of 8 KiB each way
/// would make up most of an idle watch stream's memory.
const BUFFER: usize = 256;

/// Bytes that are encoded before they are handed to the connection.
const YIELD: usize = 32 * 1024;

/// The settings of all buffers.
pub(crate) fn buffer_settings() -> BufferSettings {
    BufferSettings::new(BUFFER, YIELD)
}

/// Encodes `T` and decodes `U`.
#[derive(Debug)]
pub(crate) struct Codec<T, U> {
    messages: PhantomData<(T, U)>,
}

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self {
            messages: PhantomData,
        }
    }
}

impl<T, U> tonic::codec::Codec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::new(buffer_settings())
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::new(buffer_settings())
    }
}

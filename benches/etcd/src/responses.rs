//! Counts the events of watch responses without decoding them: decoding an event takes a client
//! longer than sending it takes a server.

use crate::AnyError;

/// Field numbers of `etcdserverpb.WatchResponse`.
const CREATED: u64 = 3;
const CANCELED: u64 = 4;
const EVENTS: u64 = 11;

/// The counts of one stream.
#[derive(Debug, Default)]
pub(crate) struct Responses {
    /// The start of a message whose end has not arrived.
    rest: Vec<u8>,
    /// The watches created so far.
    pub(crate) created: usize,
    /// The events received so far.
    pub(crate) events: u64,
}

impl Responses {
    /// Reads the next bytes of the stream.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Result<(), AnyError> {
        if self.rest.is_empty() {
            let read = self.messages(bytes)?;
            self.rest.extend_from_slice(&bytes[read..]);
        } else {
            let mut rest = std::mem::take(&mut self.rest);
            rest.extend_from_slice(bytes);
            let read = self.messages(&rest)?;
            rest.drain(..read);
            self.rest = rest;
        }
        Ok(())
    }

    /// Reads all complete messages, and returns their length in bytes.
    fn messages(&mut self, bytes: &[u8]) -> Result<usize, AnyError> {
        let mut read = 0;
        while let Some(head) = bytes[read..].first_chunk::<5>() {
            let [compressed, length @ ..] = *head;
            if compressed != 0 {
                return Err("a compressed message".into());
            }
            let end = read + 5 + u32::from_be_bytes(length) as usize;
            let Some(message) = bytes.get(read + 5..end) else {
                break;
            };
            self.message(message)?;
            read = end;
        }
        Ok(read)
    }

    fn message(&mut self, mut message: &[u8]) -> Result<(), AnyError> {
        while !message.is_empty() {
            let tag = varint(&mut message)?;
            let value = varint(&mut message)?;
            match (tag >> 3, tag & 7) {
                (CREATED, 0) => self.created += 1,
                (CANCELED, 0) => return Err("a watch was cancelled".into()),
                (_, 0) => {}
                (field, 2) => {
                    self.events += u64::from(field == EVENTS);
                    let length = usize::try_from(value)?;
                    message = message.get(length..).ok_or("a field without its end")?;
                }
                (field, kind) => return Err(format!("field {field} of type {kind}").into()),
            }
        }
        Ok(())
    }
}

fn varint(message: &mut &[u8]) -> Result<u64, AnyError> {
    let mut value = 0;
    for (nth, byte) in message.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * nth);
        if byte & 0x80 == 0 {
            *message = &message[nth + 1..];
            return Ok(value);
        }
    }
    Err("a number without its end".into())
}

#[cfg(test)]
mod tests {
    use kvwatch_etcd::wire::etcdserverpb::{ResponseHeader, WatchResponse};
    use kvwatch_etcd::wire::mvccpb::{Event, KeyValue};
    use prost::Message;

    use super::*;

    #[test]
    fn counts_are_right_when_messages_are_cut_anywhere() {
        let mut bytes = Vec::new();
        for events in [0, 1, 300] {
            let kv = KeyValue {
                key: "key".into(),
                value: vec![b'v'; 200].into(),
                mod_revision: 1 << 40,
                ..KeyValue::default()
            };
            let event = Event {
                kv: Some(kv),
                ..Event::default()
            };
            let message = WatchResponse {
                header: Some(ResponseHeader::default()),
                watch_id: 500,
                created: events == 0,
                events: vec![event; events],
                ..WatchResponse::default()
            }
            .encode_to_vec();
            bytes.push(0);
            bytes.extend((message.len() as u32).to_be_bytes());
            bytes.extend(message);
        }
        for size in [1, 2, 7, 100, 5000, bytes.len()] {
            let mut responses = Responses::default();
            for chunk in bytes.chunks(size) {
                responses.read(chunk).unwrap();
            }
            assert_eq!((responses.created, responses.events), (1, 301));
        }
    }
}

//! A response before it is on the wire.

use bytes::BufMut;
use prost::Message;
use prost::encoding::{self, WireType};

use crate::wire::etcdserverpb::WatchResponse;
use kvwatch::Revision;

/// The field of a [`WatchResponse`] that holds its events.
const EVENTS: u32 = 11;

/// A [`WatchResponse`] whose events are encoded already. It is public only for being what
/// [`WatchStream`](super::WatchStream) yields.
#[derive(Clone, Debug, Default)]
pub struct WatchStreamResponse {
    /// All but the events.
    pub(crate) head: WatchResponse,
    /// Each with its field's key and length, as [`framed`] makes them.
    pub(crate) events: Vec<u8>,
}

impl From<WatchResponse> for WatchStreamResponse {
    fn from(head: WatchResponse) -> Self {
        let events = Vec::new();
        Self { head, events }
    }
}

impl WatchStreamResponse {
    pub(crate) fn encoded_len(&self) -> usize {
        self.head.encoded_len() + self.events.len()
    }

    /// The events are the message's last field: so they come last.
    pub(crate) fn encode(&self, buffer: &mut impl BufMut) -> Result<(), prost::EncodeError> {
        self.head.encode(buffer)?;
        buffer.put_slice(&self.events);
        Ok(())
    }
}

/// Appends an event to those of a response: what `encode` appends, with its field's key and length
/// in front.
pub(crate) fn framed(bytes: &mut Vec<u8>, encode: impl FnOnce(&mut Vec<u8>)) {
    let start = bytes.len();
    encode(bytes);
    let event = bytes.len();
    let length = event - start;
    encoding::encode_key(EVENTS, WireType::LengthDelimited, bytes);
    encoding::encode_varint(length as u64, bytes);
    // The length is known only now. To move a hundred bytes by two costs less than to count them
    // beforehand.
    let head = bytes.len() - event;
    bytes[start..].rotate_right(head);
}

/// Gathers events into responses of about the size allowed. A revision is split only where the
/// client can put fragments together.
pub(crate) struct Pages {
    id: i64,
    fragment: bool,
    most: usize,
    done: Vec<WatchStreamResponse>,
    page: Vec<u8>,
    /// Events that have yet to come.
    left: usize,
    last: Revision,
}

impl Pages {
    /// For so many events.
    pub(crate) fn new(id: i64, fragment: bool, most: usize, events: usize) -> Self {
        Self {
            id,
            fragment,
            most,
            done: Vec::new(),
            page: Vec::new(),
            left: events,
            last: 0,
        }
    }

    pub(crate) fn add(&mut self, revision: Revision, event: &[u8]) {
        let full = !self.page.is_empty() && self.page.len() + event.len() > self.most;
        if full && revision != self.last {
            self.turn(false);
        } else if full && self.fragment {
            self.turn(true);
        }
        if self.page.is_empty() {
            // As if all were of this size.
            self.page.reserve((event.len() * self.left).min(self.most));
        }
        self.page.extend_from_slice(event);
        self.left -= 1;
        self.last = revision;
    }

    /// The header's revision is that of the last event: a client that goes by it misses nothing.
    fn turn(&mut self, fragment: bool) {
        let head = WatchResponse {
            header: crate::header::at_revision(self.last),
            watch_id: self.id,
            fragment,
            ..WatchResponse::default()
        };
        let events = std::mem::take(&mut self.page);
        self.done.push(WatchStreamResponse { head, events });
    }

    pub(crate) fn finish(mut self) -> Vec<WatchStreamResponse> {
        self.turn(false);
        self.done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::mvccpb::{Event, KeyValue};

    fn event() -> Event {
        let kv = KeyValue {
            value: vec![0; 90].into(),
            ..KeyValue::default()
        };
        Event {
            kv: Some(kv),
            ..Event::default()
        }
    }

    fn paged(fragment: bool, revisions: &[Revision]) -> Vec<(i64, usize, bool)> {
        // Each event is 96 bytes, a page 250.
        let mut pages = Pages::new(3, fragment, 250, revisions.len());
        let mut bytes = Vec::new();
        framed(&mut bytes, |bytes| event().encode(bytes).unwrap());
        for revision in revisions {
            pages.add(*revision, &bytes);
        }
        let shape = |page: WatchStreamResponse| {
            let revision = page.head.header.as_ref().unwrap().revision;
            let mut wire = Vec::new();
            page.encode(&mut wire).unwrap();
            assert_eq!(wire.len(), page.encoded_len());
            let read = WatchResponse::decode(&wire[..]).unwrap();
            assert!(read.events.iter().all(|read| *read == event()));
            (revision, read.events.len(), read.fragment)
        };
        pages.finish().into_iter().map(shape).collect()
    }

    #[test]
    fn a_page_ends_between_revisions() {
        assert_eq!(paged(false, &[1, 2, 3]), [(2, 2, false), (3, 1, false)]);
        assert_eq!(paged(true, &[1, 2, 3]), [(2, 2, false), (3, 1, false)]);
    }

    #[test]
    fn a_revision_is_split_only_into_fragments() {
        assert_eq!(paged(false, &[1, 2, 2, 2, 2]), [(2, 5, false)]);
        let fragments = [(2, 2, true), (2, 2, true), (2, 1, false)];
        assert_eq!(paged(true, &[2, 2, 2, 2, 2]), fragments);
    }
}

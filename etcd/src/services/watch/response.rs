//! Responses with events, encoded before tonic sees them.

use bytes::BufMut;
use kvwatch::Revision;
use prost::Message;
use prost::encoding::{self, WireType};

use crate::header;
use crate::wire::etcdserverpb::WatchResponse;

/// The number of the field of [`WatchResponse`] that holds the events.
const EVENTS: u32 = 11;

/// A [`WatchResponse`] whose events are encoded already.
///
/// It is public only as the item of [`WatchStream`](super::WatchStream).
#[derive(Clone, Debug, Default)]
pub struct WatchStreamResponse {
    /// The response without its events.
    pub(crate) head: WatchResponse,
    /// The events, each framed by [`frame_event`].
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

    /// Encodes the response. The events follow the head, as they are the message's last field.
    pub(crate) fn encode(&self, buffer: &mut impl BufMut) -> Result<(), prost::EncodeError> {
        self.head.encode(buffer)?;
        buffer.put_slice(&self.events);
        Ok(())
    }
}

/// Appends one event, which `encode` appends to the buffer, with the key and length of the field
/// [`EVENTS`] in front.
pub(crate) fn frame_event(bytes: &mut Vec<u8>, encode: impl FnOnce(&mut Vec<u8>)) {
    let start = bytes.len();
    encode(bytes);
    let end = bytes.len();
    let length = end - start;
    encoding::encode_key(EVENTS, WireType::LengthDelimited, bytes);
    encoding::encode_varint(length as u64, bytes);
    // Moving an event by the two or three bytes of its frame costs less than computing its length
    // before it is encoded.
    let frame = bytes.len() - end;
    bytes[start..].rotate_right(frame);
}

/// Collects events into responses of limited size. A revision is split only if the client accepts
/// fragments.
pub(crate) struct Pages {
    watch_id: i64,
    fragment: bool,
    max_bytes: usize,
    responses: Vec<WatchStreamResponse>,
    page: Vec<u8>,
    /// The number of events that are still to be added.
    remaining: usize,
    last_revision: Revision,
}

impl Pages {
    /// For as many events as `events` says.
    pub(crate) fn new(watch_id: i64, fragment: bool, max_bytes: usize, events: usize) -> Self {
        Self {
            watch_id,
            fragment,
            max_bytes,
            responses: Vec::new(),
            page: Vec::new(),
            remaining: events,
            last_revision: 0,
        }
    }

    pub(crate) fn add(&mut self, revision: Revision, event: &[u8]) {
        let full = !self.page.is_empty() && self.page.len() + event.len() > self.max_bytes;
        if full && revision != self.last_revision {
            self.end_page(false);
        } else if full && self.fragment {
            self.end_page(true);
        }
        if self.page.is_empty() {
            // Assumes that the remaining events have the size of this one.
            self.page
                .reserve((event.len() * self.remaining).min(self.max_bytes));
        }
        self.page.extend_from_slice(event);
        self.remaining -= 1;
        self.last_revision = revision;
    }

    /// Ends the current page. The header has the last event's revision: a client that resumes after
    /// the header's revision misses no event.
    fn end_page(&mut self, fragment: bool) {
        let head = WatchResponse {
            header: header::at_revision(self.last_revision),
            watch_id: self.watch_id,
            fragment,
            ..WatchResponse::default()
        };
        let events = std::mem::take(&mut self.page);
        self.responses.push(WatchStreamResponse { head, events });
    }

    pub(crate) fn finish(mut self) -> Vec<WatchStreamResponse> {
        self.end_page(false);
        self.responses
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

    /// The revision, number of events and fragment flag of each page. An event has 96 bytes, a page
    /// at most 250.
    fn paged(fragment: bool, revisions: &[Revision]) -> Vec<(i64, usize, bool)> {
        let mut pages = Pages::new(3, fragment, 250, revisions.len());
        let mut bytes = Vec::new();
        frame_event(&mut bytes, |bytes| event().encode(bytes).unwrap());
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

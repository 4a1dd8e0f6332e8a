//! What is published: keys, values, and which key comes next.

use bytes::Bytes;

const KEY_BYTES: usize = 16;
const VALUE_BYTES: usize = 64;

/// What a peer is handed to publish.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its place in the order of publishing, from 1 on: what a receiver gives back.
    pub seq: u64,
    /// 16 bytes.
    pub key: Bytes,
    /// 64 bytes.
    pub value: Bytes,
}

impl Event {
    pub(crate) fn new(seq: u64, key: Bytes) -> Self {
        debug_assert_eq!(key.len(), KEY_BYTES);
        Self {
            seq,
            key,
            value: Bytes::from(vec![seq as u8; VALUE_BYTES]),
        }
    }
}

/// Events numbered from `first` on, with keys and values of their own.
pub(crate) fn events(first: u64, keys: impl Iterator<Item = Bytes>) -> Vec<Event> {
    (first..)
        .zip(keys)
        .map(|(seq, key)| Event::new(seq, key))
        .collect()
}

/// The same in chunks of that many.
pub(crate) fn chunks(events: impl IntoIterator<Item = Event>, size: usize) -> Vec<Vec<Event>> {
    let mut events = events.into_iter().peekable();
    let mut chunks = Vec::new();
    while events.peek().is_some() {
        chunks.push(events.by_ref().take(size).collect());
    }
    chunks
}

/// The `number`th watched key: it has no `/`, so that nobody looks for prefixes in it.
pub(crate) fn key(number: usize) -> Bytes {
    Bytes::from(format!("key:{number:012}"))
}

/// A key that nobody watches.
pub(crate) fn other_key(number: usize) -> Bytes {
    Bytes::from(format!("not:{number:012}"))
}

/// The `number`th prefix. They have three lengths, and start and end with `/`, which is all that
/// some peers take. At most 16^5 of them differ.
pub(crate) fn prefix(number: usize) -> Bytes {
    let top = ["t", "tt", "ttt"][number % 3];
    Bytes::from(format!("/{top}/{number:05x}/"))
}

/// A key below that prefix and no other.
pub(crate) fn key_below(number: usize) -> Bytes {
    let mut key = Vec::with_capacity(KEY_BYTES);
    key.extend_from_slice(&prefix(number));
    key.resize(KEY_BYTES, b'k');
    Bytes::from(key)
}

/// Numbers below `bound` in no order, the same ones in each run.
pub(crate) fn random(bound: usize) -> impl Iterator<Item = usize> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % bound as u64) as usize
    })
}

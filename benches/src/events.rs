//! The events to publish: keys, values, and the order of the keys.

use bytes::Bytes;

const KEY_BYTES: usize = 16;
const VALUE_BYTES: usize = 64;

/// Events published before the clock starts. By then the buffers of a peer, such as kvwatch's
/// history, are full, as in a store that has run for a while. Otherwise the first use of each
/// memory page would be measured too.
pub(crate) const WARM_UP: usize = 72 * 1024;

/// An event, as it is given to a peer to publish.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its position in the order of publishing, from 1 on. A receiver returns it.
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

/// An event for each key, numbered from `first` on. Each value is allocated separately.
pub(crate) fn from_keys(first: u64, keys: impl Iterator<Item = Bytes>) -> Vec<Event> {
    (first..)
        .zip(keys)
        .map(|(seq, key)| Event::new(seq, key))
        .collect()
}

/// Splits events into chunks of `size`; the last may be shorter.
pub(crate) fn chunks(events: impl IntoIterator<Item = Event>, size: usize) -> Vec<Vec<Event>> {
    let mut events = events.into_iter().peekable();
    let mut chunks = Vec::new();
    while events.peek().is_some() {
        chunks.push(events.by_ref().take(size).collect());
    }
    chunks
}

/// The watched key with this number. It has no `/`, so that no peer looks for prefixes in it.
pub(crate) fn key(number: usize) -> Bytes {
    Bytes::from(format!("key:{number:012}"))
}

/// A key that has no watcher.
pub(crate) fn unwatched_key(number: usize) -> Bytes {
    Bytes::from(format!("not:{number:012}"))
}

/// The prefix with this number; at most 16^5 of them differ. Prefixes have three lengths, and start
/// and end with `/`, because some peers accept no others.
pub(crate) fn prefix(number: usize) -> Bytes {
    let top = ["t", "tt", "ttt"][number % 3];
    Bytes::from(format!("/{top}/{number:05x}/"))
}

/// A key that starts with [`prefix(number)`](prefix) and with no other prefix.
pub(crate) fn key_below(number: usize) -> Bytes {
    let mut key = Vec::with_capacity(KEY_BYTES);
    key.extend_from_slice(&prefix(number));
    key.resize(KEY_BYTES, b'k');
    Bytes::from(key)
}

/// Pseudo-random numbers below `bound`, the same sequence in each run.
pub(crate) fn random(bound: usize) -> impl Iterator<Item = usize> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % bound as u64) as usize
    })
}

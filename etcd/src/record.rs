//! A key's value with etcd's revisions, version and lease, as one value to publish.
//!
//! ```text
//!   value │ create_revision │ mod_revision │ version │ lease      the last four are 8 bytes each
//! ```

use bytes::{BufMut, Bytes, BytesMut};
use kvwatch::{EventRef, PrevValue};
use prost::encoding::{self, WireType, encoded_len_varint, int64, key_len};

use crate::wire::mvccpb::{Event, KeyValue, event::EventType};

/// The bytes of a record after its value.
const TRAILER: usize = 4 * 8;

/// Encodes a [`KeyValue`], apart from its key, as the value of a [`Change`](kvwatch::Change).
///
/// A store that publishes such records can convert an event to etcd's without reading anything: see
/// [`event`]. Watchers in the same process receive records too, and read them with [`decode`].
///
/// ```
/// use kvwatch_etcd::record;
/// use kvwatch_etcd::wire::mvccpb::KeyValue;
///
/// let kv = KeyValue {
///     key: "a".into(),
///     value: "1".into(),
///     create_revision: 2,
///     mod_revision: 5,
///     version: 3,
///     lease: 0,
/// };
/// assert_eq!(record::decode("a".into(), record::encode(&kv)), Some(kv));
/// assert_eq!(record::decode("a".into(), "too short".into()), None);
/// ```
#[must_use]
pub fn encode(kv: &KeyValue) -> Bytes {
    let mut record = BytesMut::with_capacity(kv.value.len() + TRAILER);
    record.put_slice(&kv.value);
    for number in [kv.create_revision, kv.mod_revision, kv.version, kv.lease] {
        record.put_i64_le(number);
    }
    record.freeze()
}

/// Decodes a record. `None` if it is too short to be one. No bytes are copied.
#[must_use]
pub fn decode(key: Bytes, mut record: Bytes) -> Option<KeyValue> {
    let length = record.len().checked_sub(TRAILER)?;
    let trailer = record.split_off(length);
    let number = |nth: usize| {
        let bytes = trailer[nth * 8..][..8].try_into();
        i64::from_le_bytes(bytes.expect("eight bytes"))
    };
    Some(KeyValue {
        key,
        value: record,
        create_revision: number(0),
        mod_revision: number(1),
        version: number(2),
        lease: number(3),
    })
}

/// Converts the event of a record to etcd's event, for `Store::event`. A value that is not a record
/// is passed on unchanged.
#[must_use]
pub fn event(event: EventRef<'_>) -> Event {
    let key = event.key_bytes();
    let read = |record: Bytes| {
        decode(key.clone(), record.clone()).unwrap_or_else(|| KeyValue {
            key: key.clone(),
            value: record,
            ..KeyValue::default()
        })
    };
    let (kind, kv) = match event.value_bytes() {
        Some(record) => (EventType::Put, read(record)),
        None => {
            let deleted = KeyValue {
                key: key.clone(),
                mod_revision: event.revision().cast_signed(),
                ..KeyValue::default()
            };
            (EventType::Delete, deleted)
        }
    };
    let prev_kv = match event.prev_value_bytes() {
        PrevValue::Value(record) => Some(read(record)),
        PrevValue::Absent | PrevValue::Unavailable => None,
    };
    Event {
        r#type: kind.into(),
        kv: Some(kv),
        prev_kv,
    }
}

/// Appends the result of [`event`] to `bytes`, encoded as protobuf, for `Store::encode_event`.
/// Allocates only to grow `bytes`.
pub fn encode_event(event: EventRef<'_>, bytes: &mut Vec<u8>) {
    let key: &[u8] = event.key();
    let kv = match event.value() {
        Some(record) => Fields::of(key, record),
        None => {
            int64::encode(1, &i64::from(i32::from(EventType::Delete)), bytes);
            Fields {
                key,
                value: &[],
                numbers: [0, event.revision().cast_signed(), 0, 0],
            }
        }
    };
    kv.encode(2, bytes);
    if let PrevValue::Value(record) = event.prev_value() {
        Fields::of(key, record).encode(3, bytes);
    }
}

/// A [`KeyValue`] that borrows from its event.
struct Fields<'e> {
    key: &'e [u8],
    value: &'e [u8],
    /// In the order of a record.
    numbers: [i64; 4],
}

impl<'e> Fields<'e> {
    fn of(key: &'e [u8], record: &'e [u8]) -> Self {
        let Some((value, trailer)) = record.split_last_chunk::<TRAILER>() else {
            return Self {
                key,
                value: record,
                numbers: [0; 4],
            };
        };
        let mut numbers = [0; 4];
        for (number, bytes) in numbers.iter_mut().zip(trailer.as_chunks().0) {
            *number = i64::from_le_bytes(*bytes);
        }
        Self {
            key,
            value,
            numbers,
        }
    }

    /// Encodes a [`KeyValue`] as the field `tag` of its event.
    fn encode(&self, tag: u32, bytes: &mut Vec<u8>) {
        let [create, modified, version, lease] = self.numbers;
        let length = bytes_len(1, self.key)
            + number_len(2, create)
            + number_len(3, modified)
            + number_len(4, version)
            + bytes_len(5, self.value)
            + number_len(6, lease);
        bytes.reserve(length + 2 * encoded_len_varint(u64::MAX));
        encoding::encode_key(tag, WireType::LengthDelimited, bytes);
        encoding::encode_varint(length as u64, bytes);
        put_bytes(1, self.key, bytes);
        put_number(2, create, bytes);
        put_number(3, modified, bytes);
        put_number(4, version, bytes);
        put_bytes(5, self.value, bytes);
        put_number(6, lease, bytes);
    }
}

// Protobuf omits empty and zero fields.

fn bytes_len(tag: u32, value: &[u8]) -> usize {
    match value.len() {
        0 => 0,
        length => key_len(tag) + encoded_len_varint(length as u64) + length,
    }
}

fn put_bytes(tag: u32, value: &[u8], bytes: &mut Vec<u8>) {
    if !value.is_empty() {
        encoding::encode_key(tag, WireType::LengthDelimited, bytes);
        encoding::encode_varint(value.len() as u64, bytes);
        bytes.put_slice(value);
    }
}

fn number_len(tag: u32, number: i64) -> usize {
    match number {
        0 => 0,
        number => int64::encoded_len(tag, &number),
    }
}

fn put_number(tag: u32, number: i64, bytes: &mut Vec<u8>) {
    if number != 0 {
        int64::encode(tag, &number, bytes);
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use kvwatch::{Builder, Change, Selector, WatchOptions};

    fn record(value: &'static [u8], numbers: [i64; 4]) -> Bytes {
        let [create_revision, mod_revision, version, lease] = numbers;
        encode(&KeyValue {
            value: value.into(),
            create_revision,
            mod_revision,
            version,
            lease,
            ..KeyValue::default()
        })
    }

    #[test]
    fn an_event_is_encoded_as_prost_encodes_it() {
        let long: &[u8] = &[7; 1000];
        let mut values = vec![Bytes::new(), "no record".into()];
        for value in [b"", &b"1"[..], long] {
            values.push(record(value, [0; 4]));
            values.push(record(value, [2, 5, 3, 0]));
            values.push(record(value, [1 << 40, i64::MAX, 200, -1]));
        }
        let mut changes = Vec::new();
        for key in ["", "a", "a longer key"] {
            for value in &values {
                changes.push(Change::put(key, value.clone()));
                for prev in &values {
                    let prev = PrevValue::Value(prev.clone());
                    let put = Change::put(key, value.clone()).with_prev_value(prev.clone());
                    changes.extend([put, Change::delete(key).with_prev_value(prev)]);
                }
            }
        }
        let count = changes.len();
        let (mut publisher, hub) = Builder::new().spawn().unwrap();
        let options = WatchOptions::new().prev_value(true);
        let mut watcher = hub.watch_with(Selector::all(), options).unwrap();
        publisher.publish_batch(changes).unwrap();
        for _ in 0..count {
            let received = watcher.recv().unwrap();
            let mut bytes = Vec::new();
            encode_event(received.as_ref(), &mut bytes);
            assert_eq!(bytes, event(received.as_ref()).encode_to_vec());
        }
    }
}

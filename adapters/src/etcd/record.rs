//! A key's value together with what etcd's clients want to know of it, as one value.
//!
//! ```text
//!   value ‖ create_revision ‖ mod_revision ‖ version ‖ lease      four times eight bytes
//! ```

use bytes::{BufMut, Bytes, BytesMut};

use super::wire::mvccpb::{Event, KeyValue, event::EventType};
use crate::{EventRef, PrevValue};

/// How much longer a record is than its value.
const TRAILER: usize = 4 * 8;

/// The value of a [`Change`](crate::Change) that carries a whole [`KeyValue`], but for its key.
///
/// A store that publishes such values need not look anything up to turn an event into etcd's:
/// [`event`] does. Its own watchers in the process see these values too, and read them with
/// [`decode`].
///
/// ```
/// use kvwatch::etcd::record;
/// use kvwatch::etcd::wire::mvccpb::KeyValue;
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

/// The key with what its record says, or `None` if that is no record. No bytes are copied.
#[must_use]
pub fn decode(key: Bytes, mut record: Bytes) -> Option<KeyValue> {
    let at = record.len().checked_sub(TRAILER)?;
    let trailer = record.split_off(at);
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

/// What [`Store::event`](super::Store::event) is, for a store that publishes records. A value
/// that is none is passed on as it is.
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
            let gone = KeyValue {
                key: key.clone(),
                mod_revision: event.revision().cast_signed(),
                ..KeyValue::default()
            };
            (EventType::Delete, gone)
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

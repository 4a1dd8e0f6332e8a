//! etcd's events in the form that the checker compares.

use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::Bytes;
use kvwatch::{EventKind, PrevValue};
use kvwatch_etcd::wire::mvccpb::{Event, KeyValue, event::EventType};

use crate::record::Seen;

/// Bytes of a value that are shown; the rest is shown as a hash.
const SHOWN: usize = 24;

/// A key's value with its revisions, version and lease, as text to compare and to report.
pub(crate) fn text(kv: &KeyValue) -> Bytes {
    let shown = &kv.value[..kv.value.len().min(SHOWN)];
    let mut value = String::from_utf8_lossy(shown).into_owned();
    if shown.len() < kv.value.len() {
        let mut hasher = DefaultHasher::new();
        kv.value.hash(&mut hasher);
        value = format!("{value}... {} bytes {:x}", kv.value.len(), hasher.finish());
    }
    let KeyValue {
        create_revision: create,
        mod_revision: modified,
        version,
        lease,
        ..
    } = kv;
    format!("{value} (create {create} mod {modified} version {version} lease {lease})").into()
}

/// Converts an event of a watch that does or does not request previous values.
pub(crate) fn seen(event: Event, with_prev: bool) -> Seen {
    let kv = event.kv.expect("every event has a key");
    let delete = event.r#type == i32::from(EventType::Delete);
    let created = !delete && kv.create_revision == kv.mod_revision;
    let prev = match event.prev_kv {
        Some(prev) => PrevValue::Value(text(&prev)),
        // The wire omits an unknown previous value as it omits an absent one.
        None if with_prev && created => PrevValue::Absent,
        None => PrevValue::Unavailable,
    };
    let bare = KeyValue {
        key: kv.key.clone(),
        mod_revision: kv.mod_revision,
        ..KeyValue::default()
    };
    Seen {
        revision: kv.mod_revision.cast_unsigned(),
        kind: if delete {
            EventKind::Delete
        } else {
            EventKind::Put
        },
        value: (!delete || kv != bare).then(|| text(&kv)),
        key: kv.key,
        prev,
    }
}

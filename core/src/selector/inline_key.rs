//! The bytes of a watched key or prefix.

use std::ops::Deref;
use std::sync::Arc;

/// The number of bytes stored inline. With the length they take no more room than a pointer to
/// longer ones with its tag.
const INLINE_BYTES: usize = 22;

/// A key: inline if it is short, in an allocation shared by all clones if it is long.
///
/// A look-up waits for each key that is not in the caches, and once less for an inline one.
/// Equal bytes have equal representations: the length alone decides which one is used, and unused
/// bytes are 0.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct InlineKey(KeyRepr);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum KeyRepr {
    Inline {
        length: u8,
        bytes: [u8; INLINE_BYTES],
    },
    Heap(Arc<[u8]>),
}

impl From<&[u8]> for InlineKey {
    fn from(key: &[u8]) -> Self {
        let mut bytes = [0; INLINE_BYTES];
        Self(match bytes.get_mut(..key.len()) {
            Some(inline) => {
                inline.copy_from_slice(key);
                let length = key.len() as u8;
                KeyRepr::Inline { length, bytes }
            }
            None => KeyRepr::Heap(key.into()),
        })
    }
}

impl Deref for InlineKey {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            KeyRepr::Inline { length, bytes } => &bytes[..usize::from(*length)],
            KeyRepr::Heap(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_derefs_to_its_bytes_whether_inline_or_on_the_heap() {
        let bytes: Vec<u8> = (1..=2 * INLINE_BYTES as u8).collect();
        for length in 0..=bytes.len() {
            let key = InlineKey::from(&bytes[..length]);
            assert_eq!(*key, bytes[..length]);
            assert_eq!(
                matches!(key.0, KeyRepr::Inline { .. }),
                length <= INLINE_BYTES
            );
            assert_eq!(key, InlineKey::from(&bytes[..length]));
            let mut longer = bytes[..length].to_vec();
            longer.push(0);
            assert_ne!(key, InlineKey::from(&longer[..]));
        }
    }

    #[test]
    fn clones_of_a_long_key_share_its_bytes() {
        let key = InlineKey::from(&[7; INLINE_BYTES + 1][..]);
        assert_eq!(key.as_ptr(), key.clone().as_ptr());
        assert_eq!(size_of::<InlineKey>(), INLINE_BYTES + 2);
    }
}

//! A watched key, or the beginning of one.

use std::ops::Deref;
use std::sync::Arc;

/// So many bytes and their number fit in beside the mark that says which of the two it is.
const SHORT: usize = 22;

/// Its bytes, in place where they are few: a look-up waits for each key that is not in the caches,
/// and waits once less then. Many are shared by those who have a clone, which are the watcher and
/// the registry.
///
/// Equal bytes are equal keys: how many there are says which of the two it is, and what is not used
/// is 0.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    Short { length: u8, bytes: [u8; SHORT] },
    Long(Arc<[u8]>),
}

impl From<&[u8]> for Key {
    fn from(key: &[u8]) -> Self {
        let mut bytes = [0; SHORT];
        match bytes.get_mut(..key.len()) {
            Some(place) => {
                place.copy_from_slice(key);
                let length = key.len() as u8;
                Self::Short { length, bytes }
            }
            None => Self::Long(key.into()),
        }
    }
}

impl Deref for Key {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Short { length, bytes } => &bytes[..usize::from(*length)],
            Self::Long(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_bytes_it_was_made_of_be_they_few_or_many() {
        let bytes: Vec<u8> = (1..=2 * SHORT as u8).collect();
        for length in 0..=bytes.len() {
            let key = Key::from(&bytes[..length]);
            assert_eq!(*key, bytes[..length]);
            assert_eq!(matches!(key, Key::Short { .. }), length <= SHORT);
            assert_eq!(key, Key::from(&bytes[..length]));
            let mut longer = bytes[..length].to_vec();
            longer.push(0);
            assert_ne!(key, Key::from(&longer[..]));
        }
    }

    #[test]
    fn a_long_one_is_there_once_however_often_it_is_cloned() {
        let key = Key::from(&[7; SHORT + 1][..]);
        assert_eq!(key.as_ptr(), key.clone().as_ptr());
        assert_eq!(size_of::<Key>(), SHORT + 2);
    }
}

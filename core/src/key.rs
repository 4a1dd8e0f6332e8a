//! A watched key, or the beginning of one.

use std::ops::Deref;
use std::sync::Arc;

/// So many bytes take no more room than a pointer to more of them does, with its mark.
const IN_PLACE: usize = 22;

/// Its bytes: in place where they are few, shared by every clone where they are many. A look-up
/// waits for each key that is not in the caches, and once less where it is in place: one watcher a
/// key gets a sixth more events by it, of 100,000 keys.
///
/// Equal bytes are equal keys: how many there are says which of the two it is, and what is not used
/// is 0.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key(Place);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Place {
    Here { length: u8, bytes: [u8; IN_PLACE] },
    Elsewhere(Arc<[u8]>),
}

impl From<&[u8]> for Key {
    fn from(key: &[u8]) -> Self {
        let mut bytes = [0; IN_PLACE];
        Self(match bytes.get_mut(..key.len()) {
            Some(here) => {
                here.copy_from_slice(key);
                let length = key.len() as u8;
                Place::Here { length, bytes }
            }
            None => Place::Elsewhere(key.into()),
        })
    }
}

impl Deref for Key {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Place::Here { length, bytes } => &bytes[..usize::from(*length)],
            Place::Elsewhere(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_bytes_it_was_made_of_be_they_few_or_many() {
        let bytes: Vec<u8> = (1..=2 * IN_PLACE as u8).collect();
        for length in 0..=bytes.len() {
            let key = Key::from(&bytes[..length]);
            assert_eq!(*key, bytes[..length]);
            assert_eq!(matches!(key.0, Place::Here { .. }), length <= IN_PLACE);
            assert_eq!(key, Key::from(&bytes[..length]));
            let mut longer = bytes[..length].to_vec();
            longer.push(0);
            assert_ne!(key, Key::from(&longer[..]));
        }
    }

    #[test]
    fn a_long_one_is_there_once_however_often_it_is_cloned() {
        let key = Key::from(&[7; IN_PLACE + 1][..]);
        assert_eq!(key.as_ptr(), key.clone().as_ptr());
        assert_eq!(size_of::<Key>(), IN_PLACE + 2);
    }
}

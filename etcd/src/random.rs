//! Random bytes for names that must not be guessed.

use crate::error::StoreError;

/// Random bytes from the operating system.
pub(crate) fn bytes<const N: usize>() -> Result<[u8; N], StoreError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| StoreError::failed(error.to_string()))?;
    Ok(bytes)
}

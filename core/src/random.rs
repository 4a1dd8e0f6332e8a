//! For unit tests: variety, not quality.

/// The next number below 2^31, in an order that depends on where `state` starts.
pub(crate) fn next(state: &mut u64) -> u64 {
    *state = state
        .wrapping_mul(6364136223846793005)
        .wrapping_add(1442695040888963407);
    *state >> 33
}

//! Statistics over readings.

/// The median; the mean of the two in the middle if their number is even.
///
/// # Panics
/// If there are no readings.
pub(crate) fn median(readings: &[f64]) -> f64 {
    let sorted = sorted(readings);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    }
}

/// The smallest reading that `fraction` of all readings, between 0 and 1, do not exceed.
///
/// # Panics
/// If there are no readings.
pub(crate) fn percentile(readings: &[f64], fraction: f64) -> f64 {
    let sorted = sorted(readings);
    let rank = (fraction * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

/// The mean over a period of `period` readings, after taking for each position in the period the
/// median of all readings at that position.
///
/// Work that a peer does at the same position of every period counts. Interruptions by the machine,
/// at any position, do not.
///
/// # Panics
/// If there are fewer readings than `period`.
pub(crate) fn periodic_mean(readings: &[f64], period: usize) -> f64 {
    let same_position = |nth| readings.iter().copied().skip(nth).step_by(period);
    let medians = (0..period).map(|nth| median(&same_position(nth).collect::<Vec<_>>()));
    medians.sum::<f64>() / period as f64
}

fn sorted(readings: &[f64]) -> Vec<f64> {
    assert!(!readings.is_empty(), "there are readings");
    let mut sorted = readings.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_exact_for_known_readings() {
        let hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(median(&hundred), 50.5);
        assert_eq!(median(&hundred[..99]), 51.0);
        assert_eq!(percentile(&hundred, 0.5), 50.0);
        assert_eq!(percentile(&hundred, 0.99), 99.0);
        assert_eq!(periodic_mean(&[0.0, 9.0, 1e9, 9.0, 2.0, 9.0], 2), 5.5);
    }
}

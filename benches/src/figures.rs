//! What is made of many readings.

/// The middle one, or the mean of the two in the middle.
///
/// # Panics
/// Without readings.
pub(crate) fn median(readings: &[f64]) -> f64 {
    let sorted = sorted(readings);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    }
}

/// What `share` of them, between 0 and 1, do not exceed.
///
/// # Panics
/// Without readings.
pub(crate) fn percentile(readings: &[f64], share: f64) -> f64 {
    let sorted = sorted(readings);
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

/// The mean over a group of that many, where for each place in it the median of all groups is
/// taken: what the machine did in between falls out, but not what is done at the same place of
/// each group.
///
/// # Panics
/// Without readings.
pub(crate) fn grouped_mean(readings: &[f64], group: usize) -> f64 {
    let place = |nth| readings.iter().copied().skip(nth).step_by(group);
    let medians = (0..group).map(|nth| median(&place(nth).collect::<Vec<_>>()));
    medians.sum::<f64>() / group as f64
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
    fn figures_of_known_readings() {
        let hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(median(&hundred), 50.5);
        assert_eq!(median(&hundred[..99]), 51.0);
        assert_eq!(percentile(&hundred, 0.5), 50.0);
        assert_eq!(percentile(&hundred, 0.99), 99.0);
        assert_eq!(grouped_mean(&[0.0, 9.0, 1e9, 9.0, 2.0, 9.0], 2), 5.5);
    }
}

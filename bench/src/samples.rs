//! Figures from samples.

/// The middle one; 0 of none.
pub(crate) fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

/// The value that the share `per_mille` / 1000 of all do not exceed; 0 of none.
pub(crate) fn quantile(samples: &mut [f64], per_mille: usize) -> f64 {
    samples.sort_by(f64::total_cmp);
    let rank = (samples.len() * per_mille).div_ceil(1000).max(1);
    samples.get(rank - 1).copied().unwrap_or(0.0)
}

/// Mean, and the half width of its two-sided 95 % interval, of ten samples.
pub(crate) fn mean_of_ten(samples: &[f64; 10]) -> (f64, f64) {
    /// Student's t, nine degrees of freedom, 97.5 %.
    const T: f64 = 2.262;
    let mean = samples.iter().sum::<f64>() / 10.0;
    let variance = samples.iter().map(|sample| (sample - mean).powi(2)).sum::<f64>() / 9.0;
    (mean, T * (variance / 10.0).sqrt())
}

/// A count as a number to divide with.
#[allow(clippy::cast_precision_loss, reason = "counts here are far below 2^52")]
pub(crate) fn number(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_the_tail_and_the_mean() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        let mut hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert!((quantile(&mut hundred, 990) - 99.0).abs() < 1e-9);
        let (mean, half) = mean_of_ten(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0]);
        assert!((mean - 5.5).abs() < 1e-9 && (half - 2.166).abs() < 1e-2, "{half}");
    }
}

//! Whether spikes come back, and in what intervals.

use synscope_bus::message::incident::{Recurrence, Spike};

use crate::random::Random;

/// Fewer spikes tell nothing about a period.
const SPIKES_MIN: usize = 3;
/// Intervals that vary more are not regular: coefficient of variation.
const VARIATION_MAX: f64 = 0.1;
/// A period is told when random onsets would look as regular at most this often.
const CHANCE_MAX: f64 = 0.05;
/// Rounds of chance that the onsets are compared with.
const ROUNDS: u32 = 2000;
/// Cycles that may be missed between two spikes.
const MISSED_MAX: f64 = 3.0;

/// What the onsets of these spikes say, oldest first. An onset is known only to a bucket.
pub fn recurrence(spikes: &[Spike], bucket_ns: u64) -> Recurrence {
    let cycles = count(spikes.len());
    if spikes.len() <= 1 {
        return Recurrence::None;
    }
    if spikes.len() < SPIKES_MIN {
        return Recurrence::Insufficient { cycles };
    }
    let intervals: Vec<u64> = spikes.windows(2).map(|pair| pair[1].start_unix_ns - pair[0].start_unix_ns).collect();
    let spike_ns = median(spikes.iter().map(|spike| spike.end_unix_ns - spike.start_unix_ns).collect());
    let numbers: Vec<f64> = intervals.iter().map(|interval| to_f64(*interval)).collect();
    let (variation, folded) = fold(&numbers, to_f64(bucket_ns));
    if variation < VARIATION_MAX && chance(variation, numbers.len()) <= CHANCE_MAX {
        let whole: Vec<u64> = folded.iter().map(|(interval, _)| to_u64(*interval)).collect();
        let period_ns = median(whole.clone());
        let spread_ns = median(whole.iter().map(|interval| interval.abs_diff(period_ns)).collect()).max(bucket_ns / 2);
        let expected: f64 = folded.iter().map(|(_, cycles)| cycles).sum();
        let cycles_expected = count(usize::try_from(to_u64(expected)).unwrap_or(usize::MAX)).saturating_add(1);
        return Recurrence::Regular { period_ns, spread_ns, spike_ns, cycles, cycles_expected };
    }
    let (min_ns, max_ns) = (intervals.iter().min().copied(), intervals.iter().max().copied());
    Recurrence::Irregular { min_ns: min_ns.unwrap_or(0), max_ns: max_ns.unwrap_or(0), spike_ns, cycles }
}

/// The coefficient of variation of the intervals, each divided by the whole cycles it spans; and those, with the cycles.
/// An interval spans several cycles where a spike was missed. Two onsets that are each known only to a `blur` vary by a
/// sixth of its square more than they seem to.
fn fold(intervals: &[f64], blur: f64) -> (f64, Vec<(f64, f64)>) {
    let mut sorted = intervals.to_vec();
    sorted.sort_by(f64::total_cmp);
    let median = sorted.get(sorted.len() / 2).copied().unwrap_or(1.0).max(1.0);
    let folded: Vec<(f64, f64)> = intervals
        .iter()
        .map(|interval| {
            let cycles = (interval / median).round().clamp(1.0, MISSED_MAX);
            (interval / cycles, cycles)
        })
        .collect();
    let n = to_f64(folded.len() as u64).max(1.0);
    let mean = folded.iter().map(|(interval, _)| interval).sum::<f64>() / n;
    let variance = folded.iter().map(|(interval, _)| (interval - mean).powi(2)).sum::<f64>() / n;
    ((variance + blur * blur / 6.0).sqrt() / mean.max(1.0), folded)
}

/// How often so many random intervals (exponential: onsets without memory) vary as little. The same rounds each time.
fn chance(variation: f64, intervals: usize) -> f64 {
    let mut random = Random(0x5eed);
    let as_regular = (0..ROUNDS).filter(|_| {
        let drawn: Vec<f64> = (0..intervals).map(|_| -1e9 * (1.0 - random.unit()).ln()).collect();
        fold(&drawn, 0.0).0 <= variation
    });
    to_f64(as_regular.count() as u64) / f64::from(ROUNDS)
}

fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

#[allow(clippy::cast_precision_loss, reason = "intervals of hours in ns are below 2^53")]
fn to_f64(n: u64) -> f64 {
    n as f64
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "made from a u64, and smaller")]
fn to_u64(n: f64) -> u64 {
    n as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const S: u64 = 1_000_000_000;

    fn at(onsets_s: &[f64]) -> Vec<Spike> {
        let spike = |onset: &f64| {
            let start_unix_ns = to_u64(onset * 1e9);
            Spike { start_unix_ns, end_unix_ns: start_unix_ns + 5 * S, ..Spike::default() }
        };
        onsets_s.iter().map(spike).collect()
    }

    #[test]
    fn a_period_is_told_with_a_missed_cycle() {
        let found = recurrence(&at(&[100.0, 700.0, 1301.0, 2500.0, 3100.0]), S);
        let Recurrence::Regular { period_ns, cycles, cycles_expected, spike_ns, .. } = found else {
            panic!("{found:?}")
        };
        assert!(period_ns.abs_diff(600 * S) < S, "{period_ns}");
        assert_eq!((cycles, cycles_expected, spike_ns), (5, 6, 5 * S));
    }

    #[test]
    fn the_article_s_intervals_are_irregular() {
        let found = recurrence(&at(&[0.0, 640.0, 1540.0, 2240.0, 2900.0]), S);
        assert!(
            matches!(found, Recurrence::Irregular { min_ns, max_ns, .. } if min_ns == 640 * S && max_ns == 900 * S)
        );
        assert_eq!(recurrence(&at(&[1.0, 2.0]), S), Recurrence::Insufficient { cycles: 2 });
    }

    #[test]
    fn random_onsets_are_rarely_called_regular() {
        let mut random = Random(7);
        let mut regular = 0;
        for _trial in 0..400 {
            let mut now = 0.0;
            let onsets: Vec<f64> = (0..6)
                .map(|_| {
                    now -= 600.0 * (1.0 - random.unit()).ln();
                    now
                })
                .collect();
            regular += u32::from(matches!(recurrence(&at(&onsets), S / 10), Recurrence::Regular { .. }));
        }
        assert!(regular <= 8, "{regular} of 400 random series were called regular");
    }

    proptest! {
        #[test]
        fn a_period_is_found_through_jitter(period in 20.0_f64..2000.0, seed: u64, cycles in 4_usize..20) {
            let mut random = Random(seed);
            let onsets: Vec<f64> = (0_u32..).take(cycles).map(|n| period * f64::from(n) + period * 0.01 * random.unit()).collect();
            let Recurrence::Regular { period_ns, .. } = recurrence(&at(&onsets), S / 10) else { panic!("{onsets:?}") };
            prop_assert!((to_f64(period_ns) / 1e9 / period - 1.0).abs() < 0.02);
        }
    }
}

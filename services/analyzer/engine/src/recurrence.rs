//! Whether spikes come back, and in what intervals.
//!
//! First the intervals between onsets: only where they hardly vary is there a period to speak of. Then the onsets are
//! folded over that period, and how far they lie from their places is compared with a null model: the same spikes, their
//! lengths and gaps shuffled, treated the same in every way. So an onset that is known only to a bucket, spikes that
//! cannot overlap, and a period that was fitted to the onsets are as lucky there as here.
//!
//! `tests/recurrence` measures it on seeded onsets, beside intervals alone against memoryless ones, which this replaces.

use synscope_bus::message::incident::{Recurrence, Spike};

use crate::random::Random;
use crate::scale::Scale;

/// Fewer spikes tell nothing about a period.
pub(crate) const SPIKES_MIN: usize = 3;
/// Intervals that vary more are not regular: coefficient of variation.
const VARIATION_MAX: f64 = 0.1;
/// Share of false ones among the periods that are told.
const FALSE_DISCOVERIES: f64 = 0.05;
/// Shuffles that the onsets are compared with …
const ROUNDS: u32 = 2000;
/// … and at most, where none was as regular and it has to be told how rare chance is: a single period among as many
/// incidents as are remembered has to be that rare.
const ROUNDS_MAX: u32 = 20_000;
/// Cycles that an interval may span, because spikes were missed.
const MISSED_MAX: f64 = 5.0;
/// Fewer intervals do not tell that most of them span several cycles: any two are nearly a whole number apart.
const MISSES_MIN: usize = 6;

/// A period, fitted to onsets: the n-th is expected at `phase + n * period`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Fit {
    period_ns: f64,
    /// Place of the first onset, from the first onset.
    phase_ns: f64,
    /// How much longer each cycle is than the one before.
    drift_ns: f64,
    /// Standard deviation of the onsets from their places.
    off_ns: f64,
    /// Cycles from the first onset to the last.
    cycles: f64,
}

impl Fit {
    /// How far the onsets lie from their places, as a share of the period.
    fn off(&self) -> f64 {
        self.off_ns / self.period_ns
    }
}

/// What the onsets of some spikes say.
#[derive(Debug, Clone, PartialEq)]
pub struct Rhythm {
    spikes: usize,
    first_unix_ns: u64,
    last_unix_ns: u64,
    /// Intervals between onsets, as they are.
    intervals: Vec<f64>,
    spike_ns: u64,
    /// The period, and what it is compared with.
    fit: Option<(Fit, Shuffles)>,
    bucket_ns: u64,
}

impl Rhythm {
    /// Of spikes, oldest first.
    pub fn of(spikes: &[Spike], scale: &Scale) -> Self {
        let bucket_ns = to_f64(scale.bucket_ns).max(1.0);
        let onset = |spike: Option<&Spike>| spike.map_or(0, |spike| spike.start_unix_ns);
        let intervals: Vec<f64> =
            spikes.windows(2).map(|pair| to_f64(pair[1].start_unix_ns.saturating_sub(pair[0].start_unix_ns))).collect();
        // The next spike cannot begin before this one has ended and a gap has made them two.
        let blocks: Vec<f64> = spikes
            .iter()
            .take(intervals.len())
            .zip(&intervals)
            .map(|(spike, interval)| to_f64(spike.end_unix_ns - spike.start_unix_ns + scale.join_ns).min(*interval))
            .collect();
        let fit = fit(&intervals).filter(|_| spikes.len() >= SPIKES_MIN).map(|fit| {
            let mut shuffles = Shuffles::new(&intervals, blocks, bucket_ns);
            (0..ROUNDS).for_each(|_| shuffles.next(&fit));
            (fit, shuffles)
        });
        Self {
            spikes: spikes.len(),
            first_unix_ns: onset(spikes.first()),
            last_unix_ns: onset(spikes.last()),
            spike_ns: median(spikes.iter().map(|spike| spike.end_unix_ns - spike.start_unix_ns).collect()),
            intervals,
            fit,
            bucket_ns: scale.bucket_ns,
        }
    }

    /// How often chance would be as regular; 1 where there is no period to speak of.
    pub fn chance(&self) -> f64 {
        self.fit.as_ref().map_or(1.0, |(_, shuffles)| shuffles.chance())
    }

    /// Where no shuffle was as regular, goes on until one is, or chance is as rare as this (Besag and Clifford 1991).
    pub fn refine(&mut self, level: f64) {
        let Some((fit, shuffles)) = &mut self.fit else { return };
        while shuffles.as_regular == 1 && shuffles.chance() > level && shuffles.rounds <= ROUNDS_MAX {
            shuffles.next(fit);
        }
    }

    /// In words of the bus; `level` is the largest chance at which a period is told.
    pub fn recurrence(&self, level: f64) -> Recurrence {
        let cycles = count(self.spikes);
        match self.spikes {
            0 | 1 => return Recurrence::None,
            2 => return Recurrence::Insufficient { cycles },
            _ => {}
        }
        let Some((fit, shuffles)) = &self.fit else {
            let longest = self.intervals.iter().copied().fold(0.0, f64::max);
            let shortest = self.intervals.iter().copied().fold(f64::INFINITY, f64::min);
            let (min_ns, max_ns) = (to_u64(shortest), to_u64(longest));
            return Recurrence::Irregular { min_ns, max_ns, spike_ns: self.spike_ns, cycles };
        };
        if shuffles.chance() > level {
            // They are as a period's would be, and too few to exclude chance: that is not the same as irregular.
            return Recurrence::Insufficient { cycles };
        }
        let period_ns = to_u64(fit.period_ns).max(1);
        let next =
            to_f64(self.last_unix_ns - self.first_unix_ns).max(fit.phase_ns + fit.period_ns * (fit.cycles + 1.0));
        Recurrence::Regular {
            period_ns,
            // An onset is known only to a bucket.
            spread_ns: to_u64(fit.off_ns).max(self.bucket_ns / 2),
            spike_ns: self.spike_ns,
            cycles,
            cycles_expected: count(usize::try_from(to_u64(fit.cycles)).unwrap_or(usize::MAX)).saturating_add(1),
            next_unix_ns: self.first_unix_ns + to_u64(next),
            drift_ns: to_i64(fit.drift_ns),
            chance_per_million: count(usize::try_from(to_u64(shuffles.chance() * 1e6)).unwrap_or(usize::MAX)),
        }
    }
}

/// The largest chance at which a period may be told, so that of all that are told few are false, however many edges are
/// asked (Benjamini and Hochberg 1995).
pub fn level(chances: impl IntoIterator<Item = f64>) -> f64 {
    let mut chances: Vec<f64> = chances.into_iter().collect();
    chances.sort_by(f64::total_cmp);
    let all = to_f64(chances.len() as u64).max(1.0);
    let allowed = |rank: usize| FALSE_DISCOVERIES * to_f64(rank as u64 + 1) / all;
    let last = (0..chances.len()).rev().find(|rank| chances.get(*rank).is_some_and(|chance| *chance <= allowed(*rank)));
    last.map_or(FALSE_DISCOVERIES / all, allowed)
}

/// The period of these intervals; none where they vary too much. Where many spikes were missed, most intervals span
/// several cycles, so a shorter one is asked as well.
fn fit(intervals: &[f64]) -> Option<Fit> {
    let middle = intervals.len() / 2;
    let shorter = if intervals.len() < MISSES_MIN { middle } else { intervals.len() / 4 };
    let mut ranked = intervals.to_vec();
    let mut ranked_at = |place: usize| {
        let is_there = place < ranked.len();
        is_there.then(|| *ranked.select_nth_unstable_by(place, f64::total_cmp).1).filter(|cycle| *cycle > 0.0)
    };
    let fits = [middle, shorter].map(|place| ranked_at(place).and_then(|cycle| fit_to(intervals, cycle)));
    fits.into_iter().flatten().min_by(|a, b| a.off().total_cmp(&b.off()))
}

/// The period near this one.
fn fit_to(intervals: &[f64], near_ns: f64) -> Option<Fit> {
    let n = to_f64(intervals.len() as u64);
    let spans = |interval: f64| (interval / near_ns).round().clamp(1.0, MISSED_MAX);
    // By one less than there are: few intervals vary less than those they are drawn from.
    let most = |mean: f64| (VARIATION_MAX * mean).powi(2) * (n - 1.0).max(1.0);
    // No cycle is longer than its interval, and what is summed by this (Welford 1962) only grows: most shuffles are seen to
    // vary too much after a few.
    let enough = most(intervals.iter().sum::<f64>() / n);
    let (mut seen, mut mean, mut squares) = (0.0, 0.0, 0.0);
    for interval in intervals {
        let cycle = interval / spans(*interval);
        let off = cycle - mean;
        seen += 1.0;
        mean += off / seen;
        squares += off * (cycle - mean);
        if squares >= enough {
            return None;
        }
    }
    if squares >= most(mean) {
        return None;
    }
    // A straight line through the onsets over their cycles, by least squares.
    let mut places = vec![(0.0, 0.0)];
    let (mut cycle, mut onset) = (0.0, 0.0);
    for interval in intervals {
        cycle += spans(*interval);
        onset += interval;
        places.push((cycle, onset));
    }
    let count = n + 1.0;
    let (mean_cycle, mean_onset) =
        places.iter().fold((0.0, 0.0), |sum, (cycle, onset)| (sum.0 + cycle / count, sum.1 + onset / count));
    let spread = |of: fn(f64, f64) -> f64| {
        places.iter().map(|(cycle, onset)| of(cycle - mean_cycle, onset - mean_onset)).sum::<f64>()
    };
    let period_ns = spread(|cycle, onset| cycle * onset) / spread(|cycle, _| cycle * cycle);
    let phase_ns = mean_onset - period_ns * mean_cycle;
    let off = places.iter().map(|(cycle, onset)| (onset - phase_ns - period_ns * cycle).powi(2)).sum::<f64>();
    Some(Fit { period_ns, phase_ns, drift_ns: drift(intervals, spans), off_ns: (off / count).sqrt(), cycles: cycle })
}

/// The trend of the intervals, per cycle, by least squares.
fn drift(intervals: &[f64], spans: impl Fn(f64) -> f64) -> f64 {
    let mut cycle = 0.0;
    let mut places = Vec::with_capacity(intervals.len());
    for interval in intervals {
        let cycles = spans(*interval);
        places.push((cycle + cycles / 2.0, interval / cycles));
        cycle += cycles;
    }
    let n = to_f64(places.len() as u64);
    let (x, y) = places.iter().fold((0.0, 0.0), |sum, place| (sum.0 + place.0 / n, sum.1 + place.1 / n));
    let (over, under) = places
        .iter()
        .fold((0.0, 0.0), |sum, place| (sum.0 + (place.0 - x) * (place.1 - y), sum.1 + (place.0 - x).powi(2)));
    if under > 0.0 { over / under } else { 0.0 }
}

/// The same blocks in another order, with the free time between them shared out at random. The same each time.
#[derive(Debug, Clone, PartialEq)]
struct Shuffles {
    random: Random,
    blocks: Vec<f64>,
    free_ns: f64,
    bucket_ns: f64,
    /// How many there were, and the spikes themselves.
    rounds: u32,
    /// How many of them were as regular as the spikes.
    as_regular: u32,
}

impl Shuffles {
    fn new(intervals: &[f64], blocks: Vec<f64>, bucket_ns: f64) -> Self {
        let free_ns = intervals.iter().sum::<f64>() - blocks.iter().sum::<f64>();
        Self { random: Random(0x5eed), blocks, free_ns, bucket_ns, rounds: 1, as_regular: 1 }
    }

    fn chance(&self) -> f64 {
        f64::from(self.as_regular) / f64::from(self.rounds)
    }

    fn next(&mut self, fitted: &Fit) {
        let random = &mut self.random;
        random.shuffle(&mut self.blocks);
        let mut shuffled = vec![0.0; self.blocks.len()];
        let mut sum = 0.0;
        for share in &mut shuffled {
            *share = -(1.0 - random.unit()).ln();
            sum += *share;
        }
        // Onsets are known to a bucket, here as there.
        let (mut end, mut before) = (0.0, 0.0);
        for (interval, block) in shuffled.iter_mut().zip(&self.blocks) {
            end += block + *interval / sum * self.free_ns;
            let onset = (end / self.bucket_ns).round() * self.bucket_ns;
            *interval = onset - before;
            before = onset;
        }
        self.rounds += 1;
        self.as_regular += u32::from(fit(&shuffled).is_some_and(|fit| fit.off() <= fitted.off()));
    }
}

fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

#[allow(clippy::cast_precision_loss, reason = "intervals of days in ns are below 2^53")]
fn to_f64(n: u64) -> f64 {
    n as f64
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive, and below 2^63")]
fn to_u64(n: f64) -> u64 {
    n as u64
}

#[allow(clippy::cast_possible_truncation, reason = "far below 2^63")]
fn to_i64(n: f64) -> i64 {
    n as i64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// As by the definition of the variation, which goes through all intervals twice.
        #[test]
        fn ending_early_refuses_what_varies_too_much_and_nothing_else(
            near in 10.0..1000.0_f64,
            width in 0.0..0.6_f64,
            places in proptest::collection::vec((1..7_u8, -1.0..1.0_f64), 2..80),
        ) {
            let intervals: Vec<f64> =
                places.iter().map(|(cycles, off)| near * (f64::from(*cycles) + width * off)).collect();
            let cycle = |interval: &f64| interval / (interval / near).round().clamp(1.0, MISSED_MAX);
            let n = f64::from(u8::try_from(intervals.len()).unwrap());
            let mean = intervals.iter().map(cycle).sum::<f64>() / n;
            let squares: f64 = intervals.iter().map(|interval| (cycle(interval) - mean).powi(2)).sum();
            let variation = (squares / (n - 1.0)).sqrt() / mean;
            prop_assume!((variation - VARIATION_MAX).abs() > 1e-9);
            prop_assert_eq!(fit_to(&intervals, near).is_some(), variation < VARIATION_MAX, "{}", variation);
        }
    }
}

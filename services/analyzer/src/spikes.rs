//! From anomalous buckets to spikes.

use synscope_bus::message::edge::EdgeBucket;
use synscope_bus::message::incident::Spike;

use crate::scale::Scale;
use crate::series::Series;

/// A spike has at least so many slow or dropped connections.
const SUFFERING_MIN: f64 = 3.0;
/// Natural logarithm of the chance above which slow connections are taken for noise: one in a million.
const CHANCE_LN_MAX: f64 = -13.8;
/// Rounds in which what is noise is judged by what is not.
const ROUNDS: usize = 4;

/// The series' spikes, oldest first. The last may still go on; see [`is_complete`].
///
/// A group of anomalous buckets is a spike only if so many slow connections are no chance, at the rate at which
/// connections of this edge are slow outside of spikes.
pub fn spikes(series: &Series, scale: &Scale) -> Vec<Spike> {
    let groups = groups(series, scale);
    let mut accepted = vec![true; groups.len()];
    for _round in 0..ROUNDS {
        let rest = groups.iter().zip(&accepted).filter(|(_, accepted)| !**accepted);
        let noise = rest.fold(series.noise(), |(n, slow), (group, _)| (n + group.n, slow + suffering(group)));
        let judged: Vec<bool> = groups.iter().map(|group| !is_chance(group, noise)).collect();
        if judged == accepted {
            break;
        }
        accepted = judged;
    }
    groups.into_iter().zip(accepted).filter_map(|(group, accepted)| accepted.then_some(group)).collect()
}

/// Neighbouring anomalous buckets, joined.
fn groups(series: &Series, scale: &Scale) -> Vec<Spike> {
    let slow_ns = series.slow_ns();
    let mut groups = Vec::new();
    let mut current: Option<(EdgeBucket, u64)> = None;
    for bucket in series.anomalous() {
        let end = bucket.start_unix_ns + bucket.length_ns;
        match &mut current {
            Some((sum, until)) if bucket.start_unix_ns <= *until + scale.join_ns => {
                sum.add(bucket);
                *until = end;
            }
            _ => {
                groups.extend(current.take().map(|(sum, until)| summary(&sum, until, slow_ns)));
                current = Some((bucket.clone(), end));
            }
        }
    }
    groups.extend(current.map(|(sum, until)| summary(&sum, until, slow_ns)));
    groups
}

const fn suffering(spike: &Spike) -> u64 {
    spike.slow + spike.dropped
}

/// Whether a group may be chance: too few suffer, or the Chernoff bound of the Poisson distribution,
/// `P(X ≥ k) ≤ exp(k − λ − k ln(k/λ))`, is not small enough.
#[allow(clippy::cast_precision_loss, reason = "counts of connections")]
fn is_chance(group: &Spike, noise: (u64, u64)) -> bool {
    let suffering = suffering(group) as f64;
    if suffering < SUFFERING_MIN {
        return true;
    }
    // One more slow one in a hundred more, so that an edge without a past is not free of noise.
    let rate = (noise.1 as f64 + 1.0) / (noise.0 as f64 + 100.0);
    let expected = (group.n + group.dropped) as f64 * rate;
    suffering <= expected || suffering - expected - suffering * (suffering / expected).ln() > CHANCE_LN_MAX
}

/// What another series saw in each of these spikes, however little.
pub fn seen_within(series: &Series, spikes: &[Spike]) -> Vec<Spike> {
    let within = |spike: &Spike| {
        let sum = series.within(spike.start_unix_ns, spike.end_unix_ns);
        summary(&EdgeBucket { start_unix_ns: spike.start_unix_ns, ..sum }, spike.end_unix_ns, series.slow_ns())
    };
    spikes.iter().map(within).collect()
}

/// Whether nothing more is to come of a spike.
pub const fn is_complete(spike: &Spike, now_unix_ns: u64, scale: &Scale) -> bool {
    spike.end_unix_ns + scale.join_ns + scale.settle_ns <= now_unix_ns
}

/// The latencies are of the slow ones alone: how it feels to be hit, however many were not.
fn summary(sum: &EdgeBucket, end_unix_ns: u64, slow_ns: u64) -> Spike {
    let slow = sum.latency_ns.count_above(slow_ns);
    let at = |per_mille: u64| {
        let rank = (slow * per_mille).div_ceil(1000).max(1);
        let mut seen = 0;
        let mut slowest_last = sum.latency_ns.iter().skip_while(|(latency, _)| *latency <= slow_ns);
        let found = slowest_last.find(|(_, count)| {
            seen += count;
            seen >= rank
        });
        found.map_or(0, |(latency, _)| latency)
    };
    Spike {
        start_unix_ns: sum.start_unix_ns,
        end_unix_ns,
        n: sum.n,
        slow,
        retries: sum.retries,
        refused: sum.refused,
        dropped: sum.dropped,
        p50_ns: at(500),
        p99_ns: at(990),
        max_ns: at(1000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    const S: u64 = 1_000_000_000;

    fn add(series: &mut Series, start_s: u64, latency_ms: u64) {
        let mut bucket = EdgeBucket { start_unix_ns: start_s * S, length_ns: 10 * S, n: 10, ..EdgeBucket::default() };
        for _connection in 0..10 {
            bucket.latency_ns.record(latency_ms * 1_000_000);
        }
        series.add(&bucket);
    }

    #[test]
    fn slow_connections_now_and_then_are_noise() {
        let scale = Scale::new(1.0);
        for (per_bucket, percent) in [(5, 1), (40, 1), (40, 3), (200, 2)] {
            let mut random = Random(9);
            let mut series = Series::new(scale, 100_000_000);
            for start in (0..86_400).step_by(10) {
                let mut bucket =
                    EdgeBucket { start_unix_ns: start * S, length_ns: 10 * S, n: per_bucket, ..EdgeBucket::default() };
                for _connection in 0..per_bucket {
                    let slow = random.draw() % 100 < percent;
                    bucket.latency_ns.record(if slow { S } else { 1_000_000 });
                }
                series.add(&bucket);
                series.tick(start * S);
            }
            assert_eq!(spikes(&series, &scale), [], "{percent} % of {per_bucket}");
        }
    }

    #[test]
    fn neighbours_are_one_spike_and_others_are_not() {
        let scale = Scale::new(1.0);
        let mut series = Series::new(scale, 100_000_000);
        for start in (0..1800).step_by(10) {
            let in_spike = (600..660).contains(&start) || (1200..1260).contains(&start);
            add(&mut series, start, if in_spike && start != 620 { 1000 } else { 1 });
        }
        let found = spikes(&series, &scale);
        let edges: Vec<_> = found.iter().map(|spike| (spike.start_unix_ns / S, spike.end_unix_ns / S)).collect();
        assert_eq!(edges, [(600, 660), (1200, 1260)]);
        assert_eq!((found[0].slow, found[1].slow), (50, 60));
        assert!(!is_complete(&found[1], 1290 * S, &scale) && is_complete(&found[1], 1400 * S, &scale));
    }
}

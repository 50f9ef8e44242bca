//! From anomalous buckets to spikes.

use synscope_bus::message::incident::Spike;

use crate::bucket::Bucket;
use crate::scale::Scale;
use crate::series::Series;

/// A spike has at least so many suffering connections.
const SUFFERING_MIN: u64 = 3;
/// Natural logarithm of the chance above which suffering connections are taken for noise: one in a million.
pub(crate) const CHANCE_LN_MAX: f64 = -13.8;
/// The same for a spike that is remembered for a day, in which chance has twelve times as many turns as in the two hours
/// of the others: one in 10¹².
pub(crate) const PAST_CHANCE_LN_MAX: f64 = -27.6;
/// The same for a single bucket at a spike's end: one in a hundred.
const EDGE_CHANCE_LN_MAX: f64 = -4.6;
/// Handshakes that fail in an outage, at least.
const OUTAGE_FAILED_MIN: u64 = 10;
/// Buckets that an outage lasts, at least: a minute and a half. What is shorter is a restart.
const OUTAGE_BUCKETS_MIN: u64 = 9;

/// The series' spikes, oldest first. The last may still go on; see [`is_complete`].
pub fn spikes(series: &Series) -> Vec<Spike> {
    let anomalous = series.anomalous();
    let groups = series.groups(&anomalous);
    let usual = usual_of(series, &groups);
    series
        .past()
        .copied()
        .chain(groups.into_iter().filter_map(|group| spike_of(series, group, usual, CHANCE_LN_MAX)))
        .collect()
}

/// The share of connections that usually suffer, without what is a spike beside all that do: its part of each block would
/// hide the others' onsets.
pub(crate) fn usual_of(series: &Series, groups: &[&[&Bucket]]) -> f64 {
    let usual = series.usual_share();
    let is_sure =
        |group: &&&[&Bucket]| series.is_known_outage(group) || no_chance(series, group, usual, CHANCE_LN_MAX).is_some();
    let sure: Vec<&Bucket> = groups.iter().filter(is_sure).flat_map(|group| group.iter().copied()).collect();
    if sure.is_empty() { usual } else { series.usual_share_without(sure.into_iter()).min(usual) }
}

/// The series' outages, from the first bucket's start to the last's.
pub(crate) fn outages(series: &Series) -> Vec<(u64, u64)> {
    let anomalous = series.anomalous();
    if anomalous.iter().map(|bucket| bucket.failed).sum::<u64>() < OUTAGE_FAILED_MIN {
        return Vec::new();
    }
    let groups = series.groups(&anomalous);
    let usual = usual_of(series, &groups);
    let is_one = |group: &[&Bucket]| {
        let spike = || spike_of(series, group, usual, CHANCE_LN_MAX);
        series.is_known_outage(group) || spike().is_some_and(|spike| is_outage(&spike, series.scale()))
    };
    let all = groups.into_iter().filter(|group| is_one(group));
    all.filter_map(|group| Some((group.first()?.start_unix_ns, group.last()?.start_unix_ns))).collect()
}

/// The spike that neighbouring anomalous buckets make, if they do.
pub(crate) fn spike_of(series: &Series, group: &[&Bucket], usual: f64, chance_ln_max: f64) -> Option<Spike> {
    let kept = no_chance(series, group, usual, chance_ln_max)?;
    let (first, last) = (kept.first()?, kept.last()?);
    let mut sum = Bucket { start_unix_ns: first.start_unix_ns, ..Bucket::default() };
    for bucket in kept {
        sum.add(bucket);
    }
    Some(summary(&sum, last.end_unix_ns(), series.slow_ns()))
}

/// Those of neighbouring anomalous buckets that make a spike, if they do.
///
/// They do only if so many suffering connections are no chance, at the edge's usual share of them, wherever among these
/// buckets the worst stretch may have begun. All connections in its span count, and not only those of the buckets that were
/// picked for being anomalous.
fn no_chance<'a, 'b>(
    series: &Series,
    group: &'a [&'b Bucket],
    usual: f64,
    chance_ln_max: f64,
) -> Option<&'a [&'b Bucket]> {
    let kept = trimmed(series, group, usual);
    let (first, last) = (kept.first()?, kept.last()?);
    let sum = |of: fn(&Bucket) -> u64| kept.iter().map(|bucket| of(bucket)).sum::<u64>();
    let suffering = kept.iter().map(|bucket| series.suffering(bucket)).sum();
    let seen = series.handshakes(first.start_unix_ns, last.end_unix_ns());
    let handshakes = seen.max(sum(|bucket| bucket.n + bucket.failed)) + sum(|bucket| bucket.dropped);
    #[allow(clippy::cast_precision_loss, reason = "a count of buckets")]
    let begins_ln = (group.len() as f64).ln();
    let is_no_chance = chance_ln(suffering, handshakes, usual) + begins_ln <= chance_ln_max;
    (suffering >= SUFFERING_MIN && is_no_chance).then_some(kept)
}

/// The buckets without those at both ends that may be chance, so that a hiccup beforehand is not taken for the onset; all
/// of them where that would take more than half of those that suffer.
fn trimmed<'a, 'b>(series: &Series, buckets: &'a [&'b Bucket], usual: f64) -> &'a [&'b Bucket] {
    let suffering = |bucket: &&Bucket| series.suffering(bucket);
    let is_no_chance =
        |bucket: &&Bucket| chance_ln(suffering(bucket), bucket.handshakes(), usual) <= EDGE_CHANCE_LN_MAX;
    let (Some(first), Some(last)) = (buckets.iter().position(is_no_chance), buckets.iter().rposition(is_no_chance))
    else {
        return buckets;
    };
    let kept = buckets.get(first..=last).unwrap_or(buckets);
    let sum = |buckets: &[&Bucket]| buckets.iter().map(suffering).sum::<u64>();
    if sum(kept) * 2 >= sum(buckets) { kept } else { buckets }
}

/// Connections that were slow or never came to be, and SYNs that were dropped.
pub const fn suffering(spike: &Spike) -> u64 {
    spike.slow + spike.dropped + spike.failed
}

/// Whether four of five connections never came to be, for long enough that it is an incident by itself.
pub const fn is_outage(spike: &Spike, scale: &Scale) -> bool {
    spike.failed >= OUTAGE_FAILED_MIN
        && spike.failed >= spike.n * 4
        && spike.end_unix_ns - spike.start_unix_ns >= OUTAGE_BUCKETS_MIN * scale.bucket_ns
}

/// Logarithm of the chance of so many that suffer, or more, among `all`: the Chernoff bound of the Poisson distribution,
/// `P(X ≥ k) ≤ exp(k − λ − k ln(k/λ))`.
#[allow(clippy::cast_precision_loss, reason = "counts of connections")]
fn chance_ln(suffering: u64, all: u64, usual_share: f64) -> f64 {
    let (suffering, expected) = (suffering as f64, all as f64 * usual_share);
    if suffering <= expected {
        return 0.0;
    }
    suffering - expected - suffering * (suffering / expected).ln()
}

/// What another series saw in each of these spikes, however little.
pub fn seen_within(series: &Series, spikes: &[Spike]) -> Vec<Spike> {
    let within = |spike: &Spike| {
        let sum = series.within(spike.start_unix_ns, spike.end_unix_ns);
        let seen = summary(&Bucket { start_unix_ns: spike.start_unix_ns, ..sum }, spike.end_unix_ns, series.slow_ns());
        let meets = |past: &&Spike| past.start_unix_ns < spike.end_unix_ns && spike.start_unix_ns < past.end_unix_ns;
        let seen = series.past().filter(meets).fold(seen, |seen, past| together(&seen, past));
        // A SYN that comes again is no anomaly where it was lost later on its way.
        Spike { retries: seen.retries.max(series.retries(spike.start_unix_ns, spike.end_unix_ns)), ..seen }
    };
    spikes.iter().map(within).collect()
}

/// The first, with what the second counted.
fn together(a: &Spike, b: &Spike) -> Spike {
    Spike {
        n: a.n + b.n,
        slow: a.slow + b.slow,
        retries: a.retries + b.retries,
        refused: a.refused + b.refused,
        dropped: a.dropped + b.dropped,
        failed: a.failed + b.failed,
        reset: a.reset + b.reset,
        p50_ns: a.p50_ns.max(b.p50_ns),
        p99_ns: a.p99_ns.max(b.p99_ns),
        max_ns: a.max_ns.max(b.max_ns),
        ..*a
    }
}

/// Whether nothing more is to come of a spike.
pub const fn is_complete(spike: &Spike, now_unix_ns: u64, scale: &Scale) -> bool {
    spike.end_unix_ns + scale.join_ns + scale.settle_ns <= now_unix_ns
}

/// The latencies are of the slow ones alone: how it feels to be hit, however many were not.
fn summary(sum: &Bucket, end_unix_ns: u64, slow_ns: u64) -> Spike {
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
        failed: sum.failed,
        reset: sum.reset,
        p50_ns: at(500),
        p99_ns: at(990),
        max_ns: at(1000),
    }
}

#[cfg(test)]
mod tests {
    use synscope_bus::message::edge::EdgeBucket;

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
    fn slow_connections_now_and_then_are_no_three_spikes() {
        let scale = Scale::new(1.0);
        let noises = [(5, 1), (10, 4), (40, 1), (40, 3), (40, 5), (200, 2), (200, 6)];
        // 420 edge-days in all: with none found, fewer than 3 in 420 at 95 %.
        for (seed, (per_bucket, percent)) in (1..=60).flat_map(|seed| noises.map(|noise| (seed, noise))) {
            let mut random = Random(seed);
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
                if start % 3600 == 0 {
                    let found = spikes(&series);
                    assert!(found.len() < 3, "{percent} % of {per_bucket}, seed {seed}: {found:?}");
                }
            }
        }
    }

    #[test]
    fn an_onset_is_found_wherever_blocks_begin() {
        const CYCLES: u64 = 12;
        let scale = Scale::new(1.0);
        for (phase, seed) in (0..30).flat_map(|phase| (0..8).map(move |seed| (phase, seed))) {
            let mut random = Random(seed * 30 + phase);
            let mut series = Series::new(scale, 100_000_000);
            let mut onsets = Vec::new();
            for number in 0..CYCLES * 60 {
                let is_spiking = number % 60 < 15;
                let slow = if is_spiking { (0..6).filter(|_| random.draw().is_multiple_of(2)).count() } else { 0 };
                let start = (number + phase) * 10 * S;
                let mut bucket = EdgeBucket { start_unix_ns: start, length_ns: 10 * S, n: 6, ..EdgeBucket::default() };
                for connection in 0..6 {
                    bucket.latency_ns.record(if connection < slow { S } else { 1_000_000 });
                }
                // A single slow one is one that may be chance.
                if slow >= 2 && onsets.last().is_none_or(|last| start - last >= 300 * S) {
                    onsets.push(start);
                }
                series.add(&bucket);
                series.tick(start + 10 * S);
            }
            assert_eq!(onsets.len() as u64, CYCLES);
            let found: Vec<u64> = spikes(&series).iter().map(|spike| spike.start_unix_ns).collect();
            assert_eq!(found.get(3..), onsets.get(3..), "phase {phase}, seed {seed}");
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
        let found = spikes(&series);
        let edges: Vec<_> = found.iter().map(|spike| (spike.start_unix_ns / S, spike.end_unix_ns / S)).collect();
        assert_eq!(edges, [(600, 660), (1200, 1260)]);
        assert_eq!((found[0].slow, found[1].slow), (50, 60));
        assert!(!is_complete(&found[1], 1290 * S, &scale) && is_complete(&found[1], 1400 * S, &scale));
    }
}

//! When a probe is to run: around the next spike, with seconds before and after it to compare with.

use synscope_bus::message::incident::{Recurrence, Spike};

use crate::scale::Scale;

/// Buckets that a probe runs at most: fifteen minutes.
const BUCKETS_MAX: u64 = 90;
/// Buckets before and after a spike, at least and at most: half of its length between them.
const MARGIN_BUCKETS: (u64, u64) = (3, 12);
/// The same, at least: maps are read once a second. Not scaled. ns
const MARGIN_MIN_NS: u64 = 3_000_000_000;
/// What a tracer may take until all is attached. Not scaled. ns
const ATTACH_NS: u64 = 3_000_000_000;
/// A spike whose last bucket is no longer ago than so many goes on.
const ONGOING_BUCKETS: u64 = 3;
/// That a handshake failed is known so much later (docs/operations.md). Not scaled. ns
const FAILED_LATE_NS: u64 = 200_000_000_000;
/// Buckets that a probe runs where nobody knows how long the spike will be: five minutes.
const OUTAGE_BUCKETS: u64 = 30;

/// From when to when a probe would cover a spike, if it is to be started now, Unix ns: by the period where there is one, by
/// what goes on where there is none. `latest` is the latest spike there is, complete or not.
pub(crate) fn window(
    recurrence: &Recurrence,
    latest: impl FnOnce() -> Option<Spike>,
    scale: &Scale,
    now_unix_ns: u64,
) -> Option<(u64, u64)> {
    let until = match *recurrence {
        Recurrence::Regular { period_ns, spread_ns, spike_ns, next_unix_ns, .. } => {
            let onset = next_onset(next_unix_ns, period_ns, now_unix_ns)?;
            let margin = margin(spike_ns, scale) + 2 * spread_ns;
            let from = onset.saturating_sub(margin + ATTACH_NS);
            // The next look may be a bucket later.
            (now_unix_ns + scale.bucket_ns >= from).then_some(onset + spike_ns + margin)?
        }
        Recurrence::Irregular { spike_ns, .. } => {
            let spike = latest().filter(|spike| goes_on(spike, scale, now_unix_ns))?;
            // Of what is almost over, the rest would be all that is seen.
            let is_young = spike.start_unix_ns + spike_ns / 2 >= now_unix_ns;
            is_young.then_some(now_unix_ns + spike_ns + 2 * margin(spike_ns, scale))?
        }
        Recurrence::Insufficient { .. } | Recurrence::None => {
            latest().filter(|spike| goes_on(spike, scale, now_unix_ns))?;
            now_unix_ns + OUTAGE_BUCKETS * scale.bucket_ns
        }
    };
    Some((now_unix_ns, until.min(now_unix_ns + BUCKETS_MAX * scale.bucket_ns)))
}

/// The first onset that is expected after now, Unix ns; none without a period.
fn next_onset(next_unix_ns: u64, period_ns: u64, now_unix_ns: u64) -> Option<u64> {
    let missed = now_unix_ns.saturating_sub(next_unix_ns).div_ceil(period_ns.max(1));
    (period_ns > 0).then_some(next_unix_ns + missed * period_ns)
}

fn margin(spike_ns: u64, scale: &Scale) -> u64 {
    let (least, most) = MARGIN_BUCKETS;
    (spike_ns / 2).clamp(least * scale.bucket_ns, most * scale.bucket_ns).max(MARGIN_MIN_NS)
}

const fn goes_on(spike: &Spike, scale: &Scale, now_unix_ns: u64) -> bool {
    let late_ns = if spike.failed > 0 { FAILED_LATE_NS } else { 0 };
    now_unix_ns <= spike.end_unix_ns + ONGOING_BUCKETS * scale.bucket_ns + late_ns
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    fn regular(next_s: u64, spike_s: u64) -> Recurrence {
        Recurrence::Regular {
            period_ns: 600 * S,
            spread_ns: 5 * S,
            spike_ns: spike_s * S,
            cycles: 3,
            cycles_expected: 3,
            next_unix_ns: next_s * S,
            drift_ns: 0,
            chance_per_million: 0,
        }
    }

    fn asked(recurrence: &Recurrence, latest: Option<(u64, u64)>, now_s: u64) -> Option<u64> {
        let spike = |(start, end)| Spike { start_unix_ns: start * S, end_unix_ns: end * S, ..Spike::default() };
        let asked = window(recurrence, || latest.map(spike), &Scale::new(1.0), now_s * S);
        asked.map(|(from, until)| {
            assert_eq!(from, now_s * S);
            until / S
        })
    }

    #[test]
    fn it_covers_the_next_spike_with_as_much_around_it() {
        // Half of 100 s and twice the spread on either side, and 3 s to attach.
        let recurrence = regular(5000, 100);
        assert_eq!(asked(&recurrence, None, 4900), None);
        assert_eq!(asked(&recurrence, None, 4930), Some(5160));
        assert_eq!(asked(&recurrence, None, 4999), Some(5160));
        // A spike that did not come: the next one.
        assert_eq!(asked(&recurrence, None, 5001), None);
        assert_eq!(asked(&recurrence, None, 6190), Some(6360));
    }

    #[test]
    fn a_spike_of_hours_is_watched_at_its_onset() {
        assert_eq!(asked(&regular(5000, 7200), None, 4990), Some(4990 + 900));
    }

    #[test]
    fn without_a_period_only_what_goes_on_is_watched() {
        let irregular = Recurrence::Irregular { min_ns: 300 * S, max_ns: 900 * S, spike_ns: 100 * S, cycles: 4 };
        assert_eq!(asked(&irregular, None, 1000), None);
        assert_eq!(asked(&irregular, Some((970, 990)), 1000), Some(1200));
        // Almost over, and over.
        assert_eq!(asked(&irregular, Some((900, 990)), 1000), None);
        assert_eq!(asked(&irregular, Some((870, 890)), 1000), None);
        for unknown in [Recurrence::None, Recurrence::Insufficient { cycles: 1 }] {
            assert_eq!(asked(&unknown, Some((500, 990)), 1000), Some(1300));
            assert_eq!(asked(&unknown, Some((500, 900)), 1000), None);
        }
    }
}

//! One edge from one vantage: what is normal for it, and the buckets that were not.

use std::collections::VecDeque;

use synscope_bus::message::edge::EdgeBucket;
use synscope_bus::message::incident::{Point, Spike};
use synscope_bus::sketch::Sketch;

use crate::anomalies::Anomalies;
use crate::bucket::Bucket;
use crate::history::{Cell, History};
use crate::normal::Normal;
use crate::scale::Scale;
use crate::spikes::{PAST_CHANCE_LN_MAX, outages, spike_of, usual_of};
use crate::usual::{Noted, Usual};

/// Buckets that may still change.
const OPEN_MAX: usize = 64;
/// Share of suffering connections from which a bucket is anomalous, percent.
const ANOMALOUS_PERCENT: u64 = 5;
/// Share of failed handshakes from which they are the edge's trouble, and not that of one client among many, percent.
const FAILED_PERCENT: u64 = 20;
/// Blocks before which it is not known how many handshakes usually fail, because they are told minutes late.
const BLOCKS_MIN: usize = 3;
/// An edge that is anomalous for so many buckets on end has a new normal.
const NEW_NORMAL: usize = 180;

/// History of one edge from one vantage.
#[derive(Debug, Clone)]
pub struct Series {
    scale: Scale,
    normal: Normal,
    usual: Usual,
    /// Buckets that are not judged yet, oldest first.
    open: VecDeque<Bucket>,
    /// The memory of a sketch that was judged, for the next.
    spare: Sketch,
    anomalies: Anomalies,
    history: History,
    on_end: usize,
    /// Start of the latest bucket there was. What is later needs no search, and most parts are.
    latest_unix_ns: Option<u64>,
    /// Buckets that begin before this are judged.
    judged_unix_ns: u64,
    /// End of the oldest open bucket, so that asking for it touches nothing else: ten thousand edges don't fit a cache.
    due_unix_ns: u64,
    /// When it was last asked whether a spike may be complete.
    asked_unix_ns: u64,
    /// Whether something came so late that the answer then would have been another.
    changed: bool,
}

impl Series {
    /// Nothing seen yet; until enough was, `slow_above_ns` says what is slow.
    pub fn new(scale: Scale, slow_above_ns: u64) -> Self {
        Self {
            scale,
            normal: Normal::new(slow_above_ns),
            usual: Usual::new(&scale),
            open: VecDeque::new(),
            spare: Sketch::default(),
            anomalies: Anomalies::default(),
            history: History::new(&scale),
            on_end: 0,
            latest_unix_ns: None,
            judged_unix_ns: 0,
            due_unix_ns: u64::MAX,
            asked_unix_ns: 0,
            changed: false,
        }
    }

    /// Adds a part of a bucket, late ones too; false if it is older than anything that is remembered.
    pub fn add(&mut self, part: &EdgeBucket) -> bool {
        let start = part.start_unix_ns;
        if self.latest_unix_ns.is_none_or(|latest| latest < start) && start >= self.judged_unix_ns {
            self.latest_unix_ns = Some(start);
            self.history.add(part);
            if self.open.is_empty() {
                self.due_unix_ns = start + part.length_ns;
            }
            let memory = std::mem::take(&mut self.spare);
            self.open.push_back(Bucket::new(part, memory));
        } else if self.latest_unix_ns.is_some_and(|latest| start + self.scale.memory_ns < latest) {
            return false;
        } else {
            self.latest_unix_ns = self.latest_unix_ns.max(Some(start));
            self.add_late(part);
            self.note_due();
        }
        if self.open.len() > OPEN_MAX {
            self.judge_oldest();
        }
        true
    }

    /// Adds to what is there, or in between: whatever came meanwhile, a part counts in its own time.
    fn add_late(&mut self, part: &EdgeBucket) {
        let start = part.start_unix_ns;
        let before = self.history.add(part);
        let part = Bucket::new(part, std::mem::take(&mut self.spare));
        let place = self.open.partition_point(|bucket| bucket.start_unix_ns < start);
        if let Some(known) = self.open.get_mut(place).filter(|bucket| bucket.start_unix_ns == start) {
            known.add(&part);
            self.spare = part.latency_ns;
        } else if start >= self.judged_unix_ns {
            self.open.insert(place, part);
        } else {
            self.judge_late(part, &before);
        }
    }

    /// Judges a bucket again with a part that came after it was judged, when its history was as `before`.
    fn judge_late(&mut self, part: Bucket, before: &Cell) {
        let noted = self.noted(&part);
        if let Some(known) = self.anomalies.at(part.start_unix_ns) {
            known.add(&part);
            self.spare = part.latency_ns;
            self.changed = true;
            return self.note(&noted);
        }
        // Its latencies until now are normal, and learned already.
        let whole = Bucket { n: part.n + u64::from(before.n), failed: part.failed + u64::from(before.failed), ..part };
        let suffering = noted.slow_or_dropped + self.failed(&whole) + u64::from(before.suffering);
        self.note(&noted);
        // What began before all that is remembered as it came can make no spike any more.
        if is_anomalous(&whole, suffering) && whole.start_unix_ns + self.scale.history_ns > self.asked_unix_ns {
            self.changed = true;
            self.anomalies.insert(whole);
        } else {
            self.normal.learn(&whole.latency_ns);
            self.spare = whole.latency_ns;
        }
    }

    fn note_due(&mut self) {
        self.due_unix_ns = self.open.front().map_or(u64::MAX, Bucket::end_unix_ns);
    }

    /// Judges the buckets that nothing more is expected for; forgets what is too old. Whether there may be a spike that
    /// has become complete since the last call, or has changed.
    pub fn tick(&mut self, now_unix_ns: u64) -> bool {
        let settled = now_unix_ns.saturating_sub(self.scale.settle_ns);
        while self.due_unix_ns <= settled {
            self.judge_oldest();
        }
        self.forget(now_unix_ns.saturating_sub(self.scale.history_ns));
        let ripe = self.anomalies.buckets().rev().map(|bucket| self.ripe_at(bucket)).find(|at| *at <= now_unix_ns);
        let is_new = ripe.is_some_and(|at| at > self.asked_unix_ns);
        self.asked_unix_ns = now_unix_ns;
        let is_news = std::mem::take(&mut self.changed) || is_new;
        if is_news {
            self.anomalies.set_outages(outages(self));
        }
        is_news
    }

    /// Whether this was found to be an outage. It stays one for as long as it goes on, however little is left by then that
    /// is usual beside it.
    pub(crate) fn is_known_outage(&self, group: &[&Bucket]) -> bool {
        self.anomalies.is_known_outage(group)
    }

    /// When a spike that ends with this bucket is complete.
    const fn ripe_at(&self, bucket: &Bucket) -> u64 {
        bucket.end_unix_ns() + self.scale.join_ns + self.scale.settle_ns
    }

    /// Makes spikes of the buckets that began before, which are then forgotten.
    fn forget(&mut self, oldest_unix_ns: u64) {
        while let Some(group) = self.anomalies.ended(oldest_unix_ns, &self.scale) {
            let usual = usual_of(self, &self.groups(&self.anomalous()));
            let buckets = self.anomalies.take_oldest(group);
            let group: Vec<&Bucket> = buckets.iter().collect();
            if let Some(spike) = spike_of(self, &group, usual, PAST_CHANCE_LN_MAX) {
                self.anomalies.remember(spike);
                let noted: Vec<Noted> = buckets.iter().map(|bucket| self.noted(bucket)).collect();
                self.usual.withdraw(noted);
            }
            self.anomalies.forget_past(oldest_unix_ns.saturating_sub(self.scale.memory_ns));
        }
    }

    /// Anomalous buckets, oldest first: those judged, and those open that are so already.
    pub fn anomalous(&self) -> Vec<&Bucket> {
        let open = self.open.iter().filter(|bucket| is_anomalous(bucket, self.suffering(bucket)));
        let mut all: Vec<_> = self.anomalies.buckets().chain(open).collect();
        all.sort_by_key(|bucket| bucket.start_unix_ns);
        all
    }

    /// How long everything is.
    pub(crate) const fn scale(&self) -> &Scale {
        &self.scale
    }

    /// Neighbours among anomalous buckets.
    pub(crate) fn groups<'a, 'b>(&'a self, anomalous: &'a [&'b Bucket]) -> Vec<&'a [&'b Bucket]> {
        anomalous.chunk_by(|a, b| self.scale.joins(a, b)).collect()
    }

    /// Spikes whose buckets are forgotten, oldest first.
    pub fn past(&self) -> impl DoubleEndedIterator<Item = &Spike> {
        self.anomalies.past()
    }

    /// Start of the latest bucket there was, Unix ns.
    pub const fn latest_unix_ns(&self) -> Option<u64> {
        self.latest_unix_ns
    }

    /// Above this a connection is slow for this edge, ns.
    pub fn slow_ns(&self) -> u64 {
        self.normal.slow_ns()
    }

    /// The usual median, ns; none as long as too little was seen.
    pub fn normal_ns(&self) -> Option<u64> {
        self.normal.median_ns()
    }

    /// Whether enough connections succeeded to know what is normal.
    pub const fn is_known(&self) -> bool {
        self.normal.is_known()
    }

    /// The usual share of suffering connections, all of them.
    pub(crate) fn usual_share(&self) -> f64 {
        self.usual.share()
    }

    /// The same without these buckets, as far as they are noted.
    pub(crate) fn usual_share_without<'a>(&self, buckets: impl Iterator<Item = &'a Bucket>) -> f64 {
        let judged = buckets.filter(|bucket| bucket.start_unix_ns < self.judged_unix_ns);
        let mut usual = self.usual.clone();
        usual.withdraw(judged.map(|bucket| self.noted(bucket)));
        usual.share()
    }

    /// The picture of a window, oldest first.
    pub fn points(&self, from_unix_ns: u64, to_unix_ns: u64) -> Vec<Point> {
        self.history.points(from_unix_ns, to_unix_ns)
    }

    /// Handshakes in a window, in buckets of all kinds, those that never completed too.
    pub fn handshakes(&self, from_unix_ns: u64, to_unix_ns: u64) -> u64 {
        self.history.handshakes(from_unix_ns, to_unix_ns)
    }

    /// SYNs sent again in a window, in buckets of all kinds.
    pub fn retries(&self, from_unix_ns: u64, to_unix_ns: u64) -> u64 {
        self.history.retries(from_unix_ns, to_unix_ns)
    }

    /// What was measured in a window, anomalous buckets and those not judged yet.
    pub fn within(&self, from_unix_ns: u64, to_unix_ns: u64) -> Bucket {
        let mut sum = Bucket::default();
        for bucket in self.anomalies.buckets().chain(&self.open) {
            if bucket.start_unix_ns < to_unix_ns && bucket.start_unix_ns + bucket.length_ns > from_unix_ns {
                sum.add(bucket);
            }
        }
        sum
    }

    /// Slow connections, dropped SYNs, and failed handshakes where they are many.
    pub fn suffering(&self, bucket: &Bucket) -> u64 {
        self.slow_or_dropped(bucket) + self.failed(bucket)
    }

    fn slow_or_dropped(&self, bucket: &Bucket) -> u64 {
        self.normal.slow(&bucket.latency_ns) + bucket.dropped
    }

    /// Failed handshakes where they are many, on an edge that is known to work: what never worked is a wrong address, and
    /// no outage.
    fn failed(&self, bucket: &Bucket) -> u64 {
        let are_many = bucket.failed * 100 >= (bucket.n + bucket.failed) * FAILED_PERCENT;
        let is_usual_known = || self.is_known() && self.usual.blocks() >= BLOCKS_MIN;
        if are_many && is_usual_known() { bucket.failed } else { 0 }
    }

    fn judge_oldest(&mut self) {
        let Some(bucket) = self.open.pop_front() else { return };
        self.note_due();
        self.judged_unix_ns = self.judged_unix_ns.max(bucket.end_unix_ns());
        let noted = self.noted(&bucket);
        let suffering = noted.slow_or_dropped + self.failed(&bucket);
        self.note(&noted);
        if !is_anomalous(&bucket, suffering) {
            self.on_end = 0;
            self.normal.learn(&bucket.latency_ns);
            self.spare = bucket.latency_ns;
            return;
        }
        self.on_end += 1;
        if self.on_end > NEW_NORMAL {
            // What lasts is no spike: from here on it is what this edge is like.
            self.normal.learn(&bucket.latency_ns);
        }
        self.changed |= self.ripe_at(&bucket) <= self.asked_unix_ns;
        self.anomalies.insert(bucket);
    }

    /// Notes what is usual.
    fn note(&mut self, noted: &Noted) {
        if noted.slow_or_dropped > 0 {
            self.history.note_suffering(noted.start_unix_ns, noted.slow_or_dropped);
        }
        self.usual.note(noted);
    }

    fn noted(&self, part: &Bucket) -> Noted {
        Noted {
            start_unix_ns: part.start_unix_ns,
            n: part.handshakes(),
            slow_or_dropped: self.slow_or_dropped(part),
            failed: part.failed,
        }
    }
}

const fn is_anomalous(bucket: &Bucket, suffering: u64) -> bool {
    suffering > 0 && suffering * 100 >= bucket.handshakes() * ANOMALOUS_PERCENT
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const S: u64 = 1_000_000_000;

    fn bucket(start_s: u64, latencies_ms: &[u64]) -> EdgeBucket {
        let mut bucket = EdgeBucket { start_unix_ns: start_s * S, length_ns: 10 * S, ..EdgeBucket::default() };
        for ms in latencies_ms {
            bucket.n += 1;
            bucket.latency_ns.record(ms * 1_000_000);
        }
        bucket
    }

    #[test]
    fn slow_is_judged_against_the_edges_own_past() {
        let mut series = Series::new(Scale::new(1.0), 100_000_000);
        for start in (0..600).step_by(10) {
            series.add(&bucket(start, &[1, 1, 1, 2, 1]));
        }
        series.tick(700 * S);
        assert!(series.anomalous().is_empty());
        assert!(series.slow_ns() < 15_000_000, "{}", series.slow_ns());
        // 40 ms are below the general limit, and far above what this edge is used to.
        series.add(&bucket(700, &[1, 40, 40, 1]));
        assert_eq!(series.anomalous().len(), 1);
    }

    #[test]
    fn a_late_part_is_added_to_its_bucket() {
        let mut series = Series::new(Scale::new(1.0), 100_000_000);
        series.add(&bucket(0, &[1, 1]));
        series.add(&bucket(10, &[1, 1]));
        series.add(&bucket(0, &[3000]));
        let anomalous = series.anomalous();
        assert_eq!(anomalous.len(), 1);
        assert_eq!((anomalous[0].start_unix_ns, anomalous[0].n), (0, 3));
        assert_eq!(series.points(0, 20 * S)[0].n, 3);
    }

    proptest! {
        #[test]
        fn a_bucket_is_anomalous_by_its_share_of_slow_ones_alone(
            past in proptest::collection::vec(proptest::collection::vec(0_u64..300, 1..5), 0..40),
            slow_above_ms in 1_u64..200,
            latencies in proptest::collection::vec(0_u64..400, 0..20),
            dropped in 0_u64..3,
        ) {
            let mut series = Series::new(Scale::new(1.0), slow_above_ms * 1_000_000);
            for (start, latencies_ms) in (0..).step_by(10).zip(&past) {
                series.add(&bucket(start, latencies_ms));
            }
            series.tick(10_000 * S);
            let asked = EdgeBucket { dropped, ..bucket(10_000, &latencies) };
            let suffering = asked.latency_ns.count_above(series.slow_ns()) + dropped;
            let expected = suffering > 0 && suffering * 100 >= (asked.n + dropped) * ANOMALOUS_PERCENT;
            let asked = Bucket::new(&asked, Sketch::default());
            prop_assert_eq!(is_anomalous(&asked, series.suffering(&asked)), expected);
        }
    }

    #[test]
    fn what_lasts_becomes_normal() {
        let mut series = Series::new(Scale::new(1.0), 100_000_000);
        for start in (0..6000).step_by(10) {
            series.add(&bucket(start, &[200, 201, 199]));
        }
        series.tick(6000 * S);
        assert!(series.anomalous().iter().all(|bucket| bucket.start_unix_ns < 3000 * S));
    }
}

//! Buckets of edges: parts of the same bucket are added up.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use synscope_bus::message::edge::{EdgeBatch, EdgeBucket};
use synscope_bus::message::flow::Vantage;

/// Edges with totals of their own; those beyond are added up as [`OTHER`].
pub const TOTALS_MAX: usize = 1000;
/// The edge that stands for all beyond [`TOTALS_MAX`].
pub const OTHER: &str = "other";

/// Whose bucket it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// `<source workload>-><destination workload>:<port>`.
    pub edge: String,
    /// Where it was measured.
    pub vantage: Vantage,
    /// The node that measured it.
    pub node: String,
}

/// What was counted since this instance began, with what the stream still held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Handshakes measured.
    pub n: u64,
    /// Slow ones.
    pub slow: u64,
    /// SYNs sent again.
    pub retries: u64,
    /// SYNs refused.
    pub refused: u64,
    /// Those of them that were dropped.
    pub dropped: u64,
    /// Handshakes that never completed.
    pub failed: u64,
    /// Those of them that a reset ended.
    pub reset: u64,
}

/// Which buckets are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Window {
    /// Start of the first, Unix ns.
    pub since_unix_ns: u64,
    /// None that starts then or later, Unix ns.
    pub until_unix_ns: u64,
    /// The node that measured; none for all.
    pub node: Option<String>,
}

/// Buckets that start at one time. A reader that adds many up shares them, so that nobody waits for it.
type Started = Arc<HashMap<Key, EdgeBucket>>;

/// The latest buckets.
#[derive(Debug)]
pub struct Edges {
    buckets: BTreeMap<u64, Started>,
    count: usize,
    bound: usize,
    kept_ns: u64,
    forgotten: u64,
    totals: BTreeMap<(String, Vantage), Totals>,
}

impl Edges {
    /// None yet; `bound` buckets are kept, for `kept_ns`.
    pub const fn new(bound: usize, kept_ns: u64) -> Self {
        Self { buckets: BTreeMap::new(), count: 0, bound, kept_ns, forgotten: 0, totals: BTreeMap::new() }
    }

    /// Takes a batch; what is too old is in the totals only.
    pub fn add(&mut self, batch: EdgeBatch, now_unix_ns: u64) {
        let oldest = now_unix_ns.saturating_sub(self.kept_ns);
        for bucket in batch.buckets {
            self.add_totals(&bucket);
            if bucket.start_unix_ns < oldest {
                continue;
            }
            let key = Key { edge: bucket.edge.clone(), vantage: bucket.vantage, node: batch.node.clone() };
            match Arc::make_mut(self.buckets.entry(bucket.start_unix_ns).or_default()).entry(key) {
                std::collections::hash_map::Entry::Occupied(mut known) => known.get_mut().add(&bucket),
                std::collections::hash_map::Entry::Vacant(place) => {
                    place.insert(bucket);
                    self.count += 1;
                }
            }
        }
        self.forget(oldest);
    }

    /// The buckets in the window, as they are now.
    pub fn in_window(&self, window: Window) -> InWindow {
        let starts = window.since_unix_ns..window.until_unix_ns.max(window.since_unix_ns);
        InWindow {
            started: self.buckets.range(starts).map(|(_, started)| started.clone()).collect(),
            node: window.node,
        }
    }

    /// Totals per edge and vantage.
    pub const fn totals(&self) -> &BTreeMap<(String, Vantage), Totals> {
        &self.totals
    }

    /// Buckets kept.
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Buckets that went before their time, to make room.
    pub const fn forgotten(&self) -> u64 {
        self.forgotten
    }

    fn forget(&mut self, oldest: u64) {
        while let Some(first) = self.buckets.first_entry() {
            let aged = *first.key() < oldest;
            if !aged && self.count <= self.bound {
                break;
            }
            let gone = first.remove().len();
            self.count -= gone;
            if !aged {
                self.forgotten += gone as u64;
            }
        }
    }

    fn add_totals(&mut self, bucket: &EdgeBucket) {
        let mut key = (bucket.edge.clone(), bucket.vantage);
        if self.totals.len() >= TOTALS_MAX && !self.totals.contains_key(&key) {
            OTHER.clone_into(&mut key.0);
        }
        let totals = self.totals.entry(key).or_default();
        totals.n = totals.n.saturating_add(bucket.n);
        totals.slow = totals.slow.saturating_add(bucket.slow);
        totals.retries = totals.retries.saturating_add(bucket.retries);
        totals.refused = totals.refused.saturating_add(bucket.refused);
        totals.dropped = totals.dropped.saturating_add(bucket.dropped);
        totals.failed = totals.failed.saturating_add(bucket.failed);
        totals.reset = totals.reset.saturating_add(bucket.reset);
    }
}

/// The buckets that were in a window when it was asked for.
#[derive(Debug)]
pub struct InWindow {
    started: Vec<Started>,
    node: Option<String>,
}

impl InWindow {
    /// One per edge and vantage, all buckets and all nodes together; and how many buckets each has. It takes long where
    /// they are many.
    pub fn merged(&self) -> BTreeMap<(String, Vantage), (EdgeBucket, u64)> {
        let mut merged: BTreeMap<(String, Vantage), (EdgeBucket, u64)> = BTreeMap::new();
        let wanted = |key: &Key| self.node.as_ref().is_none_or(|node| key.node == *node);
        let buckets = self.started.iter().flat_map(|started| started.iter());
        for (key, bucket) in buckets.filter(|(key, _)| wanted(key)) {
            let (sum, count) = merged.entry((key.edge.clone(), key.vantage)).or_default();
            if *count == 0 {
                sum.start_unix_ns = bucket.start_unix_ns;
            }
            sum.length_ns = bucket.start_unix_ns.saturating_add(bucket.length_ns) - sum.start_unix_ns;
            sum.add(bucket);
            *count += 1;
        }
        merged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(node: &str, edge: &str, start_unix_ns: u64, latency_ns: u64) -> EdgeBatch {
        let mut bucket = EdgeBucket { edge: edge.into(), start_unix_ns, length_ns: 10, n: 1, ..EdgeBucket::default() };
        bucket.latency_ns.record(latency_ns);
        EdgeBatch { node: node.into(), slow_above_ns: 1, buckets: vec![bucket] }
    }

    fn all() -> Window {
        Window { until_unix_ns: u64::MAX, ..Window::default() }
    }

    #[test]
    fn parts_are_added_up_over_buckets_and_nodes() {
        let mut edges = Edges::new(100, 1000);
        for (node, start, latency) in [("a", 10, 1), ("a", 10, 2), ("b", 10, 3), ("a", 20, 4)] {
            edges.add(batch(node, "x", start, latency), 30);
        }
        let (sum, buckets) = &edges.in_window(all()).merged()[&("x".to_owned(), Vantage::Unknown)];
        assert_eq!((sum.n, sum.start_unix_ns, sum.length_ns, *buckets), (4, 10, 20, 3));
        assert_eq!((sum.latency_ns.quantile(1000), edges.len()), (Some(4), 3));
        let one = Window { since_unix_ns: 10, until_unix_ns: 20, node: Some("b".into()) };
        assert_eq!(edges.in_window(one).merged()[&("x".to_owned(), Vantage::Unknown)].0.n, 1);
        assert!(edges.in_window(Window { since_unix_ns: 10, until_unix_ns: 5, node: None }).merged().is_empty());
    }

    /// Who adds up a window holds no lock, so the store changes meanwhile.
    #[test]
    fn what_comes_while_a_window_is_added_up_is_not_in_it() {
        let mut edges = Edges::new(1, 1000);
        edges.add(batch("a", "x", 10, 1), 30);
        let window = edges.in_window(all());
        edges.add(batch("a", "x", 10, 1), 30);
        edges.add(batch("a", "x", 20, 1), 30);
        let of = |window: InWindow| window.merged()[&("x".to_owned(), Vantage::Unknown)].0.n;
        assert_eq!((of(window), of(edges.in_window(all())), edges.forgotten()), (1, 1, 1));
    }

    #[test]
    fn the_oldest_go_by_age_and_by_number() {
        let mut edges = Edges::new(3, 100);
        for start in [10, 20, 30, 40] {
            edges.add(batch("a", "x", start, 1), 50);
        }
        assert_eq!((edges.len(), edges.forgotten()), (3, 1));
        edges.add(batch("a", "x", 30, 1), 135);
        assert_eq!((edges.len(), edges.forgotten()), (1, 1));
        assert_eq!(edges.totals()[&("x".to_owned(), Vantage::Unknown)].n, 5);
    }

    #[test]
    fn edges_without_end_have_one_total() {
        let mut edges = Edges::new(10, 100);
        for number in 0..TOTALS_MAX + 5 {
            edges.add(batch("a", &number.to_string(), 10, 1), 10);
        }
        assert_eq!(edges.totals()[&(OTHER.to_owned(), Vantage::Unknown)].n, 5);
    }
}

//! What is normal for an edge: its latencies so far, and from when on one is slow beside them.

use std::sync::OnceLock;

use synscope_bus::sketch::Sketch;

/// Connections that a sketch of what is normal needs before it is asked.
const KNOWN_MIN: u64 = 30;
/// Above this, it forgets half: the past fades.
const COUNT_MAX: u64 = 200_000;
/// A connection is slow for its edge above this many times the edge's own 90th percentile (the 99th is a retransmission's
/// second already where one SYN in a hundred is lost) …
const SLOW_FACTOR: u64 = 5;
/// … and at least so much above its median: below it, nobody suffers. ns
const SLOW_MIN_NS: u64 = 10_000_000;

/// Latencies of what was no anomaly.
#[derive(Debug, Clone)]
pub(crate) struct Normal {
    /// What is slow until enough was seen, ns.
    slow_above_ns: u64,
    latencies: Sketch,
    count: u64,
    /// What is slow beside what was learned until now, once it was asked: each spike asks for every one of its buckets.
    slow_ns: OnceLock<u64>,
}

impl Normal {
    /// Nothing seen yet; until enough was, `slow_above_ns` says what is slow.
    pub(crate) fn new(slow_above_ns: u64) -> Self {
        Self { slow_above_ns, latencies: Sketch::default(), count: 0, slow_ns: OnceLock::new() }
    }

    /// These are normal.
    pub(crate) fn learn(&mut self, latencies: &Sketch) {
        self.slow_ns.take();
        self.latencies.merge(latencies);
        self.count += latencies.count();
        if self.count > COUNT_MAX {
            self.latencies.halve();
            self.count = self.latencies.count();
        }
    }

    /// Whether enough connections succeeded to know what is normal.
    pub(crate) const fn is_known(&self) -> bool {
        self.count >= KNOWN_MIN
    }

    /// The usual median, ns; none as long as too little was seen.
    pub(crate) fn median_ns(&self) -> Option<u64> {
        self.latencies.quantile(500).filter(|_| self.is_known())
    }

    /// Above this a connection is slow for this edge, ns.
    pub(crate) fn slow_ns(&self) -> u64 {
        *self.slow_ns.get_or_init(|| match (self.median_ns(), self.latencies.quantile(900)) {
            (Some(median), Some(tail)) => tail.saturating_mul(SLOW_FACTOR).max(median.saturating_add(SLOW_MIN_NS)),
            _ => self.slow_above_ns,
        })
    }

    /// How many of these are slow.
    pub(crate) fn slow(&self, latencies: &Sketch) -> u64 {
        // What is slow is never below this, and most buckets hold nothing above it: they cost no quantiles of the past.
        let never_slow_ns = self.slow_above_ns.min(SLOW_MIN_NS);
        let none_slow = latencies.quantile(1000).is_none_or(|slowest_ns| slowest_ns <= never_slow_ns);
        if none_slow { 0 } else { latencies.count_above(self.slow_ns()) }
    }
}

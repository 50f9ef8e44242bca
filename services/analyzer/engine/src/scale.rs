//! All windows of time, in one place: they shrink together, so that ten minutes can be played in 20 s.

use crate::bucket::Bucket;

const S: u64 = 1_000_000_000;

/// How long everything is, ns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scale {
    /// One bucket of an edge.
    pub bucket_ns: u64,
    /// How far back anything is remembered as it came.
    pub history_ns: u64,
    /// How far back spikes are remembered, and all else in minutes.
    pub memory_ns: u64,
    /// Anomalous buckets this near to each other are one spike.
    pub join_ns: u64,
    /// How long after a spike's last bucket it counts as complete. Not scaled: SYNs are sent again after 1, 3 and 7 s
    /// of real time (RFC 6298, `TCP_TIMEOUT_INIT`), and a spike's bucket is the first SYN's.
    pub settle_ns: u64,
}

impl Scale {
    /// `time_scale` 1 is life; 30 is thirty times as fast.
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positive, far below 2^52"
    )]
    pub fn new(time_scale: f64) -> Self {
        let scaled = |ns: u64| (ns as f64 / time_scale.clamp(0.1, 1000.0)) as u64;
        let bucket_ns = scaled(10 * S).max(1);
        Self {
            bucket_ns,
            history_ns: scaled(2 * 3600 * S),
            memory_ns: scaled(24 * 3600 * S),
            join_ns: (3 * bucket_ns).max(2 * S),
            settle_ns: (2 * bucket_ns).max(4 * S),
        }
    }

    /// Whether two anomalous buckets, the first first, are of one spike.
    pub const fn joins(&self, a: &Bucket, b: &Bucket) -> bool {
        b.start_unix_ns <= a.end_unix_ns() + self.join_ns
    }
}

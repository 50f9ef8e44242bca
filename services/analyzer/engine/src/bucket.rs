//! What one node measured of one edge in a bucket of time.

use synscope_bus::message::edge::EdgeBucket;
use synscope_bus::sketch::Sketch;

/// A bucket without the names, which whoever has it knows: ten thousand edges keep three of them each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bucket {
    /// Unix ns.
    pub start_unix_ns: u64,
    /// Length, ns; longer where several were made one.
    pub length_ns: u64,
    /// Handshakes measured.
    pub n: u64,
    /// SYNs sent again.
    pub retries: u64,
    /// SYNs that the node's table had no room for.
    pub refused: u64,
    /// Those of them that were dropped.
    pub dropped: u64,
    /// Handshakes that never completed.
    pub failed: u64,
    /// Those of them that a reset ended.
    pub reset: u64,
    /// Latencies of those measured, ns.
    pub latency_ns: Sketch,
}

impl Bucket {
    /// What a part tells, its latencies in the memory of another's.
    pub fn new(part: &EdgeBucket, mut memory: Sketch) -> Self {
        memory.clone_from(&part.latency_ns);
        Self {
            start_unix_ns: part.start_unix_ns,
            length_ns: part.length_ns,
            n: part.n,
            retries: part.retries,
            refused: part.refused,
            dropped: part.dropped,
            failed: part.failed,
            reset: part.reset,
            latency_ns: memory,
        }
    }

    /// Adds what was counted in another, or in another part of the same.
    pub fn add(&mut self, other: &Self) {
        self.n = self.n.saturating_add(other.n);
        self.retries = self.retries.saturating_add(other.retries);
        self.refused = self.refused.saturating_add(other.refused);
        self.dropped = self.dropped.saturating_add(other.dropped);
        self.failed = self.failed.saturating_add(other.failed);
        self.reset = self.reset.saturating_add(other.reset);
        self.latency_ns.merge(&other.latency_ns);
    }

    /// Where it ends, Unix ns.
    pub const fn end_unix_ns(&self) -> u64 {
        self.start_unix_ns + self.length_ns
    }

    /// Connections, whatever became of them, and SYNs that were dropped.
    pub const fn handshakes(&self) -> u64 {
        self.n + self.dropped + self.failed
    }
}

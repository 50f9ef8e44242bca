//! Counts and latencies per edge.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Message, flow::Vantage};
use crate::sketch::Sketch;

/// One edge in one bucket of time, from one vantage.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct EdgeBucket {
    /// `<source workload>-><destination workload>:<port>`; the text that the shard is the hash of.
    pub edge: String,
    /// Where it was measured.
    pub vantage: Vantage,
    /// The bucket's start, Unix ns UTC; buckets go by the first SYN's time.
    pub start_unix_ns: u64,
    /// The bucket's length, ns.
    pub length_ns: u64,
    /// Handshakes measured; the sketch's count.
    pub n: u64,
    /// Those slower than the node's limit for slow.
    pub slow: u64,
    /// SYNs sent again.
    pub retries: u64,
    /// SYNs that the node's table had no room for: they passed untracked, or were dropped.
    pub refused: u64,
    /// Those of them that were dropped.
    pub dropped: u64,
    /// Connections whose latency could not be measured.
    pub unmeasured: u64,
    /// Those of them whose handshake never completed. It takes a minute or more until nothing more is expected of a
    /// handshake, so they come late, and in the bucket of their first SYN.
    pub failed: u64,
    /// Those of them that a reset ended.
    pub reset: u64,
    /// Flows of which only one direction was seen; in no other count.
    pub half_seen: u64,
    /// Latencies from first SYN to SYN-ACK, ns.
    pub latency_ns: Sketch,
}

impl EdgeBucket {
    /// Adds what another part of the same bucket counted.
    pub fn add(&mut self, other: &Self) {
        self.n = self.n.saturating_add(other.n);
        self.slow = self.slow.saturating_add(other.slow);
        self.retries = self.retries.saturating_add(other.retries);
        self.refused = self.refused.saturating_add(other.refused);
        self.dropped = self.dropped.saturating_add(other.dropped);
        self.unmeasured = self.unmeasured.saturating_add(other.unmeasured);
        self.failed = self.failed.saturating_add(other.failed);
        self.reset = self.reset.saturating_add(other.reset);
        self.half_seen = self.half_seen.saturating_add(other.half_seen);
        self.latency_ns.merge(&other.latency_ns);
    }
}

/// What came since the last batch, for the edges of one shard on one node. Batches are parts: readers add up all parts
/// of a bucket, late ones too.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct EdgeBatch {
    /// The node.
    pub node: String,
    /// Limit above which a handshake counts as slow, ns.
    pub slow_above_ns: u64,
    /// One entry per edge, vantage and bucket.
    pub buckets: Vec<EdgeBucket>,
}

impl Message for EdgeBatch {
    const SCHEMA: &str = "edge";
    const VERSION: u16 = 1;

    fn node(&self) -> Option<&str> {
        Some(&self.node)
    }
}

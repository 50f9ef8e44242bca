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
    /// SYNs refused by the node.
    pub refused: u64,
    /// Connections whose latency could not be measured.
    pub unmeasured: u64,
    /// Flows of which only one direction was seen; in no other count.
    pub half_seen: u64,
    /// Latencies from first SYN to SYN-ACK, ns.
    pub latency_ns: Sketch,
}

/// The edges of one shard on one node.
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
}

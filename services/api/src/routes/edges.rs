//! Counts and latencies per edge.

use axum::Json;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use synscope_bus::life::unix_now_ns;
use synscope_bus::message::flow::Vantage;

use crate::problem::Problem;
use crate::query::{Moment, Parameters};
use crate::route::Call;
use crate::store::edges::Window;
use crate::store::lock;

/// Which edges are wanted.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct EdgesQuery {
    /// Only buckets that start then or later; all that are kept when absent.
    pub since: Option<Moment>,
    /// Only buckets that start before then; until now when absent.
    pub until: Option<Moment>,
    /// Only what this node measured.
    pub node: Option<String>,
}

impl Parameters for EdgesQuery {}

/// One edge from one vantage, all buckets of the window together.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Edge {
    /// `<source workload>-><destination workload>:<port>`.
    pub edge: String,
    /// Where it was measured.
    pub vantage: Vantage,
    /// Start of the first bucket, Unix ns UTC.
    pub start_unix_ns: u64,
    /// End of the last bucket, Unix ns UTC.
    pub end_unix_ns: u64,
    /// Buckets, each node's counted by itself.
    pub buckets: u64,
    /// Handshakes measured.
    pub n: u64,
    /// Those slower than the node's limit for slow.
    pub slow: u64,
    /// SYNs sent again.
    pub retries: u64,
    /// SYNs that the node's table had no room for.
    pub refused: u64,
    /// Those of them that were dropped.
    pub dropped: u64,
    /// Connections whose latency could not be measured.
    pub unmeasured: u64,
    /// Those of them whose handshake never completed; told a minute or more later.
    pub failed: u64,
    /// Those of them that a reset ended.
    pub reset: u64,
    /// Flows of which only one direction was seen; in no other count.
    pub half_seen: u64,
    /// Median latency from first SYN to SYN-ACK, ns, within 1 %; none when nothing was measured.
    pub p50_ns: Option<u64>,
    /// 90th percentile, ns.
    pub p90_ns: Option<u64>,
    /// 99th percentile, ns.
    pub p99_ns: Option<u64>,
    /// The largest, ns.
    pub max_ns: Option<u64>,
}

/// `GET /v1/edges`.
pub async fn list(call: Call, asked: EdgesQuery) -> Result<Json<Vec<Edge>>, Problem> {
    let now = unix_now_ns();
    let window = Window {
        since_unix_ns: asked.since.map_or(0, |since| since.unix_ns(now)),
        until_unix_ns: asked.until.map_or(u64::MAX, |until| until.unix_ns(now)),
        node: asked.node,
    };
    let buckets = lock(&call.app.store.edges).in_window(window);
    // Many sketches are merged: too long for a thread that answers others too.
    let merged = tokio::task::spawn_blocking(move || buckets.merged()).await;
    let merged = merged.map_err(|error| Problem::internal(error.to_string()))?;
    let edges = merged.into_iter().map(|((edge, vantage), (sum, buckets))| Edge {
        edge,
        vantage,
        start_unix_ns: sum.start_unix_ns,
        end_unix_ns: sum.start_unix_ns.saturating_add(sum.length_ns),
        buckets,
        n: sum.n,
        slow: sum.slow,
        retries: sum.retries,
        refused: sum.refused,
        dropped: sum.dropped,
        unmeasured: sum.unmeasured,
        failed: sum.failed,
        reset: sum.reset,
        half_seen: sum.half_seen,
        p50_ns: sum.latency_ns.quantile(500),
        p90_ns: sum.latency_ns.quantile(900),
        p99_ns: sum.latency_ns.quantile(990),
        max_ns: sum.latency_ns.quantile(1000),
    });
    Ok(Json(edges.collect()))
}

//! The API's configuration.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use synscope_bus::configuration::{Log, Nats};

use crate::access::serve::Tls;

/// The configuration as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// This instance's name.
    pub node: String,
    /// Where HTTP is spoken; without tokens only a loopback address can be.
    pub listen: SocketAddr,
    /// File of the tokens that may be shown.
    pub tokens: Option<PathBuf>,
    /// For HTTPS.
    pub tls: Option<Tls>,
    /// Requests that one address may make in a second, when it goes on; 0: as many as it likes.
    pub requests_per_second: u32,
    /// Requests that one address may make at once.
    pub requests_at_once: u32,
    /// Flow events kept; the oldest go first.
    pub flows_kept: usize,
    /// Slow, retried, refused and failed flows kept; the oldest go first.
    pub slows_kept: usize,
    /// Buckets of edges kept, of all nodes and vantages together; the oldest go first.
    pub edge_buckets_kept: usize,
    /// Readings of signals kept, of all nodes together; the oldest go first.
    pub signals_kept: usize,
    /// How long edges and signals are kept, seconds.
    pub kept_seconds: u64,
    /// Flow events that a reader of the live stream may be behind before it misses some.
    pub stream_behind: usize,
    /// Whether names of Kubernetes' services are asked for and told to all nodes.
    pub kubernetes: bool,
    /// Where NATS is.
    pub nats: Nats,
    /// What is logged.
    pub log: Log,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            node: "api".into(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            tokens: None,
            tls: None,
            requests_per_second: 200,
            requests_at_once: 1000,
            flows_kept: 100_000,
            slows_kept: 50_000,
            edge_buckets_kept: 200_000,
            signals_kept: 20_000,
            kept_seconds: 7200,
            stream_behind: 4096,
            kubernetes: false,
            nats: Nats::default(),
            log: Log::default(),
        }
    }
}

impl Settings {
    /// How long edges and signals are kept, ns.
    pub const fn kept_ns(&self) -> u64 {
        self.kept_seconds.saturating_mul(1_000_000_000)
    }
}

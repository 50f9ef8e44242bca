//! What a node says about itself.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Message;

/// A source that was read, or why it was not: never zero in its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
#[schemars(rename = "Observed{T}")]
pub enum Observed<T> {
    /// The source was read.
    Observed {
        /// What it said.
        value: T,
    },
    /// The source was not read.
    NotObserved {
        /// Why, for people.
        #[serde(default)]
        reason: String,
    },
    /// Told in a way that this reader does not know yet.
    #[serde(other)]
    Unknown,
}

impl<T> Observed<T> {
    /// What the source said, if it was read.
    pub const fn value(&self) -> Option<&T> {
        match self {
            Self::Observed { value } => Some(value),
            Self::NotObserved { .. } | Self::Unknown => None,
        }
    }
}

impl<T> Default for Observed<T> {
    fn default() -> Self {
        Self::NotObserved { reason: "not reported".into() }
    }
}

/// How full one map of fixed capacity is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct MapFill {
    /// The kernel's id of the map.
    pub id: u32,
    /// The map's name.
    pub name: String,
    /// The kernel's name of the map type, such as `lru_hash`.
    pub kind: String,
    /// Who owns it, such as `synscope` or `cilium`; none when unknown.
    pub owner: Option<String>,
    /// Entries now; of a ring buffer, bytes that wait.
    pub live: u64,
    /// Entries at most; of a ring buffer, bytes.
    pub max: u64,
    /// The count is an estimate.
    pub estimate: bool,
}

/// synscope's own connection table; counters since the table was made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Conntrack {
    /// Entries now.
    pub live: u64,
    /// Entries at most.
    pub max: u64,
    /// Entries made.
    pub inserts: u64,
    /// Failed insertions by errno's name, such as `E2BIG`.
    pub insert_failures: BTreeMap<String, u64>,
    /// SYNs that found no room: they passed untracked, or were dropped.
    pub refused_syns: u64,
    /// SYNs dropped for it: enforce mode only.
    pub dropped_syns: u64,
    /// Duration of the latest sweep, ns; none when there was none yet.
    pub sweep_cost_ns: Option<u64>,
}

/// `nf_conntrack` of one network namespace; counters since boot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct NfConntrack {
    /// The network namespace's inode.
    pub netns: u64,
    /// Entries now.
    pub live: u64,
    /// Entries at most.
    pub max: u64,
    /// Counters by the kernel's names: `drop`, `early_drop`, `insert_failed`, …
    pub counters: BTreeMap<String, u64>,
}

/// TCP counters of one network namespace since it was made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TcpCounters {
    /// The network namespace's inode.
    pub netns: u64,
    /// Counters by the kernel's names: `TCPSynRetrans`, `ListenOverflows`, …; those that are not here are zero.
    pub counters: BTreeMap<String, u64>,
}

/// Packets dropped for one reason since the agent started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Drops {
    /// The kernel's name of the reason.
    pub reason: String,
    /// The network namespace's inode; none when unknown.
    pub netns: Option<u64>,
    /// The interface; none when the packet had none.
    pub interface: Option<String>,
    /// Packets.
    pub packets: u64,
}

/// Softnet counters of all CPUs together since boot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Softnet {
    /// Packets taken.
    pub processed: u64,
    /// Packets dropped because the backlog was full.
    pub dropped: u64,
    /// Times that the budget ran out.
    pub time_squeeze: u64,
}

/// Pressure stall of one resource since boot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Pressure {
    /// Time in which some task waited, ns.
    pub some_total_ns: u64,
    /// Time in which all tasks waited, ns.
    pub full_total_ns: u64,
}

/// All signals of one node at one time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct NodeSignals {
    /// The node.
    pub node: String,
    /// When they were read, Unix ns UTC.
    pub time_unix_ns: u64,
    /// Fill of every map of fixed capacity.
    pub maps: Observed<Vec<MapFill>>,
    /// synscope's own connection table.
    pub conntrack: Observed<Conntrack>,
    /// The kernel's connection tracking, per network namespace.
    pub nf_conntrack: Observed<Vec<NfConntrack>>,
    /// TCP counters, per network namespace.
    pub tcp: Observed<Vec<TcpCounters>>,
    /// Drops by reason.
    pub drops: Observed<Vec<Drops>>,
    /// Softnet counters.
    pub softnet: Observed<Softnet>,
    /// Pressure stall by resource: `cpu`, `memory`, `io`.
    pub pressure: Observed<BTreeMap<String, Pressure>>,
}

impl Message for NodeSignals {
    const SCHEMA: &str = "signal";
    const VERSION: u16 = 1;

    fn node(&self) -> Option<&str> {
        Some(&self.node)
    }
}

//! Questions to a node's datapath.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Command;
use crate::document::Desired;

const SERVICE: &str = "datapath";

/// What a node's datapath does just now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetStatus {}

impl Command for GetStatus {
    const SERVICE: &str = SERVICE;
    const VERB: &str = "status";
    type Answer = Status;
}

/// One direction of one interface.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct HookStatus {
    /// The interface.
    pub interface: String,
    /// `ingress`, `egress` or `xdp`.
    pub hook: String,
    /// A program of ours is there.
    pub attached: bool,
    /// How: `tcx`; `clsact` with priority and handle; `xdp, native` or `xdp, generic`.
    pub mechanism: String,
    /// Its place among the programs there, 1 for the first; none when it is not observed.
    pub position: Option<u32>,
    /// How many programs are there, with ours; none when it is not observed.
    pub programs: Option<u32>,
    /// Those that see packets before ours, and may hide some from it.
    pub before: Vec<String>,
    /// Why not, or why not better; none when all is well.
    pub why: Option<String>,
}

/// How full one table is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TableStatus {
    /// 4 or 6.
    pub family: u8,
    /// Entries now.
    pub live: u64,
    /// Entries at most.
    pub max: u64,
}

/// What a node's datapath does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Status {
    /// The node.
    pub node: String,
    /// `observe` or `enforce`.
    pub mode: String,
    /// Where programs are, and where they are not.
    pub hooks: Vec<HookStatus>,
    /// The connection tables.
    pub tables: Vec<TableStatus>,
    /// The kernel programs' counters, since the tables were made.
    pub counters: BTreeMap<String, u64>,
    /// Desired state as it was last seen; none when there is none.
    pub desired: Option<Desired>,
    /// Why desired state is not reached; none when it is.
    pub desired_error: Option<String>,
    /// Duration of the latest sweep, ns.
    pub sweep_cost_ns: Option<u64>,
    /// Edges beyond the bound, whose connections are in no bucket.
    pub edges_refused: u64,
    /// Kernel records of another version, not understood.
    pub foreign_records: u64,
    /// Questions that found too many waiting before them, and were refused.
    pub questions_refused: u64,
    /// Names that there was no room for, and former names forgotten before late events could ask for them.
    pub names_refused: u64,
}

/// A part of a connection table, in no order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ListConntrack {
    /// Only connections from or to this address.
    pub address: Option<String>,
    /// Only connections from or to this port.
    pub port: Option<u16>,
    /// Only entries in this state, such as `syn_sent`.
    pub state: Option<String>,
    /// Where the previous part ended; none for the first.
    pub after: Option<String>,
    /// Entries at most; at most 1,000.
    pub limit: u16,
}

impl Command for ListConntrack {
    const SERVICE: &str = SERVICE;
    const VERB: &str = "conntrack-list";
    type Answer = ConntrackPart;
}

/// One tracked connection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ConntrackEntry {
    /// IP protocol number.
    pub protocol: u8,
    /// Address of the side that opened.
    pub source: String,
    /// Its port.
    pub source_port: u16,
    /// Its workload; none when unknown.
    pub source_workload: Option<String>,
    /// Address of the other side.
    pub destination: String,
    /// Its port.
    pub destination_port: u16,
    /// Its workload; none when unknown.
    pub destination_workload: Option<String>,
    /// The entry's state, such as `established`.
    pub state: String,
    /// Packets from the side that opened.
    pub packets_forward: u64,
    /// Packets from the other side.
    pub packets_reverse: u64,
    /// Bytes from the side that opened.
    pub bytes_forward: u64,
    /// Bytes from the other side.
    pub bytes_reverse: u64,
    /// SYNs sent again.
    pub syn_retries: u8,
    /// First SYN to SYN-ACK, ns; none when not measured.
    pub server_latency_ns: Option<u64>,
}

/// Some of the connections.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ConntrackPart {
    /// They.
    pub entries: Vec<ConntrackEntry>,
    /// Where the next part begins; none when this was the last.
    pub next: Option<String>,
}

/// Who fills the tables.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TopConntrack {
    /// Lines at most; at most 1,000.
    pub limit: u16,
}

impl Command for TopConntrack {
    const SERVICE: &str = SERVICE;
    const VERB: &str = "conntrack-top";
    type Answer = Vec<ConntrackTop>;
}

/// One edge's share of the tables.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ConntrackTop {
    /// Workload or address of the side that opened.
    pub source: String,
    /// Workload or address of the other side.
    pub destination: String,
    /// Its port.
    pub destination_port: u16,
    /// Entries.
    pub entries: u64,
    /// Their bytes, both directions.
    pub bytes: u64,
}

//! Flow events, in batches.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Message;

/// Where a measurement was taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Vantage {
    /// The client's node: network and server.
    Client,
    /// The server's node: the server's own share.
    Server,
    /// Neither end's node.
    Transit,
    /// Not told, or a vantage that this reader does not know yet: never to be mixed with the others.
    #[default]
    #[serde(other)]
    Unknown,
}

/// What happened to a flow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FlowKind {
    /// First packet seen.
    Opened,
    /// Handshake complete.
    Established,
    /// Closed by FIN from both sides.
    Closed,
    /// Closed by RST.
    Reset,
    /// Refused by policy.
    Denied,
    /// Refused for another reason; see the event's drop reason.
    Dropped,
    /// SYN or SYN-ACK sent again.
    Retried,
    /// A long flow still lives.
    Heartbeat,
    /// Ended by its time-out.
    Expired,
    /// A refused SYN that never got in.
    PendingExpired,
    /// Only one direction of the flow passes here.
    HalfSeen,
    /// A SYN found no room in the conntrack table and passed all the same.
    Refused,
    /// The client gave this attempt up and began another from the same port.
    Abandoned,
    /// A kind that this reader does not know yet.
    #[default]
    #[serde(other)]
    Unknown,
}

/// Hubble's names for what became of a packet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Verdict {
    /// Passed on.
    Forwarded,
    /// Thrown away; see the drop reason.
    Dropped,
    /// Malformed or unusable.
    Error,
    /// Not decided, or a verdict that this reader does not know yet.
    #[default]
    #[serde(other)]
    VerdictUnknown,
}

/// One thing that happened to one flow.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct FlowEvent {
    /// What happened.
    pub kind: FlowKind,
    /// When, Unix ns UTC.
    pub time_unix_ns: u64,
    /// Where it was seen from.
    pub vantage: Vantage,
    /// What became of the packet.
    pub verdict: Verdict,
    /// Hubble's name of the drop reason, such as `CT_MAP_INSERTION_FAILED`; none when not dropped.
    pub drop_reason: Option<String>,
    /// IP protocol number.
    pub protocol: u8,
    /// Address of the side that opened.
    pub source: String,
    /// Port of the side that opened.
    pub source_port: u16,
    /// Address of the other side.
    pub destination: String,
    /// Port of the other side.
    pub destination_port: u16,
    /// Workload of the side that opened; none when unknown.
    pub source_workload: Option<String>,
    /// Workload of the other side; none when unknown.
    pub destination_workload: Option<String>,
    /// Initial sequence number, which pairs vantages; none when the SYN was not seen.
    pub initial_sequence: Option<u32>,
    /// First SYN, Unix ns UTC; none when not seen.
    pub first_syn_unix_ns: Option<u64>,
    /// First SYN to SYN-ACK, ns; none when not measured.
    pub server_latency_ns: Option<u64>,
    /// SYN-ACK to ACK, ns; none when not measured.
    pub client_latency_ns: Option<u64>,
    /// SYNs sent again.
    pub syn_retries: u32,
    /// SYN-ACKs sent again.
    pub syn_ack_retries: u32,
    /// Only one direction was seen.
    pub half_seen: bool,
    /// Packets from the side that opened.
    pub packets_forward: u64,
    /// Packets from the other side.
    pub packets_reverse: u64,
    /// Bytes from the side that opened.
    pub bytes_forward: u64,
    /// Bytes from the other side.
    pub bytes_reverse: u64,
}

/// Flow events of one node, in the order they left the kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct FlowBatch {
    /// The node.
    pub node: String,
    /// Number of the first of the events, from 1, per publisher and subject: what comes between the batches that were
    /// read was lost, event by event. 0 when not told.
    pub first: u64,
    /// The events.
    pub events: Vec<FlowEvent>,
    /// Events lost before batching since the publisher started.
    pub lost: u64,
}

impl Message for FlowBatch {
    const SCHEMA: &str = "flow";
    const VERSION: u16 = 1;

    fn node(&self) -> Option<&str> {
        Some(&self.node)
    }
}

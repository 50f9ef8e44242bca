//! What was found, why, and what became of it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Message, flow::Vantage};

/// Where an incident stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Found.
    #[default]
    Open,
    /// The fix is in place; the next cycles are awaited.
    FixApplied,
    /// The demand came back without the spike.
    Verified,
    /// The demand did not come back.
    Inconclusive,
    /// The spike came back.
    Reopened,
    /// A state that this reader does not know yet.
    #[serde(other)]
    Unknown,
}

/// Whether and how spikes come back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "pattern", rename_all = "snake_case")]
pub enum Recurrence {
    /// In equal intervals.
    Regular {
        /// Interval between onsets, ns: a straight line through them over their cycles.
        period_ns: u64,
        /// Standard deviation of the onsets from that line, ns; half a bucket at least.
        #[serde(default)]
        spread_ns: u64,
        /// A spike's median length, ns.
        #[serde(default)]
        spike_ns: u64,
        /// Cycles with a spike.
        #[serde(default)]
        cycles: u32,
        /// Cycles that were watched.
        #[serde(default)]
        cycles_expected: u32,
        /// When the next spike is expected, Unix ns UTC.
        #[serde(default)]
        next_unix_ns: u64,
        /// How much longer each cycle is than the one before, ns.
        #[serde(default)]
        drift_ns: i64,
        /// How often chance would be as regular: of a million shuffles of the same spikes and gaps.
        #[serde(default)]
        chance_per_million: u32,
    },
    /// Again and again, in unequal intervals.
    Irregular {
        /// Shortest interval, ns.
        min_ns: u64,
        /// Longest interval, ns.
        max_ns: u64,
        /// A spike's median length, ns.
        #[serde(default)]
        spike_ns: u64,
        /// Spikes seen.
        #[serde(default)]
        cycles: u32,
    },
    /// Too few spikes to tell.
    Insufficient {
        /// Spikes seen.
        #[serde(default)]
        cycles: u32,
    },
    /// Not shown to come back, or a pattern that this reader does not know yet.
    #[default]
    #[serde(other)]
    None,
}

/// What the engine thinks of a cause.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// Every necessary counter moved, in the affected seconds, on the affected node, and nothing contradicts.
    Confirmed,
    /// It goes along with the spikes, but no mechanism is shown.
    Correlated,
    /// The evidence excludes it.
    Refuted,
    /// A source that it needs could not be read.
    NotObserved,
    /// Not told, or a finding that this reader does not know yet.
    #[default]
    #[serde(other)]
    Unknown,
}

/// Which curated probe measured a number, and when.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Measured {
    /// The probe's name, such as `drops`.
    pub probe: String,
    /// The trace that ran it.
    pub trace: String,
    /// Its first reading, Unix ns UTC, by the node's clock.
    pub from_unix_ns: u64,
    /// Its last reading, Unix ns UTC.
    pub to_unix_ns: u64,
}

/// One number for or against a cause.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Evidence {
    /// What was measured.
    pub name: String,
    /// The number, inside the spikes.
    pub value: f64,
    /// The same outside the spikes; none where there is nothing to compare.
    pub baseline: Option<f64>,
    /// Its unit, such as `ns`, `1` or `1/s`.
    pub unit: String,
    /// Where it was measured; none when the whole fleet is meant.
    pub node: Option<String>,
    /// The probe that measured it; none of what is always measured.
    pub measured: Option<Measured>,
}

/// A cause that was weighed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Cause {
    /// The cause's name, such as `ct-full`.
    pub name: String,
    /// What the engine thinks of it.
    pub finding: Finding,
    /// Where it acts; none when it is no single node's.
    pub node: Option<String>,
    /// Weight of the evidence, 0 to 1.
    pub score: f64,
    /// Why, in a sentence.
    pub summary: String,
    /// What speaks for it.
    pub evidence_for: Vec<Evidence>,
    /// What speaks against it.
    pub evidence_against: Vec<Evidence>,
}

/// A change of desired state that synscope can make itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Change {
    /// Another capacity for a node's connection tables.
    ConntrackEntries {
        /// The node.
        node: String,
        /// Entries now.
        from: u64,
        /// Entries asked for.
        to: u64,
    },
    /// A change that this reader does not know yet.
    #[serde(other)]
    Unknown,
}

/// What a person can do where synscope can't.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Advice {
    /// Whose setting it is, such as `cilium` or `sysctl`.
    pub owner: String,
    /// The command or setting.
    pub command: String,
}

/// How the new size was found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Sizing {
    /// Entries at once that the demand asked for, at its peak.
    pub demand_entries: u64,
    /// New connections that found no room, in the worst second.
    pub connections_per_second: f64,
    /// What was added for room to grow, as a factor.
    pub headroom: f64,
    /// The article's table for comparison: what it advises for the next larger cluster.
    pub rule_of_thumb: String,
}

/// What to do about it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Fix {
    /// What it changes, for people.
    pub summary: String,
    /// What synscope changes; none when it is advice only.
    pub change: Option<Change>,
    /// The REST call that applies it; none when it is advice only.
    pub api_call: Option<String>,
    /// What to do by hand, per owner.
    pub advice: Vec<Advice>,
    /// How the new size was found.
    pub sizing: Option<Sizing>,
    /// When it was seen in effect, Unix ns UTC; none when not yet.
    pub applied_unix_ns: Option<u64>,
}

/// One spike.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Spike {
    /// Start of its first slow bucket, Unix ns UTC.
    pub start_unix_ns: u64,
    /// End of its last slow bucket, Unix ns UTC.
    pub end_unix_ns: u64,
    /// Connections measured.
    pub n: u64,
    /// Slow ones among them.
    pub slow: u64,
    /// SYNs sent again.
    pub retries: u64,
    /// SYNs that a node's own table had no room for.
    pub refused: u64,
    /// Those of them that it dropped.
    pub dropped: u64,
    /// Connections that never came to be.
    pub failed: u64,
    /// Those of them that a reset ended.
    pub reset: u64,
    /// The slow ones' median latency, ns.
    pub p50_ns: u64,
    /// Their 99th percentile, ns.
    pub p99_ns: u64,
    /// Their largest, ns.
    pub max_ns: u64,
}

/// One bucket of the incident's picture.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Point {
    /// The bucket's start, Unix ns UTC.
    pub start_unix_ns: u64,
    /// Connections measured.
    pub n: u64,
    /// Slow ones among them.
    pub slow: u64,
    /// Connections that never came to be.
    pub failed: u64,
    /// Largest latency, ns; none when nothing was measured.
    pub max_ns: Option<u64>,
    /// How full the connection table of the cause's node was at most, or of the first node, of a thousand; none when it
    /// was not observed.
    pub table_per_mille: Option<u32>,
}

/// Something that happened to the incident.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Step {
    /// When, Unix ns UTC, by the data.
    pub time_unix_ns: u64,
    /// The state from then on.
    pub state: State,
    /// What happened, in a sentence.
    pub what: String,
}

/// What became of a probe on one node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum ProbeOutcome {
    /// It was asked for, and has not ended yet.
    Running,
    /// It watched.
    Observed {
        /// Its first reading, Unix ns UTC, by the node's clock.
        from_unix_ns: u64,
        /// Its last reading, Unix ns UTC.
        to_unix_ns: u64,
        /// The incident's spikes that it covered: with none of them it says nothing.
        spikes: u32,
    },
    /// It says nothing, and why.
    NotObserved {
        /// Why, for people.
        reason: String,
    },
    /// An outcome that this reader does not know yet.
    #[default]
    #[serde(other)]
    Unknown,
}

/// A curated probe that the analyzer started because of the incident.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ProbeRun {
    /// The trace, the same on all its nodes.
    pub trace: String,
    /// The probe's name, such as `drops`.
    pub probe: String,
    /// What it was to tell, in a sentence.
    pub why: String,
    /// When it was asked for, Unix ns UTC.
    pub from_unix_ns: u64,
    /// When it was to end at the latest, Unix ns UTC.
    pub until_unix_ns: u64,
    /// What became of it, by node.
    pub nodes: BTreeMap<String, ProbeOutcome>,
}

/// One incident as it stands now.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Incident {
    /// Stays the same for the incident's life.
    pub id: String,
    /// The kind, which is the first cause's name or `unknown`; the subject's last token.
    pub kind: String,
    /// One sentence for a person.
    pub title: String,
    /// Where it stands.
    pub state: State,
    /// The edges that suffer, the one that is hit hardest first; at most 1000.
    pub edges: Vec<String>,
    /// Edges that suffer beyond those.
    pub more_edges: u64,
    /// The nodes at the ends of the edge that is hit hardest, as far as agents are there.
    pub nodes: Vec<String>,
    /// Where it was measured.
    pub vantage: Vantage,
    /// Start of the first spike, Unix ns UTC.
    pub first_seen_unix_ns: u64,
    /// End of the latest spike, Unix ns UTC.
    pub last_seen_unix_ns: u64,
    /// Whether and how it comes back.
    pub recurrence: Recurrence,
    /// Median latency outside of the spikes, ns; none when too little was measured.
    pub normal_p50_ns: Option<u64>,
    /// The latest spikes, oldest first, at most 64.
    pub spikes: Vec<Spike>,
    /// Causes, likeliest first.
    pub causes: Vec<Cause>,
    /// Causes that the evidence excludes.
    pub refuted: Vec<Cause>,
    /// What to do; none when nothing is known to help.
    pub fix: Option<Fix>,
    /// All buckets since shortly before the first spike, oldest first; where these are more than 512, those around the
    /// latest spikes, and minutes of what was long ago.
    pub series: Vec<Point>,
    /// What happened so far, oldest first, at most 64.
    pub timeline: Vec<Step>,
    /// Probes that were started because of it, oldest first, at most 8.
    pub probes: Vec<ProbeRun>,
}

impl Message for Incident {
    const SCHEMA: &str = "incident";
    const VERSION: u16 = 1;
}

//! What was found, why, and what became of it.

use serde::{Deserialize, Serialize};

use super::{Message, flow::Vantage};

/// Where an incident stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
}

/// Whether and how spikes come back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "pattern", rename_all = "snake_case")]
pub enum Recurrence {
    /// In equal intervals.
    Regular {
        /// Median interval between onsets, ns.
        period_ns: u64,
        /// Spread of the intervals around it, ns.
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
    },
    /// Again and again, in unequal intervals.
    Irregular {
        /// Shortest interval, ns.
        min_ns: u64,
        /// Longest interval, ns.
        max_ns: u64,
    },
    /// Not shown to come back.
    #[default]
    None,
}

/// One number for or against a cause.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Evidence {
    /// What was measured.
    pub name: String,
    /// The number.
    pub value: f64,
    /// Its unit, such as `ns`, `1` or `1/s`.
    pub unit: String,
    /// Where it was measured; none when the whole fleet is meant.
    pub node: Option<String>,
}

/// A cause that was weighed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cause {
    /// The cause's name, such as `ct-full`.
    pub name: String,
    /// Weight of the evidence, 0 to 1.
    pub score: f64,
    /// What speaks for it.
    pub evidence_for: Vec<Evidence>,
    /// What speaks against it.
    pub evidence_against: Vec<Evidence>,
}

/// What to do about it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Fix {
    /// What it changes, for people.
    pub summary: String,
    /// The REST call that applies it; none when it is advice only.
    pub api_call: Option<String>,
    /// When it was applied, Unix ns UTC; none when not yet.
    pub applied_unix_ns: Option<u64>,
}

/// One incident as it stands now.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Incident {
    /// Stays the same for the incident's life.
    pub id: String,
    /// The kind; the subject's last token.
    pub kind: String,
    /// Where it stands.
    pub state: State,
    /// The edges that suffer.
    pub edges: Vec<String>,
    /// Where it was measured.
    pub vantage: Vantage,
    /// Start of the first spike, Unix ns UTC.
    pub first_seen_unix_ns: u64,
    /// End of the latest spike, Unix ns UTC.
    pub last_seen_unix_ns: u64,
    /// Whether and how it comes back.
    pub recurrence: Recurrence,
    /// Causes, likeliest first.
    pub causes: Vec<Cause>,
    /// Causes that the evidence excludes.
    pub refuted: Vec<Cause>,
    /// What to do; none when nothing is known to help.
    pub fix: Option<Fix>,
}

impl Message for Incident {
    const SCHEMA: &str = "incident";
    const VERSION: u16 = 1;
}

//! What a trace tells on one node.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Message;
use crate::snapshot::Snapshot;

/// What a trace is not to exceed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// Hits of all its probes together, per CPU and second.
    HitsPerSecond,
    /// Time that its programs take of a CPU, of a thousand.
    CpuPermille,
    /// Lines that it writes, per second.
    LinesPerSecond,
    /// Entries that its maps may hold together.
    MapEntries,
    /// Memory of its maps, bytes.
    MemoryBytes,
    /// A limit that this reader does not know yet.
    #[default]
    #[serde(other)]
    Unknown,
}

impl Limit {
    /// The name that it is written under.
    pub const fn name(self) -> &'static str {
        match self {
            Self::HitsPerSecond => "hits_per_second",
            Self::CpuPermille => "cpu_permille",
            Self::LinesPerSecond => "lines_per_second",
            Self::MapEntries => "map_entries",
            Self::MemoryBytes => "memory_bytes",
            Self::Unknown => "unknown",
        }
    }
}

/// Why a trace ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum Ending {
    /// It was told to.
    Stopped,
    /// The script ended itself.
    Exited {
        /// The code that it exits with; 0 where it names none.
        #[serde(default)]
        code: u8,
    },
    /// Its time was over.
    Duration,
    /// Nobody renewed its lease.
    Lease,
    /// NATS was away for longer than its lease.
    NatsAway,
    /// The tracer ended.
    TracerEnded,
    /// It exceeded a limit.
    Limit {
        /// Which.
        limit: Limit,
        /// What was found.
        found: u64,
        /// What is allowed.
        allowed: u64,
        /// The same in a sentence.
        detail: String,
    },
    /// It could not begin, or not go on.
    Failed {
        /// Why.
        reason: String,
    },
    /// Why is told in a way that this reader does not know yet.
    #[default]
    #[serde(other)]
    Unknown,
}

impl Ending {
    /// Why, by the name that it is written under.
    pub const fn why(&self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Exited { .. } => "exited",
            Self::Duration => "duration",
            Self::Lease => "lease",
            Self::NatsAway => "nats_away",
            Self::TracerEnded => "tracer_ended",
            Self::Limit { .. } => "limit",
            Self::Failed { .. } => "failed",
            Self::Unknown => "unknown",
        }
    }
}

/// Where a trace stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum TraceState {
    /// Its programs are being loaded and attached.
    Starting,
    /// All its probes are attached.
    Running,
    /// Everything that it made in the kernel is gone.
    Ended {
        /// Why.
        ending: Ending,
    },
    /// A state that this reader does not know yet.
    #[default]
    #[serde(other)]
    Unknown,
}

/// A line that a trace wrote.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Line {
    /// The line, without its end; bytes that are no text are replaced.
    pub text: String,
    /// Whether it is for the error stream.
    pub error: bool,
}

/// What a trace lost on one node, since it began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TraceLosses {
    /// Records that found no room on their way out of the kernel.
    pub records: u64,
    /// Values that found no room in their map.
    pub values: u64,
    /// Hits at which a program was not run, as one ran on that CPU already; as far as the kernel counts them.
    pub hits: u64,
    /// Lines that were cut because they were too long.
    pub cut: u64,
}

/// What a trace told on one node since its last batch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TraceBatch {
    /// The node.
    pub node: String,
    /// The trace; the same on all its nodes.
    pub trace: String,
    /// When this was told, Unix ns UTC.
    pub time_unix_ns: u64,
    /// Where the trace stands; nothing comes after `ended`.
    pub state: TraceState,
    /// Number of the first of the lines, from 1: what comes between the batches that were read was lost, line by line.
    pub first: u64,
    /// Lines, in the order they were written.
    pub lines: Vec<Line>,
    /// All maps as they stand, in place of those of earlier batches; none when this batch tells nothing of them.
    pub maps: Option<Vec<Snapshot>>,
    /// What was lost so far.
    pub losses: TraceLosses,
}

impl Message for TraceBatch {
    const SCHEMA: &str = "trace";
    const VERSION: u16 = 1;

    fn node(&self) -> Option<&str> {
        Some(&self.node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ending_is_named_as_it_is_written() {
        let detail = String::new();
        for ending in [
            Ending::Stopped,
            Ending::Exited { code: 3 },
            Ending::Duration,
            Ending::Lease,
            Ending::NatsAway,
            Ending::TracerEnded,
            Ending::Limit { limit: Limit::MapEntries, found: 2, allowed: 1, detail },
            Ending::Failed { reason: String::new() },
            Ending::Unknown,
        ] {
            assert_eq!(serde_json::to_value(&ending).unwrap()["why"], ending.why());
        }
    }

    #[test]
    fn a_limit_is_named_as_it_is_written() {
        for limit in [
            Limit::HitsPerSecond,
            Limit::CpuPermille,
            Limit::LinesPerSecond,
            Limit::MapEntries,
            Limit::MemoryBytes,
            Limit::Unknown,
        ] {
            assert_eq!(serde_json::to_value(limit).unwrap(), limit.name());
        }
    }
}

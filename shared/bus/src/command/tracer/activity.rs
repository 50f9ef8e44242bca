//! What a tracer's traces come to together.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{SERVICE, TraceStatus};
use crate::command::Command;
use crate::message::trace::{Ending, Limit, TraceLosses, TraceState};

/// Asks what all traces of the tracer come to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetActivity {}

impl Command for GetActivity {
    const SERVICE: &str = SERVICE;
    const VERB: &str = "activity";
    type Answer = Activity;
}

/// All traces of a tracer since it began, also those that it does not tell of one by one any more.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Activity {
    /// Traces that run now, or are about to.
    pub running: u64,
    /// Traces that may run at once.
    pub running_max: u64,
    /// Traces that ended, by why.
    pub ended: BTreeMap<String, u64>,
    /// Traces that ended because they exceeded a limit, by which.
    pub exceeded: BTreeMap<Limit, u64>,
    /// Hits of their probes.
    pub hits: u64,
    /// Time that their programs took, on all CPUs, ns.
    pub run_ns: u64,
    /// Lines that they wrote.
    pub lines: u64,
    /// What they lost.
    pub losses: TraceLosses,
}

impl Activity {
    /// Adds a trace.
    pub fn add(&mut self, trace: &TraceStatus) {
        match &trace.state {
            TraceState::Ended { ending } => {
                *self.ended.entry(ending.why().to_owned()).or_default() += 1;
                if let Ending::Limit { limit, .. } = ending {
                    *self.exceeded.entry(*limit).or_default() += 1;
                }
            }
            TraceState::Starting | TraceState::Running | TraceState::Unknown => self.running += 1,
        }
        self.hits += trace.hits;
        self.run_ns += trace.run_ns;
        self.lines += trace.lines;
        let TraceLosses { records, values, hits, cut } = trace.losses;
        self.losses.records += records;
        self.losses.values += values;
        self.losses.hits += hits;
        self.losses.cut += cut;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_trace_counts_once_by_where_it_stands() {
        let mut activity = Activity::default();
        let losses = TraceLosses { records: 1, values: 2, hits: 5, cut: 3 };
        let mut add = |state| {
            activity.add(&TraceStatus { state, hits: 10, run_ns: 100, lines: 5, losses, ..TraceStatus::default() });
        };
        let detail = String::new();
        let limit = Ending::Limit { limit: Limit::HitsPerSecond, found: 2, allowed: 1, detail };
        for ending in [limit.clone(), limit, Ending::Exited { code: 0 }] {
            add(TraceState::Ended { ending });
        }
        add(TraceState::Running);
        let expected = Activity {
            running: 1,
            running_max: 0,
            ended: BTreeMap::from([("exited".into(), 1), ("limit".into(), 2)]),
            exceeded: BTreeMap::from([(Limit::HitsPerSecond, 2)]),
            hits: 40,
            run_ns: 400,
            lines: 20,
            losses: TraceLosses { records: 4, values: 8, hits: 20, cut: 12 },
        };
        assert_eq!(activity, expected);
    }
}

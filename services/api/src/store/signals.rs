//! Signals of the nodes, by time.

use std::collections::BTreeMap;
use std::sync::Arc;

use synscope_bus::clock::ClockOffset;
use synscope_bus::message::signal::NodeSignals;

/// Nodes of which the latest signals are kept; a further one's are not.
pub const NODES_MAX: usize = 4096;

/// The latest of each node, and those of late.
#[derive(Debug)]
pub struct Signals {
    latest: BTreeMap<String, Arc<NodeSignals>>,
    clocks: BTreeMap<String, ClockOffset>,
    past: BTreeMap<(u64, String), Arc<NodeSignals>>,
    bound: usize,
    kept_ns: u64,
    forgotten: u64,
    refused: u64,
}

impl Signals {
    /// None yet; `bound` are kept over all nodes, for `kept_ns`.
    pub const fn new(bound: usize, kept_ns: u64) -> Self {
        Self {
            latest: BTreeMap::new(),
            clocks: BTreeMap::new(),
            past: BTreeMap::new(),
            bound,
            kept_ns,
            forgotten: 0,
            refused: 0,
        }
    }

    /// Takes a reading; `stored_unix_ns` is when the server stored it, by its clock.
    pub fn add(&mut self, signals: NodeSignals, stored_unix_ns: u64, now_unix_ns: u64) {
        let signals = Arc::new(signals);
        let known = self.latest.contains_key(&signals.node);
        if !known && self.latest.len() >= NODES_MAX {
            self.refused += 1;
            return;
        }
        let latest = self.latest.entry(signals.node.clone()).or_insert_with(|| signals.clone());
        if latest.time_unix_ns <= signals.time_unix_ns {
            *latest = signals.clone();
        }
        self.clocks.entry(signals.node.clone()).or_default().add(signals.time_unix_ns, stored_unix_ns);
        self.past.insert((signals.time_unix_ns, signals.node.clone()), signals);
        let oldest = now_unix_ns.saturating_sub(self.kept_ns);
        while let Some(first) = self.past.first_entry() {
            let aged = first.key().0 < oldest;
            if !aged && self.past.len() <= self.bound {
                break;
            }
            self.past.pop_first();
            self.forgotten += u64::from(!aged);
        }
    }

    /// The latest of each node.
    pub const fn latest(&self) -> &BTreeMap<String, Arc<NodeSignals>> {
        &self.latest
    }

    /// The server's time less the node's, ns; none for a node that was never heard of.
    pub fn clock_offset_ns(&self, node: &str) -> Option<i64> {
        self.clocks.get(node)?.ns()
    }

    /// Those in the window (`until` is outside), oldest first; of each node the last in each step of `step_ns`.
    pub fn between(&self, since: u64, until: u64, node: Option<&str>, step_ns: u64) -> Vec<Arc<NodeSignals>> {
        if since >= until {
            return Vec::new();
        }
        let range = self.past.range((since, String::new())..(until, String::new()));
        let wanted = range.filter(|((_, name), _)| node.is_none_or(|node| name == node));
        if step_ns <= 1 {
            return wanted.map(|(_, signals)| signals.clone()).collect();
        }
        let mut last: BTreeMap<(u64, &str), &Arc<NodeSignals>> = BTreeMap::new();
        for ((time, name), signals) in wanted {
            last.insert(((time - since) / step_ns, name), signals);
        }
        last.into_values().cloned().collect()
    }

    /// Readings kept.
    pub fn len(&self) -> usize {
        self.past.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.past.is_empty()
    }

    /// Readings that went before their time, to make room.
    pub const fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Readings of nodes beyond [`NODES_MAX`].
    pub const fn refused(&self) -> u64 {
        self.refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(bound: usize, times: impl Iterator<Item = u64>) -> Signals {
        let mut signals = Signals::new(bound, 1000);
        for time_unix_ns in times {
            for node in ["a", "b"] {
                let reading = NodeSignals { node: node.into(), time_unix_ns, ..NodeSignals::default() };
                signals.add(reading, time_unix_ns + 2, time_unix_ns);
            }
        }
        signals
    }

    #[test]
    fn steps_keep_the_last_of_each_node() {
        let signals = filled(100, 10..30);
        let times: Vec<_> = signals.between(10, 30, Some("a"), 5).iter().map(|signals| signals.time_unix_ns).collect();
        assert_eq!(times, [14, 19, 24, 29]);
        assert_eq!((signals.between(10, 30, None, 5).len(), signals.between(10, 30, None, 0).len()), (8, 40));
        assert!(signals.between(30, 10, None, 0).is_empty());
    }

    #[test]
    fn the_oldest_go() {
        let signals = filled(10, 10..30);
        assert_eq!((signals.len(), signals.forgotten()), (10, 30));
        assert_eq!(signals.latest()["a"].time_unix_ns, 29);
        assert_eq!((signals.clock_offset_ns("a"), signals.clock_offset_ns("c")), (Some(2), None));
        assert_eq!(filled(100, [10, 2000].into_iter()).len(), 2);
    }
}

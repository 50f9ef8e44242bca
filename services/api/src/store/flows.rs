//! Flow events, newest last, each with a number of its own.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use synscope_bus::message::flow::{FlowEvent, FlowKind, Verdict};

/// Nodes whose losses are kept; a further one's are not.
const NODES_MAX: usize = 4096;

/// One flow event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Flow {
    /// Its place in the order of arrival at this instance; it grows by one.
    pub number: u64,
    /// The node that saw it.
    pub node: String,
    /// First SYN to SYN-ACK, ns; absent when not measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_ns: Option<u64>,
    /// The event.
    #[serde(flatten)]
    pub event: FlowEvent,
}

/// Which flows are wanted: all that is given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Either side's workload.
    pub workload: Option<String>,
    /// Either side's address, as the events write it.
    pub address: Option<String>,
    /// Either side's port.
    pub port: Option<u16>,
    /// What happened.
    pub kind: Option<FlowKind>,
    /// What became of the packet.
    pub verdict: Option<Verdict>,
    /// Least latency, ns; flows that were not measured do not have it.
    pub min_latency_ns: Option<u64>,
}

impl Filter {
    /// Whether the flow is wanted.
    pub fn matches(&self, flow: &Flow) -> bool {
        let event = &flow.event;
        let workload = |wanted: &String| {
            event.source_workload.as_ref() == Some(wanted) || event.destination_workload.as_ref() == Some(wanted)
        };
        self.workload.as_ref().is_none_or(workload)
            && self.address.as_ref().is_none_or(|wanted| event.source == *wanted || event.destination == *wanted)
            && self.port.is_none_or(|wanted| event.source_port == wanted || event.destination_port == wanted)
            && self.kind.is_none_or(|wanted| event.kind == wanted)
            && self.verdict.is_none_or(|wanted| event.verdict == wanted)
            && self.min_latency_ns.is_none_or(|least| flow.latency_ns.is_some_and(|latency| latency >= least))
    }
}

/// The latest flow events.
#[derive(Debug)]
pub struct Flows {
    ring: VecDeque<Arc<Flow>>,
    bound: usize,
    next: u64,
    lost: BTreeMap<String, u64>,
}

impl Flows {
    /// None yet; `bound` are kept.
    pub const fn new(bound: usize) -> Self {
        Self { ring: VecDeque::new(), bound, next: 1, lost: BTreeMap::new() }
    }

    /// Takes an event; the oldest makes room for it.
    pub fn add(&mut self, node: &str, event: FlowEvent) -> Arc<Flow> {
        let latency_ns = event.server_latency_ns;
        let flow = Arc::new(Flow { number: self.next, node: node.to_owned(), latency_ns, event });
        self.next += 1;
        self.ring.push_back(flow.clone());
        if self.ring.len() > self.bound {
            self.ring.pop_front();
        }
        flow
    }

    /// A node tells how many events it lost so far, before they were sent.
    pub fn tell_lost(&mut self, node: &str, lost: u64) {
        if let Some(known) = self.lost.get_mut(node) {
            *known = lost;
        } else if self.lost.len() < NODES_MAX {
            self.lost.insert(node.to_owned(), lost);
        }
    }

    /// Events that each node lost before they were sent, since its datapath began.
    pub const fn lost(&self) -> &BTreeMap<String, u64> {
        &self.lost
    }

    /// Flows kept.
    pub fn len(&self) -> usize {
        self.ring.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// Flows that went, to make room.
    pub fn forgotten(&self) -> u64 {
        self.next - 1 - self.ring.len() as u64
    }

    /// The newest `limit` wanted flows with numbers below `before`, newest first; and whether there may be more.
    pub fn newest(&self, filter: &Filter, before: Option<u64>, limit: usize) -> (Vec<Arc<Flow>>, bool) {
        let before = before.unwrap_or(u64::MAX);
        // Numbers in the ring follow each other.
        let end = self.ring.partition_point(|flow| flow.number < before);
        let mut wanted = self.ring.range(..end).rev().filter(|flow| filter.matches(flow));
        let page: Vec<_> = wanted.by_ref().take(limit).cloned().collect();
        let more = wanted.next().is_some();
        (page, more)
    }

    /// All, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Flow>> {
        self.ring.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(port: u16) -> FlowEvent {
        FlowEvent { source_port: port, ..FlowEvent::default() }
    }

    #[test]
    fn pages_meet_without_gap_or_overlap_while_flows_come() {
        let mut flows = Flows::new(50);
        for port in 1..=30 {
            flows.add("n", event(port));
        }
        let (mut before, mut seen) = (None, Vec::new());
        loop {
            let (page, more) = flows.newest(&Filter::default(), before, 7);
            seen.extend(page.iter().map(|flow| flow.number));
            before = page.last().map(|flow| flow.number);
            for port in 100..103 {
                flows.add("n", event(port));
            }
            if !more {
                break;
            }
        }
        assert_eq!(seen, (1..=30).rev().collect::<Vec<_>>());
    }

    #[test]
    fn the_oldest_goes_and_is_counted() {
        let mut flows = Flows::new(3);
        for port in 1..=5 {
            flows.add("n", event(port));
        }
        let filter = Filter { port: Some(3), ..Filter::default() };
        assert_eq!((flows.len(), flows.forgotten()), (3, 2));
        assert_eq!(flows.newest(&filter, None, 10).0.len(), 1);
        assert_eq!(flows.newest(&Filter::default(), Some(3), 10), (Vec::new(), false));
    }

    #[test]
    fn a_flow_that_was_not_measured_has_no_latency() {
        let mut flows = Flows::new(3);
        flows.add("n", event(1));
        let filter = Filter { min_latency_ns: Some(0), ..Filter::default() };
        assert!(flows.newest(&filter, None, 10).0.is_empty());
    }
}

//! What a cause is judged by: one edge's spikes, both ends' views, and the nodes.

use synscope_bus::message::incident::{Cause, Evidence, Finding, Measured, Spike};

use crate::nodes::{Counter, Moved, Nodes};
use crate::probe::{Counted, Kind, Seen};
use crate::words::duration;

/// An edge as one vantage sees it.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// The node that measured.
    pub node: String,
    /// What it saw within each of the case's spikes.
    pub spikes: Vec<Spike>,
    /// Its usual median, ns.
    pub normal_ns: Option<u64>,
}

impl View {
    fn sum(&self, of: impl Fn(&Spike) -> u64) -> u64 {
        self.spikes.iter().map(of).sum()
    }

    /// Connections that were slow.
    pub fn slow(&self) -> u64 {
        self.sum(|spike| spike.slow)
    }

    /// Connections that never came to be.
    pub fn failed(&self) -> u64 {
        self.sum(|spike| spike.failed)
    }

    /// Those of them that a reset ended.
    pub fn reset(&self) -> u64 {
        self.sum(|spike| spike.reset)
    }

    /// SYNs sent again.
    pub fn retries(&self) -> u64 {
        self.sum(|spike| spike.retries)
    }

    /// SYNs that nothing answered: those that were sent again for it, and the last ones, after which the client gave up. A
    /// client that gives up at once sends none again.
    pub fn lost(&self) -> u64 {
        self.retries() + self.failed().saturating_sub(self.reset())
    }

    /// SYNs that the node's own table dropped.
    pub fn dropped(&self) -> u64 {
        self.sum(|spike| spike.dropped)
    }

    /// The largest median of the slow ones, ns; where none was slow, the usual median.
    pub fn slow_ns(&self) -> u64 {
        let slow = self.spikes.iter().map(|spike| spike.p50_ns).max().filter(|slow| *slow > 0);
        slow.or(self.normal_ns).unwrap_or(0)
    }
}

/// Refusal, loss or delay: the first question (DIAGNOSIS.md 3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pattern {
    /// Resets end the handshakes.
    Refusal,
    /// SYNs were sent again, or never answered: latencies come in steps of 1, 3, 7 s, or of whole seconds.
    Loss,
    /// Slow without a SYN sent again.
    Delay,
    /// Some of both, or too little to tell.
    Mixed,
}

/// One edge that has spikes.
#[derive(Debug)]
pub struct Case<'a> {
    /// The edge.
    pub edge: &'a str,
    /// Its spikes, from the vantage that tells most.
    pub spikes: &'a [Spike],
    /// The client's node's view; none where no agent was there.
    pub client: Option<View>,
    /// The server's node's view; none where no agent was there.
    pub server: Option<View>,
    /// Nodes at its ends whose clocks are too far from the one that the spikes were measured by, and how far, ns: their
    /// views are in neither of these, and their counters are no evidence.
    pub apart: Vec<(String, u64)>,
    /// All nodes.
    pub nodes: &'a Nodes,
}

impl Case<'_> {
    /// Refusal, loss or delay.
    pub fn pattern(&self) -> Pattern {
        let most = |of: fn(&View) -> u64| self.views().map(of).max().unwrap_or(0);
        let (slow, failed, reset) = (most(View::slow), most(View::failed), most(View::reset));
        let retries = self.client.as_ref().or(self.server.as_ref()).map_or(0, View::retries);
        let dropped: u64 = self.spikes.iter().map(|spike| spike.dropped).sum();
        let lost = retries + dropped + failed.saturating_sub(reset);
        if reset > 0 && reset * 2 >= slow + failed + retries + dropped {
            Pattern::Refusal
        } else if lost > 0 && lost * 2 >= slow + failed {
            Pattern::Loss
        } else if slow > 0 && lost * 10 < slow {
            Pattern::Delay
        } else {
            Pattern::Mixed
        }
    }

    /// SYNs that were lost, as the end tells that sent them.
    pub fn lost(&self) -> u64 {
        self.client.as_ref().or(self.server.as_ref()).map_or(0, View::lost)
    }

    /// Whether this is half of what was lost, at least.
    pub fn is_half_of_lost(&self, syns: u64) -> bool {
        syns > 0 && syns * 2 >= self.lost()
    }

    /// Whether so many drops explain what was lost. They are not counted by edge: where a table, which is, tells that it
    /// dropped this edge's SYNs, they were others'.
    pub fn explains(&self, drops: u64) -> bool {
        self.is_half_of_lost(drops) && !self.is_half_of_lost(self.views().map(View::dropped).sum())
    }

    /// Whether what is lost can have been lost on this node: on the server's it was seen to arrive again and again, on the
    /// client's it was not. Where both are one, or one was not observed, it can.
    pub fn may_drop(&self, node: &str) -> bool {
        let (Some(client), Some(server)) = (&self.client, &self.server) else { return true };
        if client.node == server.node {
            true
        } else if server.node == node {
            server.lost() * 2 >= client.lost()
        } else {
            server.lost() * 2 <= client.lost()
        }
    }

    /// SYNs of this edge that a node's own table dropped.
    pub fn dropped_on(&self, node: &str) -> u64 {
        self.views().filter(|view| view.node == node).map(View::dropped).sum()
    }

    /// The nodes at both ends, client first, each once.
    pub fn nodes_at_ends(&self) -> Vec<&str> {
        let mut nodes: Vec<&str> = self.views().map(|view| view.node.as_str()).collect();
        nodes.dedup();
        nodes
    }

    /// How a counter moved on a node.
    pub fn moved(&self, node: &str, counter: Counter) -> Option<Moved> {
        self.nodes.moved(node, counter, self.spikes)
    }

    /// What a probe saw on a node beside the spikes, or why that says nothing; none where it never ran.
    pub fn seen(&self, kind: Kind, node: &str) -> Option<Result<Seen, String>> {
        self.nodes.seen(kind, node, self.spikes)
    }

    /// Connections that a reset ended, or else SYNs that were lost, in the part of the spikes that a probe covered.
    pub fn suffered_in(&self, seen: &Seen) -> u64 {
        let Some(view) = self.client.as_ref().or(self.server.as_ref()) else { return 0 };
        let is_refusal = self.pattern() == Pattern::Refusal;
        let of = |spike: &Spike| {
            if is_refusal { spike.reset } else { spike.retries + spike.failed.saturating_sub(spike.reset) }
        };
        view.spikes
            .iter()
            .zip(&seen.covered_per_mille)
            .map(|(spike, share)| of(spike) * share)
            .sum::<u64>()
            .div_ceil(1000)
    }

    /// A cause that needs a source that could not be read.
    pub fn not_observed(&self, name: &str, node: Option<&str>, source: &str) -> Cause {
        let apart = self.apart.iter().map(|(node, apart)| {
            format!(" (the clock of {node} is {} off, so that its seconds cannot be compared)", duration(*apart))
        });
        let apart: String = apart.collect();
        Cause {
            finding: Finding::NotObserved,
            summary: format!("not observed: {source}{apart}; so this can be neither shown nor excluded"),
            ..cause(name, node)
        }
    }

    fn views(&self) -> impl Iterator<Item = &View> {
        self.client.iter().chain(&self.server)
    }
}

/// A cause with nothing said yet.
pub fn cause(name: &str, node: Option<&str>) -> Cause {
    Cause { name: name.to_owned(), node: node.map(str::to_owned), ..Cause::default() }
}

/// A counter's moves as evidence.
pub fn counted(counter: Counter, moved: Moved, node: &str) -> Evidence {
    let within = moved.netns.map(|netns| format!(" in the network namespace {netns}")).unwrap_or_default();
    number(&format!("{}{within}", counter.name()), moved.inside, Some(moved.outside), counter.unit(), Some(node))
}

/// What a probe counted, as evidence.
pub fn probed(name: &str, counted: Counted, seen: &Seen) -> Evidence {
    let measured: Option<Measured> = Some(seen.measured.clone());
    Evidence { measured, ..number(name, counted.inside, Some(counted.outside), "1", Some(&seen.node)) }
}

/// A number as evidence.
pub fn number(name: &str, value: u64, baseline: Option<u64>, unit: &str, node: Option<&str>) -> Evidence {
    #[allow(clippy::cast_precision_loss, reason = "for people")]
    let float = |n: u64| n as f64;
    Evidence {
        name: name.to_owned(),
        value: float(value),
        baseline: baseline.map(float),
        unit: unit.to_owned(),
        node: node.map(str::to_owned),
        measured: None,
    }
}

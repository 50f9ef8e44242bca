//! How the nodes' counters and fills were inside and outside of the spikes.

use std::collections::BTreeMap;

use synscope_bus::clock::ClockOffset;
use synscope_bus::message::incident::{ProbeOutcome, Spike};
use synscope_bus::message::signal::NodeSignals;

use crate::probe::{Kind, Seen, Seens, Watch};
use crate::scale::Scale;
use crate::signals::Node;
pub use crate::signals::{Counter, Fill};
use crate::track::Track;

/// Nodes that are remembered.
const NODES_MAX: usize = 10_000;
/// A counter is read once a second or so: what moved in a spike may be seen a little later. ns
pub(crate) const SLACK_NS: u64 = 1_000_000_000;
/// A SYN that was refused comes again after a second at the earliest (RFC 6298), so within that time each is another's. ns
const RTO_NS: u64 = 1_000_000_000;
/// Clocks that are nearer to each other than that are not told apart: messages take time as well. ns
const APART_MIN_NS: u64 = 250_000_000;

/// How a counter moved in one network namespace.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Moved {
    /// The namespace's inode; none where it is the node's own.
    pub netns: Option<u64>,
    /// In the spikes, together.
    pub inside: u64,
    /// In all the rest.
    pub outside: u64,
    /// What the spikes have more than the rest in as long a time.
    pub beyond: u64,
    /// Spikes in which it moved.
    pub spikes: usize,
    /// Spikes in which it was read.
    pub observed: usize,
}

impl Moved {
    /// In at least two of three spikes.
    pub const fn mostly(&self) -> bool {
        self.observed > 0 && self.spikes * 3 >= self.observed * 2
    }
}

/// One of Cilium's connection tables.
#[derive(Debug, Clone, PartialEq)]
pub struct CiliumTable {
    /// Its name.
    pub name: String,
    /// The fullest in the spikes.
    pub inside: Fill,
    /// The fullest otherwise.
    pub outside: Fill,
    /// An LRU table evicts instead of refusing.
    pub lru: bool,
}

/// All nodes.
#[derive(Debug, Clone)]
pub struct Nodes {
    scale: Scale,
    known: BTreeMap<String, Node>,
    clocks: BTreeMap<String, ClockOffset>,
    seens: Seens,
    refused: u64,
}

impl Nodes {
    /// None yet.
    pub fn new(scale: Scale) -> Self {
        Self { scale, known: BTreeMap::new(), clocks: BTreeMap::new(), seens: Seens::default(), refused: 0 }
    }

    /// Takes one reading, late or in order; `stored_unix_ns` is when the server had it, by its clock. One of a time that is
    /// there already changes nothing.
    pub fn add(&mut self, signals: &NodeSignals, stored_unix_ns: u64) {
        if !self.known.contains_key(&signals.node) && self.known.len() >= NODES_MAX {
            self.refused += 1;
            return;
        }
        self.known.entry(signals.node.clone()).or_default().add(signals, &self.scale);
        self.clocks.entry(signals.node.clone()).or_default().add(signals.time_unix_ns, stored_unix_ns);
    }

    /// Readings of nodes beyond the bound.
    pub const fn refused(&self) -> u64 {
        self.refused
    }

    /// Forgets the nodes that told nothing for as long as anything is remembered.
    pub fn retire(&mut self, now_unix_ns: u64) {
        let since = now_unix_ns.saturating_sub(self.scale.memory_ns);
        self.known.retain(|_, node| node.latest_unix_ns() >= since);
        self.clocks.retain(|node, _| self.known.contains_key(node));
        self.seens.retire(since);
    }

    /// Takes what a probe saw on a node, once it has ended.
    pub(crate) fn add_watch(&mut self, watch: Watch) {
        self.seens.add(watch);
    }

    /// What a probe saw on a node beside these spikes, or why that says nothing; none where it never ran.
    pub fn seen(&self, kind: Kind, node: &str, spikes: &[Spike]) -> Option<Result<Seen, String>> {
        self.seens.of(kind, node, spikes, &self.scale)
    }

    /// What became of a trace on a node; none where that is not remembered.
    pub(crate) fn outcome(&self, trace: &str, node: &str, spikes: &[Spike]) -> Option<ProbeOutcome> {
        self.seens.outcome(trace, node, spikes, &self.scale)
    }

    /// How far a node's clock is from another's, ns, where it is so far that their seconds cannot be compared: half a
    /// bucket.
    pub fn apart(&self, node: &str, from: &str) -> Option<u64> {
        let offset = |node: &str| self.clocks.get(node)?.ns();
        let apart = offset(node)?.abs_diff(offset(from)?);
        (apart > (self.scale.bucket_ns / 2).max(APART_MIN_NS)).then_some(apart)
    }

    /// How a counter moved in and out of the spikes, in the namespace where the spikes have most more than the rest; none
    /// when it was not observed in any of them. Namespaces are not added up: one drops what another never saw.
    pub fn moved(&self, node: &str, counter: Counter, spikes: &[Spike]) -> Option<Moved> {
        let all = self.known.get(node)?.counted(counter).filter_map(|(netns, track)| {
            let moved = self.moved_in(track, spikes)?;
            Some(Moved { netns: (netns != 0).then_some(netns), ..moved })
        });
        all.max_by_key(|moved| (moved.beyond, moved.inside, moved.observed))
    }

    fn moved_in(&self, track: &Track<u64>, spikes: &[Spike]) -> Option<Moved> {
        let mut moved = Moved::default();
        let mut in_spike = vec![None; spikes.len()];
        let (mut inside_ns, mut outside_ns) = (0_u64, 0_u64);
        for (from, to, delta) in steps(track) {
            let first = spikes.partition_point(|spike| spike.end_unix_ns + SLACK_NS <= from);
            let met = spikes.iter().enumerate().skip(first).take_while(|(_, spike)| spike.start_unix_ns < to);
            let (mut is_inside, mut is_long) = (false, false);
            for (place, spike) in met {
                is_inside = true;
                // Of readings further apart than this it is not known when it moved.
                let length = spike.end_unix_ns - spike.start_unix_ns + 2 * self.scale.bucket_ns + SLACK_NS;
                is_long = delta > 0 && to - from > length;
                if let Some(seen) = in_spike.get_mut(place).filter(|_| !is_long) {
                    *seen = Some(seen.unwrap_or(false) || delta > 0);
                }
            }
            match (is_inside, is_long) {
                (true, true) => {}
                (true, false) => (moved.inside, inside_ns) = (moved.inside + delta, inside_ns + (to - from)),
                (false, _) => (moved.outside, outside_ns) = (moved.outside + delta, outside_ns + (to - from)),
            }
        }
        let usual = u128::from(moved.outside) * u128::from(inside_ns) / u128::from(outside_ns.max(1));
        moved.beyond = moved.inside.saturating_sub(u64::try_from(usual).unwrap_or(u64::MAX));
        moved.observed = in_spike.iter().flatten().count();
        moved.spikes = in_spike.iter().flatten().filter(|moved| **moved).count();
        (moved.observed > 0).then_some(moved)
    }

    /// The most that a counter moved within a second, inside of the spikes: of SYNs that are refused, these are as many
    /// connections. None when it was not observed.
    pub fn most_in_a_second(&self, node: &str, counter: Counter, spikes: &[Spike]) -> Option<u64> {
        let is_inside =
            |at: u64| spikes.iter().any(|spike| (spike.start_unix_ns..=spike.end_unix_ns + SLACK_NS).contains(&at));
        let most = |track: &Track<u64>| {
            let moves: Vec<(u64, u64, u64)> = steps(track).filter(|(_, _, delta)| *delta > 0).collect();
            let within = |(place, (from, to, delta)): (usize, &(u64, u64, u64))| {
                // Read more rarely than once a second: a second's part of it.
                if to - from > RTO_NS {
                    return delta * RTO_NS / (to - from);
                }
                let later = moves.iter().skip(place).take_while(|(_, to, _)| to - from <= RTO_NS);
                later.map(|(_, _, delta)| delta).sum()
            };
            moves.iter().enumerate().filter(|(_, (_, to, _))| is_inside(*to)).map(within).max().unwrap_or(0)
        };
        self.known.get(node)?.counted(counter).map(|(_, track)| most(track)).max()
    }

    /// Whether a node told at most half as often of itself as usual, in most of the spikes.
    pub fn is_silent(&self, node: &str, spikes: &[Spike]) -> bool {
        let Some(node) = self.known.get(node) else { return false };
        let silent = |spike: &&Spike| node.is_silent(spike.start_unix_ns, spike.end_unix_ns, &self.scale);
        !spikes.is_empty() && spikes.iter().filter(silent).count() * 3 >= spikes.len() * 2
    }

    /// The fullest that synscope's own table was, in the spikes and otherwise.
    pub fn table(&self, node: &str, spikes: &[Spike]) -> Option<(Fill, Fill)> {
        fullest(&self.known.get(node)?.table, spikes, self.scale.bucket_ns)
    }

    /// The same for `nf_conntrack` of one namespace; of the fullest where it is none.
    pub fn nf(&self, node: &str, netns: Option<u64>, spikes: &[Spike]) -> Option<(Fill, Fill)> {
        let tables = self.known.get(node)?.nf.iter().filter(|(inode, _)| netns.is_none_or(|netns| **inode == netns));
        let fills = tables.filter_map(|(_, fills)| fullest(fills, spikes, self.scale.bucket_ns));
        fills.max_by(|a, b| a.0.share().total_cmp(&b.0.share()))
    }

    /// Cilium's connection tables; none when maps were not observed.
    pub fn cilium(&self, node: &str, spikes: &[Spike]) -> Option<Vec<CiliumTable>> {
        let tables = self.known.get(node)?.cilium.as_ref()?;
        let table = |(name, table): (&std::sync::Arc<str>, &crate::signals::Cilium)| {
            let (inside, outside) = fullest(&table.fills, spikes, self.scale.bucket_ns)?;
            Some(CiliumTable { name: name.to_string(), inside, outside, lru: table.lru })
        };
        Some(tables.iter().filter_map(table).collect())
    }

    /// How full the node's own table was over time, in a window: (Unix ns, fill), oldest first.
    pub fn fills(&self, node: &str, from_unix_ns: u64, to_unix_ns: u64) -> Vec<(u64, Fill)> {
        let Some(node) = self.known.get(node) else { return Vec::new() };
        let within = node.table.iter().filter(|told| told.to >= from_unix_ns && told.from < to_unix_ns);
        within.map(|told| (told.from.max(from_unix_ns), told.value)).collect()
    }

    /// The largest number of entries in a window; none when none was read there.
    pub fn peak_entries(&self, node: &str, from_unix_ns: u64, to_unix_ns: u64) -> Option<u64> {
        self.fills(node, from_unix_ns, to_unix_ns).into_iter().map(|(_, fill)| fill.live).max()
    }

    /// When the node's table grew to so many entries, at or after a time; none when it did not, or was as large before.
    pub fn grown_since(&self, node: &str, entries: u64, from_unix_ns: u64) -> Option<u64> {
        let mut before = None;
        for told in self.known.get(node)?.table.iter() {
            let max = told.value.max;
            if told.to >= from_unix_ns && max >= entries && before.is_none_or(|before| before < entries) {
                return Some(told.from.max(from_unix_ns));
            }
            before = Some(max);
        }
        None
    }
}

/// How a counter went on: from when, to when, by how much. One that went back began anew: what moved meanwhile is not
/// known.
fn steps(track: &Track<u64>) -> impl Iterator<Item = (u64, u64, u64)> {
    let mut before: Option<(u64, u64)> = None;
    track.iter().flat_map(move |told| {
        let moved = before.and_then(|(at, value)| Some((at, told.from, told.value.checked_sub(value)?)));
        before = Some((told.to, told.value));
        let stood = (told.to > told.from).then_some((told.from, told.to, 0));
        moved.into_iter().chain(stood)
    })
}

/// In the spikes and otherwise; what is within `margin_ns` of a spike, whose ends are known to a bucket, is neither.
fn fullest(track: &Track<Fill>, spikes: &[Spike], margin_ns: u64) -> Option<(Fill, Fill)> {
    let (mut inside, mut outside): (Option<Fill>, Option<Fill>) = (None, None);
    for told in track.iter() {
        let within = |spike: &Spike| told.to >= spike.start_unix_ns && told.from < spike.end_unix_ns + SLACK_NS;
        let around = |spike: &Spike| {
            told.from + margin_ns >= spike.start_unix_ns && told.to < spike.end_unix_ns + SLACK_NS + margin_ns
        };
        let is_fuller = |place: &Option<Fill>| place.is_none_or(|fullest| told.value.share() > fullest.share());
        if is_fuller(&inside) && spikes.iter().any(within) {
            inside = Some(told.value);
        }
        let shared = |spike: &Spike| told.to.min(spike.end_unix_ns).saturating_sub(told.from.max(spike.start_unix_ns));
        // What lasted for longer outside of the spikes than inside was so outside as well.
        let is_mostly_outside = spikes.iter().map(shared).sum::<u64>() * 2 <= told.to - told.from;
        if is_fuller(&outside) && is_mostly_outside && !spikes.iter().any(around) {
            outside = Some(told.value);
        }
    }
    inside.map(|inside| (inside, outside.unwrap_or(Fill { live: 0, max: inside.max })))
}

#[cfg(test)]
mod tests {
    use synscope_bus::message::signal::{Conntrack, Observed};

    use super::*;

    const S: u64 = 1_000_000_000;

    fn signals(at_s: u64, dropped_syns: Option<u64>) -> NodeSignals {
        let conntrack = dropped_syns.map_or_else(Observed::default, |dropped_syns| Observed::Observed {
            value: Conntrack { live: 9, max: 10, dropped_syns, ..Conntrack::default() },
        });
        NodeSignals { node: "a".into(), time_unix_ns: at_s * S, conntrack, ..NodeSignals::default() }
    }

    fn spike(from_s: u64, to_s: u64) -> Spike {
        Spike { start_unix_ns: from_s * S, end_unix_ns: to_s * S, ..Spike::default() }
    }

    #[test]
    fn what_moved_inside_is_told_from_what_moved_outside_and_resets_are_left_out() {
        let mut nodes = Nodes::new(Scale::new(1.0));
        for (at, dropped) in [(10, 5), (11, 5), (20, 5), (21, 9), (23, 9), (24, 9), (30, 10), (31, 2), (40, 2), (41, 2)]
        {
            nodes.add(&signals(at, Some(dropped)), at * S);
        }
        let moved = nodes.moved("a", Counter::TableDropped, &[spike(20, 22), spike(40, 41)]).unwrap();
        assert_eq!((moved.inside, moved.outside, moved.spikes, moved.observed), (4, 1, 1, 2));
        assert!(!moved.mostly());
        assert_eq!(nodes.table("a", &[spike(20, 22)]).unwrap().0, Fill { live: 9, max: 10 });
    }

    #[test]
    fn a_late_reading_takes_its_place() {
        let mut nodes = Nodes::new(Scale::new(1.0));
        for (at, dropped) in [(0, 0), (20, 9), (10, 4), (10, 4), (30, 9)] {
            nodes.add(&signals(at, Some(dropped)), at * S);
        }
        let moved = nodes.moved("a", Counter::TableDropped, &[spike(1, 8)]).unwrap();
        assert_eq!((moved.inside + moved.outside, moved.spikes), (9, 1));
    }

    #[test]
    fn what_was_not_read_is_not_zero() {
        let mut nodes = Nodes::new(Scale::new(1.0));
        for at in 10..20 {
            nodes.add(&signals(at, None), at * S);
        }
        assert_eq!(nodes.moved("a", Counter::TableDropped, &[spike(12, 14)]), None);
        assert_eq!(nodes.moved("b", Counter::TableDropped, &[spike(12, 14)]), None);
        assert_eq!(nodes.cilium("a", &[spike(12, 14)]), None);
    }
}

//! What the nodes said about themselves: counters inside and outside of the spikes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use synscope_bus::message::incident::Spike;
use synscope_bus::message::signal::NodeSignals;

use crate::scale::Scale;

/// Nodes that are remembered.
const NODES_MAX: usize = 10_000;
/// Samples of one node that are remembered.
const SAMPLES_MAX: usize = 8000;
/// A counter is read once a second or so: what moved in a spike may be seen a little later. ns
const SLACK_NS: u64 = 1_000_000_000;

/// A node is silent when it says nothing for so many times as long as it usually does.
const UNUSUAL: u64 = 5;

/// How full a table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fill {
    /// Entries.
    pub live: u64,
    /// Entries at most.
    pub max: u64,
}

impl Fill {
    /// 0 to 1.
    #[allow(clippy::cast_precision_loss, reason = "a share")]
    pub fn share(self) -> f64 {
        self.live as f64 / self.max.max(1) as f64
    }
}

/// A counter that causes ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Counter {
    /// Failed insertions into synscope's own table, for lack of room.
    TableFull,
    /// SYNs that its table had no room for.
    TableRefused,
    /// SYNs that it dropped for that.
    TableDropped,
    /// Packets that `nf_conntrack` dropped: full, and nothing to drop early.
    NfDrop,
    /// Entries that `nf_conntrack` dropped early to make room.
    NfEarlyDrop,
    /// SYNs and handshakes dropped because the accept queue was full.
    ListenOverflows,
    /// All drops of listening sockets.
    ListenDrops,
    /// SYNs and SYN-ACKs sent again.
    SynRetrans,
    /// Packets dropped by the network filter, as `kfree_skb` saw them.
    FilterDrops,
}

impl Counter {
    /// For people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TableFull => "failed insertions (E2BIG)",
            Self::TableRefused => "SYNs without room in the table",
            Self::TableDropped => "SYNs dropped by the full table",
            Self::NfDrop => "nf_conntrack drop",
            Self::NfEarlyDrop => "nf_conntrack early_drop",
            Self::ListenOverflows => "ListenOverflows",
            Self::ListenDrops => "ListenDrops",
            Self::SynRetrans => "TCPSynRetrans",
            Self::FilterDrops => "NETFILTER_DROP",
        }
    }
}

/// What of one reading is remembered. What is not in it was not observed.
#[derive(Debug, Clone, Default)]
struct Sample {
    time_unix_ns: u64,
    counters: BTreeMap<Counter, u64>,
    table: Option<Fill>,
    nf: Option<Fill>,
    cilium: Vec<(Arc<str>, Fill, bool)>,
    cilium_observed: bool,
}

/// How a counter moved.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Moved {
    /// In the spikes, together.
    pub inside: u64,
    /// In all the rest.
    pub outside: u64,
    /// Spikes in which it moved.
    pub spikes: usize,
    /// Spikes in which it was read.
    pub observed: usize,
    /// The largest move per second, anywhere.
    pub peak_per_second: f64,
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
    samples: BTreeMap<String, VecDeque<Sample>>,
    names: BTreeMap<String, Arc<str>>,
    refused: u64,
}

impl Nodes {
    /// None yet.
    pub const fn new(scale: Scale) -> Self {
        Self { scale, samples: BTreeMap::new(), names: BTreeMap::new(), refused: 0 }
    }

    /// Takes one reading, late or in order; one of a time that is there already changes nothing.
    pub fn add(&mut self, signals: &NodeSignals) {
        if !self.samples.contains_key(&signals.node) && self.samples.len() >= NODES_MAX {
            self.refused += 1;
            return;
        }
        let sample = self.sample(signals);
        let samples = self.samples.entry(signals.node.clone()).or_default();
        let place = samples.partition_point(|known| known.time_unix_ns < sample.time_unix_ns);
        if samples.get(place).is_some_and(|known| known.time_unix_ns == sample.time_unix_ns) {
            return;
        }
        samples.insert(place, sample);
        let latest = samples.back().map_or(0, |last| last.time_unix_ns);
        let oldest = latest.saturating_sub(self.scale.history_ns);
        while samples.len() > SAMPLES_MAX || samples.front().is_some_and(|first| first.time_unix_ns < oldest) {
            samples.pop_front();
        }
    }

    /// Readings of nodes beyond the bound.
    pub const fn refused(&self) -> u64 {
        self.refused
    }

    /// How a counter moved in and out of the spikes; none when it was not observed in any of them.
    pub fn moved(&self, node: &str, counter: Counter, spikes: &[Spike]) -> Option<Moved> {
        let samples = self.samples.get(node)?;
        let mut moved = Moved::default();
        let mut in_spike = vec![None; spikes.len()];
        for (earlier, later) in samples.iter().zip(samples.iter().skip(1)) {
            let (Some(from), Some(to)) = (earlier.counters.get(&counter), later.counters.get(&counter)) else {
                continue;
            };
            // A counter that went back began anew: what moved meanwhile is not known.
            let Some(delta) = to.checked_sub(*from) else { continue };
            let elapsed = later.time_unix_ns - earlier.time_unix_ns;
            moved.peak_per_second = moved.peak_per_second.max(per_second(delta, elapsed));
            let mut inside = false;
            for (spike, seen) in spikes.iter().zip(&mut in_spike) {
                if later.time_unix_ns > spike.start_unix_ns && earlier.time_unix_ns < spike.end_unix_ns + SLACK_NS {
                    *seen = Some(seen.unwrap_or(false) || delta > 0);
                    inside = true;
                }
            }
            if inside {
                moved.inside += delta;
            } else {
                moved.outside += delta;
            }
        }
        moved.observed = in_spike.iter().flatten().count();
        moved.spikes = in_spike.iter().flatten().filter(|moved| **moved).count();
        (moved.observed > 0).then_some(moved)
    }

    /// Whether a node told nothing of itself for half of a spike's time, in most of the spikes, and that is not usual.
    pub fn is_silent(&self, node: &str, spikes: &[Spike]) -> bool {
        let Some(samples) = self.samples.get(node) else { return false };
        let (first, last) = (samples.front(), samples.back());
        let watched = first.zip(last).map_or(0, |(first, last)| last.time_unix_ns - first.time_unix_ns);
        let usual_ns = watched / (samples.len() as u64).max(1);
        let silent = |spike: &&Spike| {
            let begin = samples.partition_point(|sample| sample.time_unix_ns < spike.start_unix_ns);
            let within = samples.range(begin..).map(|sample| sample.time_unix_ns);
            let (mut longest, mut before) = (0, spike.start_unix_ns);
            for time in within.take_while(|time| *time < spike.end_unix_ns).chain([spike.end_unix_ns]) {
                longest = longest.max(time - before);
                before = time;
            }
            longest * 2 >= spike.end_unix_ns - spike.start_unix_ns && longest > usual_ns * UNUSUAL
        };
        !spikes.is_empty() && spikes.iter().filter(silent).count() * 3 >= spikes.len() * 2
    }

    /// The fullest that synscope's own table was, in the spikes and otherwise.
    pub fn table(&self, node: &str, spikes: &[Spike]) -> Option<(Fill, Fill)> {
        self.fullest(node, spikes, |sample| sample.table)
    }

    /// The same for `nf_conntrack`.
    pub fn nf(&self, node: &str, spikes: &[Spike]) -> Option<(Fill, Fill)> {
        self.fullest(node, spikes, |sample| sample.nf)
    }

    /// Cilium's connection tables; none when maps were not observed.
    pub fn cilium(&self, node: &str, spikes: &[Spike]) -> Option<Vec<CiliumTable>> {
        let samples = self.samples.get(node)?;
        samples.iter().any(|sample| sample.cilium_observed).then_some(())?;
        let names: BTreeMap<&Arc<str>, bool> =
            samples.iter().flat_map(|sample| &sample.cilium).map(|(name, _, lru)| (name, *lru)).collect();
        let table = |(name, lru): (&Arc<str>, bool)| {
            let fill =
                |sample: &Sample| sample.cilium.iter().find(|(known, ..)| known == name).map(|(_, fill, _)| *fill);
            let (inside, outside) = self.fullest(node, spikes, fill)?;
            Some(CiliumTable { name: name.to_string(), inside, outside, lru })
        };
        Some(names.into_iter().filter_map(table).collect())
    }

    /// The largest number of entries in a window; none when none was read there.
    pub fn peak_entries(&self, node: &str, from_unix_ns: u64, to_unix_ns: u64) -> Option<u64> {
        let within = |sample: &&Sample| (from_unix_ns..to_unix_ns).contains(&sample.time_unix_ns);
        self.samples.get(node)?.iter().filter(within).filter_map(|sample| Some(sample.table?.live)).max()
    }

    /// When the node's table grew to so many entries, at or after a time; none when it did not, or was as large before.
    pub fn grown_since(&self, node: &str, entries: u64, from_unix_ns: u64) -> Option<u64> {
        let samples = self.samples.get(node)?.iter();
        let sizes = samples.filter_map(|sample| Some((sample.time_unix_ns, sample.table?.max)));
        let mut before = None;
        for (at, max) in sizes {
            if at >= from_unix_ns && max >= entries && before.is_none_or(|before| before < entries) {
                return Some(at);
            }
            before = Some(max);
        }
        None
    }

    fn fullest(&self, node: &str, spikes: &[Spike], fill: impl Fn(&Sample) -> Option<Fill>) -> Option<(Fill, Fill)> {
        let within = |sample: &Sample| {
            let at = sample.time_unix_ns;
            spikes.iter().any(|spike| (spike.start_unix_ns..spike.end_unix_ns + SLACK_NS).contains(&at))
        };
        let (mut inside, mut outside): (Option<Fill>, Option<Fill>) = (None, None);
        for sample in self.samples.get(node)? {
            let Some(fill) = fill(sample) else { continue };
            let place = if within(sample) { &mut inside } else { &mut outside };
            if place.is_none_or(|fullest| fill.share() > fullest.share()) {
                *place = Some(fill);
            }
        }
        inside.map(|inside| (inside, outside.unwrap_or(Fill { live: 0, max: inside.max })))
    }

    fn sample(&mut self, signals: &NodeSignals) -> Sample {
        let mut sample = Sample { time_unix_ns: signals.time_unix_ns, ..Sample::default() };
        let counters = &mut sample.counters;
        if let Some(table) = signals.conntrack.value() {
            sample.table = Some(Fill { live: table.live, max: table.max });
            counters.insert(Counter::TableFull, table.insert_failures.get("E2BIG").copied().unwrap_or(0));
            counters.insert(Counter::TableRefused, table.refused_syns);
            counters.insert(Counter::TableDropped, table.dropped_syns);
        }
        if let Some(namespaces) = signals.nf_conntrack.value() {
            let sum = |name: &str| namespaces.iter().filter_map(|namespace| namespace.counters.get(name)).sum();
            counters.insert(Counter::NfDrop, sum("drop"));
            counters.insert(Counter::NfEarlyDrop, sum("early_drop"));
            let fills = namespaces.iter().map(|namespace| Fill { live: namespace.live, max: namespace.max });
            sample.nf = fills.max_by(|a, b| a.share().total_cmp(&b.share()));
        }
        if let Some(namespaces) = signals.tcp.value() {
            let sum = |name: &str| namespaces.iter().filter_map(|namespace| namespace.counters.get(name)).sum();
            counters.insert(Counter::ListenOverflows, sum("ListenOverflows"));
            counters.insert(Counter::ListenDrops, sum("ListenDrops"));
            counters.insert(Counter::SynRetrans, sum("TCPSynRetrans"));
        }
        if let Some(drops) = signals.drops.value() {
            let filter = drops.iter().filter(|drops| drops.reason == "NETFILTER_DROP");
            counters.insert(Counter::FilterDrops, filter.map(|drops| drops.packets).sum());
        }
        if let Some(maps) = signals.maps.value() {
            sample.cilium_observed = true;
            for map in maps.iter().filter(|map| map.owner.as_deref() == Some("cilium") && map.name.contains("_ct")) {
                let name = self.names.entry(map.name.clone()).or_insert_with(|| Arc::from(map.name.as_str())).clone();
                sample.cilium.push((name, Fill { live: map.live, max: map.max }, map.kind.contains("lru")));
            }
        }
        sample
    }
}

#[allow(clippy::cast_precision_loss, reason = "a rate")]
fn per_second(delta: u64, elapsed_ns: u64) -> f64 {
    delta as f64 * 1e9 / elapsed_ns.max(1) as f64
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
            nodes.add(&signals(at, Some(dropped)));
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
            nodes.add(&signals(at, Some(dropped)));
        }
        let moved = nodes.moved("a", Counter::TableDropped, &[spike(1, 8)]).unwrap();
        assert_eq!((moved.inside + moved.outside, moved.spikes), (9, 1));
    }

    #[test]
    fn what_was_not_read_is_not_zero() {
        let mut nodes = Nodes::new(Scale::new(1.0));
        for at in 10..20 {
            nodes.add(&signals(at, None));
        }
        assert_eq!(nodes.moved("a", Counter::TableDropped, &[spike(12, 14)]), None);
        assert_eq!(nodes.moved("b", Counter::TableDropped, &[spike(12, 14)]), None);
        assert_eq!(nodes.cilium("a", &[spike(12, 14)]), None);
    }
}

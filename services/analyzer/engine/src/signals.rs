//! What causes ask of a node, and what is remembered of its readings: counters per network namespace, and fills.

use std::collections::BTreeMap;
use std::sync::Arc;

use synscope_bus::message::signal::NodeSignals;

use crate::said::Said;
use crate::scale::Scale;
use crate::track::{Reading, Track};

/// Counters of one node that are remembered, and tables: pods come and go.
const TRACKS_MAX: usize = 4096;
/// Tables of Cilium's on one node that are remembered.
const CILIUM_MAX: usize = 64;

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
    /// Packets dropped by the network filter, as `kfree_skb` saw them.
    FilterDrops,
    /// Packets dropped by a TC program, ours or another's, as `kfree_skb` saw them.
    ProgramDrops,
    /// Time in which some task waited for a processor, ns: pressure stall information.
    ProcessorWaits,
    /// Times that the network's turn on a processor ended before its work did.
    SoftnetSqueezed,
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
            Self::FilterDrops => "NETFILTER_DROP",
            Self::ProgramDrops => "TC_INGRESS and TC_EGRESS drops",
            Self::ProcessorWaits => "time in which tasks waited for a processor",
            Self::SoftnetSqueezed => "softnet time_squeeze",
        }
    }

    /// What it counts, as evidence names it.
    pub const fn unit(self) -> &'static str {
        if matches!(self, Self::ProcessorWaits) { "ns" } else { "1" }
    }
}

impl Reading for Fill {
    fn merged(self, later: Self) -> Self {
        if later.share() > self.share() { later } else { self }
    }
}

/// Time that tasks wait is remembered in steps of this: it grows with each reading, and less than this makes no connection
/// slow. ns
const WAITS_STEP_NS: u64 = 10_000_000;

/// The namespace of what belongs to no other: synscope's own table, and drops on no device.
const NODE: u64 = 0;

/// One of Cilium's tables over time.
#[derive(Debug, Clone)]
pub(crate) struct Cilium {
    pub(crate) fills: Track<Fill>,
    /// An LRU table evicts instead of refusing.
    pub(crate) lru: bool,
}

/// What one node said about itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Node {
    /// By counter, and by the inode of the network namespace.
    counters: BTreeMap<(Counter, u64), Track<u64>>,
    pub(crate) table: Track<Fill>,
    pub(crate) nf: BTreeMap<u64, Track<Fill>>,
    /// None as long as maps were not observed.
    pub(crate) cilium: Option<BTreeMap<Arc<str>, Cilium>>,
    said: Said,
    latest_unix_ns: u64,
}

impl Node {
    /// Takes one reading, late or in order.
    pub(crate) fn add(&mut self, signals: &NodeSignals, scale: &Scale) {
        let at = signals.time_unix_ns;
        self.latest_unix_ns = self.latest_unix_ns.max(at);
        self.said.add(at / scale.bucket_ns);
        self.said.forget(self.latest_unix_ns.saturating_sub(scale.memory_ns) / scale.bucket_ns);
        let mut read = Reader { node: self, at, scale };
        if let Some(table) = signals.conntrack.value() {
            read.count(Counter::TableFull, NODE, table.insert_failures.get("E2BIG").copied().unwrap_or(0));
            read.count(Counter::TableRefused, NODE, table.refused_syns);
            read.count(Counter::TableDropped, NODE, table.dropped_syns);
            read.node.table.add(at, Fill { live: table.live, max: table.max }, scale);
        }
        if let Some(namespaces) = signals.nf_conntrack.value() {
            // Nothing tracked is nothing dropped.
            let none = namespaces.is_empty().then_some(NODE).map(|netns| (netns, 0, 0));
            let counted = |name: &str, of: &BTreeMap<String, u64>| of.get(name).copied().unwrap_or(0);
            let all = namespaces.iter().map(|namespace| {
                let of = &namespace.counters;
                (namespace.netns, counted("drop", of), counted("early_drop", of))
            });
            for (netns, drop, early_drop) in all.chain(none) {
                read.count(Counter::NfDrop, netns, drop);
                read.count(Counter::NfEarlyDrop, netns, early_drop);
            }
            for namespace in namespaces {
                let fill = Fill { live: namespace.live, max: namespace.max };
                add(&mut read.node.nf, namespace.netns, at, fill, scale);
            }
        }
        for namespace in signals.tcp.value().into_iter().flatten() {
            // Those that are not there are zero.
            let counted = |name: &str| namespace.counters.get(name).copied().unwrap_or(0);
            read.count(Counter::ListenOverflows, namespace.netns, counted("ListenOverflows"));
            read.count(Counter::ListenDrops, namespace.netns, counted("ListenDrops"));
        }
        if let Some(drops) = signals.drops.value() {
            let mut sums = BTreeMap::from([((Counter::FilterDrops, NODE), 0), ((Counter::ProgramDrops, NODE), 0)]);
            for drops in drops {
                let counter = match drops.reason.as_str() {
                    "NETFILTER_DROP" => Counter::FilterDrops,
                    "TC_INGRESS" | "TC_EGRESS" => Counter::ProgramDrops,
                    _ => continue,
                };
                *sums.entry((counter, drops.netns.unwrap_or(NODE))).or_default() += drops.packets;
            }
            for ((counter, netns), packets) in sums {
                read.count(counter, netns, packets);
            }
        }
        if let Some(cpu) = signals.pressure.value().and_then(|pressure| pressure.get("cpu")) {
            let waits_ns = cpu.some_total_ns - cpu.some_total_ns % WAITS_STEP_NS;
            read.count(Counter::ProcessorWaits, NODE, waits_ns);
        }
        if let Some(softnet) = signals.softnet.value() {
            read.count(Counter::SoftnetSqueezed, NODE, softnet.time_squeeze);
        }
        if let Some(maps) = signals.maps.value() {
            let tables = self.cilium.get_or_insert_default();
            for map in maps.iter().filter(|map| map.owner.as_deref() == Some("cilium") && map.name.contains("_ct")) {
                if tables.len() < CILIUM_MAX || tables.contains_key(map.name.as_str()) {
                    let table = tables
                        .entry(map.name.as_str().into())
                        .or_insert_with(|| Cilium { fills: Track::default(), lru: map.kind.contains("lru") });
                    table.fills.add(at, Fill { live: map.live, max: map.max }, scale);
                }
            }
        }
    }

    /// One counter in each of its namespaces.
    pub(crate) fn counted(&self, counter: Counter) -> impl Iterator<Item = (u64, &Track<u64>)> {
        let of_it = self.counters.range((counter, 0)..=(counter, u64::MAX));
        of_it.map(|((_, netns), track)| (*netns, track))
    }

    /// Whether it told of itself at most half as often in a window as it usually does.
    pub(crate) fn is_silent(&self, from_unix_ns: u64, to_unix_ns: u64, scale: &Scale) -> bool {
        let Some((first, last)) = self.said.ends() else { return true };
        let window = from_unix_ns / scale.bucket_ns..to_unix_ns.div_ceil(scale.bucket_ns);
        let (all, in_window) = (last - first + 1, window.end - window.start);
        let (told, told_in_window) = (self.said.within(first..last + 1), self.said.within(window));
        told_in_window * all * 2 <= told * in_window
    }

    /// When it told of itself last, Unix ns.
    pub(crate) const fn latest_unix_ns(&self) -> u64 {
        self.latest_unix_ns
    }
}

struct Reader<'a> {
    node: &'a mut Node,
    at: u64,
    scale: &'a Scale,
}

impl Reader<'_> {
    fn count(&mut self, counter: Counter, netns: u64, value: u64) {
        add(&mut self.node.counters, (counter, netns), self.at, value, self.scale);
    }
}

/// Adds a reading to its track; where there are too many, those of namespaces that are gone make room.
fn add<K: Ord, V: Reading>(tracks: &mut BTreeMap<K, Track<V>>, of: K, at: u64, value: V, scale: &Scale) {
    if tracks.len() >= TRACKS_MAX && !tracks.contains_key(&of) {
        let since = at.saturating_sub(scale.history_ns);
        tracks.retain(|_, track| track.latest().is_some_and(|latest| latest >= since));
        if tracks.len() >= TRACKS_MAX {
            return;
        }
    }
    tracks.entry(of).or_default().add(at, value, scale);
}

#[cfg(test)]
mod tests {
    use synscope_bus::message::signal::{NfConntrack, Observed};

    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn namespaces_that_come_and_go_stay_within_bounds() {
        let scale = Scale::new(1.0);
        let mut node = Node::default();
        for number in 0..40_000 {
            let namespace = NfConntrack { netns: number + 1, live: 1, max: 2, ..NfConntrack::default() };
            let nf_conntrack = Observed::Observed { value: vec![namespace] };
            node.add(&NodeSignals { time_unix_ns: number * 4 * S, nf_conntrack, ..NodeSignals::default() }, &scale);
        }
        assert!(node.nf.len() <= TRACKS_MAX && node.counters.len() <= TRACKS_MAX);
        assert!(node.nf.contains_key(&40_000));
    }
}

//! One edge from all its vantages, and when it is worth a look.

use std::cmp::Reverse;
use std::sync::Arc;

use synscope_bus::message::edge::EdgeBucket;
use synscope_bus::message::flow::Vantage;
use synscope_bus::message::incident::{Point, Spike};

use crate::case::{Case, View};
use crate::causes::weigh;
use crate::incident::Found;
use crate::nodes::Nodes;
use crate::recurrence::Rhythm;
use crate::scale::Scale;
use crate::series::Series;
use crate::spikes::{is_complete, is_outage, seen_within, spikes, suffering};

/// Spikes from which on there is an incident; an outage is one by itself.
const SPIKES_MIN: usize = 3;
/// Spikes that are rarer than that make one when chance would be as regular at most this often.
const RARE_CHANCE_MAX: f64 = 0.005;
/// Nodes that one edge is remembered from.
const VIEWS_MAX: usize = 64;
/// A spike that still changes is looked at again after this part of its length, or of what is remembered as it came where
/// that is less.
const LOOK_AGAIN: u64 = 4;

/// An edge as one node sees it.
#[derive(Debug)]
struct Seen {
    vantage: Vantage,
    node: Arc<str>,
    series: Series,
}

/// What became of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It counts.
    Counted,
    /// It is older than anything that is remembered.
    TooLate,
    /// There is no room for another node.
    NoRoom,
}

/// What was looked at last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Looked {
    spikes: usize,
    last_end_unix_ns: u64,
    suffering: u64,
}

/// One edge from all its vantages.
#[derive(Debug, Default)]
pub(crate) struct Edge {
    /// A list, because mostly there are two.
    views: Vec<Seen>,
    looked: Looked,
    /// Something changed since.
    is_stale: bool,
    /// Not before this: what grows bucket by bucket is not told bucket by bucket.
    wait_until_unix_ns: u64,
}

impl Edge {
    /// Takes a part of a bucket.
    pub(crate) fn take(&mut self, part: &EdgeBucket, node: &Arc<str>, slow_above_ns: u64, scale: Scale) -> Taken {
        // Mostly the same text in the same place, which is quicker to see than to read.
        let is_it =
            |seen: &&mut Seen| seen.vantage == part.vantage && (Arc::ptr_eq(&seen.node, node) || seen.node == *node);
        let full = self.views.len() >= VIEWS_MAX;
        let taken = if let Some(seen) = self.views.iter_mut().find(is_it) {
            seen.series.add(part)
        } else if full {
            return Taken::NoRoom;
        } else {
            let mut series = Series::new(scale, slow_above_ns);
            let taken = series.add(part);
            self.views.push(Seen { vantage: part.vantage, node: node.clone(), series });
            taken
        };
        if taken { Taken::Counted } else { Taken::TooLate }
    }

    /// Judges what is due; whether it is time for a look.
    pub(crate) fn tick(&mut self, now_unix_ns: u64) -> bool {
        for seen in &mut self.views {
            self.is_stale |= seen.series.tick(now_unix_ns);
        }
        self.is_stale && now_unix_ns >= self.wait_until_unix_ns
    }

    /// What it shows, if that makes an incident, or is news of a known one: then a single spike is enough.
    pub(crate) fn look(
        &mut self,
        name: &str,
        nodes: &Nodes,
        scale: &Scale,
        is_known: bool,
        now_unix_ns: u64,
    ) -> Option<Found> {
        self.is_stale = false;
        let telling = |series: &Series| {
            let mut spikes = spikes(series);
            spikes.retain(|spike| is_complete(spike, now_unix_ns, scale) || is_outage(spike, scale));
            telling(spikes, scale, is_known, now_unix_ns)
        };
        let candidates = self.views.iter().map(|seen| (seen, telling(&seen.series)));
        let primary = candidates.filter(|(_, spikes)| !spikes.is_empty());
        // The client's node sees all of a connection; then whoever saw most.
        let (Seen { vantage, node, series }, spikes) = primary
            .max_by_key(|(seen, spikes)| (seen.vantage == Vantage::Client, sum(spikes), Reverse(seen.node.clone())))?;
        let last = spikes.last()?;
        let looked = Looked { spikes: spikes.len(), last_end_unix_ns: last.end_unix_ns, suffering: sum(&spikes) };
        self.wait_until_unix_ns =
            now_unix_ns + (last.end_unix_ns - last.start_unix_ns).min(scale.history_ns) / LOOK_AGAIN;
        if looked == self.looked {
            return None;
        }
        // What another clock measured in these seconds was measured in others.
        let apart = |other: &str| Some((other.to_owned(), nodes.apart(other, node)?));
        let best = |wanted: Vantage| {
            let of = self.views.iter().filter(|seen| seen.vantage == wanted && apart(&seen.node).is_none());
            let seen = of.map(|seen| View {
                node: seen.node.to_string(),
                spikes: seen_within(&seen.series, &spikes),
                normal_ns: seen.series.normal_ns(),
            });
            seen.max_by_key(|view| (sum(&view.spikes), Reverse(view.node.clone())))
        };
        let case = Case {
            edge: name,
            spikes: &spikes,
            client: best(Vantage::Client),
            server: best(Vantage::Server),
            apart: self.views.iter().filter_map(|seen| apart(&seen.node)).collect(),
            nodes,
        };
        let mut at_ends: Vec<String> = case.nodes_at_ends().into_iter().map(str::to_owned).collect();
        at_ends.extend(case.apart.iter().map(|(node, _)| node.clone()));
        if at_ends.is_empty() {
            at_ends.push(node.to_string());
        }
        self.looked = looked;
        let name_of = |view: &Option<View>| view.as_ref().map(|view| view.node.clone());
        Some(Found {
            pattern: case.pattern(),
            client: name_of(&case.client),
            server: name_of(&case.server),
            edge: name.to_owned(),
            vantage: *vantage,
            nodes: at_ends,
            verdict: weigh(&case),
            normal_ns: series.normal_ns(),
            spikes,
        })
    }

    /// There is other evidence now: what was found may be another.
    pub(crate) fn reconsider(&mut self) {
        (self.is_stale, self.looked, self.wait_until_unix_ns) = (true, Looked::default(), 0);
    }

    /// Its latest spike, complete or not.
    pub(crate) fn latest_spike(&self) -> Option<Spike> {
        let last = self.views.iter().filter_map(|seen| spikes(&seen.series).pop());
        last.max_by_key(|spike| (spike.end_unix_ns, suffering(spike)))
    }

    /// Whether enough connections succeeded to know what is normal.
    pub(crate) fn is_known(&self) -> bool {
        self.views.iter().any(|seen| seen.series.is_known())
    }

    /// Start of the latest bucket there was, Unix ns.
    pub(crate) fn latest_unix_ns(&self) -> u64 {
        self.views.iter().filter_map(|seen| seen.series.latest_unix_ns()).max().unwrap_or(0)
    }

    /// Whether it is in what may become a spike, or was just now.
    pub(crate) fn is_ongoing(&self, scale: &Scale, now_unix_ns: u64) -> bool {
        let last = self.views.iter().filter_map(|seen| spikes(&seen.series).pop());
        last.into_iter().any(|last| !is_complete(&last, now_unix_ns, scale))
    }

    /// Its picture of a window, as one node sees it.
    pub(crate) fn points(
        &self,
        vantage: Vantage,
        node: &str,
        from_unix_ns: u64,
        to_unix_ns: u64,
    ) -> Option<Vec<Point>> {
        let seen = self.views.iter().find(|seen| seen.vantage == vantage && *seen.node == *node)?;
        Some(seen.series.points(from_unix_ns, to_unix_ns))
    }
}

/// Those of the spikes that make an incident, or are news of a known one; none where they do neither.
///
/// Three of the last hours do. What comes more rarely has to come so regularly that it is no chance: in a day, three
/// servers restart. Then older ones count as well, which would otherwise only blur how often it is by now.
fn telling(mut spikes: Vec<Spike>, scale: &Scale, is_known: bool, now_unix_ns: u64) -> Vec<Spike> {
    let since = now_unix_ns.saturating_sub(scale.history_ns);
    let recent = spikes.partition_point(|spike| spike.end_unix_ns < since);
    if !is_rhythmic(&spikes, scale) {
        spikes.drain(..recent);
        let is_enough = spikes.len() >= SPIKES_MIN || is_known || spikes.iter().any(|spike| is_outage(spike, scale));
        spikes.truncate(if is_enough { spikes.len() } else { 0 });
    }
    spikes
}

fn is_rhythmic(spikes: &[Spike], scale: &Scale) -> bool {
    spikes.len() >= SPIKES_MIN && Rhythm::of(spikes, scale).chance() <= RARE_CHANCE_MAX
}

fn sum(spikes: &[Spike]) -> u64 {
    spikes.iter().map(suffering).sum()
}

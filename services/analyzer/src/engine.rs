//! All edges, all nodes, all incidents.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use synscope_bus::message::edge::EdgeBatch;
use synscope_bus::message::flow::Vantage;
use synscope_bus::message::incident::{Incident, Point, Spike, State};
use synscope_bus::message::signal::NodeSignals;

use crate::case::{Case, View};
use crate::causes::weigh;
use crate::incident::{Found, Tracked};
use crate::nodes::Nodes;
use crate::scale::Scale;
use crate::series::Series;
use crate::spikes::{is_complete, seen_within, spikes};

/// Spikes from which on there is an incident.
const SPIKES_MIN: usize = 3;
/// Edges that are remembered.
const EDGES_MAX: usize = 50_000;
/// Nodes that one edge is remembered from.
const VIEWS_MAX: usize = 64;
/// Incidents that are remembered.
const INCIDENTS_MAX: usize = 1000;

/// Names of nodes that are kept once; more are kept where they are used.
const NODES_MAX: usize = 65_536;

/// An edge as one node sees it.
#[derive(Debug)]
struct Seen {
    vantage: Vantage,
    node: Arc<str>,
    series: Series,
}

/// One edge from all its vantages.
#[derive(Debug, Default)]
struct Edge {
    /// A list, because mostly there are two.
    views: Vec<Seen>,
    /// End of the last complete spike that was looked at.
    looked_at: u64,
}

/// What the engine had no room for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Refused {
    /// Buckets of edges and vantages beyond the bound.
    pub buckets: u64,
    /// Readings of nodes beyond the bound.
    pub signals: u64,
    /// Incidents beyond the bound.
    pub incidents: u64,
}

/// The analyzer without its surroundings.
#[derive(Debug)]
pub struct Engine {
    scale: Scale,
    edges: HashMap<String, Edge>,
    node_names: HashSet<Arc<str>>,
    nodes: Nodes,
    incidents: Vec<Tracked>,
    refused: Refused,
    latest_unix_ns: u64,
}

impl Engine {
    /// Knows nothing yet.
    pub fn new(scale: Scale) -> Self {
        Self {
            scale,
            edges: HashMap::new(),
            node_names: HashSet::new(),
            nodes: Nodes::new(scale),
            incidents: Vec::new(),
            refused: Refused::default(),
            latest_unix_ns: 0,
        }
    }

    /// Goes on with incidents that were known before a restart.
    pub fn restore(&mut self, incidents: impl IntoIterator<Item = Incident>) {
        for incident in incidents {
            if self.incidents.iter().all(|known| known.incident().id != incident.id) {
                self.incidents.push(Tracked::restored(incident));
            }
        }
    }

    /// Takes the parts of buckets in a batch.
    pub fn edges(&mut self, batch: &EdgeBatch) {
        let node = self.node_name(&batch.node);
        for part in &batch.buckets {
            self.latest_unix_ns = self.latest_unix_ns.max(part.start_unix_ns + part.length_ns);
            let full = self.edges.len() >= EDGES_MAX;
            let edge = match self.edges.get_mut(&part.edge) {
                Some(edge) => edge,
                None if full => {
                    self.refused.buckets += 1;
                    continue;
                }
                None => self.edges.entry(part.edge.clone()).or_default(),
            };
            // Mostly the same text in the same place, which is quicker to see than to read.
            let is_it = |seen: &&mut Seen| {
                seen.vantage == part.vantage && (Arc::ptr_eq(&seen.node, &node) || seen.node == node)
            };
            let full = edge.views.len() >= VIEWS_MAX;
            if let Some(seen) = edge.views.iter_mut().find(is_it) {
                seen.series.add(part);
            } else if full {
                self.refused.buckets += 1;
            } else {
                let mut series = Series::new(self.scale, batch.slow_above_ns);
                series.add(part);
                edge.views.push(Seen { vantage: part.vantage, node: node.clone(), series });
            }
        }
    }

    fn node_name(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.node_names.get(name) {
            return known.clone();
        }
        let name: Arc<str> = name.into();
        if self.node_names.len() < NODES_MAX {
            self.node_names.insert(name.clone());
        }
        name
    }

    /// Takes one node's reading.
    pub fn signals(&mut self, signals: &NodeSignals) {
        self.latest_unix_ns = self.latest_unix_ns.max(signals.time_unix_ns);
        self.nodes.add(signals);
    }

    /// The latest time that any input told of, Unix ns.
    pub const fn latest_unix_ns(&self) -> u64 {
        self.latest_unix_ns
    }

    /// Looks at everything as of now. Incidents that are new or have changed.
    pub fn tick(&mut self, now_unix_ns: u64) -> Vec<Incident> {
        let mut found = Vec::new();
        for (name, edge) in &mut self.edges {
            let mut ripe = false;
            for seen in &mut edge.views {
                ripe |= seen.series.tick(now_unix_ns);
            }
            if ripe {
                found.extend(look(name, edge, &self.nodes, &self.scale, now_unix_ns));
            }
        }
        // The same order each time, so that the same inputs give the same incidents; most slow connections first.
        found.sort_by(|a: &Found, b: &Found| a.edge.cmp(&b.edge));
        for found in found {
            let room = self.incidents.len() < INCIDENTS_MAX;
            match self.incidents.iter_mut().find(|known| known.claims(&found)) {
                Some(known) => known.take(found),
                None if room => self.incidents.push(Tracked::open(found)),
                None => self.refused.incidents += 1,
            }
        }
        let Self { nodes, scale, edges, incidents, .. } = self;
        let told = incidents.iter_mut().filter_map(|known| {
            let ongoing = is_ongoing(edges, known.incident(), scale, now_unix_ns);
            known.advance(nodes, scale, ongoing, now_unix_ns)
        });
        let told = told.map(|mut incident| {
            if let Some(points) = picture(edges, &incident) {
                incident.series = points;
            }
            incident
        });
        told.collect()
    }

    /// All incidents.
    pub fn incidents(&self) -> impl Iterator<Item = &Incident> {
        self.incidents.iter().map(Tracked::incident)
    }

    /// What there was no room for.
    pub const fn refused(&self) -> Refused {
        Refused { signals: self.nodes.refused(), ..self.refused }
    }
}

/// Whether an edge whose incident waits for the proof of its fix is in what may become a spike.
fn is_ongoing(edges: &HashMap<String, Edge>, incident: &Incident, scale: &Scale, now_unix_ns: u64) -> bool {
    if incident.state != State::FixApplied {
        return false;
    }
    let views = incident.edges.iter().filter_map(|edge| edges.get(edge)).flat_map(|edge| &edge.views);
    views.filter_map(|seen| spikes(&seen.series, scale).pop()).any(|last| !is_complete(&last, now_unix_ns, scale))
}

/// The incident's first edge as it looks by now.
fn picture(edges: &HashMap<String, Edge>, incident: &Incident) -> Option<Vec<Point>> {
    let views = &edges.get(incident.edges.first()?)?.views;
    let of = |node: &String| views.iter().find(|seen| seen.vantage == incident.vantage && *seen.node == **node);
    incident.nodes.iter().find_map(of).map(|seen| seen.series.points())
}

/// An edge that has spikes enough, and something new to say.
fn look(name: &str, edge: &mut Edge, nodes: &Nodes, scale: &Scale, now_unix_ns: u64) -> Option<Found> {
    let complete = |series: &Series| {
        let mut spikes = spikes(series, scale);
        spikes.retain(|spike| is_complete(spike, now_unix_ns, scale));
        spikes
    };
    let suffering = |spikes: &[Spike]| spikes.iter().map(|spike| spike.slow + spike.dropped).sum::<u64>();
    let candidates = edge.views.iter().map(|seen| (seen, complete(&seen.series)));
    let primary = candidates.filter(|(_, spikes)| spikes.len() >= SPIKES_MIN);
    // The client's node sees all of a connection; then whoever saw most.
    let (Seen { vantage, node, series }, spikes) = primary.max_by_key(|(seen, spikes)| {
        (seen.vantage == Vantage::Client, suffering(spikes), Reverse(seen.node.clone()))
    })?;
    let last = spikes.last().map_or(0, |spike| spike.end_unix_ns);
    if last <= edge.looked_at {
        return None;
    }
    let best = |wanted: Vantage| {
        let of = edge.views.iter().filter(|seen| seen.vantage == wanted);
        let seen = of.map(|seen| View {
            node: seen.node.to_string(),
            spikes: seen_within(&seen.series, &spikes),
            normal_ns: seen.series.normal_ns(),
        });
        seen.max_by_key(|view| (suffering(&view.spikes), Reverse(view.node.clone())))
    };
    let case =
        Case { edge: name, spikes: &spikes, client: best(Vantage::Client), server: best(Vantage::Server), nodes };
    let mut at_ends: Vec<String> = case.nodes_at_ends().into_iter().map(str::to_owned).collect();
    if at_ends.is_empty() {
        at_ends.push(node.to_string());
    }
    let found = Found {
        edge: name.to_owned(),
        vantage: *vantage,
        nodes: at_ends,
        verdict: weigh(&case),
        normal_ns: series.normal_ns(),
        points: series.points(),
        spikes,
    };
    edge.looked_at = last;
    Some(found)
}

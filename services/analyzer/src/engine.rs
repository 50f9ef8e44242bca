//! All edges, all nodes, all incidents.

use std::collections::HashMap;

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

/// One edge from all its vantages.
#[derive(Debug, Default)]
struct Edge {
    views: HashMap<(Vantage, String), Series>,
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
        let mut key = (Vantage::default(), batch.node.clone());
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
            key.0 = part.vantage;
            let full = edge.views.len() >= VIEWS_MAX;
            let series = match edge.views.get_mut(&key) {
                Some(series) => series,
                None if full => {
                    self.refused.buckets += 1;
                    continue;
                }
                None => edge.views.entry(key.clone()).or_insert_with(|| Series::new(self.scale, batch.slow_above_ns)),
            };
            series.add(part);
        }
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
            let mut anomalous = false;
            for series in edge.views.values_mut() {
                anomalous |= series.tick(now_unix_ns);
            }
            if anomalous {
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
    let series = incident.edges.iter().filter_map(|edge| edges.get(edge)).flat_map(|edge| edge.views.values());
    series.filter_map(|series| spikes(series, scale).pop()).any(|last| !is_complete(&last, now_unix_ns, scale))
}

/// The incident's first edge as it looks by now.
fn picture(edges: &HashMap<String, Edge>, incident: &Incident) -> Option<Vec<Point>> {
    let views = &edges.get(incident.edges.first()?)?.views;
    let of = incident.nodes.iter().find_map(|node| views.get(&(incident.vantage, node.clone())));
    of.map(Series::points)
}

/// An edge that has spikes enough, and something new to say.
fn look(name: &str, edge: &mut Edge, nodes: &Nodes, scale: &Scale, now_unix_ns: u64) -> Option<Found> {
    let complete = |series: &Series| {
        let mut spikes = spikes(series, scale);
        spikes.retain(|spike| is_complete(spike, now_unix_ns, scale));
        spikes
    };
    let suffering = |spikes: &[Spike]| spikes.iter().map(|spike| spike.slow + spike.dropped).sum::<u64>();
    let candidates = edge.views.iter().map(|(key, series)| (key, series, complete(series)));
    let primary = candidates.filter(|(_, _, spikes)| spikes.len() >= SPIKES_MIN);
    // The client's node sees all of a connection; then whoever saw most.
    let ((vantage, node), series, spikes) = primary.max_by_key(|((vantage, node), _, spikes)| {
        (*vantage == Vantage::Client, suffering(spikes), std::cmp::Reverse(node.clone()))
    })?;
    let last = spikes.last().map_or(0, |spike| spike.end_unix_ns);
    if last <= edge.looked_at {
        return None;
    }
    let best = |wanted: Vantage| {
        let of = edge.views.iter().filter(|((vantage, _), _)| *vantage == wanted);
        let seen = of.map(|((_, node), series)| View {
            node: node.clone(),
            spikes: seen_within(series, &spikes),
            normal_ns: series.normal_ns(),
        });
        seen.max_by_key(|view| (suffering(&view.spikes), std::cmp::Reverse(view.node.clone())))
    };
    let case =
        Case { edge: name, spikes: &spikes, client: best(Vantage::Client), server: best(Vantage::Server), nodes };
    let mut at_ends: Vec<String> = case.nodes_at_ends().into_iter().map(str::to_owned).collect();
    if at_ends.is_empty() {
        at_ends.push(node.clone());
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

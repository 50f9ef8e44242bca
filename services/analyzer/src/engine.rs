//! All edges, all nodes, all incidents.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use synscope_bus::message::edge::EdgeBatch;
use synscope_bus::message::incident::{Incident, Point};
use synscope_bus::message::signal::NodeSignals;

use crate::edge::{Edge, Taken};
use crate::incident::{Found, Tracked};
use crate::nodes::Nodes;
use crate::recurrence;
use crate::scale::Scale;

/// Edges that are remembered.
const EDGES_MAX: usize = 50_000;
/// Incidents that are remembered.
const INCIDENTS_MAX: usize = 1000;

/// Points of an incident's picture.
const PICTURE_MAX: usize = 512;
/// Names of nodes that are kept once; more are kept where they are used.
const NODES_MAX: usize = 65_536;

/// What the engine had no room for, and what came too late.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Refused {
    /// Buckets of edges and vantages beyond the bound.
    pub buckets: u64,
    /// Parts of buckets that came when nothing of their time was remembered any more.
    pub late: u64,
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
            match edge.take(part, &node, batch.slow_above_ns, self.scale) {
                Taken::Counted => {}
                Taken::TooLate => self.refused.late += 1,
                Taken::NoRoom => self.refused.buckets += 1,
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

    /// Takes one node's reading; `stored_unix_ns` is when the server had it, by its clock.
    pub fn signals(&mut self, signals: &NodeSignals, stored_unix_ns: u64) {
        self.latest_unix_ns = self.latest_unix_ns.max(signals.time_unix_ns);
        self.nodes.add(signals, stored_unix_ns);
    }

    /// The latest time that any input told of, Unix ns.
    pub const fn latest_unix_ns(&self) -> u64 {
        self.latest_unix_ns
    }

    /// Looks at everything as of now. Incidents that are new or have changed.
    pub fn tick(&mut self, now_unix_ns: u64) -> Vec<Incident> {
        let mut found = Vec::new();
        let known = |name: &String| self.incidents.iter().any(|known| known.has(name));
        for (name, edge) in &mut self.edges {
            if edge.tick(now_unix_ns) {
                found.extend(edge.look(name, &self.nodes, &self.scale, known(name), now_unix_ns));
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
        let chances: Vec<f64> = incidents.iter_mut().filter_map(|known| known.gather(scale)).collect();
        let level = recurrence::level(chances);
        let told = incidents.iter_mut().filter_map(|known| {
            let of = known.incident().edges.clone();
            let is_ongoing = || {
                let mut edges = of.iter().filter_map(|edge| edges.get(edge));
                edges.any(|edge| edge.is_ongoing(scale, now_unix_ns))
            };
            known.advance(nodes, scale, level, is_ongoing, now_unix_ns)
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

/// The incident's first edge as it looks by now.
fn picture(edges: &HashMap<String, Edge>, incident: &Incident) -> Option<Vec<Point>> {
    let edge = edges.get(incident.edges.first()?)?;
    let of = |node: &String| edge.points(incident.vantage, node, 0, incident.last_seen_unix_ns);
    let points = incident.nodes.iter().find_map(of)?;
    Some(points.get(points.len().saturating_sub(PICTURE_MAX)..)?.to_vec())
}

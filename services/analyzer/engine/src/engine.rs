//! All edges, all nodes, all incidents.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use foldhash::fast::RandomState;
use indexmap::IndexMap;
use synscope_bus::message::edge::EdgeBatch;
use synscope_bus::message::incident::Incident;
use synscope_bus::message::signal::NodeSignals;
use synscope_bus::message::trace::TraceBatch;

use crate::edge::{Edge, Taken};
use crate::incident::{Found, Tracked};
use crate::nodes::Nodes;
use crate::picture::picture;
use crate::probe::{Request, Running};
use crate::recurrence;
use crate::scale::Scale;

/// Edges that are remembered.
const EDGES_MAX: usize = 50_000;
/// Incidents that are remembered.
const INCIDENTS_MAX: usize = 1000;
/// Room that is made for new incidents.
const INCIDENTS_SPARE: usize = 50;
/// Days that a closed incident is remembered.
const DAYS_KEPT: u64 = 7;
/// How often a day it is looked for what is over.
const RETIREMENTS: u64 = 48;
/// Names of nodes that are kept once; more are kept where they are used.
const NODES_MAX: usize = 65_536;

/// What the engine had no room for, and what came too late.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Refused {
    /// Buckets of edges and vantages beyond the bound.
    pub buckets: u64,
    /// Parts of buckets that came when nothing of their time was remembered any more.
    pub late: u64,
    /// Parts of buckets and readings of a time further ahead than anything is remembered: a clock that is wrong.
    pub early: u64,
    /// Readings of nodes beyond the bound.
    pub signals: u64,
    /// Incidents beyond the bound.
    pub incidents: u64,
    /// Probes that there was no turn for.
    pub probes: u64,
}

impl fmt::Display for Refused {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { buckets, late, early, signals, incidents, probes } = self;
        let counts = [
            (buckets, "buckets of more edges than are remembered"),
            (late, "parts of buckets that came more than a day late"),
            (early, "messages of a time more than a day ahead"),
            (signals, "readings of more nodes than are remembered"),
            (incidents, "incidents more than are remembered"),
            (probes, "probes more than are started at once, or in an hour"),
        ];
        let told: Vec<String> =
            counts.iter().filter(|(count, _)| **count > 0).map(|(count, what)| format!("{count} {what}")).collect();
        to.write_str(&told.join(", "))
    }
}

/// The analyzer without its surroundings.
#[derive(Debug)]
pub struct Engine {
    scale: Scale,
    /// In the order in which they first came, because that is mostly the order in which they come again: ten thousand
    /// don't fit a cache, and what is read in its order in memory is there in time.
    edges: IndexMap<String, Edge, RandomState>,
    node_names: HashSet<Arc<str>>,
    nodes: Nodes,
    incidents: Vec<Tracked>,
    refused: Refused,
    /// Nothing is early before anyone tells the time.
    now_unix_ns: u64,
    retired_unix_ns: u64,
    /// Incidents that are forgotten, until someone asks.
    gone: Vec<String>,
    /// Whether probes may be asked for.
    may_probe: bool,
    running: Running,
    /// Probes that are to be started, until someone asks.
    requests: Vec<Request>,
}

impl Engine {
    /// Knows nothing yet, and asks for no probes.
    pub fn new(scale: Scale) -> Self {
        Self {
            scale,
            edges: IndexMap::default(),
            node_names: HashSet::new(),
            nodes: Nodes::new(scale),
            incidents: Vec::new(),
            refused: Refused::default(),
            now_unix_ns: u64::MAX,
            retired_unix_ns: 0,
            gone: Vec::new(),
            may_probe: false,
            running: Running::default(),
            requests: Vec::new(),
        }
    }

    /// May ask for probes from now on.
    pub const fn permit_probes(&mut self) {
        self.may_probe = true;
    }

    /// Goes on with incidents that were known before a restart.
    pub fn restore(&mut self, incidents: impl IntoIterator<Item = Incident>) {
        for incident in incidents {
            if self.incidents.iter().all(|known| known.incident().id != incident.id) {
                self.incidents.push(Tracked::restored(incident));
            }
        }
    }

    /// Tells the time, as each look does.
    pub const fn set_now(&mut self, now_unix_ns: u64) {
        self.now_unix_ns = now_unix_ns;
    }

    /// Takes the parts of buckets in a batch.
    pub fn edges(&mut self, batch: &EdgeBatch) {
        let node = self.node_name(&batch.node);
        for part in &batch.buckets {
            if part.start_unix_ns.saturating_add(part.length_ns) > self.latest_taken() {
                self.refused.early += 1;
                continue;
            }
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
        if signals.time_unix_ns > self.latest_taken() {
            self.refused.early += 1;
            return;
        }
        self.nodes.add(signals, stored_unix_ns);
    }

    /// Takes what a probe that was asked for tells from one node; what nobody asked for changes nothing.
    pub fn trace(&mut self, batch: &TraceBatch) {
        self.running.take(batch);
    }

    /// A probe that was asked for does not run on a node, or not any more.
    pub fn no_trace(&mut self, trace: &str, node: &str, why: &str) {
        self.running.break_off(trace, node, why);
    }

    /// Probes that are to be started now, since the last time.
    pub fn requests(&mut self) -> Vec<Request> {
        std::mem::take(&mut self.requests)
    }

    /// What is later would make all that is right look older than anything that is remembered.
    const fn latest_taken(&self) -> u64 {
        self.now_unix_ns.saturating_add(self.scale.memory_ns)
    }

    /// Looks at everything as of now. Incidents that are new or have changed.
    pub fn tick(&mut self, now_unix_ns: u64) -> Vec<Incident> {
        self.now_unix_ns = now_unix_ns;
        self.retire(now_unix_ns);
        self.finish_probes(now_unix_ns);
        let mut found = Vec::new();
        let known = |name: &String| self.incidents.iter().any(|known| known.has(name));
        for (name, edge) in &mut self.edges {
            if edge.tick(now_unix_ns) {
                found.extend(edge.look(name, &self.nodes, &self.scale, known(name), now_unix_ns));
            }
        }
        // The same order each time, so that the same inputs give the same incidents.
        found.sort_by(|a: &Found, b: &Found| a.edge.cmp(&b.edge));
        for found in found {
            self.file(found);
        }
        if self.may_probe {
            self.ask(now_unix_ns);
        }
        let Self { nodes, scale, edges, incidents, .. } = self;
        let level = recurrence::level(incidents.iter_mut().filter_map(|known| known.gather(scale)));
        // The more are asked, the rarer chance has to be.
        let level = recurrence::level(incidents.iter_mut().filter_map(|known| known.refine(level)));
        let told = incidents.iter_mut().filter_map(|known| {
            let is_ongoing = |of: &[String]| {
                let mut edges = of.iter().filter_map(|edge| edges.get(edge));
                edges.any(|edge| edge.is_ongoing(scale, now_unix_ns))
            };
            let mut incident = known.advance(nodes, scale, level, is_ongoing, now_unix_ns)?;
            let edge = incident.edges.first().and_then(|edge| edges.get(edge));
            if let Some(points) = edge.and_then(|edge| picture(edge, nodes, scale, &incident, now_unix_ns)) {
                incident.series.clone_from(&points);
                known.show(points);
            }
            Some(incident)
        });
        told.collect()
    }

    /// Takes what the probes saw that have ended by now, and has their incidents weighed again.
    fn finish_probes(&mut self, now_unix_ns: u64) {
        for finished in self.running.finished(now_unix_ns) {
            finished.watches.into_iter().for_each(|watch| self.nodes.add_watch(watch));
            let of = self.incidents.iter_mut().find(|known| known.incident().id == finished.incident);
            let Some(known) = of else { continue };
            known.reconsider(&self.nodes);
            for edge in &known.incident().edges {
                if let Some(edge) = self.edges.get_mut(edge) {
                    edge.reconsider();
                }
            }
        }
    }

    /// Asks for the probes that it is time for.
    fn ask(&mut self, now_unix_ns: u64) {
        for known in &mut self.incidents {
            if self.running.has(&known.incident().id) {
                continue;
            }
            let latest = |edge: &str| self.edges.get(edge)?.latest_spike();
            let wanted = known.wants_probe(latest, &self.scale, now_unix_ns);
            if let Some(request) = wanted.filter(|request| self.running.admit(request, &self.scale)) {
                known.note_probe(&request);
                self.requests.push(request);
            }
        }
    }

    /// Into the incident that its edge is part of, else into one that suffers from the same; an edge is in one.
    fn file(&mut self, found: Found) {
        let room = self.incidents.len() < INCIDENTS_MAX;
        let of = self.incidents.iter().position(|known| known.has(&found.edge));
        let place = of.or_else(|| self.incidents.iter().position(|known| known.claims(&found)));
        match place.and_then(|place| self.incidents.get_mut(place)) {
            Some(known) => known.take(found),
            None if room => self.incidents.push(Tracked::open(found)),
            None => self.refused.incidents += 1,
        }
    }

    /// Forgets what is over: edges and nodes that told nothing for a day, edges that never worked after two hours, and
    /// incidents that were closed a week ago; before that, the first closed where there is no more room.
    fn retire(&mut self, now_unix_ns: u64) {
        let Scale { history_ns, memory_ns, .. } = self.scale;
        if now_unix_ns < self.retired_unix_ns + memory_ns / RETIREMENTS {
            return;
        }
        self.retired_unix_ns = now_unix_ns;
        self.edges.retain(|_, edge| {
            let kept_ns = if edge.is_known() { memory_ns } else { history_ns };
            edge.latest_unix_ns() + kept_ns >= now_unix_ns
        });
        self.nodes.retire(now_unix_ns);
        self.node_names.retain(|name| Arc::strong_count(name) > 1);
        let mut closed: Vec<(u64, String)> = self
            .incidents
            .iter()
            .filter_map(|known| Some((known.closed_unix_ns()?, known.incident().id.clone())))
            .collect();
        closed.sort();
        let crowded = (self.incidents.len() + INCIDENTS_SPARE).saturating_sub(INCIDENTS_MAX);
        let is_over =
            |(rank, (at, _)): &(usize, (u64, String))| *rank < crowded || at + DAYS_KEPT * memory_ns < now_unix_ns;
        let over: HashSet<String> = closed.into_iter().enumerate().filter(is_over).map(|(_, (_, id))| id).collect();
        self.incidents.retain(|known| !over.contains(&known.incident().id));
        self.gone.extend(over);
    }

    /// Incidents that were forgotten since the last time, by their ids.
    pub fn gone(&mut self) -> Vec<String> {
        std::mem::take(&mut self.gone)
    }

    /// Edges that are remembered.
    pub fn edges_known(&self) -> usize {
        self.edges.len()
    }

    /// All incidents.
    pub fn incidents(&self) -> impl Iterator<Item = &Incident> {
        self.incidents.iter().map(Tracked::incident)
    }

    /// What there was no room for.
    pub const fn refused(&self) -> Refused {
        Refused { signals: self.nodes.refused(), probes: self.running.denied_count(), ..self.refused }
    }
}

#[cfg(test)]
mod tests {
    use synscope_bus::envelope::{PublisherId, encode};
    use synscope_bus::message::incident::{Cause, Finding, Spike};
    use synscope_bus::subject::NodeId;

    use super::*;
    use crate::causes::Verdict;

    fn found(edge: &str, cause: &str, starts: &[u64]) -> Found {
        let spike =
            |start: &u64| Spike { start_unix_ns: *start, end_unix_ns: start + 10, n: 10, slow: 5, ..Spike::default() };
        let cause = Cause { name: cause.to_owned(), finding: Finding::Confirmed, ..Cause::default() };
        Found {
            edge: edge.to_owned(),
            vantage: synscope_bus::message::flow::Vantage::Client,
            nodes: vec!["node-a".to_owned()],
            spikes: starts.iter().map(spike).collect(),
            normal_ns: None,
            pattern: crate::case::Pattern::Loss,
            client: None,
            server: None,
            verdict: Verdict { causes: vec![cause], ..Verdict::default() },
        }
    }

    #[test]
    fn an_edge_stays_in_its_incident_when_another_begins_to_look_alike() {
        let mut engine = Engine::new(Scale::new(1.0));
        engine.file(found("first", "path-loss", &[100, 200, 300]));
        engine.file(found("second", "ct-full", &[100, 200, 300]));
        // What more was seen says that it is the same as what the first suffers from.
        engine.file(found("second", "path-loss", &[100, 200, 300, 400]));
        let filed = |edge: &str| engine.incidents.iter().filter(|known| known.has(edge)).count();
        assert_eq!((engine.incidents.len(), filed("first"), filed("second")), (2, 1, 1));
        engine.file(found("third", "path-loss", &[100, 200, 300]));
        assert_eq!(engine.incidents.len(), 2);
    }

    #[test]
    fn an_incident_of_very_many_edges_is_still_one_message() {
        let scale = Scale::new(1.0);
        let mut engine = Engine::new(scale);
        for edge in 0..20_000 {
            engine.file(found(&format!("{edge}/{}", "x".repeat(200)), "path-loss", &[100, 200, 300]));
        }
        let told = engine.tick(1000);
        let [incident] = told.as_slice() else { panic!("{} incidents", told.len()) };
        assert_eq!((incident.edges.len(), incident.more_edges), (1000, 19_000));
        assert!(incident.title.contains("and 19999 more"), "{}", incident.title);
        let publisher = PublisherId::begin(NodeId::new("analyzer-0").unwrap());
        assert!(encode(incident, &publisher, 1).unwrap().payload.len() < 512 * 1024);
        // What is not named is part of it all the same.
        engine.file(found(&format!("19999/{}", "x".repeat(200)), "ct-full", &[100, 200, 300, 400]));
        assert_eq!(engine.incidents().count(), 1);
    }

    #[test]
    fn what_was_refused_is_told_by_name() {
        let refused = Refused { late: 2, signals: 1, ..Refused::default() };
        let told = "2 parts of buckets that came more than a day late, 1 readings of more nodes than are remembered";
        assert_eq!(refused.to_string(), told);
    }
}

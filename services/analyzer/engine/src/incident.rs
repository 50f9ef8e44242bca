//! An incident's life: open → fix applied → verified, inconclusive or reopened.

use std::collections::{BTreeMap, BTreeSet};

use synscope_bus::message::flow::Vantage;
use synscope_bus::message::incident::{Change, Finding, Incident, Point, Recurrence, Spike, State, Step};

use crate::case::Pattern;
use crate::causes::{Verdict, kind};
use crate::fix::fix;
use crate::nodes::Nodes;
use crate::probe::{self, Request};
use crate::recurrence::{self, Rhythm};
use crate::scale::Scale;
use crate::spikes::suffering;
use crate::words::{duration, title};

/// Spikes that travel with an incident.
const SPIKES_MAX: usize = 64;
/// Steps that travel with it.
const STEPS_MAX: usize = 64;
/// Edges that are told by name: an incident is one message.
const EDGES_MAX: usize = 1000;
/// Cycles with the demand, and without a spike, that verify a fix.
const CYCLES_TO_VERIFY: usize = 2;
/// Cycles after which a fix that nothing put to the test is inconclusive, and spikes that stay away have ended.
const CYCLES_TO_WAIT: usize = 4;
/// The demand has come back when the table would have been so full again, of its old capacity.
const DEMAND_PERCENT: u64 = 95;

/// What one edge shows.
#[derive(Debug, Clone)]
pub struct Found {
    /// The edge.
    pub edge: String,
    /// Where its spikes were measured.
    pub vantage: Vantage,
    /// The nodes at its ends.
    pub nodes: Vec<String>,
    /// Its complete spikes, oldest first.
    pub spikes: Vec<Spike>,
    /// Its usual median, ns.
    pub normal_ns: Option<u64>,
    /// Whether its connections are refused, lost or delayed.
    pub pattern: Pattern,
    /// The client's node; none where no agent was there, or its clock is too far off.
    pub client: Option<String>,
    /// The server's node, as well.
    pub server: Option<String>,
    /// Its causes.
    pub verdict: Verdict,
}

impl Found {
    /// Slow connections per thousand in the spikes, then those that never came to be: what a client gave up may be its own
    /// impatience.
    fn hit_per_mille(&self) -> (u64, u64) {
        let sum = |of: fn(&Spike) -> u64| self.spikes.iter().map(of).sum::<u64>();
        let (n, slow, failed) = (sum(|spike| spike.n), sum(|spike| spike.slow), sum(|spike| spike.failed));
        (slow * 1000 / n.max(1), failed * 1000 / (n + failed).max(1))
    }
}

/// An incident and the edges it is made of.
#[derive(Debug, Clone)]
pub struct Tracked {
    incident: Incident,
    edges: BTreeMap<String, Found>,
    /// What the incident's spikes say.
    rhythm: Option<Rhythm>,
    /// Something was taken that was not gathered yet.
    is_taken: bool,
    /// Its spikes are others than those it was diagnosed by.
    is_fresh: bool,
    /// There is other evidence for the same spikes.
    is_reconsidered: bool,
    /// What was told last, without its picture.
    told: Option<Incident>,
}

impl Tracked {
    /// A new one.
    pub fn open(found: Found) -> Self {
        let first = found.spikes.first().map_or(0, |spike| spike.start_unix_ns);
        let hash = synscope_bus::subject::fnv1a(format!("{}@{first}", found.edge).as_bytes());
        let incident = Incident { id: format!("i-{hash:016x}"), first_seen_unix_ns: first, ..Incident::default() };
        Self {
            incident,
            edges: BTreeMap::from([(found.edge.clone(), found)]),
            rhythm: None,
            is_taken: true,
            is_fresh: false,
            is_reconsidered: false,
            told: None,
        }
    }

    /// One that was known before a restart.
    pub fn restored(mut incident: Incident) -> Self {
        let told = Some(Incident { series: Vec::new(), ..incident.clone() });
        probe::note_restart(&mut incident);
        Self {
            told,
            incident,
            edges: BTreeMap::new(),
            rhythm: None,
            is_taken: false,
            is_fresh: false,
            is_reconsidered: false,
        }
    }

    /// The incident as it stands.
    pub const fn incident(&self) -> &Incident {
        &self.incident
    }

    /// Takes its picture.
    pub fn show(&mut self, points: Vec<Point>) {
        self.incident.series = points;
    }

    /// When it was closed, Unix ns; none as long as it is not.
    pub fn closed_unix_ns(&self) -> Option<u64> {
        let is_closed = matches!(self.incident.state, State::Verified | State::Inconclusive);
        let last = self.incident.timeline.last().map_or(self.incident.last_seen_unix_ns, |step| step.time_unix_ns);
        is_closed.then_some(last)
    }

    /// Whether it is one of its edges.
    pub fn has(&self, edge: &str) -> bool {
        self.edges.contains_key(edge) || self.incident.edges.iter().any(|known| known == edge)
    }

    /// Whether an edge's spikes belong to this incident: it suffers at the same times from the same cause on the same
    /// node, or for an unknown one between the same nodes.
    pub fn claims(&self, found: &Found) -> bool {
        self.edges.values().any(|known| {
            let same = match (place(&known.verdict), place(&found.verdict)) {
                (Some(known), Some(found)) => known == found,
                (None, None) => known.nodes == found.nodes,
                _ => false,
            };
            same && overlap(&known.spikes, &found.spikes)
        })
    }

    /// Takes what an edge shows now.
    pub fn take(&mut self, found: Found) {
        self.edges.insert(found.edge.clone(), found);
        self.is_taken = true;
    }

    /// Gathers the spikes of what was taken; how often chance would be as regular as they are, if it is asked whether they
    /// have a period.
    pub fn gather(&mut self, scale: &Scale) -> Option<f64> {
        if std::mem::take(&mut self.is_taken) {
            self.gather_taken(scale);
        }
        self.asked().map(|rhythm| rhythm.chance())
    }

    /// Tells more precisely how often chance would be as regular, where it may be as rare as this.
    pub fn refine(&mut self, level: f64) -> Option<f64> {
        let rhythm = self.asked()?;
        rhythm.refine(level);
        Some(rhythm.chance())
    }

    /// What its spikes say, if it is asked whether they have a period.
    fn asked(&mut self) -> Option<&mut Rhythm> {
        let is_open = matches!(self.incident.state, State::Open | State::Reopened);
        let is_asked = is_open && self.incident.spikes.len() >= recurrence::SPIKES_MIN;
        self.rhythm.as_mut().filter(|_| is_asked)
    }

    fn gather_taken(&mut self, scale: &Scale) {
        let Some(lead) = self.lead().cloned() else { return };
        let incident = &mut self.incident;
        let last = lead.spikes.last().map_or(0, |spike| spike.end_unix_ns);
        let named: BTreeSet<&String> = incident.edges.iter().collect();
        let new: Vec<String> = self.edges.keys().filter(|edge| !named.contains(edge)).cloned().collect();
        incident.edges.extend(new);
        // After a restart the edge that spoke until then may not have been heard yet.
        let former = incident.edges.first().filter(|former| **former != lead.edge);
        let is_replaced = former.is_some_and(|former| self.edges.contains_key(former));
        incident.edges.sort_by_key(|edge| *edge != lead.edge);
        let more = incident.edges.len().saturating_sub(EDGES_MAX);
        incident.more_edges = incident.more_edges.max(more as u64);
        incident.edges.truncate(EDGES_MAX);
        let before = if is_replaced { &[] } else { incident.spikes.as_slice() };
        let spikes = joined(before, &lead.spikes);
        self.is_fresh |= std::mem::take(&mut self.is_reconsidered);
        if spikes != incident.spikes {
            incident.last_seen_unix_ns = last.max(incident.last_seen_unix_ns);
            incident.spikes = spikes;
            self.rhythm = Some(Rhythm::of(&incident.spikes, scale));
            self.is_fresh = true;
        }
    }

    /// Brings it up to date; `level` is the largest chance at which a period is told, `is_ongoing` says whether one of these
    /// edges is in what may become a spike. The incident, if there is something new to tell.
    pub fn advance(
        &mut self,
        nodes: &Nodes,
        scale: &Scale,
        level: f64,
        is_ongoing: impl Fn(&[String]) -> bool,
        now_unix_ns: u64,
    ) -> Option<Incident> {
        // What came back may have come for another reason.
        if std::mem::take(&mut self.is_fresh) | reopened(&mut self.incident, scale) {
            self.diagnose(nodes, level);
        }
        self.live(nodes, scale, is_ongoing, now_unix_ns);
        // The picture grows with each bucket; that alone is no news.
        let series = std::mem::take(&mut self.incident.series);
        let is_news = self.told.as_ref() != Some(&self.incident);
        if is_news {
            self.told = Some(self.incident.clone());
        }
        self.incident.series = series;
        is_news.then(|| self.incident.clone())
    }

    /// The edge that is hit hardest speaks for all.
    fn lead(&self) -> Option<&Found> {
        self.edges.values().max_by_key(|found| found.hit_per_mille())
    }

    /// A probe that may confirm, exclude or locate what is suspected, if it is time for one; `latest` is an edge's latest
    /// spike.
    pub fn wants_probe(
        &self,
        latest: impl FnOnce(&str) -> Option<Spike>,
        scale: &Scale,
        now_unix_ns: u64,
    ) -> Option<Request> {
        probe::wanted(&self.incident, self.lead()?, latest, scale, now_unix_ns)
    }

    /// Notes a probe that was asked for.
    pub fn note_probe(&mut self, request: &Request) {
        probe::note(&mut self.incident, request);
    }

    /// A probe has ended: notes what became of it, and weighs again.
    pub fn reconsider(&mut self, nodes: &Nodes) {
        probe::note_outcomes(&mut self.incident, nodes);
        self.is_reconsidered = true;
    }

    fn diagnose(&mut self, nodes: &Nodes, level: f64) {
        // How many spikes a probe covered is known only once they are complete.
        probe::note_outcomes(&mut self.incident, nodes);
        let Some(lead) = self.lead().cloned() else { return };
        let incident = &mut self.incident;
        if !matches!(incident.state, State::Open | State::Reopened) {
            return;
        }
        incident.vantage = lead.vantage;
        incident.nodes.clone_from(&lead.nodes);
        incident.normal_p50_ns = lead.normal_ns;
        incident.recurrence = self.rhythm.as_ref().map_or(Recurrence::None, |rhythm| rhythm.recurrence(level));
        kind(&lead.verdict).clone_into(&mut incident.kind);
        incident.causes.clone_from(&lead.verdict.causes);
        incident.refuted.clone_from(&lead.verdict.refuted);
        let confirmed = incident.causes.first().filter(|cause| cause.finding == Finding::Confirmed);
        incident.fix = confirmed.and_then(|cause| fix(cause, &incident.id, &incident.spikes, nodes));
        incident.title = title(incident);
        if incident.timeline.is_empty() {
            let what = match incident.spikes.as_slice() {
                [spike] => format!("{} of {} connections never came to be", spike.failed, spike.failed + spike.n),
                spikes => format!("found after {} spikes", spikes.len()),
            };
            step(incident, incident.last_seen_unix_ns, State::Open, what);
        }
    }

    fn live(&mut self, nodes: &Nodes, scale: &Scale, is_ongoing: impl Fn(&[String]) -> bool, now_unix_ns: u64) {
        let incident = &mut self.incident;
        let since = incident.timeline.last().map_or(0, |step| step.time_unix_ns);
        let last_spike = incident.spikes.last().copied().unwrap_or_default();
        let wait_ns = period(incident, scale) * CYCLES_TO_WAIT as u64;
        match incident.state {
            State::Open | State::Reopened => {
                if let Some((at, to)) = in_effect(incident, nodes, since) {
                    if let Some(fix) = &mut incident.fix {
                        fix.applied_unix_ns = Some(at);
                    }
                    step(incident, at, State::FixApplied, format!("the table has {to} entries"));
                } else if now_unix_ns > last_spike.end_unix_ns + wait_ns + scale.settle_ns
                    && !is_ongoing(&incident.edges)
                {
                    let what = format!("no spike for {}, and no fix that was seen to help", duration(wait_ns));
                    step(incident, now_unix_ns, State::Inconclusive, what);
                }
            }
            // What may become a spike is waited for: it may speak against the fix.
            State::FixApplied if is_ongoing(&incident.edges) => {}
            State::FixApplied => judge_fix(incident, nodes, scale, now_unix_ns),
            State::Verified | State::Inconclusive | State::Unknown => {}
        }
    }
}

/// What is confirmed, and on which node.
fn place(verdict: &Verdict) -> Option<(&str, Option<&str>)> {
    let first = verdict.causes.first().filter(|cause| cause.finding == Finding::Confirmed)?;
    Some((&first.name, first.node.as_deref()))
}

/// Whether a spike came although it was fixed or over.
fn reopened(incident: &mut Incident, scale: &Scale) -> bool {
    let since = incident.timeline.last().map_or(0, |step| step.time_unix_ns);
    let (since, what) = match incident.state {
        State::FixApplied => (since + scale.settle_ns, "a spike came in spite of the fix"),
        State::Verified | State::Inconclusive => (since, "a spike came back"),
        State::Open | State::Reopened | State::Unknown => return false,
    };
    let spike = comeback(incident, since);
    if let Some(spike) = spike {
        step(incident, spike.end_unix_ns, State::Reopened, what.to_owned());
    }
    spike.is_some()
}

/// When the change was seen in effect, and how large the table is asked to be.
fn in_effect(incident: &Incident, nodes: &Nodes, since: u64) -> Option<(u64, u64)> {
    let Some(Change::ConntrackEntries { node, to, .. }) = incident.fix.as_ref()?.change.as_ref() else { return None };
    Some((nodes.grown_since(node, to - to / 10, since)?, *to))
}

fn judge_fix(incident: &mut Incident, nodes: &Nodes, scale: &Scale, now_unix_ns: u64) {
    let Some((applied, change)) =
        incident.fix.as_ref().and_then(|fix| Some((fix.applied_unix_ns?, fix.change.clone()?)))
    else {
        return;
    };
    let Change::ConntrackEntries { node, from, .. } = change else { return };
    let period = period(incident, scale).max(1);
    let complete = now_unix_ns.saturating_sub(applied + scale.settle_ns + scale.join_ns) / period;
    let cycles = usize::try_from(complete).unwrap_or(usize::MAX).min(CYCLES_TO_WAIT);
    let peak = |cycle: usize| {
        let start = applied + cycle as u64 * period;
        nodes.peak_entries(&node, start, start + period)
    };
    let came_back: Vec<u64> =
        (0..cycles).filter_map(peak).filter(|peak| *peak * 100 >= from * DEMAND_PERCENT).collect();
    if came_back.len() >= CYCLES_TO_VERIFY {
        let peak = came_back.iter().max().copied().unwrap_or(0);
        let what = format!(
            "the demand came back {} times, up to {peak} entries where there was room for {from}, and no connection was slow",
            came_back.len()
        );
        step(incident, now_unix_ns, State::Verified, what);
    } else if cycles >= CYCLES_TO_WAIT {
        let what = format!("in {cycles} cycles the demand came back only {} times", came_back.len());
        step(incident, now_unix_ns, State::Inconclusive, what);
    }
}

/// The first spike from then on that resembles those before: it is at least a fifth as bad as their median.
fn comeback(incident: &Incident, from_unix_ns: u64) -> Option<Spike> {
    let (before, after): (Vec<Spike>, Vec<Spike>) =
        incident.spikes.iter().partition(|spike| spike.start_unix_ns < from_unix_ns);
    let mut usual: Vec<u64> = before.iter().map(suffering).collect();
    usual.sort_unstable();
    let median = usual.get(usual.len() / 2).copied().unwrap_or(0);
    after.into_iter().find(|spike| suffering(spike) * 5 >= median)
}

/// The spikes that are known by now: what an edge shows, and what it does not remember of those before. The latest.
fn joined(before: &[Spike], now: &[Spike]) -> Vec<Spike> {
    let is_other = |spike: &&Spike| !now.iter().any(|other| meets(spike, other));
    let mut all: Vec<Spike> = before.iter().filter(is_other).chain(now).copied().collect();
    all.sort_by_key(|spike| spike.start_unix_ns);
    all.split_off(all.len().saturating_sub(SPIKES_MAX))
}

const fn meets(a: &Spike, b: &Spike) -> bool {
    a.start_unix_ns < b.end_unix_ns && b.start_unix_ns < a.end_unix_ns
}

fn step(incident: &mut Incident, time_unix_ns: u64, state: State, what: String) {
    tracing::info!(incident = incident.id, ?state, what, "incident");
    incident.state = state;
    incident.timeline.push(Step { time_unix_ns, state, what });
    if incident.timeline.len() > STEPS_MAX {
        incident.timeline.remove(0);
    }
}

/// How long it takes to come back, as far as that is known.
fn period(incident: &Incident, scale: &Scale) -> u64 {
    match incident.recurrence {
        Recurrence::Regular { period_ns, .. } => period_ns,
        Recurrence::Irregular { max_ns, .. } => max_ns,
        Recurrence::Insufficient { .. } | Recurrence::None => {
            let intervals =
                incident.spikes.windows(2).map(|pair| pair[1].start_unix_ns.abs_diff(pair[0].start_unix_ns));
            let longest = intervals.max().filter(|_| incident.spikes.len() >= recurrence::SPIKES_MIN);
            longest.unwrap_or(scale.history_ns / CYCLES_TO_WAIT as u64)
        }
    }
}

/// Whether at least two thirds of the fewer spikes meet one of the others.
fn overlap(a: &[Spike], b: &[Spike]) -> bool {
    let (few, many) = if a.len() < b.len() { (a, b) } else { (b, a) };
    let meets = |spike: &&Spike| many.iter().any(|other| meets(spike, other));
    !few.is_empty() && few.iter().filter(meets).count() * 3 >= few.len() * 2
}

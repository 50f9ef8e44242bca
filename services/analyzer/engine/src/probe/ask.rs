//! Which probe an incident asks for, and what its document says of those that it had.

use std::collections::BTreeSet;

use synscope_bus::message::incident::{Finding, Incident, ProbeOutcome, ProbeRun, Spike, State};

use super::{Kind, Request, window};
use crate::case::Pattern;
use crate::incident::Found;
use crate::nodes::Nodes;
use crate::scale::Scale;

/// Probes that travel with an incident.
const PROBES_MAX: usize = 8;
/// Probes that are asked for until one says something, since it was opened or reopened.
const PROBES_TO_TRY: usize = 3;

/// A probe that may confirm, exclude or locate what is suspected, if it is time for one. `lead` is the edge that speaks for
/// all, `latest` an edge's latest spike.
pub(crate) fn wanted(
    incident: &Incident,
    lead: &Found,
    latest: impl FnOnce(&str) -> Option<Spike>,
    scale: &Scale,
    now_unix_ns: u64,
) -> Option<Request> {
    let opened = incident.timeline.last().filter(|_| matches!(incident.state, State::Open | State::Reopened))?;
    let tried: Vec<&ProbeRun> = incident.probes.iter().filter(|run| run.until_unix_ns >= opened.time_unix_ns).collect();
    // One that did not even begin is not tried again before the next spike.
    let goes_on = tried.iter().any(|run| run.until_unix_ns > now_unix_ns);
    if goes_on || tried.len() >= PROBES_TO_TRY || tried.iter().any(|run| has_answered(run)) {
        return None;
    }
    let why = suspicion(incident)?;
    let (kind, nodes) = match lead.pattern {
        Pattern::Delay => (Kind::ConnectLatency, lead.client.iter().cloned().collect()),
        Pattern::Loss | Pattern::Refusal | Pattern::Mixed => {
            (Kind::Drops, lead.client.iter().chain(&lead.server).cloned().collect::<BTreeSet<String>>())
        }
    };
    if nodes.is_empty() {
        return None;
    }
    let (from_unix_ns, until_unix_ns) = window(&incident.recurrence, || latest(&lead.edge), scale, now_unix_ns)?;
    let port = lead.edge.rsplit(':').next().and_then(|port| port.parse().ok());
    Some(Request {
        trace: format!("{}-{:x}", incident.id, from_unix_ns / 1_000_000),
        incident: incident.id.clone(),
        kind,
        port: port.filter(|_| kind == Kind::ConnectLatency),
        nodes,
        from_unix_ns,
        until_unix_ns,
        why,
    })
}

/// What a probe is to tell: nothing where a cause is confirmed by what counted it where it acts.
fn suspicion(incident: &Incident) -> Option<String> {
    match incident.causes.first().filter(|cause| cause.finding == Finding::Confirmed) {
        None => Some("no cause is confirmed".to_owned()),
        Some(cause) if cause.name == "no-answer" => {
            Some("no-answer is confirmed by what is counted, and not everything that drops is".to_owned())
        }
        Some(cause) => cause.node.is_none().then(|| format!("{} is confirmed, and where is not known", cause.name)),
    }
}

/// Whether it covered a spike on any node.
fn has_answered(run: &ProbeRun) -> bool {
    run.nodes.values().any(|outcome| matches!(outcome, ProbeOutcome::Observed { .. }))
}

/// Notes a probe that was asked for.
pub(crate) fn note(incident: &mut Incident, request: &Request) {
    incident.probes.push(ProbeRun {
        trace: request.trace.clone(),
        probe: request.kind.name().to_owned(),
        why: request.why.clone(),
        from_unix_ns: request.from_unix_ns,
        until_unix_ns: request.until_unix_ns,
        nodes: request.nodes.iter().map(|node| (node.clone(), ProbeOutcome::Running)).collect(),
    });
    incident.probes.drain(..incident.probes.len().saturating_sub(PROBES_MAX));
}

/// Notes what became of the probes that have ended, as far as it is remembered.
pub(crate) fn note_outcomes(incident: &mut Incident, nodes: &Nodes) {
    let Incident { probes, spikes, .. } = incident;
    for run in probes {
        for (node, outcome) in &mut run.nodes {
            if let Some(known) = nodes.outcome(&run.trace, node, spikes) {
                *outcome = known;
            }
        }
    }
}

/// Notes that nobody waits any more for what ran before a restart.
pub(crate) fn note_restart(incident: &mut Incident) {
    for outcome in incident.probes.iter_mut().flat_map(|run| run.nodes.values_mut()) {
        if *outcome == ProbeOutcome::Running {
            *outcome = ProbeOutcome::NotObserved { reason: "the analyzer ended meanwhile".to_owned() };
        }
    }
}

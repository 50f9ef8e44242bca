//! SYNs come to the server's node, and nothing there answers: the pod is gone, hangs, or drops them.
//!
//! Necessary: handshakes fail on the server's own node, as many as on the client's. Against: anything on that node that is
//! known to have dropped them, by its counters or by what the probe `drops` saw of a spike.

use synscope_bus::message::incident::{Cause, Finding};

use super::node_drops;
use super::path_loss::{LOCAL, SILENCE, local_drops};
use crate::case::{Case, Pattern, View, cause, number};

const NAME: &str = "no-answer";

pub(super) fn weigh(case: &Case<'_>) -> Vec<Cause> {
    let failed = [&case.client, &case.server].into_iter().flatten().map(View::failed).max().unwrap_or(0);
    if failed == 0 || case.pattern() != Pattern::Loss {
        return Vec::new();
    }
    let Some(server) = &case.server else { return vec![case.not_observed(NAME, None, "the server's node")] };
    let node = server.node.as_str();
    if case.nodes.is_silent(node, case.spikes) {
        return vec![case.not_observed(NAME, Some(node), SILENCE)];
    }
    if LOCAL.iter().any(|local| case.moved(node, *local).is_none()) {
        return vec![case.not_observed(NAME, Some(node), "what drops packets on the server's node")];
    }
    let mut found = cause(NAME, Some(node));
    let numbers = vec![
        number("handshakes that failed", failed, None, "1", case.client.as_ref().map(|client| client.node.as_str())),
        number("of which the server's node saw the SYNs", server.failed(), None, "1", Some(node)),
    ];
    let drops = local_drops(case, failed);
    if server.failed() * 2 < failed {
        found.finding = Finding::Refuted;
        found.summary = "most of the SYNs did not come to the server's node".to_owned();
        found.evidence_against = numbers;
    } else if !drops.is_empty() {
        found.finding = Finding::Refuted;
        found.summary = "drops on the nodes themselves explain why nothing answered".to_owned();
        found.evidence_against = drops;
    } else if let Some((_, drops)) = node_drops::suspects(case).into_iter().find(|(suspect, _)| suspect == node) {
        found.finding = Finding::Correlated;
        found.score = 0.5;
        found.summary = format!(
            "the SYNs of {} connections came to the server's node, and nothing answered, or its kernel dropped them (see node-drops)",
            server.failed()
        );
        found.evidence_for = numbers;
        found.evidence_against = drops;
    } else {
        found.finding = Finding::Confirmed;
        found.score = 0.92;
        found.summary = format!(
            "the SYNs of {} connections came to the server's node, which dropped none that is counted, and nothing answered",
            server.failed()
        );
        found.evidence_for = numbers;
        if let Some(numbers) = node_drops::acquittal(case, &[node]) {
            found.score = 0.95;
            found.evidence_for.extend(numbers);
        }
    }
    vec![found]
}

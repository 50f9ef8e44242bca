//! The server, or what lies between it and its node, answers late.
//!
//! Necessary: no SYN is sent again, and the server's own node sees at least half of the delay between SYN and SYN-ACK.

use synscope_bus::message::incident::{Cause, Finding};

use crate::case::{Case, Pattern, View, cause, number};
use crate::words::duration;

const NAME: &str = "slow-server";

pub(super) fn weigh(case: &Case<'_>) -> Vec<Cause> {
    if matches!(case.pattern(), Pattern::Loss | Pattern::Refusal) {
        return Vec::new();
    }
    let Some(server) = &case.server else { return vec![case.not_observed(NAME, None, "the server's node")] };
    let node = server.node.as_str();
    let mut found = cause(NAME, Some(node));
    let client_ns = case.client.as_ref().map_or(0, View::slow_ns).max(server.slow_ns());
    let numbers = vec![
        number("SYN to SYN-ACK at the server's node", server.slow_ns(), server.normal_ns, "ns", Some(node)),
        number(
            "SYN to SYN-ACK at the client's node",
            client_ns,
            case.client.as_ref().and_then(|view| view.normal_ns),
            "ns",
            None,
        ),
        number("slow connections at the server's node", server.slow(), None, "1", Some(node)),
    ];
    let seen = server.spikes.iter().filter(|spike| spike.slow > 0).count();
    if case.pattern() == Pattern::Delay
        && server.slow_ns() * 2 >= client_ns
        && seen * 3 >= server.spikes.len() * 2
        && seen > 0
    {
        found.finding = Finding::Confirmed;
        found.score = 0.95;
        found.summary = format!(
            "the server's own node waits {} for its answer, in {seen} of {} spikes",
            duration(server.slow_ns()),
            server.spikes.len()
        );
        found.evidence_for = numbers;
    } else {
        found.finding = Finding::Refuted;
        found.summary = "the server's own node gets its answers as fast as ever".to_owned();
        found.evidence_against = numbers;
    }
    vec![found]
}

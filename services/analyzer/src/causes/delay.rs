//! SYNs or their answers are held back on the way, and not lost.
//!
//! Necessary: slow connections without a SYN sent again. Against: the server's own node sees the delay, which is then
//! the server's; or the processors of a node were saturated, for which packets wait before any agent sees them.

use synscope_bus::message::incident::{Cause, Finding};

use super::cpu_saturation;
use crate::case::{Case, Pattern, cause, number};
use crate::words::duration;

const NAME: &str = "delay";

pub(super) fn weigh(case: &Case<'_>) -> Vec<Cause> {
    let Some(client) = &case.client else { return Vec::new() };
    let mut found = cause(NAME, None);
    let again = number("SYNs sent again", client.retries(), None, "1", Some(&client.node));
    if case.pattern() != Pattern::Delay {
        found.finding = Finding::Refuted;
        if client.slow() == 0 {
            found.summary = "no connection was slow: they never came to be".to_owned();
            found.evidence_against = vec![number("slow connections", 0, None, "1", Some(&client.node)), again];
        } else {
            found.summary = "SYNs were sent again: that is loss, not delay".to_owned();
            found.evidence_against = vec![again];
        }
        return vec![found];
    }
    let at_client =
        number("SYN to SYN-ACK at the client's node", client.slow_ns(), client.normal_ns, "ns", Some(&client.node));
    found.evidence_for = vec![at_client, again];
    // It may as well be the server's.
    let Some(server) = &case.server else {
        found.finding = Finding::Correlated;
        found.score = 0.5;
        found.summary = format!(
            "answers take {} without a SYN sent again; the server's node was not observed, so where is not known",
            duration(client.slow_ns())
        );
        return vec![found];
    };
    let at_server =
        number("SYN to SYN-ACK at the server's node", server.slow_ns(), server.normal_ns, "ns", Some(&server.node));
    if server.slow_ns() * 2 >= client.slow_ns() {
        found.finding = Finding::Refuted;
        found.summary = "the server's own node sees the delay: it is the server's".to_owned();
        found.evidence_against = vec![at_server];
        return vec![found];
    }
    found.evidence_for.push(at_server);
    let suspects = cpu_saturation::suspects(case);
    if suspects.is_empty() {
        found.finding = Finding::Confirmed;
        found.score = 0.9;
        found.summary = format!(
            "answers take {} without a SYN sent again, and the server's node gets them as fast as ever: they are held back between the nodes",
            duration(client.slow_ns())
        );
    } else {
        found.finding = Finding::Correlated;
        found.score = 0.5;
        found.summary = format!(
            "answers take {} without a SYN sent again, and the server's node gets them as fast as ever: they are held back between the nodes, or on {}, where the processors were saturated",
            duration(client.slow_ns()),
            suspects.join(" and ")
        );
    }
    vec![found]
}

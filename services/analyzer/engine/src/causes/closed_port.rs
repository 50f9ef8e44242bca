//! Nobody listens: resets answer the SYNs.
//!
//! Necessary: resets end most of the handshakes that fail, at once and without a SYN sent again. Who sent them is not told
//! apart: a closed port, a firewall that rejects, or a load balancer without a server.

use synscope_bus::message::incident::{Cause, Finding};

use crate::case::{Case, Pattern, View, cause, number};

const NAME: &str = "closed-port";

pub(super) fn weigh(case: &Case<'_>) -> Vec<Cause> {
    // Where the server's node saw no reset, it came from somewhere on the way.
    let server = case.server.as_ref().filter(|server| server.reset() > 0);
    let Some(view) = server.or(case.client.as_ref()) else {
        return Vec::new();
    };
    let failed = [&case.client, &case.server].into_iter().flatten().map(View::failed).max().unwrap_or(0);
    if failed == 0 {
        return Vec::new();
    }
    let mut found = cause(NAME, server.map(|server| server.node.as_str()));
    let numbers = vec![
        number("handshakes that a reset ended", view.reset(), None, "1", Some(&view.node)),
        number("handshakes that failed", failed, None, "1", None),
    ];
    if case.pattern() == Pattern::Refusal {
        found.finding = Finding::Confirmed;
        found.score = 0.95;
        found.summary = format!("resets ended {} of the {failed} handshakes that failed", view.reset());
        found.evidence_for = numbers;
    } else {
        found.finding = Finding::Refuted;
        found.summary = "resets ended none or few of the handshakes".to_owned();
        found.evidence_against = numbers;
    }
    vec![found]
}

//! The server's accept queue overflows: it does not accept fast enough.
//!
//! Necessary: `ListenOverflows` moves on the server's node in most spikes (the kernel gives no other trace of it: no
//! `kfree_skb` event), and SYNs come to the server's node more than once.

use synscope_bus::message::incident::{Cause, Finding};

use crate::case::{Case, Pattern, cause, counted, number};
use crate::nodes::Counter;

const NAME: &str = "listen-overflow";

pub(super) fn weigh(case: &Case<'_>) -> Vec<Cause> {
    let Some(server) = &case.server else { return vec![case.not_observed(NAME, None, "the server's node")] };
    let node = server.node.as_str();
    let Some(overflows) = case.moved(node, Counter::ListenOverflows) else {
        return vec![case.not_observed(NAME, Some(node), "TCP counters of the server's node")];
    };
    let mut found = cause(NAME, Some(node));
    let mut numbers = vec![counted(Counter::ListenOverflows, overflows, node)];
    numbers.extend(case.moved(node, Counter::ListenDrops).map(|drops| counted(Counter::ListenDrops, drops, node)));
    numbers.push(number("SYNs that came to the server's node again", server.retries(), None, "1", Some(node)));
    if overflows.inside == 0 {
        found.finding = Finding::Refuted;
        found.summary = "no accept queue overflowed".to_owned();
        found.evidence_against = numbers;
    } else if case.pattern() == Pattern::Loss
        && overflows.mostly()
        && server.lost() * 2 >= case.lost()
        && case.explains(overflows.beyond)
    {
        found.finding = Finding::Confirmed;
        found.score = if overflows.outside * 10 <= overflows.inside { 0.97 } else { 0.9 };
        found.summary = format!(
            "in {} of {} spikes an accept queue overflowed {} times in all, and the SYNs came to the server's node each time",
            overflows.spikes, overflows.observed, overflows.inside
        );
        found.evidence_for = numbers;
    } else {
        found.finding = Finding::Correlated;
        found.score = 0.3;
        found.summary = "an accept queue overflowed, but too rarely to explain the SYNs that were lost".to_owned();
        found.evidence_for = numbers;
    }
    vec![found]
}

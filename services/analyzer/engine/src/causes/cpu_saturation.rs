//! The processors of a node at either end are saturated, so that its network waits for them: what comes in is taken up
//! late, by a kernel thread that has to wait as others do, before any agent sees it (DIAGNOSIS.md, part 4, M).
//!
//! Necessary: in the spikes, tasks wait for a processor longer than usual, and long enough for as many connections to be as
//! slow. Which of the tasks waited is not measured, so this is never confirmed, but a delay on the way is not either.

use synscope_bus::message::incident::{Cause, Finding, Spike};

use crate::case::{Case, Pattern, View, cause, counted};
use crate::nodes::{Counter, Moved};
use crate::words::duration;

const NAME: &str = "cpu-saturation";

pub(super) fn weigh(case: &Case<'_>) -> Vec<Cause> {
    if case.pattern() != Pattern::Delay {
        return Vec::new();
    }
    at_stake(case).map(|node| weigh_node(case, node)).collect()
}

/// The nodes at the ends; where the server's sees the delay, the client's has no part in it.
fn at_stake<'a>(case: &'a Case<'_>) -> impl Iterator<Item = &'a str> {
    let client_ns = case.client.as_ref().map_or(0, View::slow_ns);
    let is_servers = |server: &&View| server.slow_ns() * 2 >= client_ns;
    let server = case.server.as_ref().filter(is_servers).map(|server| server.node.as_str());
    case.nodes_at_ends().into_iter().filter(move |node| server.is_none_or(|server| server == *node))
}

fn weigh_node(case: &Case<'_>, node: &str) -> Cause {
    let Some(waits) = case.moved(node, Counter::ProcessorWaits) else {
        return case.not_observed(NAME, Some(node), "pressure stall information of the node's processors");
    };
    let mut found = cause(NAME, Some(node));
    let mut numbers = vec![counted(Counter::ProcessorWaits, waits, node)];
    let squeezed = case.moved(node, Counter::SoftnetSqueezed);
    numbers.extend(squeezed.map(|squeezed| counted(Counter::SoftnetSqueezed, squeezed, node)));
    let each = duration(each_ns(waits));
    if explains(case, waits) {
        found.finding = Finding::Correlated;
        found.score = 0.6;
        found.summary = format!(
            "tasks waited {each} more than usual for a processor in each spike; what the network does there may have waited with them"
        );
        found.evidence_for = numbers;
    } else {
        found.finding = Finding::Refuted;
        found.summary = format!("tasks waited {each} more than usual for a processor in each spike");
        found.evidence_against = numbers;
    }
    found
}

/// The nodes at the ends whose processors may be what the connections waited for.
pub(super) fn suspects<'a>(case: &'a Case<'_>) -> Vec<&'a str> {
    let is_one = |node: &&str| case.moved(node, Counter::ProcessorWaits).is_some_and(|waits| explains(case, waits));
    at_stake(case).filter(is_one).collect()
}

/// In each spike, beyond what is usual.
const fn each_ns(waits: Moved) -> u64 {
    waits.beyond / if waits.observed > 0 { waits.observed as u64 } else { 1 }
}

/// At least twice as long as usual, as long as the connections, and for as large a part of the spikes as connections are
/// slow in: each of those that wait for a processor is in such a time.
fn explains(case: &Case<'_>, waits: Moved) -> bool {
    let slow_ns = [&case.client, &case.server].into_iter().flatten().map(View::slow_ns).max().unwrap_or(0);
    let hit_ns = |spike: &Spike| {
        let length_ns = spike.end_unix_ns - spike.start_unix_ns;
        u64::try_from(u128::from(length_ns) * u128::from(spike.slow) / u128::from(spike.n.max(1))).unwrap_or(u64::MAX)
    };
    let hit_ns = case.spikes.iter().map(hit_ns).sum::<u64>() / case.spikes.len().max(1) as u64;
    waits.beyond * 2 >= waits.inside && each_ns(waits) >= slow_ns.max(hit_ns)
}

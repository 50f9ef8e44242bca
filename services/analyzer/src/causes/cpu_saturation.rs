//! The processors of a node at either end are saturated, so that its network waits for them: what comes in is taken up
//! late, by a kernel thread that has to wait as others do, before any agent sees it (DIAGNOSIS.md, part 4, M).
//!
//! Necessary: in the spikes, tasks wait for a processor longer than usual, by as much as the connections are slow. Which of
//! the tasks waited is not measured, so this is never confirmed, but nobody else's fault is either.

use synscope_bus::message::incident::{Cause, Finding};

use crate::case::{Case, Pattern, View, cause, counted};
use crate::nodes::{Counter, Moved};
use crate::words::duration;

const NAME: &str = "cpu-saturation";

pub(super) fn weigh(case: &Case<'_>) -> Vec<Cause> {
    if case.pattern() != Pattern::Delay {
        return Vec::new();
    }
    case.nodes_at_ends().into_iter().map(|node| weigh_node(case, node)).collect()
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
    case.nodes_at_ends().into_iter().filter(is_one).collect()
}

/// In each spike, beyond what is usual.
const fn each_ns(waits: Moved) -> u64 {
    waits.beyond / if waits.observed > 0 { waits.observed as u64 } else { 1 }
}

/// As long as the connections, and at least twice as long as usual.
fn explains(case: &Case<'_>, waits: Moved) -> bool {
    let slow_ns = [&case.client, &case.server].into_iter().flatten().map(View::slow_ns).max().unwrap_or(0);
    waits.beyond * 2 >= waits.inside && each_ns(waits) >= slow_ns
}

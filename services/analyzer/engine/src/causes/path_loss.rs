//! SYNs are lost on the way between the nodes.
//!
//! Necessary: the client sends SYNs again, and the server's node does not see them come twice. Against: anything on
//! either node that dropped them; where that was not observed, nothing is confirmed. Where the probe `drops` saw a spike,
//! what the kernels dropped for any reason counts as well.

use synscope_bus::message::incident::{Cause, Evidence, Finding};

use super::node_drops;
use crate::case::{Case, Pattern, cause, counted, number};
use crate::nodes::Counter;

const NAME: &str = "path-loss";
/// What drops packets on a node, and would explain it all.
pub(super) const LOCAL: [Counter; 3] = [Counter::TableDropped, Counter::NfDrop, Counter::ListenOverflows];

/// Why a node may have dropped anything, or nothing.
pub(super) const SILENCE: &str = "a node that told nothing of itself meanwhile (it is down, or cut off)";

pub(super) fn weigh(case: &Case<'_>) -> Vec<Cause> {
    let (Some(client), Some(server)) = (&case.client, &case.server) else {
        return vec![case.not_observed(NAME, None, "one of the two nodes")];
    };
    let mut found = cause(NAME, None);
    let (again, twice) = (client.lost(), server.lost());
    let sent_again = number("SYNs sent again, or never answered", again, None, "1", Some(&client.node));
    let came_twice = number(
        "SYNs that came to the server's node again, or were not answered there",
        twice,
        None,
        "1",
        Some(&server.node),
    );
    if case.pattern() != Pattern::Loss {
        found.finding = Finding::Refuted;
        found.summary = "no or too few SYNs were sent again or never answered".to_owned();
        found.evidence_against = vec![sent_again];
        return vec![found];
    }
    if let Some(node) = case.nodes_at_ends().into_iter().find(|node| case.nodes.is_silent(node, case.spikes)) {
        return vec![case.not_observed(NAME, Some(node), SILENCE)];
    }
    let unobserved =
        case.nodes_at_ends().into_iter().find(|node| LOCAL.iter().any(|local| case.moved(node, *local).is_none()));
    if let Some(node) = unobserved {
        return vec![case.not_observed(NAME, Some(node), "what drops packets on the node itself")];
    }
    let local: Vec<Evidence> = local_drops(case, again);
    if !local.is_empty() {
        found.finding = Finding::Refuted;
        found.summary = "drops on the nodes themselves explain the SYNs sent again".to_owned();
        found.evidence_against = local;
        return vec![found];
    }
    if twice * 5 > again {
        found.finding = Finding::Refuted;
        found.summary = "the SYNs came to the server's node each time: they were not lost before it".to_owned();
        found.evidence_against = vec![sent_again, came_twice];
        return vec![found];
    }
    found.evidence_for = vec![sent_again, came_twice];
    let said = format!(
        "{again} SYNs were sent again or never answered, {twice} of them came to the server's node all the same"
    );
    let suspects = node_drops::suspects(case);
    if !suspects.is_empty() {
        let (nodes, drops): (Vec<String>, Vec<Vec<Evidence>>) = suspects.into_iter().unzip();
        found.finding = Finding::Correlated;
        found.score = 0.5;
        found.summary =
            format!("{said}; they were lost between the nodes, or dropped on {} (see node-drops)", nodes.join(" and "));
        found.evidence_against = drops.concat();
        return vec![found];
    }
    found.finding = Finding::Confirmed;
    found.score = 0.93;
    found.summary = format!("{said}, and neither node dropped any");
    if let Some(numbers) = node_drops::acquittal(case, &case.nodes_at_ends()) {
        found.score = 0.96;
        found.evidence_for.extend(numbers);
    }
    vec![found]
}

/// Drops on the nodes that reach half of what was lost.
pub(super) fn local_drops(case: &Case<'_>, lost: u64) -> Vec<Evidence> {
    let nodes = case.nodes_at_ends();
    // Where the kernel tells no reasons, these are not observed, and the others still are.
    let counters = LOCAL.into_iter().chain([Counter::ProgramDrops]);
    let all = nodes.iter().flat_map(|node| counters.clone().map(move |counter| (*node, counter)));
    all.filter_map(|(node, counter)| {
        let moved = case.moved(node, counter)?;
        // Of its own table's drops each edge tells which were its, whatever the table drops at other times.
        let beyond = if counter == Counter::TableDropped { case.dropped_on(node) } else { moved.beyond };
        (case.may_drop(node) && beyond > 0 && beyond * 2 >= lost).then(|| counted(counter, moved, node))
    })
    .collect()
}

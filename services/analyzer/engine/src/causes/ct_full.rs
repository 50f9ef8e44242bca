//! synscope's own connection table is full and drops new connections (enforce mode).
//!
//! Necessary: SYNs dropped by the table, in most spikes, on a node of the edge. Against: a table that is full and
//! refuses, but lets pass what it refuses. Magnitude: the drops cover at least half of the SYNs that were lost.

use synscope_bus::message::incident::{Cause, Finding};

use crate::case::{Case, Pattern, cause, counted, number};
use crate::nodes::Counter;

const NAME: &str = "ct-full";

pub(super) fn weigh(case: &Case<'_>) -> Vec<Cause> {
    case.nodes_at_ends().into_iter().map(|node| weigh_node(case, node)).collect()
}

fn weigh_node(case: &Case<'_>, node: &str) -> Cause {
    let (Some(dropped), Some(failed), Some((fill, otherwise))) = (
        case.moved(node, Counter::TableDropped),
        case.moved(node, Counter::TableFull),
        case.nodes.table(node, case.spikes),
    ) else {
        return case.not_observed(NAME, Some(node), "the node's connection table");
    };
    let mut found = cause(NAME, Some(node));
    let entries = number("largest fill", fill.live, Some(otherwise.live), "entries", Some(node));
    let (refused, table_dropped) =
        (counted(Counter::TableFull, failed, node), counted(Counter::TableDropped, dropped, node));
    let capacity = fill.max;

    if dropped.inside == 0 {
        found.finding = Finding::Refuted;
        found.evidence_against = vec![entries, refused, table_dropped];
        found.summary = if failed.inside > 0 {
            format!(
                "the table was full ({capacity} entries) and refused {} times, but dropped nothing: the packets passed",
                failed.inside
            )
        } else {
            format!("the table held at most {} of {capacity} entries and refused nobody", fill.live)
        };
        return found;
    }
    let on_edge = case.dropped_on(node);
    let retries: u64 = case.spikes.iter().map(|spike| spike.retries).sum();
    let here = number("SYNs of this edge that were dropped", on_edge, None, "1", Some(node));
    found.evidence_for = vec![entries, refused, table_dropped, here];
    if case.pattern() != Pattern::Loss {
        found.finding = Finding::Refuted;
        found.evidence_against = vec![number("SYNs sent again", retries, None, "1", None)];
        found.summary = "the table dropped SYNs, but the slow connections sent none again".to_owned();
    } else if dropped.mostly() && case.is_half_of_lost(on_edge) {
        found.finding = Finding::Confirmed;
        found.score = if dropped.outside * 10 <= dropped.inside { 0.98 } else { 0.9 };
        found.summary = format!(
            "in {} of {} spikes the table was full ({capacity} entries) and dropped SYNs, {on_edge} of this edge",
            dropped.spikes, dropped.observed
        );
    } else if on_edge == 0 {
        found.finding = Finding::Refuted;
        found.evidence_against = vec![number("SYNs of this edge that were dropped", 0, None, "1", Some(node))];
        found.summary = "the table dropped SYNs, but none of this edge".to_owned();
    } else {
        found.finding = Finding::Correlated;
        found.score = 0.4;
        found.summary = format!(
            "the table dropped SYNs, but only in {} of {} spikes, or too few",
            dropped.spikes, dropped.observed
        );
    }
    found
}

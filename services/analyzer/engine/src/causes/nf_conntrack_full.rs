//! The kernel's connection tracking (`nf_conntrack`) is full.
//!
//! Necessary: its `drop` counter moves in most spikes (`net/netfilter/nf_conntrack_core.c`, `__nf_conntrack_alloc`).
//! Against: full with only `early_drop` moving, because then room was made and the packet passed.

use synscope_bus::message::incident::{Cause, Finding};

use crate::case::{Case, Pattern, cause, counted, number};
use crate::nodes::Counter;

const NAME: &str = "nf-conntrack-full";

pub(super) fn weigh(case: &Case<'_>) -> Vec<Cause> {
    case.nodes_at_ends().into_iter().map(|node| weigh_node(case, node)).collect()
}

fn weigh_node(case: &Case<'_>, node: &str) -> Cause {
    let (Some(drop), Some(early)) = (case.moved(node, Counter::NfDrop), case.moved(node, Counter::NfEarlyDrop)) else {
        return case.not_observed(NAME, Some(node), "nf_conntrack");
    };
    let mut found = cause(NAME, Some(node));
    let mut numbers = vec![counted(Counter::NfDrop, drop, node), counted(Counter::NfEarlyDrop, early, node)];
    if let Some((fill, otherwise)) = case.nodes.nf(node, drop.netns, case.spikes) {
        numbers.push(number("nf_conntrack entries", fill.live, Some(otherwise.live), "entries", Some(node)));
    }
    if let Some(filter) = case.moved(node, Counter::FilterDrops) {
        numbers.push(counted(Counter::FilterDrops, filter, node));
    }
    if drop.inside == 0 {
        found.finding = Finding::Refuted;
        found.summary = if early.inside > 0 {
            format!("the table made room {} times (early_drop) and dropped no packet", early.inside)
        } else {
            "it dropped no packet".to_owned()
        };
        found.evidence_against = numbers;
    } else if !case.may_drop(node) {
        found.finding = Finding::Refuted;
        found.summary =
            "it dropped packets, but the SYNs were lost elsewhere: by what the server's node saw of them".to_owned();
        found.evidence_against = numbers;
    } else if case.pattern() == Pattern::Loss && drop.mostly() && case.explains(drop.beyond) {
        found.finding = Finding::Confirmed;
        found.score = if drop.outside * 10 <= drop.inside { 0.97 } else { 0.9 };
        found.summary =
            format!("in {} of {} spikes nf_conntrack was full and dropped packets", drop.spikes, drop.observed);
        found.evidence_for = numbers;
    } else {
        found.finding = Finding::Correlated;
        found.score = 0.3;
        found.summary = "it dropped packets, but too few, in too few spikes, or no SYN was lost".to_owned();
        found.evidence_for = numbers;
    }
    found
}

//! A connection table of Cilium's is full.
//!
//! Its fill alone shows no mechanism: an LRU table evicts and makes nobody wait, and is correlated at most. A hash table
//! refuses, and Cilium's program drops the SYN (`DROP_CT_CREATE_FAILED`): necessary are drops by TC programs in most
//! spikes, more than synscope's own, as many as half of the SYNs that were lost, while the table was full there and not
//! otherwise.

use synscope_bus::message::incident::{Cause, Finding};

use crate::case::{Case, Pattern, cause, counted, number};
use crate::nodes::{Counter, Moved};

const NAME: &str = "cilium-ct-full";
/// Below this there is no pressure to speak of.
const PRESSURE: f64 = 0.95;

pub(super) fn weigh(case: &Case<'_>) -> Vec<Cause> {
    let nodes = case.nodes_at_ends();
    let tables = nodes.into_iter().filter_map(|node| Some((node, case.nodes.cilium(node, case.spikes)?)));
    tables
        .flat_map(|(node, tables)| tables.into_iter().map(move |table| (node, table)))
        .map(|(node, table)| {
            let mut found = cause(NAME, Some(node));
            let fill = number(
                &format!("entries of {}", table.name),
                table.inside.live,
                Some(table.outside.live),
                "entries",
                Some(node),
            );
            let percent = table.inside.share() * 100.0;
            if table.inside.share() < PRESSURE {
                found.finding = Finding::Refuted;
                found.summary = format!("{} was {percent:.1} % full at most", table.name);
                found.evidence_against = vec![fill];
                return found;
            }
            if let Some(drops) = drops(case, node).filter(|_| !table.lru && table.outside.share() < PRESSURE) {
                found.finding = Finding::Confirmed;
                found.score = 0.85;
                found.summary = format!(
                    "in {} of {} spikes TC programs dropped packets while {} was {percent:.1} % full",
                    drops.spikes, drops.observed, table.name
                );
                found.evidence_for = vec![fill, counted(Counter::ProgramDrops, drops, node)];
                return found;
            }
            found.finding = Finding::Correlated;
            found.score = 0.2;
            let kind = if table.lru {
                "an LRU table evicts and makes no SYN wait"
            } else {
                "no counter says that it refused anyone"
            };
            let same = if table.outside.share() >= PRESSURE { ", and it is as full without spikes" } else { "" };
            found.summary =
                format!("{} is {percent:.1} % full: correlated, mechanism unproven; {kind}{same}", table.name);
            if same.is_empty() {
                found.evidence_for = vec![fill];
            } else {
                found.evidence_against = vec![fill];
            }
            found
        })
        .collect()
}

/// Drops by TC programs other than synscope's own, if they explain what was lost.
fn drops(case: &Case<'_>, node: &str) -> Option<Moved> {
    let drops = case.moved(node, Counter::ProgramDrops)?;
    let own = case.moved(node, Counter::TableDropped)?.inside;
    let may_be = case.pattern() == Pattern::Loss && drops.mostly() && case.may_drop(node);
    (may_be && case.explains(drops.beyond.saturating_sub(own))).then_some(drops)
}

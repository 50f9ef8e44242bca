//! The causes that are told apart: one room each, all alike.
//!
//! A room asks in this order: is there anything to say; what must have moved (in the affected seconds, on the affected
//! node); does it reach the magnitude; what speaks against it. Only a cause with all of it is confirmed. What is full,
//! but has no counter that says it refused anyone, is correlated and no more (DIAGNOSIS.md, part 5).

mod cilium_ct_full;
mod closed_port;
mod cpu_saturation;
mod ct_full;
mod delay;
mod listen_overflow;
mod nf_conntrack_full;
mod no_answer;
mod node_drops;
mod path_loss;
mod slow_server;

use synscope_bus::message::incident::{Cause, Finding};

use crate::case::Case;

type Room = fn(&Case<'_>) -> Vec<Cause>;

/// All rooms. Those that look at one place come before those that say it was none of these.
const ROOMS: [Room; 11] = [
    ct_full::weigh,
    nf_conntrack_full::weigh,
    listen_overflow::weigh,
    closed_port::weigh,
    slow_server::weigh,
    path_loss::weigh,
    no_answer::weigh,
    delay::weigh,
    cpu_saturation::weigh,
    cilium_ct_full::weigh,
    node_drops::weigh,
];

/// What was found about each cause.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Verdict {
    /// Causes, likeliest first.
    pub causes: Vec<Cause>,
    /// Those that the evidence excludes.
    pub refuted: Vec<Cause>,
}

/// Weighs every cause.
pub fn weigh(case: &Case<'_>) -> Verdict {
    let (mut refuted, mut causes): (Vec<Cause>, Vec<Cause>) =
        ROOMS.iter().flat_map(|room| room(case)).partition(|cause| cause.finding == Finding::Refuted);
    let rank = |cause: &Cause| match cause.finding {
        Finding::Confirmed => 0,
        Finding::Correlated => 1,
        Finding::NotObserved | Finding::Refuted | Finding::Unknown => 2,
    };
    causes.sort_by(|a, b| rank(a).cmp(&rank(b)).then(b.score.total_cmp(&a.score)));
    refuted.sort_by(|a, b| a.name.cmp(&b.name).then(a.node.cmp(&b.node)));
    Verdict { causes, refuted }
}

/// The incident's kind: the first confirmed cause's name.
pub fn kind(verdict: &Verdict) -> &str {
    verdict.causes.first().filter(|cause| cause.finding == Finding::Confirmed).map_or("unknown", |cause| &cause.name)
}

//! A node's kernel throws packets away in the spikes, by what the probe `drops` saw: for which reason, in which function.
//!
//! Necessary: the probe covered a spike; drops of a reason that can lose a SYN, or refuse it, at least twice as often in the
//! spike as otherwise, as many as half of what was lost meanwhile, on a node where it can have been lost. Whose packets
//! they were the kernel does not say, so this is never confirmed; but that nothing local is to blame is not either.

use synscope_bus::message::incident::{Cause, Evidence, Finding};

use crate::case::{Case, Pattern, cause, number, probed};
use crate::probe::{Counted, Kind, Seen, What};

const NAME: &str = "node-drops";
/// Reasons and functions that are listed.
const LISTED_MAX: usize = 3;

/// What is thrown away as a matter of course, or of connections that are there already: no SYN is lost by it. What one
/// kernel does not have it does not tell (`include/net/dropreason-core.h`).
const HARMLESS: [&str; 33] = [
    "NOT_DROPPED_YET",
    "CONSUMED",
    "SKB_CONSUMED",
    "OTHERHOST",
    "UNHANDLED_PROTO",
    "SKB_UCOPY_FAULT",
    "PACKET_SOCK_ERROR",
    "SOCKET_RCVBUFF",
    "SOCKET_CLOSE",
    "UNIX_DISCONNECT",
    "UNIX_SKIP_OOB",
    "TCP_OLD_DATA",
    "TCP_OVERWINDOW",
    "TCP_OFOMERGE",
    "TCP_OFO_DROP",
    "TCP_OFO_QUEUE_PRUNE",
    "TCP_RFC7323_PAWS",
    "TCP_RFC7323_PAWS_ACK",
    "TCP_RFC7323_TW_PAWS",
    "TCP_RFC7323_TSECR",
    "TCP_OLD_SEQUENCE",
    "TCP_INVALID_SEQUENCE",
    "TCP_INVALID_END_SEQUENCE",
    "TCP_INVALID_ACK_SEQUENCE",
    "TCP_RESET",
    "TCP_CLOSE",
    "TCP_FASTOPEN",
    "TCP_OLD_ACK",
    "TCP_TOO_OLD_ACK",
    "TCP_ACK_UNSENT_DATA",
    "TCP_ABORT_ON_DATA",
    "TCP_ZEROWINDOW",
    "TCP_LISTEN_OVERFLOW_CLOSE",
];
/// Reasons that are none.
const UNTOLD: [&str; 2] = ["NOT_SPECIFIED", "UNKNOWN"];
/// What is dropped for these the node's agent has not seen yet when it arrives.
const BEFORE_AGENT: [&str; 4] = ["CPU_BACKLOG", "XDP", "FULL_RING", "NOMEM"];
/// The kernel answers a SYN to a port without a listener with a reset: that refuses, and loses nothing.
const REFUSES: &str = "NO_SOCKET";

/// What drops of a reason can do to a SYN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    Explains,
    /// The kernel does not say why, so it may.
    Unknown,
    Nothing,
}

fn effect(reason: &str, pattern: Pattern) -> Effect {
    if HARMLESS.contains(&reason) || (reason == REFUSES && pattern != Pattern::Refusal) {
        Effect::Nothing
    } else if UNTOLD.contains(&reason) || reason.bytes().all(|byte| byte.is_ascii_digit()) {
        Effect::Unknown
    } else {
        Effect::Explains
    }
}

pub(super) fn weigh(case: &Case<'_>) -> Vec<Cause> {
    if case.pattern() == Pattern::Delay {
        return Vec::new();
    }
    let weighed = case.nodes_at_ends().into_iter().filter_map(|node| {
        Some(match case.seen(Kind::Drops, node)? {
            Ok(seen) => weigh_node(case, &seen),
            Err(why) => case.not_observed(NAME, Some(node), &format!("the probe drops says nothing ({why})")),
        })
    });
    weighed.collect()
}

fn weigh_node(case: &Case<'_>, seen: &Seen) -> Cause {
    let mut found = cause(NAME, Some(&seen.node));
    let suffered = case.suffered_in(seen);
    let unusual = unusual(case, seen, &[Effect::Explains]);
    let here: Unusual<'_> = unusual.iter().filter(|drops| may_be_here(case, seen, drops)).copied().collect();
    let dropped = beyond(&unusual);
    let mut numbers = listed(&unusual, seen);
    numbers.push(number("SYNs of this edge that were lost or refused meanwhile", suffered, None, "1", None));
    let most =
        unusual.first().map_or(String::new(), |(reason, function, _)| format!(", most for {reason} in {function}"));
    if is_enough(beyond(&here), suffered) {
        found.finding = Finding::Correlated;
        found.score = 0.6;
        found.summary = format!(
            "the kernel dropped {dropped} packets more than usual in the spikes that the probe saw{most}; whose they were is not known"
        );
        found.evidence_for = numbers;
    } else {
        found.finding = Finding::Refuted;
        found.summary = if unusual.is_empty() {
            "the kernel dropped no more packets in the spikes that the probe saw than otherwise".to_owned()
        } else if is_enough(dropped, suffered) {
            format!(
                "the kernel dropped {dropped} packets more than usual{most}, but the SYNs were lost elsewhere: by what the server's node saw of them"
            )
        } else {
            format!("the kernel dropped {dropped} packets more than usual{most}: too few for what was lost or refused")
        };
        if unusual.is_empty() {
            numbers.insert(0, probed("drops of any reason that may lose a SYN", total(case, seen), seen));
        }
        found.evidence_against = numbers;
    }
    found
}

/// The nodes whose drops, by the probe, would explain what was lost, with what they dropped.
pub(super) fn suspects(case: &Case<'_>) -> Vec<(String, Vec<Evidence>)> {
    let suspect = |seen: Seen| {
        let mut here = unusual(case, &seen, &[Effect::Explains]);
        here.retain(|drops| may_be_here(case, &seen, drops));
        is_enough(beyond(&here), case.suffered_in(&seen)).then(|| (seen.node.clone(), listed(&here, &seen)))
    };
    watched(case).filter_map(suspect).collect()
}

/// That these nodes dropped nothing that may explain what was lost: a number of each, where the probe saw all of them.
pub(super) fn acquittal(case: &Case<'_>, nodes: &[&str]) -> Option<Vec<Evidence>> {
    let of = |node: &&str| {
        let seen = case.seen(Kind::Drops, node)?.ok()?;
        let unusual = unusual(case, &seen, &[Effect::Explains, Effect::Unknown]);
        let suffered = case.suffered_in(&seen);
        let is_clear = suffered > 0 && !is_enough(beyond(&unusual), suffered);
        is_clear.then(|| probed("drops of any reason that may lose a SYN", total(case, &seen), &seen))
    };
    nodes.iter().map(of).collect()
}

fn watched(case: &Case<'_>) -> impl Iterator<Item = Seen> {
    case.nodes_at_ends().into_iter().filter_map(|node| case.seen(Kind::Drops, node)?.ok())
}

/// Half of it, at least.
const fn is_enough(dropped: u64, suffered: u64) -> bool {
    dropped > 0 && suffered > 0 && dropped * 2 >= suffered
}

/// Whether what is lost can have been lost by this: where the agent saw it go on, only what is dropped before it was not.
fn may_be_here(case: &Case<'_>, seen: &Seen, (reason, ..): &(&str, &str, Counted)) -> bool {
    case.may_drop(&seen.node) || BEFORE_AGENT.contains(reason)
}

type Unusual<'a> = Vec<(&'a str, &'a str, Counted)>;

/// What was dropped more often in the spikes than otherwise, most of it first.
fn unusual<'a>(case: &Case<'_>, seen: &'a Seen, effects: &[Effect]) -> Unusual<'a> {
    let mut unusual: Unusual<'a> =
        of_effects(case, seen, effects).filter(|(.., counted)| counted.is_unusual()).collect();
    unusual.sort_by_key(|(.., counted)| std::cmp::Reverse(counted.beyond));
    unusual
}

fn of_effects<'a>(
    case: &Case<'_>,
    seen: &'a Seen,
    effects: &[Effect],
) -> impl Iterator<Item = (&'a str, &'a str, Counted)> {
    let pattern = case.pattern();
    seen.counts.iter().filter_map(move |(what, counted)| match what {
        What::Dropped { reason, function } if effects.contains(&effect(reason, pattern)) => {
            Some((reason.as_str(), function.as_str(), *counted))
        }
        _ => None,
    })
}

/// All drops that may lose a SYN, unusual or not.
fn total(case: &Case<'_>, seen: &Seen) -> Counted {
    let all = of_effects(case, seen, &[Effect::Explains, Effect::Unknown]);
    all.fold(Counted::default(), |sum, (.., counted)| Counted {
        inside: sum.inside + counted.inside,
        outside: sum.outside + counted.outside,
        beyond: sum.beyond + counted.beyond,
    })
}

fn beyond(unusual: &Unusual<'_>) -> u64 {
    unusual.iter().map(|(.., counted)| counted.beyond).sum()
}

fn listed(unusual: &Unusual<'_>, seen: &Seen) -> Vec<Evidence> {
    let name = |(reason, function, counted): &(&str, &str, Counted)| {
        probed(&format!("drops for {reason} in {function}"), *counted, seen)
    };
    unusual.iter().take(LISTED_MAX).map(name).collect()
}

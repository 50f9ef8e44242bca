//! SYNs or their answers are held back on the way, and not lost.
//!
//! Necessary: slow connections without a SYN sent again. Against: the server's own node sees the delay, which is then
//! the server's; or the processors of a node were saturated, for which packets wait before any agent sees them. Where the
//! probe `connect-latency` saw a spike, how long the client's own sockets waited counts as well: that few of them did does
//! not, because connections that the node only forwards are not its sockets'.

use synscope_bus::message::incident::{Cause, Evidence, Finding};

use super::cpu_saturation;
use crate::case::{Case, Pattern, View, cause, number, probed};
use crate::probe::{Counted, Kind, What};
use crate::words::duration;

const NAME: &str = "delay";

pub(super) fn weigh(case: &Case<'_>) -> Vec<Cause> {
    let Some(client) = &case.client else { return Vec::new() };
    let mut found = cause(NAME, None);
    let again = number("SYNs sent again", client.retries(), None, "1", Some(&client.node));
    if case.pattern() != Pattern::Delay {
        found.finding = Finding::Refuted;
        if client.slow() == 0 {
            found.summary = "no connection was slow: they never came to be".to_owned();
            found.evidence_against = vec![number("slow connections", 0, None, "1", Some(&client.node)), again];
        } else {
            found.summary = "SYNs were sent again: that is loss, not delay".to_owned();
            found.evidence_against = vec![again];
        }
        return vec![found];
    }
    let at_client =
        number("SYN to SYN-ACK at the client's node", client.slow_ns(), client.normal_ns, "ns", Some(&client.node));
    found.evidence_for = vec![at_client, again];
    let felt = felt(case, client);
    found.evidence_for.extend(felt.clone());
    // It may as well be the server's.
    let Some(server) = &case.server else {
        found.finding = Finding::Correlated;
        found.score = 0.5;
        found.summary = format!(
            "answers take {} without a SYN sent again; the server's node was not observed, so where is not known",
            duration(client.slow_ns())
        );
        return vec![found];
    };
    let at_server =
        number("SYN to SYN-ACK at the server's node", server.slow_ns(), server.normal_ns, "ns", Some(&server.node));
    if server.slow_ns() * 2 >= client.slow_ns() {
        found.finding = Finding::Refuted;
        found.summary = "the server's own node sees the delay: it is the server's".to_owned();
        found.evidence_against = vec![at_server];
        return vec![found];
    }
    found.evidence_for.push(at_server);
    let suspects = cpu_saturation::suspects(case);
    if suspects.is_empty() {
        found.finding = Finding::Confirmed;
        found.score = if felt.is_some() { 0.93 } else { 0.9 };
        found.summary = format!(
            "answers take {} without a SYN sent again, and the server's node gets them as fast as ever: they are held back between the nodes",
            duration(client.slow_ns())
        );
    } else {
        found.finding = Finding::Correlated;
        found.score = 0.5;
        found.summary = format!(
            "answers take {} without a SYN sent again, and the server's node gets them as fast as ever: they are held back between the nodes, or on {}, where the processors were saturated",
            duration(client.slow_ns()),
            suspects.join(" and ")
        );
    }
    vec![found]
}

/// Connections of the client node's own sockets that took half as long as the slow ones' median, or longer, where the probe
/// saw them in a spike, and otherwise not as often.
fn felt(case: &Case<'_>, client: &View) -> Option<Evidence> {
    let seen = case.seen(Kind::ConnectLatency, &client.node)?.ok()?;
    let slow = seen.counts.iter().filter(|(what, _)| match what {
        // Where a range of twice as much begins that has the median is half of it at least.
        What::Connected { least_us } => least_us.saturating_mul(2000) >= client.slow_ns(),
        What::Dropped { .. } => false,
    });
    let sum = slow.fold(Counted::default(), |sum, (_, counted)| Counted {
        inside: sum.inside + counted.inside,
        outside: sum.outside + counted.outside,
        beyond: sum.beyond + counted.beyond,
    });
    let least = duration(client.slow_ns() / 2);
    sum.is_unusual().then(|| probed(&format!("sockets of the node that took {least} or longer to connect"), sum, &seen))
}

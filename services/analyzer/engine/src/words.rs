//! An incident in words.

use synscope_bus::message::incident::{Finding, Incident, Recurrence, Spike};

/// The incident in one sentence.
pub(crate) fn title(incident: &Incident) -> String {
    let edge = incident.edges.first().map_or(String::new(), |edge| edge.replace("->", " → "));
    let more = match (incident.edges.len() as u64).saturating_sub(1) + incident.more_edges {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let when = when(incident);
    let confirmed = incident.causes.first().filter(|cause| cause.finding == Finding::Confirmed);
    let why = confirmed
        .map_or_else(|| "why is not known".to_owned(), |cause| cause_in_words(&cause.name, cause.node.as_deref()));
    format!("{edge}{more}: {}{when}; {why}", what(incident))
}

/// What it is like to be hit.
fn what(incident: &Incident) -> String {
    let sum = |of: fn(&Spike) -> u64| incident.spikes.iter().map(of).sum::<u64>();
    let (failed, n) = (sum(|spike| spike.failed), sum(|spike| spike.n));
    if failed > n {
        return format!("{failed} of {} new connections fail", failed + n);
    }
    let slow = duration(incident.spikes.iter().map(|spike| spike.p50_ns).max().unwrap_or(0));
    let normal = incident.normal_p50_ns.map(|normal| format!(" instead of {}", duration(normal))).unwrap_or_default();
    format!("new connections take {slow}{normal}")
}

fn when(incident: &Incident) -> String {
    match &incident.recurrence {
        Recurrence::Regular { period_ns, spike_ns, cycles, cycles_expected, .. } => format!(
            " every {}, for {} ({cycles} of {cycles_expected} cycles)",
            duration(*period_ns),
            duration(*spike_ns)
        ),
        Recurrence::Irregular { min_ns, max_ns, spike_ns, .. } => format!(
            " in unequal intervals of {} to {}, for {}",
            duration(*min_ns),
            duration(*max_ns),
            duration(*spike_ns)
        ),
        Recurrence::Insufficient { cycles } => format!(", {cycles} times so far"),
        Recurrence::None => {
            let spike = incident.spikes.last().copied().unwrap_or_default();
            format!(" for {}", duration(spike.end_unix_ns - spike.start_unix_ns))
        }
    }
}

fn cause_in_words(name: &str, node: Option<&str>) -> String {
    if name == "closed-port" && node.is_none() {
        return "someone resets the connections, or nobody listens on the server".to_owned();
    }
    let node = node.unwrap_or("a node");
    match name {
        "ct-full" => format!("the connection table of {node} is full"),
        "cilium-ct-full" => format!("a connection table of Cilium's on {node} is full"),
        "nf-conntrack-full" => format!("nf_conntrack of {node} is full"),
        "listen-overflow" => format!("the server on {node} does not accept fast enough"),
        "path-loss" => "SYNs are lost between the nodes".to_owned(),
        "closed-port" => format!("nobody listens on the server on {node}, or someone resets the connections"),
        "no-answer" => format!("SYNs come to {node}, and nothing there answers"),
        "slow-server" => format!("the server on {node} answers late"),
        "delay" => "SYNs are held back on the way".to_owned(),
        other => other.to_owned(),
    }
}

/// A duration for people.
pub(crate) fn duration(ns: u64) -> String {
    #[allow(clippy::cast_precision_loss, reason = "for people")]
    let ns_float = ns as f64;
    match ns {
        0..1_000_000 => format!("{:.0} µs", ns_float / 1e3),
        1_000_000..100_000_000 => format!("{:.1} ms", ns_float / 1e6),
        100_000_000..1_000_000_000 => format!("{:.0} ms", ns_float / 1e6),
        _ => format!("{:.1} s", ns_float / 1e9),
    }
}

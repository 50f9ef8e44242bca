//! What to do about a cause: what synscope changes itself, and what is advised, sized from what was measured.

use synscope_abi::CONNTRACK_ENTRIES_MAX;
use synscope_bus::message::incident::{Advice, Cause, Change, Fix, Sizing, Spike};

use crate::nodes::{Counter, Nodes};

/// Room to grow.
const HEADROOM: f64 = 2.0;
/// The largest table that is proposed; Cilium's have the same limit (`pkg/option/config.go`, `LimitTableMax`).
const ENTRIES_MAX: u64 = CONNTRACK_ENTRIES_MAX as u64;
/// The article's table, for comparison.
const RULE_OF_THUMB: &str =
    "by pods in the cluster: below 500: 262,144; to 2,000: 524,288; to 5,000: 1,048,576; above: 2,097,152";

/// The fix for a confirmed cause; none where nothing is known to help.
pub fn fix(cause: &Cause, id: &str, spikes: &[Spike], nodes: &Nodes) -> Option<Fix> {
    let node = cause.node.as_deref();
    match cause.name.as_str() {
        "ct-full" => larger_table(node?, id, spikes, nodes),
        "cilium-ct-full" => larger_cilium_table(node?, spikes, nodes),
        "nf-conntrack-full" => Some(advise(
            "a larger nf_conntrack table; its limit belongs to the whole host, so synscope does not change it",
            &[
                ("sysctl", "sysctl -w net.netfilter.nf_conntrack_max=<twice the present limit>"),
                ("sysctl", "echo <a quarter of it> > /sys/module/nf_conntrack/parameters/hashsize"),
                ("sysctl", "sysctl -w net.netfilter.nf_conntrack_tcp_timeout_established=<less>"),
            ],
        )),
        "listen-overflow" => Some(advise(
            "accept faster, or let more connections wait: the queue is the smaller of the listen backlog and somaxconn",
            &[
                ("application", "listen(fd, backlog) with a larger backlog, and no pauses between accept() calls"),
                ("sysctl", "sysctl -w net.core.somaxconn=<at least that backlog>  (in the server's network namespace)"),
                ("check", "ss -lnt  (Recv-Q above Send-Q)"),
            ],
        )),
        "path-loss" => Some(advise(
            "look at what lies between the nodes: neither of them dropped anything",
            &[("check", "ethtool -S <nic> on both nodes, and the counters of the switch ports between them")],
        )),
        "closed-port" => Some(advise(
            "look at the server: its port is closed, or something on the way resets the connections",
            &[("check", "ss -lnt in the server's network namespace, and why the process does not listen")],
        )),
        "no-answer" => Some(advise(
            "look at the server's pod: SYNs come to its node, and nothing there answers or drops them",
            &[(
                "check",
                "whether the address still belongs to a running pod, and the firewall in its network namespace",
            )],
        )),
        "slow-server" => Some(advise(
            "look at the server and what lies between it and its node",
            &[("check", "CPU throttling (cpu.stat), softirq load and the pod's interface on the server's node")],
        )),
        "delay" => Some(advise(
            "look at queues between the nodes: SYNs are held back and not lost",
            &[("check", "qdisc backlogs (tc -s qdisc), shapers and middleboxes on the path")],
        )),
        _ => None,
    }
}

#[allow(clippy::cast_precision_loss, reason = "a rate, for people")]
const fn number(n: u64) -> f64 {
    n as f64
}

fn advise(summary: &str, advice: &[(&str, &str)]) -> Fix {
    let advice = advice.iter().map(|(owner, command)| Advice { owner: (*owner).into(), command: (*command).into() });
    Fix { summary: summary.to_owned(), advice: advice.collect(), ..Fix::default() }
}

/// Demand: what the table held at its fullest, and the SYNs that found no room in the worst second.
fn larger_table(node: &str, id: &str, spikes: &[Spike], nodes: &Nodes) -> Option<Fix> {
    let (fill, _) = nodes.table(node, spikes)?;
    let refused = nodes.most_in_a_second(node, Counter::TableRefused, spikes)?;
    let demand = fill.live + refused;
    let to = entries(demand, fill.max)?;
    Some(Fix {
        summary: format!(
            "give {node}'s connection tables {to} entries instead of {}: the demand was {demand}",
            fill.max
        ),
        change: Some(Change::ConntrackEntries { node: node.to_owned(), from: fill.max, to }),
        api_call: Some(format!("POST /v1/incidents/{id}/fix")),
        advice: vec![
            Advice {
                owner: "cilium".into(),
                command: format!(
                    "helm: bpf.ctTcpMax={to}  (agent: --bpf-ct-global-tcp-max={to}), where the table is Cilium's"
                ),
            },
            Advice {
                owner: "sysctl".into(),
                command: format!("net.netfilter.nf_conntrack_max={to}, where the table is the kernel's"),
            },
        ],
        sizing: Some(sizing(demand, refused)),
        applied_unix_ns: None,
    })
}

/// The same for a table of Cilium's, by its options; synscope does not change it.
fn larger_cilium_table(node: &str, spikes: &[Spike], nodes: &Nodes) -> Option<Fix> {
    let tables = nodes.cilium(node, spikes)?.into_iter().filter(|table| !table.lru);
    let table = tables.max_by(|a, b| a.inside.share().total_cmp(&b.inside.share()))?;
    let refused = nodes.most_in_a_second(node, Counter::ProgramDrops, spikes)?;
    let demand = table.inside.live + refused;
    let to = entries(demand, table.inside.max)?;
    // pkg/option/config.go: everything but TCP lives in the table whose name says "any".
    let (value, option) = if table.name.contains("_any") {
        ("bpf.ctAnyMax", "bpf-ct-global-any-max")
    } else {
        ("bpf.ctTcpMax", "bpf-ct-global-tcp-max")
    };
    let upgrade = format!("helm upgrade cilium cilium/cilium -n kube-system --reuse-values --set {value}={to}");
    let advice = [
        upgrade,
        format!("without Helm: cilium-agent --{option}={to}"),
        "kubectl -n kube-system rollout restart ds/cilium  (the tables are made anew: connections are cut)".to_owned(),
    ];
    Some(Fix {
        summary: format!(
            "give {} {to} entries instead of {}: the demand on {node} was {demand}; the table is Cilium's, so synscope does not change it",
            table.name, table.inside.max
        ),
        advice: advice.map(|command| Advice { owner: "cilium".into(), command }).into(),
        sizing: Some(sizing(demand, refused)),
        ..Fix::default()
    })
}

/// Entries for a demand: with room to grow, a power of two, and twice of what there is at least; none where no larger table
/// is possible.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a table's size"
)]
fn entries(demand: u64, max: u64) -> Option<u64> {
    let wanted = ((demand as f64 * HEADROOM) as u64).min(ENTRIES_MAX).next_power_of_two();
    let larger = wanted.max(max.saturating_mul(2)).min(ENTRIES_MAX);
    (larger > max).then_some(larger)
}

fn sizing(demand_entries: u64, refused: u64) -> Sizing {
    Sizing {
        demand_entries,
        connections_per_second: number(refused),
        headroom: HEADROOM,
        rule_of_thumb: RULE_OF_THUMB.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_larger_table_is_larger_up_to_the_largest_there_can_be() {
        assert_eq!(entries(70_000, 65_536), Some(1 << 18));
        assert_eq!(entries(1 << 22, 1 << 22), Some(1 << 23));
        assert_eq!(entries(20 << 20, (1 << 24) - 1), Some(1 << 24));
        assert_eq!(entries(u64::MAX, 1 << 23), Some(1 << 24));
        assert_eq!(entries(20 << 20, 1 << 24), None);
    }
}

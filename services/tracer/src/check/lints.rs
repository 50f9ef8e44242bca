//! What a script says and likely does not mean, or what will cost more than it is worth.

use super::Checker;
use super::visit::{Seen, each, inside};
use crate::diagnostic::Diagnostic;
use crate::source::Span;
use crate::target::Target;
use crate::typed::{Entry, Expression, ExpressionKind, Output, Probe, Source, Statement, StatementKind, Unary};

/// Events and functions that busy machines have a hundred thousand times a second, for every packet, switch or system
/// call.
const FREQUENT: &[&str] = &[
    "netif_receive_skb",
    "netif_rx",
    "net_dev_queue",
    "net_dev_start_xmit",
    "net_dev_xmit",
    "napi_poll",
    "consume_skb",
    "kfree_skb",
    "sched_switch",
    "sched_waking",
    "sched_wakeup",
    "sys_enter",
    "sys_exit",
    "irq_handler_entry",
    "softirq_entry",
    "kmalloc",
    "kfree",
    "__netif_receive_skb_core",
    "ip_rcv",
    "ip_local_deliver",
    "ip_forward",
    "ip_output",
    "ip_finish_output2",
    "__ip_queue_xmit",
    "dev_queue_xmit",
    "__dev_queue_xmit",
    "dev_hard_start_xmit",
    "nf_conntrack_in",
    "tcp_v4_rcv",
    "tcp_v6_rcv",
    "tcp_rcv_established",
    "__tcp_transmit_skb",
    "udp_rcv",
    "vfs_read",
    "vfs_write",
    "__schedule",
    "finish_task_switch",
];

/// Events and functions of packets that arrive, and of timers: whatever process runs then has nothing to do with them.
const ARRIVING: &[&str] = &[
    "netif_receive_skb",
    "netif_rx",
    "napi_poll",
    "napi_gro_receive_entry",
    "softirq_entry",
    "tcp_probe",
    "net_rx_action",
    "__netif_receive_skb_core",
    "ip_rcv",
    "ip_local_deliver",
    "ip_forward",
    "tcp_v4_rcv",
    "tcp_v6_rcv",
    "tcp_finish_connect",
    "tcp_retransmit_skb",
    "tcp_retransmit_timer",
    "udp_rcv",
    "icmp_rcv",
];

impl Checker<'_> {
    /// Warns of what the probes of a script likely do not mean.
    pub(super) fn lint(&mut self, probes: &[Probe]) {
        for probe in probes {
            self.prints_often(probe);
            self.foreign_process(probe);
        }
        self.byte_order(probes);
        self.growing_maps(probes);
    }

    fn warn(&mut self, code: &'static str, message: impl Into<String>, span: Span, why: &str) {
        self.report(Diagnostic::warning(code, message, span).because(why));
    }

    /// A line for every packet.
    fn prints_often(&mut self, probe: &Probe) {
        if !is_at(probe, FREQUENT) || probe.predicate.is_some() {
            return;
        }
        // Within a condition it may be seldom enough.
        for statement in &probe.body {
            if let StatementKind::Send(output, _) = &statement.kind
                && matches!(
                    self.outputs.get(*output),
                    Some(Output::Printf { .. } | Output::Value(_) | Output::Join { .. })
                )
            {
                let message = format!("`{}` fires very often, and this writes every time", probe.name);
                let why = "output that finds no room is lost; count into a map, or filter";
                self.warn("prints-often", message, statement.span, why);
            }
        }
    }

    /// The process by which a packet is filed that arrived while it ran.
    fn foreign_process(&mut self, probe: &Probe) {
        if !is_at(probe, ARRIVING) {
            return;
        }
        let mut found = Vec::new();
        each(&probe.body, &mut |seen| {
            let Some(key) = key_of(&seen) else { return };
            key.any(&mut |part| {
                if matches!(part.kind, ExpressionKind::Source(Source::Pid | Source::Tid | Source::Comm(_))) {
                    found.push(part.span);
                }
                false
            });
        });
        for span in found {
            let message = format!("`{}` happens to whatever process runs, not to the packet's", probe.name);
            let why =
                "packets arrive, and timers end, in interrupts; use a field of the packet or its socket as the key";
            self.warn("foreign-process", message, span, why);
        }
    }

    /// Numbers in network byte order that are taken for the machine's own.
    fn byte_order(&mut self, probes: &[Probe]) {
        let mut found = Vec::new();
        let fields = &self.big_endian;
        let is_field =
            |value: &Expression| matches!(value.kind, ExpressionKind::Memory { .. }) && fields.contains(&value.span);
        let harmless = |value: &Expression| matches!(value.kind, ExpressionKind::Int(0) | ExpressionKind::Swap(_));
        for probe in probes {
            let mut see = |seen: Seen<'_>| match seen {
                Seen::Statement(Statement { kind: StatementKind::Send(output, values), .. })
                    if matches!(self.outputs.get(*output), Some(Output::Printf { .. } | Output::Value(_))) =>
                {
                    found.extend(values.iter().filter(|value| is_field(value)).map(|value| value.span));
                }
                Seen::Value(value) => {
                    if let ExpressionKind::Compare(_, _, a, b) | ExpressionKind::Binary(_, a, b) = &value.kind {
                        for (side, other) in [(a, b), (b, a)] {
                            if is_field(side) && !is_field(other) && !harmless(other) {
                                found.push(side.span);
                            }
                        }
                    }
                }
                Seen::Statement(_) => {}
            };
            probe.predicate.iter().for_each(|predicate| inside(predicate, &mut see));
            each(&probe.body, &mut see);
        }
        for span in found {
            let text = "the field is in network byte order, and is taken for a number of this machine's";
            self.warn("byte-order", text, span, "turn its bytes round with `bswap`");
        }
    }

    /// Maps that only ever grow.
    fn growing_maps(&mut self, probes: &[Probe]) {
        let mut filled: Vec<(usize, Span, bool)> = Vec::new();
        let mut emptied: Vec<usize> = Vec::new();
        for probe in probes {
            each(&probe.body, &mut |seen| match seen {
                Seen::Statement(statement) => match &statement.kind {
                    StatementKind::Put(Entry { map, key: Some(key) }, _) => {
                        filled.push((*map, statement.span, is_unbounded(key)));
                    }
                    StatementKind::Gather(Entry { map, key: Some(key) }, _)
                    | StatementKind::GatherAt(Entry { map, key: Some(key) }, ..)
                        if is_unbounded(key) =>
                    {
                        filled.push((*map, statement.span, true));
                    }
                    StatementKind::Delete(Entry { map, .. }) => emptied.push(*map),
                    StatementKind::Send(output, _) => {
                        if let Some(Output::Clear(map)) = self.outputs.get(*output) {
                            emptied.push(*map);
                        }
                    }
                    _ => {}
                },
                Seen::Value(_) => {}
            });
        }
        filled.retain(|(map, ..)| !emptied.contains(map));
        filled.sort_by_key(|(map, span, unbounded)| (*map, !*unbounded, *span));
        filled.dedup_by_key(|(map, ..)| *map);
        for (map, span, unbounded) in filled {
            let name = self.map_name(map);
            let most = self.settings.max_map_keys;
            if unbounded {
                let message = format!("every hit makes a new entry of `{name}`, and none is deleted");
                let why = format!("it holds {most} entries; what comes then is lost (`max_map_keys`)");
                self.warn("unbounded-keys", message, span, &why);
            } else if by_thread(probes, map) {
                let message = format!("entries of `{name}` are made for each thread and never deleted");
                let why = format!("threads come and go, and it holds {most} entries: delete an entry once it was used");
                self.warn("never-deleted", message, span, &why);
            }
        }
    }
}

/// Whether a map's keys are threads.
fn by_thread(probes: &[Probe], map: usize) -> bool {
    let mut found = false;
    for probe in probes {
        each(&probe.body, &mut |seen| {
            if let Seen::Statement(Statement { kind: StatementKind::Put(entry, _), .. }) = &seen
                && entry.map == map
            {
                found |= entry.key.as_ref().is_some_and(|key| {
                    key.any(&mut |part| matches!(part.kind, ExpressionKind::Source(Source::Tid | Source::Task(_))))
                });
            }
        });
    }
    found
}

/// Whether a key is another one every time.
fn is_unbounded(key: &Expression) -> bool {
    use crate::typed::Arithmetic::{Divide, Modulo};
    match &key.kind {
        ExpressionKind::Source(Source::Clock(_) | Source::Elapsed | Source::Random) => true,
        // `nsecs / 1000000000` or `rand % 10` have few values, and what is true or not has two.
        ExpressionKind::Binary(Divide | Modulo, ..)
        | ExpressionKind::Compare(..)
        | ExpressionKind::Logical { .. }
        | ExpressionKind::Unary(Unary::Not, _) => false,
        ExpressionKind::Conditional(_, then, otherwise) => is_unbounded(then) || is_unbounded(otherwise),
        _ => key.parts().into_iter().any(is_unbounded),
    }
}

fn is_at(probe: &Probe, events: &[&str]) -> bool {
    match &probe.target {
        Target::RawTracepoint { event, .. } => events.contains(&event.as_str()),
        Target::Tracepoint { .. } => probe.name.rsplit(':').next().is_some_and(|event| events.contains(&event)),
        Target::Functions { functions, .. } => {
            functions.iter().any(|function| events.contains(&function.name.as_str()))
        }
        _ => false,
    }
}

/// The key that a statement or value uses.
fn key_of<'s>(seen: &Seen<'s>) -> Option<&'s Expression> {
    let entry = match seen {
        Seen::Statement(statement) => match &statement.kind {
            StatementKind::Put(entry, _) | StatementKind::Gather(entry, _) | StatementKind::GatherAt(entry, ..) => {
                entry
            }
            _ => return None,
        },
        Seen::Value(value) => match &value.kind {
            ExpressionKind::StepEntry(entry, _) => entry,
            _ => return None,
        },
    };
    entry.key.as_deref()
}

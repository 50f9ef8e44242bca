//! Connection tracking of one packet.

use core::ptr;

use aya_ebpf::bindings::{BPF_ANY, BPF_NOEXIST, TC_ACT_SHOT, TC_ACT_UNSPEC};
use aya_ebpf::helpers::generated::{bpf_jiffies64, bpf_ktime_get_ns};
use aya_ebpf::programs::TcContext;
use synscope_abi::conntrack;
use synscope_abi::counter::Counter;
use synscope_abi::event::{EventKind, Reason, Verdict};
use synscope_abi::flow::{Endpoint, Flow, FlowKey, Pending, PendingKey};
use synscope_abi::packet::{self, Addresses, PROTOCOL_TCP, Packet};
use synscope_abi::settings::{CURRENT, RETIRING};
use synscope_abi::sighting::{Outcome, Sighting};
use synscope_abi::tcp;
use synscope_abi::verdict;

use crate::maps::{
    FLOWS_V4, FLOWS_V6, PENDING_V4, PENDING_V6, PendingTable, SETTINGS, Table, TableSlot, count, new_flow,
};
use crate::report::{self, Note};
use crate::skb::{self, Frame, Hook, Link};

const ENOMEM: i32 = 12;
const EBUSY: i32 = 16;
/// `EEXIST`, as helpers return it.
const RACED: i32 = -17;

/// Whether the packet goes on.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Next,
    Drop,
}

/// Tracks the packet; the answer is "next program" unless enforce mode drops it.
#[inline(always)]
pub fn packet(ctx: &TcContext, hook: Hook, link: Link) -> i32 {
    match parse(ctx, link) {
        Ok(packet) => match dispatch(ctx, hook, packet) {
            Fate::Next => TC_ACT_UNSPEC,
            Fate::Drop => TC_ACT_SHOT,
        },
        Err(reason) => {
            count(reason);
            TC_ACT_UNSPEC
        }
    }
}

#[inline(always)]
fn parse(ctx: &TcContext, link: Link) -> Result<Packet, Counter> {
    let frame = Frame(ctx);
    let (ethertype, offset) = match link {
        Link::Ethernet => packet::ethernet(&frame)?,
        Link::Bare => packet::bare(&frame)?,
    };
    packet::network(&frame, ethertype, offset)
}

#[inline(always)]
fn dispatch(ctx: &TcContext, hook: Hook, packet: Packet) -> Fate {
    match packet.addresses {
        Addresses::V4(source, destination) => track(ctx, hook, packet, source, destination, &FLOWS_V4, &PENDING_V4),
        Addresses::V6(source, destination) => track(ctx, hook, packet, source, destination, &FLOWS_V6, &PENDING_V6),
    }
}

#[inline(always)]
fn track<const N: usize>(
    ctx: &TcContext,
    hook: Hook,
    packet: Packet,
    source: [u8; N],
    destination: [u8; N],
    slot: &impl TableSlot<N>,
    pending: &PendingTable<N>,
) -> Fate {
    let (key, from) =
        FlowKey::canonical(source, destination, packet.source_port, packet.destination_port, packet.protocol);
    let seen = Sighting {
        protocol: packet.protocol,
        tcp_flags: packet.tcp_flags,
        sequence: packet.sequence,
        acknowledgement: packet.acknowledgement,
        from,
        ifindex: skb::ifindex(ctx),
        hook: hook as u8,
        segments: skb::segments(ctx),
        bytes: ctx.len(),
        // SAFETY: the helper takes no arguments and reads a counter.
        jiffies: unsafe { bpf_jiffies64() },
        heartbeat_shift: SETTINGS.get(0).map_or(0, |settings| settings.heartbeat_shift),
    };
    let Some(table) = slot.get(CURRENT) else {
        count(Counter::Untracked);
        return Fate::Next;
    };
    let found = match table.get_ptr_mut(key) {
        Some(flow) => Some(flow),
        None => match from_retiring(slot, table, &key) {
            Some(flow) => Some(flow),
            None => match begin(table, pending, &key, &seen) {
                Began::Here(fate) => return fate,
                // Another CPU made or moved it meanwhile.
                Began::Elsewhere => table.get_ptr_mut(key),
            },
        },
    };
    if let Some(flow) = found {
        // SAFETY: the entry stays allocated while the program runs (RCU). Another CPU may write it at the same time:
        // each direction has its own counters, and handshake fields are ordered by TCP itself.
        book(&key, unsafe { &mut *flow }, &seen, pending);
    }
    Fate::Next
}

/// The entry, if it is still in a table that is being replaced: it moves with the packet that asks for it.
#[inline(always)]
pub fn from_retiring<const N: usize>(
    slot: &impl TableSlot<N>,
    table: &Table<N>,
    key: &FlowKey<N>,
) -> Option<*mut Flow> {
    for retiring in RETIRING {
        let Some(retiring) = slot.get(retiring) else { continue };
        // A resize has just begun: what another CPU put there since we looked is in its place.
        if ptr::eq(retiring, table) {
            continue;
        }
        let Some(old) = retiring.get_ptr(key) else { continue };
        // SAFETY: the entry stays allocated while the program runs (RCU).
        let moved = table.insert(key, unsafe { &*old }, u64::from(BPF_NOEXIST));
        if moved == Ok(()) {
            count(Counter::Moved);
        }
        return match moved {
            Ok(()) | Err(RACED) => {
                let _gone_already = retiring.remove(key);
                table.get_ptr_mut(key)
            }
            Err(_) => {
                count(Counter::MoveFailed);
                Some(old.cast_mut())
            }
        };
    }
    None
}

/// Books a packet into its entry.
#[inline(always)]
fn book<const N: usize>(key: &FlowKey<N>, flow: &mut Flow, seen: &Sighting, pending: &PendingTable<N>) {
    match conntrack::book(flow, seen, now_ns) {
        Outcome::Counted => {}
        Outcome::Event(kind) => tell(key, flow, kind),
        Outcome::Elsewhere => count(Counter::SeenElsewhere),
        Outcome::Anew(event) => {
            if let Some(kind) = event {
                tell(key, flow, kind);
            }
            renew(key, flow, seen, pending);
        }
        Outcome::Waits => {
            let pending_key = PendingKey { flow: *key, initial_sequence: seen.sequence };
            // SAFETY: the value stays allocated while the program runs (RCU).
            let earlier = pending.get_ptr(pending_key).map(|earlier| unsafe { &*earlier });
            let waits = conntrack::remember(earlier, seen, now_ns(), Verdict::Forwarded, Reason::None);
            let Some(value) = waits else { return count(Counter::SeenElsewhere) };
            count(Counter::SynOverLive);
            if pending.insert(pending_key, &value, u64::from(BPF_ANY)).is_err() {
                count(Counter::SynOverLiveFailed);
            }
        }
        Outcome::Answers => {
            let initial_sequence = seen.acknowledgement.wrapping_sub(1);
            let waits = pending.get_ptr(PendingKey { flow: *key, initial_sequence });
            // SAFETY: the value stays allocated while the program runs (RCU).
            if waits.is_some_and(|waits| unsafe { (*waits).ifindex } == seen.ifindex) {
                tell(key, flow, EventKind::Abandoned);
                renew(key, flow, seen, pending);
            } else {
                count(if flow.ifindex == seen.ifindex { Counter::StraySynAck } else { Counter::SeenElsewhere });
            }
        }
        Outcome::Stray => count(Counter::StraySynAck),
    }
}

/// Begins the entry anew, with the first segment of another connection over its five-tuple.
#[inline(always)]
fn renew<const N: usize>(key: &FlowKey<N>, flow: &mut Flow, seen: &Sighting, pending: &PendingTable<N>) {
    let now = now_ns();
    conntrack::open(flow, seen, now);
    let pending_key = PendingKey { flow: *key, initial_sequence: flow.initial_sequence };
    if let Some(earlier) = pending.get_ptr(pending_key) {
        // SAFETY: the value stays allocated while the program runs (RCU).
        conntrack::adopt(flow, unsafe { &*earlier }, tcp::is_syn(seen.tcp_flags));
    }
    opened(key, flow, pending, &pending_key, now);
}

/// What came of making an entry.
enum Began {
    /// It was made or refused: this is what becomes of the packet.
    Here(Fate),
    /// There is one by now.
    Elsewhere,
}

/// Makes an entry for the first packet of a connection.
#[inline(always)]
fn begin<const N: usize>(table: &Table<N>, pending: &PendingTable<N>, key: &FlowKey<N>, seen: &Sighting) -> Began {
    let now = now_ns();
    let Some(flow) = new_flow() else {
        count(Counter::Untracked);
        return Began::Here(Fate::Next);
    };
    conntrack::open(flow, seen, now);
    let pending_key = PendingKey { flow: *key, initial_sequence: flow.initial_sequence };
    let mut earlier = None;
    if flow.initial_sequence != 0 {
        // SAFETY: the value stays allocated while the program runs (RCU); a torn one would need two CPUs handling copies
        // of one SYN.
        earlier = pending.get_ptr(pending_key).map(|earlier| unsafe { &*earlier });
        if let Some(earlier) = earlier {
            conntrack::adopt(flow, earlier, tcp::is_syn(seen.tcp_flags));
        }
    }
    match table.insert(key, &*flow, u64::from(BPF_NOEXIST)) {
        Ok(()) => {
            count(Counter::Inserted);
            if N == 16 {
                count(Counter::InsertedV6);
            }
            opened(key, flow, pending, &pending_key, now);
            Began::Here(Fate::Next)
        }
        Err(RACED) => {
            count(Counter::InsertRaced);
            Began::Elsewhere
        }
        Err(errno) => Began::Here(refused(key, flow, seen, pending, &pending_key, earlier, errno, now)),
    }
}

/// A connection has its entry: the SYNs remembered of it are in there, and it is told.
#[inline(always)]
fn opened<const N: usize>(
    key: &FlowKey<N>,
    flow: &Flow,
    pending: &PendingTable<N>,
    pending_key: &PendingKey<N>,
    now: u64,
) {
    if flow.refused_syns > 0 {
        let _gone = pending.remove(pending_key);
        count(Counter::PendingAdopted);
    }
    if key.protocol == PROTOCOL_TCP && flow.syn_ns == 0 {
        count(Counter::MidStream);
    }
    report::event(key, flow, &forwarded(EventKind::Opened, now));
}

/// No entry for this packet: count why, remember and tell its SYN at the first place of the node that it passes, and
/// decide at each whether it goes on.
#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "inlined: they are what its only caller has")]
fn refused<const N: usize>(
    key: &FlowKey<N>,
    flow: &Flow,
    seen: &Sighting,
    pending: &PendingTable<N>,
    pending_key: &PendingKey<N>,
    earlier: Option<&Pending>,
    errno: i32,
    now: u64,
) -> Fate {
    let errno = -errno;
    count(match errno {
        verdict::FULL => Counter::InsertFull,
        ENOMEM => Counter::InsertNoMemory,
        EBUSY => Counter::InsertBusy,
        _ => Counter::InsertOther,
    });
    if seen.protocol != PROTOCOL_TCP || !tcp::is_syn(seen.tcp_flags) {
        count(Counter::Untracked);
        return Fate::Next;
    }
    let port = u16::from_be_bytes(if seen.from == Endpoint::A { key.port_b } else { key.port_a });
    let verdict = match SETTINGS.get(0) {
        Some(settings) => verdict::on_full(settings, errno, seen.protocol, seen.tcp_flags, port),
        None => Verdict::Forwarded,
    };
    let drop = verdict == Verdict::Dropped;
    let kind = if drop { EventKind::Dropped } else { EventKind::Refused };
    let reason = Reason::CtMapInsertionFailed;
    if let Some(value) = conntrack::remember(earlier, seen, now, verdict, reason) {
        count(match pending.insert(pending_key, &value, u64::from(BPF_ANY)) {
            Ok(()) => Counter::PendingStored,
            Err(_) => Counter::PendingFailed,
        });
        report::event(key, flow, &Note { kind, verdict, reason, at_ns: now });
    }
    if drop {
        count(Counter::DroppedFull);
        Fate::Drop
    } else {
        Fate::Next
    }
}

#[inline(always)]
fn tell<const N: usize>(key: &FlowKey<N>, flow: &Flow, kind: EventKind) {
    report::event(key, flow, &forwarded(kind, now_ns()));
}

#[inline(always)]
fn forwarded(kind: EventKind, at_ns: u64) -> Note {
    Note { kind, verdict: Verdict::Forwarded, reason: Reason::None, at_ns }
}

#[inline(always)]
fn now_ns() -> u64 {
    // SAFETY: the helper takes no arguments and reads a clock.
    unsafe { bpf_ktime_get_ns() }
}

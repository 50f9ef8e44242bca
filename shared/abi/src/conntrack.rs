//! What a packet does to its conntrack entry.

use crate::event::EventKind;
use crate::flow::{Direction, Endpoint, Flow, Pending};
use crate::packet::PROTOCOL_TCP;
use crate::tcp::{self, FIN, RST, SYN, State};

/// A packet as conntrack sees it: parsed, and where it passed.
#[derive(Clone, Copy, Debug)]
pub struct Sighting {
    /// IP protocol number.
    pub protocol: u8,
    /// TCP flags, zero for anything else.
    pub tcp_flags: u8,
    /// TCP sequence number.
    pub sequence: u32,
    /// TCP acknowledgement number.
    pub acknowledgement: u32,
    /// Endpoint of the flow's key that sent it.
    pub from: Endpoint,
    /// Interface it passes.
    pub ifindex: u32,
    /// 0 when it comes in through that interface, 1 when it goes out.
    pub hook: u8,
    /// Segments it stands for (`gso_segs`), at least 1.
    pub segments: u32,
    /// Its length in bytes as the device sees it.
    pub bytes: u32,
    /// Now, in jiffies.
    pub jiffies: u64,
    /// [`crate::settings::Settings::heartbeat_shift`].
    pub heartbeat_shift: u32,
}

/// What came of a packet that found its entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Counted; nothing to tell.
    Counted,
    /// Counted, and worth an event.
    Event(EventKind),
    /// The entry belongs to another interface: nothing was counted here.
    Elsewhere,
    /// The SYN of a new connection over the same five-tuple: the entry is to begin anew. The event, if any, tells
    /// what became of the old one.
    Anew(Option<EventKind>),
}

/// Makes `flow` a new entry for the flow of this packet. `now_ns` is `CLOCK_MONOTONIC`. In place, because a kernel
/// program has no stack to spare for a second copy.
#[inline(always)]
pub fn open(flow: &mut Flow, seen: &Sighting, now_ns: u64) {
    *flow = Flow {
        last_seen_jiffies: seen.jiffies,
        ifindex: seen.ifindex,
        hook: seen.hook,
        origin: seen.from as u8,
        state: State::Unreplied as u8,
        ..Flow::default()
    };
    let mut direction = Direction::Original;
    if seen.protocol == PROTOCOL_TCP {
        let flags = seen.tcp_flags;
        if tcp::is_syn(flags) {
            flow.state = State::SynSent as u8;
            flow.initial_sequence = seen.sequence;
            flow.syn_ns = now_ns;
        } else if tcp::is_syn_ack(flags) {
            // The SYN went by unseen, or was refused: the sender of this is the server.
            flow.state = State::SynReceived as u8;
            flow.origin ^= 1;
            flow.hook ^= 1;
            flow.initial_sequence = seen.acknowledgement.wrapping_sub(1);
            flow.syn_ack_ns = now_ns;
            direction = Direction::Reply;
        } else {
            flow.state = State::MidStream as u8;
        }
        flow.tcp_flags[direction as usize] = flags;
    }
    flow.packets[direction as usize] = u64::from(seen.segments);
    flow.bytes[direction as usize] = u64::from(seen.bytes);
}

/// Gives a new entry the stamps of its SYNs that were refused before.
#[inline(always)]
pub fn adopt(flow: &mut Flow, pending: &Pending, is_syn: bool) {
    flow.syn_ns = pending.first_ns;
    flow.refused_syns = pending.refused;
    // The accepted SYN is one more copy; a SYN-ACK answers the last refused one, which passed.
    let retries = if is_syn { pending.refused } else { pending.refused.saturating_sub(1) };
    flow.syn_retries = u8::try_from(retries).unwrap_or(u8::MAX);
    flow.ifindex = pending.ifindex;
    flow.hook = pending.hook;
    flow.origin = pending.origin;
}

/// Books a packet into its entry. `now_ns` (`CLOCK_MONOTONIC`) is asked only for handshake packets, because reading
/// that clock costs as much as the lookup.
#[inline(always)]
pub fn book(flow: &mut Flow, seen: &Sighting, now_ns: impl FnOnce() -> u64) -> Outcome {
    if flow.ifindex != seen.ifindex {
        return Outcome::Elsewhere;
    }
    let direction = if flow.origin == seen.from as u8 { Direction::Original } else { Direction::Reply };
    let flags = seen.tcp_flags;
    let is_tcp = seen.protocol == PROTOCOL_TCP;
    let is_syn = is_tcp && tcp::is_syn(flags);
    let Some(state) = State::from_number(flow.state) else {
        return Outcome::Anew(None);
    };
    if is_syn && begins_anew(flow, state, direction, seen) {
        let event = if matches!(state, State::SynSent) { Some(EventKind::Abandoned) } else { None };
        return Outcome::Anew(event);
    }

    let beat = beats(flow, seen);
    flow.last_seen_jiffies = seen.jiffies;
    flow.packets[direction as usize] = flow.packets[direction as usize].wrapping_add(u64::from(seen.segments));
    flow.bytes[direction as usize] = flow.bytes[direction as usize].wrapping_add(u64::from(seen.bytes));
    if !is_tcp {
        if matches!(direction, Direction::Reply) && matches!(state, State::Unreplied) {
            flow.state = State::Replied as u8;
        }
        return Outcome::Counted;
    }
    if matches!(state, State::Established) && flags & (SYN | FIN | RST) == 0 {
        return if beat { Outcome::Event(EventKind::Heartbeat) } else { Outcome::Counted };
    }

    flow.tcp_flags[direction as usize] |= flags;
    if is_syn {
        // At another place it is the same packet once more, not a retry.
        if matches!(state, State::SynSent) && flow.hook == seen.hook {
            flow.syn_retries = flow.syn_retries.saturating_add(1);
            return Outcome::Event(EventKind::Retried);
        }
        return Outcome::Counted;
    }
    if tcp::is_syn_ack(flags) && matches!(state, State::SynReceived) && matches!(direction, Direction::Reply) {
        flow.syn_ack_retries = flow.syn_ack_retries.saturating_add(1);
        return Outcome::Event(EventKind::Retried);
    }
    let fins = [flow.tcp_flags[0] & FIN != 0, flow.tcp_flags[1] & FIN != 0];
    let (next, event) = tcp::advance(state, direction, flags, fins);
    match (state, next) {
        (State::SynSent, State::SynReceived) => flow.syn_ack_ns = now_ns(),
        (State::SynReceived, State::Established | State::FinWait) => flow.established_ns = now_ns(),
        _ => {}
    }
    flow.state = next as u8;
    event.map_or(Outcome::Counted, Outcome::Event)
}

/// Whether a heartbeat is due: since the last packet another interval began. Each connection's intervals begin elsewhere,
/// by its initial sequence number, so that connections do not beat all at once; and nothing needs to be remembered.
#[inline(always)]
fn beats(flow: &Flow, seen: &Sighting) -> bool {
    let interval = |jiffies: u64| jiffies.wrapping_add(u64::from(flow.initial_sequence)) >> (seen.heartbeat_shift & 63);
    seen.heartbeat_shift != 0 && interval(flow.last_seen_jiffies) != interval(seen.jiffies)
}

/// Whether a SYN opens another connection over this five-tuple instead of repeating the one at hand.
#[inline(always)]
fn begins_anew(flow: &Flow, state: State, direction: Direction, seen: &Sighting) -> bool {
    let same = matches!(direction, Direction::Original) && flow.initial_sequence == seen.sequence;
    !same && (state.is_over() || matches!(state, State::SynSent | State::MidStream))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::ACK;

    fn seen(from: Endpoint, flags: u8, sequence: u32) -> Sighting {
        Sighting {
            protocol: PROTOCOL_TCP,
            tcp_flags: flags,
            sequence,
            acknowledgement: 0,
            from,
            ifindex: 3,
            hook: u8::from(matches!(from, Endpoint::B)),
            segments: 1,
            bytes: 60,
            jiffies: 1,
            heartbeat_shift: 0,
        }
    }

    fn opened(seen: &Sighting, now_ns: u64) -> Flow {
        let mut flow = Flow::default();
        open(&mut flow, seen, now_ns);
        flow
    }

    fn never() -> u64 {
        panic!("the clock must not be read here")
    }

    #[test]
    fn a_handshake_is_stamped_from_its_first_syn() {
        let mut flow = opened(&seen(Endpoint::A, SYN, 9), 100);
        let again = book(&mut flow, &seen(Endpoint::A, SYN, 9), never);
        assert_eq!(again, Outcome::Event(EventKind::Retried));
        assert_eq!(book(&mut flow, &seen(Endpoint::B, SYN | ACK, 5), || 1_300), Outcome::Counted);
        let done = book(&mut flow, &seen(Endpoint::A, ACK, 10), || 1_400);
        assert_eq!(done, Outcome::Event(EventKind::Established));
        assert_eq!((flow.syn_ns, flow.syn_ack_ns, flow.established_ns, flow.syn_retries), (100, 1_300, 1_400, 1));
        assert_eq!(book(&mut flow, &seen(Endpoint::B, ACK, 6), never), Outcome::Counted);
        assert_eq!(flow.packets[0], 3);
        assert_eq!(flow.packets[1], 2);
    }

    #[test]
    fn a_connection_in_use_beats_once_per_interval() {
        let mut flow = opened(&seen(Endpoint::A, SYN, 9), 100);
        book(&mut flow, &seen(Endpoint::B, SYN | ACK, 5), || 1_300);
        book(&mut flow, &seen(Endpoint::A, ACK, 10), || 1_400);
        let mut beats = std::vec::Vec::new();
        for jiffies in 2..100 {
            let packet = Sighting { jiffies, heartbeat_shift: 5, ..seen(Endpoint::B, ACK, 6) };
            if book(&mut flow, &packet, never) == Outcome::Event(EventKind::Heartbeat) {
                beats.push(jiffies);
            }
        }
        assert_eq!(beats, [23, 55, 87], "each 32 jiffies, moved by the initial sequence number 9");
        let idle = Sighting { jiffies: 1000, ..seen(Endpoint::B, ACK, 6) };
        assert_eq!(book(&mut flow, &idle, never), Outcome::Counted, "switched off");
    }

    #[test]
    fn another_interface_counts_nothing() {
        let mut flow = opened(&seen(Endpoint::A, SYN, 9), 100);
        let elsewhere = Sighting { ifindex: 4, ..seen(Endpoint::A, SYN, 9) };
        assert_eq!(book(&mut flow, &elsewhere, never), Outcome::Elsewhere);
        assert_eq!((flow.syn_retries, flow.packets[0]), (0, 1));
    }

    #[test]
    fn a_new_syn_over_an_old_tuple_begins_anew() {
        let mut flow = opened(&seen(Endpoint::A, SYN, 9), 100);
        let other = book(&mut flow, &seen(Endpoint::A, SYN, 77), never);
        assert_eq!(other, Outcome::Anew(Some(EventKind::Abandoned)));
        assert_eq!(book(&mut flow, &seen(Endpoint::B, RST, 0), never), Outcome::Event(EventKind::Reset));
        assert_eq!(book(&mut flow, &seen(Endpoint::A, SYN, 78), never), Outcome::Anew(None));
    }

    #[test]
    fn refused_syns_are_adopted() {
        let pending = Pending { first_ns: 5, last_ns: 50, refused: 2, ifindex: 3, ..Pending::default() };
        let mut flow = opened(&seen(Endpoint::A, SYN, 9), 3_000);
        adopt(&mut flow, &pending, true);
        assert_eq!((flow.syn_ns, flow.syn_retries, flow.refused_syns), (5, 2, 2));
    }

    #[test]
    fn a_syn_ack_without_its_syn_names_the_server_right() {
        let flow = opened(&seen(Endpoint::B, SYN | ACK, 5), 100);
        assert_eq!((flow.origin, flow.hook), (Endpoint::A as u8, 0));
        assert_eq!((flow.syn_ns, flow.syn_ack_ns), (0, 100));
    }
}

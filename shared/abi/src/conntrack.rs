//! What a packet does to its conntrack entry.
//!
//! A SYN with another initial sequence number is another connection over the same five-tuple. Where the old one is over,
//! or was never seen to begin, it takes its place at once. Where the old one may be alive, it cannot be told yet which of
//! the two the server goes on with: a server that still has the old one answers with a challenge (RFC 9293 section
//! 3.10.7.4, RFC 5961 section 4), the client resets the old one, and sends its SYN again; a server that has lost it too
//! accepts the SYN. So the SYN is remembered and the entry left alone, as Linux does (`nf_conntrack_proto_tcp.c`: such a
//! SYN is ignored, and the answer to it re-opens the entry), until the reset or the answer decides.

use crate::event::{EventKind, Reason, Verdict};
use crate::flow::{Direction, Flow, Pending};
use crate::packet::PROTOCOL_TCP;
use crate::sighting::{Outcome, Sighting};
use crate::tcp::{self, FIN, RST, SYN, State};

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

/// Gives a new entry the stamps of its SYNs that were given none before.
#[inline(always)]
pub fn adopt(flow: &mut Flow, pending: &Pending, is_syn: bool) {
    flow.syn_ns = pending.first_ns;
    flow.refused_syns = pending.refused;
    // The accepted SYN is one more copy; a SYN-ACK answers the last one that waited or was refused, which passed.
    let retries = if is_syn { pending.refused } else { pending.refused.saturating_sub(1) };
    flow.syn_retries = u8::try_from(retries).unwrap_or(u8::MAX);
    flow.ifindex = pending.ifindex;
    flow.hook = pending.hook;
    flow.origin = pending.origin;
}

/// What is remembered of a SYN that is given no entry, after `earlier` copies of it; none when this is no further copy
/// but an earlier one at another place of this node. `now_ns` is `CLOCK_MONOTONIC`.
#[inline(always)]
pub fn remember(
    earlier: Option<&Pending>,
    seen: &Sighting,
    now_ns: u64,
    verdict: Verdict,
    reason: Reason,
) -> Option<Pending> {
    let mut pending = Pending {
        first_ns: now_ns,
        last_seen_jiffies: seen.jiffies,
        refused: 1,
        ifindex: seen.ifindex,
        hook: seen.hook,
        origin: seen.from as u8,
        verdict: verdict as u8,
        reason: reason as u8,
        reserved: [0; 4],
    };
    if let Some(earlier) = earlier {
        if earlier.ifindex != seen.ifindex || earlier.hook != seen.hook {
            return None;
        }
        pending.first_ns = earlier.first_ns;
        pending.refused = earlier.refused.saturating_add(1);
    }
    Some(pending)
}

/// Books a packet into its entry. `now_ns` (`CLOCK_MONOTONIC`) is asked only for handshake packets, because reading
/// that clock costs as much as the lookup.
#[inline(always)]
pub fn book(flow: &mut Flow, seen: &Sighting, now_ns: impl FnOnce() -> u64) -> Outcome {
    let direction = if flow.origin == seen.from as u8 { Direction::Original } else { Direction::Reply };
    let flags = seen.tcp_flags;
    let is_tcp = seen.protocol == PROTOCOL_TCP;
    let Some(state) = State::from_number(flow.state) else {
        return Outcome::Anew(None);
    };
    if is_tcp
        && flags & SYN != 0
        && let Some(outcome) = of_another(flow, state, direction, seen)
    {
        return outcome;
    }
    if flow.ifindex != seen.ifindex {
        return Outcome::Elsewhere;
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
    if tcp::is_syn(flags) {
        // At another place it is the same packet once more, not a retry.
        if matches!(state, State::SynSent | State::SynReceived) && flow.hook == seen.hook {
            flow.syn_retries = flow.syn_retries.saturating_add(1);
            return Outcome::Event(EventKind::Retried);
        }
        return Outcome::Counted;
    }
    if tcp::is_syn_ack(flags) && matches!(state, State::SynReceived) && matches!(direction, Direction::Reply) {
        // Answers pass the place of the SYN the other way.
        if flow.hook == seen.hook {
            return Outcome::Counted;
        }
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

/// What becomes of a SYN or SYN-ACK that belongs to another connection than the entry's; none when it is the entry's own.
/// Asked at every place: an interface that is gone may own the entry.
#[inline(always)]
fn of_another(flow: &Flow, state: State, direction: Direction, seen: &Sighting) -> Option<Outcome> {
    let known = !matches!(state, State::MidStream);
    if tcp::is_syn(seen.tcp_flags) {
        let own = matches!(direction, Direction::Original) && flow.initial_sequence == seen.sequence;
        return match state {
            _ if own && known => None,
            // Its client cannot have two attempts at once from one port.
            State::SynSent => Some(Outcome::Anew(Some(EventKind::Abandoned))),
            // Where the server's side does not pass, nothing would ever decide.
            State::TimeWait | State::Reset | State::MidStream | State::HalfSeen => Some(Outcome::Anew(None)),
            State::SynReceived | State::Established | State::FinWait => Some(Outcome::Waits),
            State::Unreplied | State::Replied => None,
        };
    }
    if !tcp::is_syn_ack(seen.tcp_flags) {
        return None;
    }
    let beyond = seen.acknowledgement.wrapping_sub(flow.initial_sequence).wrapping_sub(1);
    // A first answer may acknowledge data that came with the SYN (RFC 7413), up to a segment's. Afterwards a number that
    // much higher can be another connection's: Linux counts them up every 64 ns (net/core/secure_seq.c).
    let data = if matches!(state, State::SynSent) { u32::from(u16::MAX) } else { 0 };
    let own = matches!(direction, Direction::Reply) && beyond <= data;
    match state {
        _ if own && known => None,
        // To an attempt that its client has given up.
        State::SynSent if flow.ifindex == seen.ifindex => Some(Outcome::Stray),
        State::SynSent | State::Unreplied | State::Replied => None,
        State::TimeWait | State::Reset | State::MidStream | State::HalfSeen => Some(Outcome::Anew(None)),
        State::SynReceived | State::Established | State::FinWait => Some(Outcome::Answers),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Endpoint;
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

    /// A SYN-ACK to the SYN of this sequence number.
    fn answer(to: u32) -> Sighting {
        Sighting { acknowledgement: to.wrapping_add(1), ..seen(Endpoint::B, SYN | ACK, 5) }
    }

    fn established() -> Flow {
        let mut flow = opened(&seen(Endpoint::A, SYN, 9), 100);
        assert_eq!(book(&mut flow, &answer(9), || 1_300), Outcome::Counted);
        assert_eq!(book(&mut flow, &seen(Endpoint::A, ACK, 10), || 1_400), Outcome::Event(EventKind::Established));
        flow
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
        assert_eq!(book(&mut flow, &answer(9), || 1_300), Outcome::Counted);
        let done = book(&mut flow, &seen(Endpoint::A, ACK, 10), || 1_400);
        assert_eq!(done, Outcome::Event(EventKind::Established));
        assert_eq!((flow.syn_ns, flow.syn_ack_ns, flow.established_ns, flow.syn_retries), (100, 1_300, 1_400, 1));
        assert_eq!(book(&mut flow, &seen(Endpoint::B, ACK, 6), never), Outcome::Counted);
        assert_eq!(flow.packets[0], 3);
        assert_eq!(flow.packets[1], 2);
    }

    #[test]
    fn a_connection_in_use_beats_once_per_interval() {
        let mut flow = established();
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
        let pending = Pending { first_ns: 5, refused: 2, ifindex: 3, ..Pending::default() };
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

    /// The initial sequence number of another connection.
    const OTHER: u32 = 1 << 30;

    fn in_state(state: State) -> Flow {
        Flow { state: state as u8, ..established() }
    }

    #[test]
    fn a_syn_of_another_connection_waits_where_the_old_may_be_alive() {
        use State::{Established, FinWait, HalfSeen, MidStream, Reset, SynReceived, SynSent, TimeWait};
        let of_state = |state| book(&mut in_state(state), &seen(Endpoint::A, SYN, OTHER), never);
        for state in [SynReceived, Established, FinWait] {
            let mut flow = in_state(state);
            assert_eq!(book(&mut flow, &seen(Endpoint::A, SYN, OTHER), never), Outcome::Waits, "{state:?}");
            assert_eq!(flow, in_state(state), "the entry is left alone");
        }
        for state in [TimeWait, Reset, MidStream, HalfSeen] {
            assert_eq!(of_state(state), Outcome::Anew(None), "{state:?}");
        }
        assert_eq!(of_state(SynSent), Outcome::Anew(Some(EventKind::Abandoned)));
    }

    #[test]
    fn the_answer_to_a_syn_that_waits_decides() {
        use State::{Established, FinWait, HalfSeen, MidStream, Reset, SynReceived, SynSent, TimeWait};
        let of_state = |state| book(&mut in_state(state), &answer(OTHER), never);
        for state in [SynReceived, Established, FinWait] {
            assert_eq!(of_state(state), Outcome::Answers, "{state:?}");
        }
        for state in [TimeWait, Reset, MidStream, HalfSeen] {
            assert_eq!(of_state(state), Outcome::Anew(None), "{state:?}: its SYN went another way");
        }
        assert_eq!(book(&mut in_state(Established), &answer(9 + 1400), never), Outcome::Answers, "1400 * 64 ns later");
        assert_eq!(of_state(SynSent), Outcome::Stray, "to an attempt given up: it must not stamp this one");
        let mut flow = in_state(SynSent);
        let with_data = Sighting { acknowledgement: 9 + 1 + 1400, ..answer(9) };
        assert_eq!(book(&mut flow, &with_data, || 1), Outcome::Counted);
        assert_eq!(flow.state, SynReceived as u8, "a SYN may carry data");
    }

    #[test]
    fn an_interface_that_is_gone_does_not_keep_its_five_tuples() {
        let syn = Sighting { ifindex: 8, ..seen(Endpoint::A, SYN, OTHER) };
        assert_eq!(book(&mut in_state(State::Reset), &syn, never), Outcome::Anew(None));
        assert_eq!(book(&mut in_state(State::Established), &syn, never), Outcome::Waits);
        let own = Sighting { ifindex: 8, ..seen(Endpoint::A, SYN, 9) };
        assert_eq!(book(&mut in_state(State::Reset), &own, never), Outcome::Elsewhere, "the same SYN, further on");
    }

    #[test]
    fn copies_of_a_syn_are_remembered_together_and_counted_once_per_node() {
        let syn = seen(Endpoint::A, SYN, OTHER);
        let first = remember(None, &syn, 100, Verdict::Dropped, Reason::CtMapInsertionFailed).unwrap();
        assert_eq!((first.first_ns, first.refused, first.origin), (100, 1, Endpoint::A as u8));
        let elsewhere = Sighting { ifindex: 8, ..syn };
        assert_eq!(remember(Some(&first), &elsewhere, 101, Verdict::Forwarded, Reason::None), None);
        let out = Sighting { hook: 1, ..syn };
        assert_eq!(remember(Some(&first), &out, 101, Verdict::Forwarded, Reason::None), None);
        let later = Sighting { jiffies: 250, ..syn };
        let again = remember(Some(&first), &later, 900, Verdict::Forwarded, Reason::None).unwrap();
        assert_eq!((again.first_ns, again.refused, again.last_seen_jiffies), (100, 2, 250));
        assert_eq!(again.verdict, Verdict::Forwarded as u8, "what became of the last copy");
    }

    #[test]
    fn copies_of_syn_and_syn_ack_are_retries_until_the_handshake_is_complete() {
        let mut flow = opened(&seen(Endpoint::A, SYN, 9), 100);
        book(&mut flow, &answer(9), || 1_300);
        let retried = Outcome::Event(EventKind::Retried);
        assert_eq!(book(&mut flow, &seen(Endpoint::A, SYN, 9), never), retried);
        assert_eq!(book(&mut flow, &answer(9), never), retried);
        let hairpin = Sighting { hook: 0, ..answer(9) };
        assert_eq!(book(&mut flow, &hairpin, never), Outcome::Counted, "the same packet on its way out again");
        assert_eq!((flow.syn_retries, flow.syn_ack_retries, flow.syn_ack_ns), (1, 1, 1_300));
    }
}

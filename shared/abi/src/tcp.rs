//! The TCP state machine of conntrack: what a segment does to an entry, and whether that is worth an event.
//!
//! It follows a connection from outside, as a bystander: states are named as in RFC 9293 section 3.3.2 where they
//! mean the same.

use crate::event::EventKind;
use crate::flow::Direction;
use crate::numbered::numbered;

/// FIN flag.
pub const FIN: u8 = 0x01;
/// SYN flag.
pub const SYN: u8 = 0x02;
/// RST flag.
pub const RST: u8 = 0x04;
/// ACK flag.
pub const ACK: u8 = 0x10;

numbered! {
    /// State of an entry; the numbers are what [`crate::flow::Flow::state`] holds.
    State {
        /// A SYN was seen, no answer yet.
        SynSent = 1 "syn_sent",
        /// The SYN-ACK was seen, the client's ACK not yet.
        SynReceived = 2 "syn_received",
        /// Handshake complete.
        Established = 3 "established",
        /// One side sent its FIN.
        FinWait = 4 "fin_wait",
        /// Both sides sent their FIN.
        TimeWait = 5 "time_wait",
        /// A reset was seen.
        Reset = 6 "reset",
        /// First seen in the middle: no handshake to measure, counted as unmeasured.
        MidStream = 7 "mid_stream",
        /// Not TCP; packets of one direction only so far.
        Unreplied = 8 "unreplied",
        /// Not TCP; packets of both directions seen.
        Replied = 9 "replied",
        /// The client goes on after a SYN-ACK that did not pass here: direct server return or an asymmetric route.
        HalfSeen = 10 "half_seen",
    }
}

impl State {
    /// Whether the connection is over, so that a new SYN may reuse its entry.
    #[inline(always)]
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::TimeWait | Self::Reset)
    }
}

/// State of a new entry by the flags of its first TCP segment.
#[inline(always)]
#[must_use]
pub const fn opening_state(flags: u8) -> State {
    if is_syn(flags) { State::SynSent } else { State::MidStream }
}

/// A SYN without ACK: it opens a connection.
#[inline(always)]
#[must_use]
pub const fn is_syn(flags: u8) -> bool {
    flags & (SYN | ACK | RST | FIN) == SYN
}

/// A SYN with ACK: the server's answer.
#[inline(always)]
#[must_use]
pub const fn is_syn_ack(flags: u8) -> bool {
    flags & (SYN | ACK | RST) == SYN | ACK
}

/// What a segment does: the state after it, and the event it is worth, if any.
#[inline(always)]
#[must_use]
pub const fn advance(
    state: State,
    direction: Direction,
    flags: u8,
    fins_seen: [bool; 2],
) -> (State, Option<EventKind>) {
    if flags & RST != 0 {
        return match state {
            State::Reset | State::TimeWait => (state, None),
            _ => (State::Reset, Some(EventKind::Reset)),
        };
    }
    match (state, direction) {
        (State::SynSent, Direction::Reply) if is_syn_ack(flags) => (State::SynReceived, None),
        (State::SynSent, Direction::Original) if flags & (SYN | ACK) == ACK => {
            (State::HalfSeen, Some(EventKind::HalfSeen))
        }
        (State::SynReceived, Direction::Original) if flags & (SYN | ACK) == ACK && flags & FIN == 0 => {
            (State::Established, Some(EventKind::Established))
        }
        // A FIN on the very ACK of the handshake still completes it; the close follows with the next segment.
        (State::SynReceived, Direction::Original) if flags & (SYN | ACK | FIN) == ACK | FIN => {
            (State::FinWait, Some(EventKind::Established))
        }
        (State::Established | State::MidStream | State::HalfSeen, _) if flags & FIN != 0 => (State::FinWait, None),
        (State::FinWait, _) if fins_seen[0] && fins_seen[1] => (State::TimeWait, Some(EventKind::Closed)),
        _ => (state, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(segments: &[(Direction, u8)]) -> (State, std::vec::Vec<EventKind>) {
        let mut state = opening_state(segments[0].1);
        let mut fins = [false; 2];
        let mut events = std::vec::Vec::new();
        for &(direction, flags) in &segments[1..] {
            fins[direction as usize] |= flags & FIN != 0;
            let (next, event) = advance(state, direction, flags, fins);
            state = next;
            events.extend(event);
        }
        (state, events)
    }

    use Direction::{Original, Reply};

    #[test]
    fn a_whole_connection() {
        let (state, events) = walk(&[
            (Original, SYN),
            (Reply, SYN | ACK),
            (Original, ACK),
            (Reply, ACK),
            (Original, FIN | ACK),
            (Reply, FIN | ACK),
            (Original, ACK),
        ]);
        assert_eq!(state, State::TimeWait);
        assert_eq!(events, [EventKind::Established, EventKind::Closed]);
    }

    #[test]
    fn a_refused_connection() {
        assert_eq!(walk(&[(Original, SYN), (Reply, RST | ACK)]), (State::Reset, std::vec![EventKind::Reset]));
    }

    #[test]
    fn retries_change_nothing() {
        assert_eq!(walk(&[(Original, SYN), (Original, SYN), (Original, SYN)]).0, State::SynSent);
        assert_eq!(walk(&[(Original, SYN), (Reply, SYN | ACK), (Reply, SYN | ACK)]).0, State::SynReceived);
    }

    #[test]
    fn one_reset_is_one_event() {
        let (_, events) = walk(&[(Original, SYN), (Reply, SYN | ACK), (Original, RST), (Reply, RST)]);
        assert_eq!(events, [EventKind::Reset]);
    }

    #[test]
    fn a_connection_met_in_the_middle_is_never_called_established() {
        let (state, events) = walk(&[(Original, ACK), (Reply, ACK), (Original, ACK)]);
        assert_eq!((state, events.len()), (State::MidStream, 0));
    }
}

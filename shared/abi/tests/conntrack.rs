//! The state machine on segments in any order, as the kernel program drives it.

#![allow(clippy::expect_used, reason = "a test stops at the first surprise")]

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;
use proptest::sample::select;
use synscope_abi::conntrack;
use synscope_abi::event::{EventKind, Reason, Verdict};
use synscope_abi::flow::{Endpoint, Flow, Pending};
use synscope_abi::packet::PROTOCOL_TCP;
use synscope_abi::sighting::{Outcome, Sighting};
use synscope_abi::tcp::{ACK, FIN, RST, SYN, State, is_syn, is_syn_ack};

/// One five-tuple's entry, and what a program at a packet does with the outcomes.
#[derive(Default)]
struct Tuple {
    entry: Option<Flow>,
    pending: HashMap<u32, Pending>,
    /// When SYNs with an initial sequence number were seen, and answers to it.
    syns: HashSet<(u32, u64)>,
    answers: HashSet<(u32, u64)>,
    /// Packets that the entry must have counted.
    booked: u64,
    established: u32,
}

impl Tuple {
    fn see(&mut self, seen: &Sighting, now_ns: u64) {
        if is_syn(seen.tcp_flags) {
            self.syns.insert((seen.sequence, now_ns));
        } else if is_syn_ack(seen.tcp_flags) {
            self.answers.insert((seen.acknowledgement.wrapping_sub(1), now_ns));
        }
        let Some(mut entry) = self.entry else { return self.begin(seen, now_ns) };
        let before = entry;
        match conntrack::book(&mut entry, seen, || now_ns) {
            Outcome::Counted => self.booked += 1,
            Outcome::Event(kind) => {
                self.booked += 1;
                self.established += u32::from(kind == EventKind::Established);
            }
            Outcome::Anew(_) => return self.begin(seen, now_ns),
            Outcome::Elsewhere | Outcome::Stray => assert_eq!(entry, before),
            Outcome::Waits => {
                assert_eq!(entry, before);
                let earlier = self.pending.get(&seen.sequence);
                if let Some(waits) = conntrack::remember(earlier, seen, now_ns, Verdict::Forwarded, Reason::None) {
                    self.pending.insert(seen.sequence, waits);
                }
            }
            Outcome::Answers => {
                assert_eq!(entry, before);
                let waits = self.pending.get(&seen.acknowledgement.wrapping_sub(1));
                if waits.is_some_and(|waits| waits.ifindex == seen.ifindex) {
                    return self.begin(seen, now_ns);
                }
            }
        }
        self.entry = Some(entry);
    }

    fn begin(&mut self, seen: &Sighting, now_ns: u64) {
        let mut entry = Flow::default();
        conntrack::open(&mut entry, seen, now_ns);
        if let Some(pending) = self.pending.remove(&entry.initial_sequence) {
            conntrack::adopt(&mut entry, &pending, is_syn(seen.tcp_flags));
        }
        (self.booked, self.established) = (1, 0);
        self.entry = Some(entry);
    }

    fn check(&self, now_ns: u64) {
        let entry = self.entry.expect("the first segment makes one");
        let state = State::from_number(entry.state).expect("a state");
        assert_eq!(entry.packets[0] + entry.packets[1], self.booked, "{entry:?}");
        assert!(self.established <= 1, "one connection is established once");
        let stamps = [entry.syn_ns, entry.syn_ack_ns, entry.established_ns].map(|ns| (ns != 0).then_some(ns));
        let in_order: Vec<u64> = stamps.into_iter().flatten().collect();
        assert!(in_order.is_sorted() && in_order.iter().all(|ns| *ns <= now_ns), "{entry:?}");
        // No stamp is of another connection over the same five-tuple.
        let [syn_ns, syn_ack_ns, established_ns] = stamps;
        assert!(syn_ns.is_none_or(|ns| self.syns.contains(&(entry.initial_sequence, ns))), "{entry:?}");
        assert!(syn_ack_ns.is_none_or(|ns| self.answers.contains(&(entry.initial_sequence, ns))), "{entry:?}");
        assert_eq!(state == State::Established, state == State::Established && established_ns.is_some(), "{entry:?}");
    }
}

fn segment() -> impl Strategy<Value = Sighting> {
    // Few connections' numbers, so that they meet, and far apart, so that none is another's with data.
    let sequence = select(vec![9_u32, 1 << 29, 1 << 30]);
    let acknowledgement = select(vec![10_u32, (1 << 29) + 1, (1 << 30) + 1]);
    let flags = select(vec![SYN, SYN | ACK, ACK, FIN | ACK, RST, RST | ACK, SYN | FIN, 0]);
    let from = select(vec![Endpoint::A, Endpoint::B]);
    let place = (prop_oneof![9 => Just(3_u32), 1 => Just(4)], prop_oneof![9 => Just(true), 1 => Just(false)]);
    (from, flags, sequence, acknowledgement, place).prop_map(|(from, tcp_flags, sequence, acknowledgement, place)| {
        let (ifindex, straight) = place;
        Sighting {
            protocol: PROTOCOL_TCP,
            tcp_flags,
            sequence,
            acknowledgement,
            from,
            ifindex,
            hook: u8::from((from == Endpoint::B) == straight),
            segments: 1,
            bytes: 60,
            jiffies: 1,
            heartbeat_shift: 0,
        }
    })
}

proptest! {
    #[test]
    fn stamps_are_of_one_connection_and_every_packet_is_counted_once(
        segments in proptest::collection::vec(segment(), 1..60)
    ) {
        let mut tuple = Tuple::default();
        for (now_ns, seen) in (1..).zip(&segments) {
            tuple.see(seen, now_ns);
            tuple.check(now_ns);
        }
    }
}

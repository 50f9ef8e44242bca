//! Event records: the only thing that leaves the kernel, and only when something happened.

use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use synscope_abi::counter::Counter;
use synscope_abi::event::{EventKind, Reason, Verdict};
use synscope_abi::flow::{Flow, FlowKey};

use crate::maps::{EVENTS, count};

/// What is said about a packet besides its flow.
#[derive(Clone, Copy)]
pub struct Note {
    pub kind: EventKind,
    pub verdict: Verdict,
    pub reason: Reason,
    pub at_ns: u64,
}

/// Submits a record about a flow. A full ring is counted; the reader is never woken from here.
///
/// A function of its own in BPF too: it is called from many places, and the record is filled in place.
#[inline(never)]
pub fn event<const N: usize>(key: &FlowKey<N>, flow: &Flow, note: &Note) {
    let Some(mut entry) = EVENTS.reserve(0) else {
        count(Counter::EventsLost);
        return;
    };
    // SAFETY: the reserved record is valid for writes, and all of it is written before it is read.
    let event = unsafe { &mut *entry.as_mut_ptr() };
    let (client, client_port, server, server_port) = if flow.origin == 0 {
        (&key.address_a, key.port_a, &key.address_b, key.port_b)
    } else {
        (&key.address_b, key.port_b, &key.address_a, key.port_a)
    };
    event.at_ns = note.at_ns;
    event.syn_ns = flow.syn_ns;
    event.syn_ack_ns = flow.syn_ack_ns;
    event.established_ns = flow.established_ns;
    event.packets = flow.packets;
    event.bytes = flow.bytes;
    copy(&mut event.client, client);
    copy(&mut event.server, server);
    event.client_port = client_port;
    event.server_port = server_port;
    event.ifindex = flow.ifindex;
    event.initial_sequence = flow.initial_sequence;
    event.refused_syns = flow.refused_syns;
    event.kind = note.kind as u8;
    event.verdict = note.verdict as u8;
    event.reason = note.reason as u8;
    event.state = flow.state;
    event.family = if N == 4 { 4 } else { 6 };
    event.protocol = key.protocol;
    event.hook = flow.hook;
    event.syn_retries = flow.syn_retries;
    event.syn_ack_retries = flow.syn_ack_retries;
    event.tcp_flags = flow.tcp_flags;
    event.reserved = [0; 5];
    entry.submit(u64::from(BPF_RB_NO_WAKEUP));
    count(Counter::EventsSubmitted);
}

/// Copies an address and zeroes the rest, by words: of bytes the compiler makes one load and one store each.
#[inline(always)]
fn copy<const N: usize>(to: &mut [u8; 16], from: &[u8; N]) {
    let (to, from) = (to.as_mut_ptr().cast::<u32>(), from.as_ptr().cast::<u32>());
    let mut word = 0;
    while word < 4 {
        // SAFETY: addresses in keys and records begin at multiples of 4, as the `abi` asserts, and are N and 16 bytes
        // long.
        unsafe { to.add(word).write(if word < N / 4 { from.add(word).read() } else { 0 }) };
        word += 1;
    }
}

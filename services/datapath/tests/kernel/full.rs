//! A table without room.

use etherparse::PacketBuilder;
use synscope_abi::counter::Counter;
use synscope_abi::event::{EventKind, Verdict};
use synscope_abi::settings::EXEMPT_PORTS;
use synscope_abi::tcp::ACK;
use synscope_datapath::kernel::{Kernel, Mode, OnFull, Options};

use crate::netns::Line;
use crate::wire::{DEADLINE, connect, listen, observe_interface, observe_on_wire, small, wait_for};
use crate::{drain, from_client, run, syn};

/// `TC_ACT_UNSPEC`: the next program decides.
const NEXT: i32 = -1;
/// `TC_ACT_SHOT`
const SHOT: i32 = 2;

fn enforce(on_full: OnFull, exempt: &[u16]) -> Options<'static> {
    let mut exempt_ports = [0; EXEMPT_PORTS];
    exempt_ports[..exempt.len()].copy_from_slice(exempt);
    Options { mode: Mode::Enforce { on_full, exempt_ports }, ..small(1) }
}

#[test]
fn enforce_drops_on_a_full_table_but_not_for_exempt_ports() {
    let mut kernel = Kernel::load(&enforce(OnFull::Drop, &[])).unwrap();
    assert_eq!(run(&mut kernel, &syn(1, 7)), NEXT);
    assert_eq!(run(&mut kernel, &syn(2, 7)), SHOT);
    assert_eq!(run(&mut kernel, &syn(1, 7)), NEXT, "who has an entry is never dropped");
    assert_eq!(run(&mut kernel, &from_client(2, 8, ACK, 1)), NEXT, "nor who began before");

    kernel.configure(&enforce(OnFull::Drop, &[80])).unwrap();
    assert_eq!(run(&mut kernel, &syn(3, 7)), NEXT);
    assert_eq!(kernel.counter(Counter::DroppedFull).unwrap(), 1);
}

#[test]
fn enforce_may_also_let_pass_what_has_no_room() {
    let mut kernel = Kernel::load(&enforce(OnFull::Pass, &[])).unwrap();
    let mut ring = kernel.take_events().unwrap();
    for port in 1..=2 {
        assert_eq!(run(&mut kernel, &syn(port, 7)), NEXT);
    }
    let mut seen = Vec::new();
    drain(&mut ring, &mut seen);
    let kinds: Vec<_> = seen.iter().map(|event| (event.kind, event.verdict)).collect();
    let forwarded = Verdict::Forwarded as u8;
    assert_eq!(kinds, [(EventKind::Opened as u8, forwarded), (EventKind::Refused as u8, forwarded)]);
    assert_eq!(kernel.counter(Counter::DroppedFull).unwrap(), 0);
}

#[test]
fn a_full_ipv6_table_drops_syns_and_nothing_else() {
    let mut kernel = Kernel::load(&enforce(OnFull::Drop, &[22])).unwrap();
    let link = || PacketBuilder::ethernet2([2; 6], [4; 6]).ipv6([1; 16], [2; 16], 64);
    let syn = |from: u16, to: u16| {
        let mut frame = Vec::new();
        link().tcp(from, to, 7, 1024).syn().write(&mut frame, &[]).unwrap();
        frame
    };
    assert_eq!(run(&mut kernel, &syn(1, 80)), NEXT);
    assert_eq!(run(&mut kernel, &syn(2, 80)), SHOT);
    assert_eq!(run(&mut kernel, &syn(3, 22)), NEXT, "an exempt port");
    let mut datagram = Vec::new();
    link().udp(9, 53).write(&mut datagram, b"query").unwrap();
    assert_eq!(run(&mut kernel, &datagram), NEXT);
    let counts = [Counter::InsertFull, Counter::DroppedFull, Counter::Untracked];
    assert_eq!(counts.map(|counter| kernel.counter(counter).unwrap()), [3, 1, 1]);
    assert_eq!(run(&mut kernel, &crate::syn(1, 7)), NEXT, "the IPv4 table has room");

    kernel.resize_v6(8).unwrap();
    assert_eq!(run(&mut kernel, &syn(2, 80)), NEXT);
    assert_eq!(kernel.counter(Counter::PendingAdopted).unwrap(), 1);
}

/// Both ends on one node: the SYN finds no room at each place it passes.
#[test]
fn a_refused_syn_that_passes_two_interfaces_is_told_and_counted_once() {
    let line = Line::new("twice");
    line.bridge();
    let mut kernel = Kernel::load(&small(1)).unwrap();
    run(&mut kernel, &syn(1, 7));
    let mut ring = kernel.take_events().unwrap();
    let _attached = ["c", "s"].map(|interface| observe_interface(&mut kernel, &line, interface));
    let _listener = listen(&line, 8080);
    connect(&line, 8080, DEADLINE).unwrap();

    let mut seen = Vec::new();
    drain(&mut ring, &mut seen);
    seen.retain(|event| event.server_port == [0x1f, 0x90]);
    assert_eq!(seen.iter().map(|event| event.kind).collect::<Vec<_>>(), [EventKind::Refused as u8]);
    assert!(kernel.counter(Counter::InsertFull).unwrap() >= 2, "it passed both");
    assert_eq!(kernel.counter(Counter::PendingStored).unwrap(), 1);
}

/// The main job in small: a refused SYN has no entry, and yet the connection's true latency and retries are known.
#[test]
fn a_connection_whose_first_syn_was_refused_shows_its_true_latency() {
    let line = Line::new("full");
    line.bridge();
    let mut kernel = Kernel::load(&enforce(OnFull::Drop, &[])).unwrap();
    run(&mut kernel, &syn(1, 7));
    let mut ring = kernel.take_events().unwrap();
    let _attached = observe_on_wire(&mut kernel, &line);
    let _listener = listen(&line, 8080);

    let mut seen = Vec::new();
    let client = std::thread::scope(|scope| {
        let connecting = scope.spawn(|| connect(&line, 8080, DEADLINE));
        wait_for("the first SYN is refused", || (kernel.counter(Counter::DroppedFull).unwrap() > 0).then_some(()));
        kernel.resize_v4(64).unwrap();
        connecting.join().unwrap()
    });
    client.unwrap();
    let established = wait_for("the connection is established", || {
        drain(&mut ring, &mut seen);
        seen.iter().find(|event| event.kind == EventKind::Established as u8).copied()
    });
    let dropped = seen.iter().find(|event| event.kind == EventKind::Dropped as u8 && event.server_port == [0x1f, 0x90]);
    let dropped = dropped.expect("the refusal is an event");
    assert_eq!(dropped.verdict, Verdict::Dropped as u8);
    assert_eq!((established.refused_syns, established.syn_retries), (1, 1));
    assert_eq!(established.syn_ns, dropped.syn_ns, "measured from the SYN that was refused");
    let latency_ns = established.established_ns - established.syn_ns;
    assert!((950_000_000..1_500_000_000).contains(&latency_ns), "one SYN time-out of 1 s (RFC 6298): {latency_ns}");
}

//! The loaded kernel programs: through `BPF_PROG_TEST_RUN`, and on real traffic between network namespaces.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod netns;
mod wire;

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::time::Duration;

use aya::programs::{SchedClassifier, TestRun, TestRunOptions};
use etherparse::PacketBuilder;
use netns::{Line, ip};
use synscope_abi::counter::Counter;
use synscope_abi::event::{Event, EventKind, Verdict};
use synscope_abi::flow::FlowKey;
use synscope_abi::packet::{self, Addresses};
use synscope_abi::settings::EXEMPT_PORTS;
use synscope_abi::timeout::Timeouts;
use synscope_datapath::events;
use synscope_datapath::kernel::{Kernel, KernelError, Mode, Options};
use wire::{DEADLINE, connect, listen, observe_interface, observe_on_wire, small, wait_for};

fn run(kernel: &mut Kernel, frame: &[u8]) -> i32 {
    let program: &SchedClassifier = kernel.classifier("ingress").unwrap();
    let mut out = vec![0; frame.len() + 64];
    let options = TestRunOptions { data_in: Some(frame), data_out: Some(&mut out), ..TestRunOptions::new() };
    let answer = program.test_run(options).unwrap();
    assert_eq!(&out[..answer.data_size_out as usize], frame, "the packet must come out as it went in");
    answer.return_value.cast_signed()
}

fn syn(source_port: u16, sequence: u32) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv4([10, 9, 0, 1], [10, 9, 0, 2], 64)
        .tcp(source_port, 80, sequence, 1024)
        .syn()
        .write(&mut frame, &[])
        .unwrap();
    frame
}

#[test]
fn a_full_inner_table_refuses_and_a_new_one_in_its_place_accepts() {
    let mut kernel = Kernel::load(&small(64)).unwrap();
    for port in 1..=100 {
        assert_eq!(run(&mut kernel, &syn(port, 7)), -1, "observe mode always answers `next program`");
    }
    let inserted = kernel.counter(Counter::Inserted).unwrap();
    let refused = kernel.counter(Counter::InsertFull).unwrap();
    assert_eq!((inserted, refused), (64, 36));
    assert_eq!(kernel.counter(Counter::PendingStored).unwrap(), 36);
    assert_eq!(kernel.table_v4().unwrap().keys().count(), 64, "what we count is what the kernel holds");

    let resized = kernel.resize_v4(128).unwrap();
    assert_eq!((resized.moved, resized.left), (64, 0));
    for port in 1..=100 {
        run(&mut kernel, &syn(port, 7));
    }
    assert_eq!(kernel.counter(Counter::Inserted).unwrap(), 100, "64 were still known, 36 are new");
    assert_eq!(kernel.counter(Counter::PendingAdopted).unwrap(), 36);
}

#[test]
fn the_kernel_sweeps_what_has_expired_and_nothing_else() {
    let timeouts = Timeouts { handshake: 0, established: 1000, closing: 1000, closed: 1000, other: 1000 };
    let mut kernel = Kernel::load(&Options { timeouts, ..small(4096) }).unwrap();
    for port in 1..=2000 {
        run(&mut kernel, &syn(port, 7));
    }
    let mut datagram = Vec::new();
    PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv6([1; 16], [2; 16], 64)
        .udp(9, 53)
        .write(&mut datagram, b"query")
        .unwrap();
    run(&mut kernel, &datagram);

    wait_for("all SYNs expire", || {
        kernel.sweep().unwrap();
        (kernel.counter(Counter::Expired).unwrap() == 2000).then_some(())
    });
    assert_eq!(kernel.table_v4().unwrap().keys().count(), 0);
    assert_eq!(kernel.table_v6().unwrap().keys().count(), 1, "a datagram may stay silent for 1000 s");
    let [v4, v6] = kernel.fill().unwrap();
    assert_eq!([(v4.live, v4.max), (v6.live, v6.max)], [(0, 4096), (1, 4096)]);
    let mut expired = 0;
    events::drain(&mut kernel.take_events().unwrap(), |event| {
        expired += u32::from(event.kind == EventKind::Expired as u8);
    });
    assert_eq!(expired, 2000, "each SYN without an answer is an event");
}

/// A resize under load: packets of known and of new connections keep coming while the tables change places, ten times.
#[test]
fn a_resize_under_load_loses_no_connection() {
    const KNOWN: u16 = 20_000;
    let mut kernel = Kernel::load(&small(50_000)).unwrap();
    for port in 1..=KNOWN {
        run(&mut kernel, &syn(port, 7));
    }
    let id = kernel.classifier("ingress").unwrap().info().unwrap().id();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let packets = std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let program = SchedClassifier::from_program_info(
                aya::programs::loaded_programs().flatten().find(|info| info.id() == id).unwrap(),
                "ingress".into(),
            )
            .unwrap();
            let mut packets = 0_u64;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                for port in (1..=KNOWN).step_by(7) {
                    let frame = syn(port, 7);
                    let options = TestRunOptions { data_in: Some(&frame), ..TestRunOptions::new() };
                    assert_eq!(program.test_run(options).unwrap().return_value.cast_signed(), -1);
                    packets += 1;
                }
            }
            packets
        });
        for round in 0..10 {
            let resized = kernel.resize_v4(50_000 + round * 10_000).unwrap();
            assert_eq!(resized.left, 0);
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        load.join().unwrap()
    });
    assert!(packets > 0);
    assert_eq!(kernel.table_v4().unwrap().keys().count(), usize::from(KNOWN));
    assert_eq!(kernel.counter(Counter::Inserted).unwrap(), u64::from(KNOWN), "none was made anew");
    assert_eq!(kernel.counter(Counter::MoveFailed).unwrap(), 0);
}

/// Both ends on one node: each packet passes in through one interface and out through the other.
#[test]
fn what_passes_two_interfaces_is_one_connection_and_counted_once() {
    let line = Line::new("both");
    line.bridge();
    let mut kernel = Kernel::load(&small(1024)).unwrap();
    let mut ring = kernel.take_events().unwrap();
    let attached = ["c", "s"].map(|interface| observe_interface(&mut kernel, &line, interface));
    let listener = listen(&line, 8080);
    let mut client = connect(&line, 8080, DEADLINE).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    for _packet in 0..10 {
        client.write_all(b"order").unwrap();
        wait_for("it is acknowledged", || (unacknowledged(&client) == 0).then_some(()));
    }
    server.read_exact(&mut [0; 50]).unwrap();
    drop((client, server));

    let mut seen = Vec::new();
    let ours = |event: &Event| event.server_port == [0x1f, 0x90];
    let closed = wait_for("the connection closes", || {
        drain(&mut ring, &mut seen);
        seen.iter().find(|event| event.kind == EventKind::Closed as u8 && ours(event)).copied()
    });
    // SYN, ACK, ten orders, FIN and the last ACK: twice as many pass.
    assert!((12..=16).contains(&closed.packets[0]), "{closed:?}");
    assert_eq!((closed.syn_retries, closed.syn_ack_retries), (0, 0), "{closed:?}");
    let opened = seen.iter().filter(|event| event.kind == EventKind::Opened as u8 && ours(event));
    assert_eq!(opened.count(), 1);
    assert!(kernel.counter(Counter::SeenElsewhere).unwrap() >= 20);
    drop(attached);
}

fn unacknowledged(stream: &std::net::TcpStream) -> i32 {
    let mut bytes = 0;
    // SAFETY: the request writes one int.
    let answer = unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    assert_eq!(answer, 0);
    bytes
}

#[test]
fn a_resize_below_what_is_there_is_refused_and_changes_nothing() {
    let mut kernel = Kernel::load(&small(64)).unwrap();
    for port in 1..=20 {
        run(&mut kernel, &syn(port, 7));
    }
    assert!(matches!(kernel.resize_v4(19), Err(KernelError::TooSmall { live: 20, .. })));
    assert!(matches!(kernel.resize_v4(0), Err(KernelError::TooSmall { .. })));
    assert!(matches!(kernel.resize_v4(u32::MAX), Err(KernelError::Capacity { .. })));
    assert_eq!(kernel.table_v4().unwrap().keys().count(), 20);
}

#[test]
fn enforce_drops_on_a_full_table_but_not_for_exempt_ports() {
    let mut exempt_ports = [0; EXEMPT_PORTS];
    let mut options = Options { mode: Mode::EnforceDrop { exempt_ports }, ..small(1) };
    let mut kernel = Kernel::load(&options).unwrap();
    assert_eq!(run(&mut kernel, &syn(1, 7)), -1);
    assert_eq!(run(&mut kernel, &syn(2, 7)), 2, "TC_ACT_SHOT");
    assert_eq!(run(&mut kernel, &syn(1, 7)), -1, "who has an entry is never dropped");

    exempt_ports[0] = 80;
    options.mode = Mode::EnforceDrop { exempt_ports };
    kernel.configure(&options).unwrap();
    assert_eq!(run(&mut kernel, &syn(3, 7)), -1);
    assert_eq!(kernel.counter(Counter::DroppedFull).unwrap(), 1);
}

/// Frames of all kinds, then the same with one byte changed or cut short: what the kernel counted and stored must be
/// what the host's parser says.
#[test]
fn the_loaded_parser_agrees_with_the_host() {
    let mut kernel = Kernel::load(&small(65_536)).unwrap();
    let mut seeds = vec![syn(4000, 1)];
    let mut tagged = Vec::new();
    PacketBuilder::ethernet2([2; 6], [4; 6])
        .single_vlan(7.try_into().unwrap())
        .ipv6([3; 16], [4; 16], 9)
        .tcp(5, 6, 7, 8)
        .ack(1)
        .write(&mut tagged, b"x")
        .unwrap();
    seeds.push(tagged);
    let mut echo = Vec::new();
    PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv4([10, 0, 0, 1], [10, 0, 0, 9], 64)
        .icmpv4_echo_request(77, 1)
        .write(&mut echo, b"ping")
        .unwrap();
    seeds.push(echo);

    let mut frames = 0;
    for seed in &seeds {
        // The kernel's test run refuses frames without a whole Ethernet header, and drops tagged ones it can't strip.
        for at in 14..seed.len() {
            for value in [0, 1, 6, 0x44, 0x4f, 0x60, 0x81, 0xff] {
                let mut frame = seed.clone();
                frame[at] = value;
                check(&mut kernel, &frame);
                frames += 1;
            }
            check(&mut kernel, &seed[..at.max(34)]);
        }
    }
    assert!(frames > 1000);
}

fn check(kernel: &mut Kernel, frame: &[u8]) {
    let expected = packet::ethernet(frame).and_then(|(kind, at)| packet::network(frame, kind, at));
    let before: Vec<u64> = Counter::ALL.iter().map(|counter| kernel.counter(*counter).unwrap()).collect();
    assert_eq!(run(kernel, frame), -1);
    match expected {
        Err(reason) => {
            let after = kernel.counter(reason).unwrap();
            assert_eq!(after, before[reason as usize] + 1, "{} for {frame:02x?}", reason.name());
        }
        Ok(parsed) => {
            let (from, to) = (parsed.source_port, parsed.destination_port);
            let found = match parsed.addresses {
                Addresses::V4(a, b) => {
                    kernel.table_v4().unwrap().get(&FlowKey::canonical(a, b, from, to, parsed.protocol).0, 0).is_ok()
                }
                Addresses::V6(a, b) => {
                    kernel.table_v6().unwrap().get(&FlowKey::canonical(a, b, from, to, parsed.protocol).0, 0).is_ok()
                }
            };
            assert!(found, "no entry for {parsed:?} of {frame:02x?}");
        }
    }
}

fn drain(ring: &mut aya::maps::RingBuf<aya::maps::MapData>, into: &mut Vec<Event>) {
    assert_eq!(events::drain(ring, |event| into.push(*event)).foreign, 0);
}

#[test]
fn a_handshake_between_namespaces_is_measured() {
    let line = Line::new("shake");
    line.bridge();
    let mut kernel = Kernel::load(&small(1024)).unwrap();
    let mut ring = kernel.take_events().unwrap();
    let _attached = observe_on_wire(&mut kernel, &line);
    let listener = listen(&line, 8080);
    let mut client = connect(&line, 8080, DEADLINE).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    client.write_all(b"order").unwrap();
    server.read_exact(&mut [0; 5]).unwrap();
    drop((client, server));

    let mut seen = Vec::new();
    let closed = wait_for("the connection closes", || {
        drain(&mut ring, &mut seen);
        seen.iter().find(|event| event.kind == EventKind::Closed as u8 && event.server_port == [0x1f, 0x90]).copied()
    });
    assert_eq!((&closed.client[..4], &closed.server[..4]), (&[10, 9, 0, 1][..], &[10, 9, 0, 2][..]));
    assert!(closed.syn_ns < closed.syn_ack_ns && closed.syn_ack_ns < closed.established_ns, "{closed:?}");
    assert!(closed.established_ns - closed.syn_ns < 500_000_000, "no delay was made: {closed:?}");
    assert_eq!((closed.syn_retries, closed.refused_syns), (0, 0));
    assert!(closed.packets[0] >= 4 && closed.packets[1] >= 3, "{closed:?}");
}

/// The main job in small: a refused SYN has no entry, and yet the connection's true latency and retries are known.
#[test]
fn a_connection_whose_first_syn_was_refused_shows_its_true_latency() {
    let line = Line::new("full");
    line.bridge();
    let mode = Mode::EnforceDrop { exempt_ports: [0; EXEMPT_PORTS] };
    let mut kernel = Kernel::load(&Options { mode, ..small(1) }).unwrap();
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

#[test]
fn the_wire_of_these_tests_joins_nothing_by_itself() {
    let line = Line::new("plain");
    let _listener = listen(&line, 8080);
    ip(&format!("-n {} link show c", line.wire));
    assert!(connect(&line, 8080, Duration::from_millis(200)).is_err(), "else the redirect test would prove nothing");
}

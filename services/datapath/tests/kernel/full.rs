//! A table without room.

use synscope_abi::counter::Counter;
use synscope_abi::event::{EventKind, Verdict};
use synscope_abi::settings::EXEMPT_PORTS;
use synscope_datapath::kernel::{Kernel, Mode, Options};

use crate::netns::Line;
use crate::wire::{DEADLINE, connect, listen, observe_on_wire, small, wait_for};
use crate::{drain, run, syn};

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

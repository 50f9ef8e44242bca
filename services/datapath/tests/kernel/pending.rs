//! SYNs that were given no entry, and did not come again.

use std::time::Duration;

use aya::maps::{HashMap, Map, MapData};
use synscope_abi::PENDING_ENTRIES;
use synscope_abi::counter::Counter;
use synscope_abi::event::{Event, EventKind, Reason, Verdict};
use synscope_abi::flow::{FlowKey, Pending, PendingKey};
use synscope_abi::settings::EXEMPT_PORTS;
use synscope_abi::tcp::{ACK, SYN};
use synscope_abi::timeout::Timeouts;
use synscope_datapath::kernel::{Kernel, Mode, OnFull, Options};

use crate::netns::Line;
use crate::pins::Pins;
use crate::wire::{connect, listen, observe_on_wire, small, wait_for};
use crate::{drain, from_server, pass, run, syn};

const DROP: Mode = Mode::Enforce { on_full: OnFull::Drop, exempt_ports: [0; EXEMPT_PORTS] };

/// A table that its first entry fills, where refused SYNs are forgotten after a second.
fn full(mode: Mode) -> Options<'static> {
    Options { mode, timeouts: Timeouts { pending: 1, ..Timeouts::SECONDS }, ..small(1) }
}

fn forgotten(kernel: &mut Kernel) -> Event {
    let mut ring = kernel.take_events().unwrap();
    let mut seen = Vec::new();
    wait_for("the refused SYN is forgotten", || {
        kernel.sweep().unwrap();
        drain(&mut ring, &mut seen);
        seen.iter().find(|event| event.kind == EventKind::PendingExpired as u8).copied()
    })
}

#[test]
fn a_dropped_syn_that_never_comes_again_is_told_as_dropped() {
    let line = Line::new("never");
    line.bridge();
    let mut kernel = Kernel::load(&full(DROP)).unwrap();
    run(&mut kernel, &syn(1, 7));
    let _attached = observe_on_wire(&mut kernel, &line);
    let _listener = listen(&line, 8080);
    connect(&line, 8080, Duration::from_millis(200)).unwrap_err();

    let event = forgotten(&mut kernel);
    assert_eq!(event.server_port, [0x1f, 0x90]);
    assert_eq!((event.verdict, event.reason), (Verdict::Dropped as u8, Reason::CtMapInsertionFailed as u8));
    assert_eq!((event.refused_syns, event.syn_retries), (1, 0));
    let waited_ns = event.at_ns - event.syn_ns;
    assert!((1_000_000_000..3_000_000_000).contains(&waited_ns), "kept for its second: {waited_ns}");
    assert_eq!(kernel.counter(Counter::PendingExpired).unwrap(), 1);
}

#[test]
fn a_syn_that_passed_without_an_entry_is_told_as_forwarded() {
    let mut kernel = Kernel::load(&full(Mode::Observe)).unwrap();
    for port in 1..=2 {
        assert_eq!(run(&mut kernel, &syn(port, 7)), -1);
    }
    let event = forgotten(&mut kernel);
    assert_eq!(event.client_port, [0, 2]);
    assert_eq!((event.verdict, event.reason), (Verdict::Forwarded as u8, Reason::CtMapInsertionFailed as u8));
}

/// What there is no room for is counted, and nothing that is remembered is forgotten for it.
#[test]
fn refused_syns_beyond_the_bound_are_counted_and_evict_nobody() {
    let pins = Pins::new("pending");
    let mut kernel = Kernel::load(&Options { pins: Some(&pins.0), ..full(DROP) }).unwrap();
    for port in 1..=2 {
        run(&mut kernel, &syn(port, 7));
    }
    let map = Map::HashMap(MapData::from_pin(pins.0.join("PENDING_V4")).unwrap());
    let mut pending = HashMap::<_, PendingKey<4>, Pending>::try_from(map).unwrap();
    let (flow, _) = FlowKey::canonical([10, 9, 0, 1], [10, 9, 0, 2], [0, 9], [0, 80], 6);
    for sequence in 1..PENDING_ENTRIES {
        let initial_sequence = u32::try_from(sequence).unwrap();
        pending.insert(PendingKey { flow, initial_sequence }, Pending::default(), 0).unwrap();
    }

    run(&mut kernel, &syn(3, 7));
    let counts = |kernel: &Kernel| {
        [Counter::PendingStored, Counter::PendingFailed].map(|counter| kernel.counter(counter).unwrap())
    };
    assert_eq!(counts(&kernel), [1, 1], "the second port's is stored, the third's found no room");
    run(&mut kernel, &syn(2, 7));
    assert_eq!(counts(&kernel), [2, 1], "a copy of a remembered one needs no room");
    assert_eq!(pending.keys().count(), PENDING_ENTRIES);

    // The same for a SYN that waits until it is decided what becomes of a connection that may be alive.
    pass(&mut kernel, "egress", &from_server(1, 9, SYN | ACK, 8));
    run(&mut kernel, &syn(1, 1 << 30));
    let waiting = [Counter::SynOverLive, Counter::SynOverLiveFailed].map(|counter| kernel.counter(counter).unwrap());
    assert_eq!((waiting, counts(&kernel)), ([1, 1], [2, 1]));

    kernel.resize_v4(8).unwrap();
    for port in [2, 3] {
        run(&mut kernel, &syn(port, 7));
    }
    let retries = |port: u16| {
        let (key, _) = FlowKey::canonical([10, 9, 0, 1], [10, 9, 0, 2], port.to_be_bytes(), [0, 80], 6);
        kernel.table_v4().unwrap().get(&key, 0).unwrap().syn_retries
    };
    assert_eq!((retries(2), retries(3)), (2, 0), "what was not remembered cannot be measured, and was counted");
}

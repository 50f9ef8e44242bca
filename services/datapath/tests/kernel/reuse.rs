//! A port that is used again: another connection over the same five-tuple.

use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::Duration;

use synscope_abi::counter::Counter;
use synscope_abi::event::{Event, EventKind};
use synscope_abi::flow::{Endpoint, Flow, FlowKey};
use synscope_abi::tcp::{ACK, RST, SYN, State};
use synscope_datapath::kernel::Kernel;

use crate::netns::{Line, within};
use crate::wire::{listen, observe_on_wire, small, wait_for};
use crate::{drain, from_client, from_server, pass, syn};

const PORT: u16 = 4000;
/// Initial sequence numbers of the first and of the second connection.
const FIRST: u32 = 100;
const SECOND: u32 = 1 << 30;

fn entry(kernel: &Kernel) -> Flow {
    let ports = (PORT.to_be_bytes(), 80_u16.to_be_bytes());
    let (key, from) = FlowKey::canonical([10, 9, 0, 1], [10, 9, 0, 2], ports.0, ports.1, 6);
    assert_eq!(from, Endpoint::A);
    kernel.table_v4().unwrap().get(&key, 0).unwrap()
}

fn counts(kernel: &Kernel, counters: &[Counter]) -> Vec<u64> {
    counters.iter().map(|counter| kernel.counter(*counter).unwrap()).collect()
}

fn established() -> Kernel {
    let mut kernel = Kernel::load(&small(64)).unwrap();
    pass(&mut kernel, "ingress", &syn(PORT, FIRST));
    pass(&mut kernel, "egress", &from_server(PORT, 500, SYN | ACK, FIRST + 1));
    pass(&mut kernel, "ingress", &from_client(PORT, FIRST + 1, ACK, 501));
    assert_eq!(entry(&kernel).state, State::Established as u8);
    kernel
}

fn kinds(events: &[Event]) -> Vec<u8> {
    events.iter().map(|event| event.kind).collect()
}

#[test]
fn the_answer_to_the_second_syn_ends_the_first_connection() {
    let mut kernel = established();
    let mut ring = kernel.take_events().unwrap();
    let mut seen = Vec::new();
    drain(&mut ring, &mut seen);
    seen.clear();
    let first = entry(&kernel);
    pass(&mut kernel, "ingress", &syn(PORT, SECOND));
    pass(&mut kernel, "ingress", &syn(PORT, SECOND));
    assert_eq!(entry(&kernel), first, "left alone until somebody decides");
    assert_eq!(counts(&kernel, &[Counter::SynOverLive, Counter::PendingStored]), [2, 0]);

    pass(&mut kernel, "egress", &from_server(PORT, 900, SYN | ACK, SECOND + 1));
    let second = entry(&kernel);
    assert_eq!((second.state, second.initial_sequence), (State::SynReceived as u8, SECOND));
    assert!(first.established_ns < second.syn_ns && second.syn_ns < second.syn_ack_ns, "{second:?}");
    assert_eq!((second.syn_retries, second.refused_syns), (1, 2), "measured from the first copy");
    drain(&mut ring, &mut seen);
    assert_eq!(kinds(&seen), [EventKind::Abandoned as u8, EventKind::Opened as u8]);
    assert_eq!(seen[0].established_ns, first.established_ns, "the first connection's");
    assert_eq!(counts(&kernel, &[Counter::PendingAdopted, Counter::MidStream]), [1, 0]);

    pass(&mut kernel, "ingress", &from_client(PORT, SECOND + 1, ACK, 901));
    assert_eq!(entry(&kernel).state, State::Established as u8);
}

#[test]
fn a_reset_makes_room_for_the_second_syns_next_copy() {
    let mut kernel = established();
    pass(&mut kernel, "ingress", &syn(PORT, SECOND));
    pass(&mut kernel, "egress", &from_server(PORT, 501, ACK, FIRST + 1));
    pass(&mut kernel, "ingress", &from_client(PORT, FIRST + 1, RST, 0));
    assert_eq!(entry(&kernel).state, State::Reset as u8);
    let reset = entry(&kernel);
    pass(&mut kernel, "ingress", &syn(PORT, SECOND));
    let second = entry(&kernel);
    assert_eq!((second.state, second.initial_sequence, second.syn_retries), (State::SynSent as u8, SECOND, 1));
    assert!(second.syn_ns > reset.established_ns && second.packets == [1, 0], "{second:?}");
    assert_eq!(counts(&kernel, &[Counter::SynOverLive, Counter::PendingAdopted]), [1, 1]);
}

#[test]
fn a_second_syn_that_passes_two_places_waits_once() {
    let mut kernel = established();
    for place in ["ingress", "egress"] {
        pass(&mut kernel, place, &syn(PORT, SECOND));
    }
    assert_eq!(counts(&kernel, &[Counter::SynOverLive, Counter::SeenElsewhere]), [1, 1]);
}

#[test]
fn an_answer_to_nothing_known_changes_nothing_and_is_counted() {
    let mut kernel = established();
    let first = entry(&kernel);
    pass(&mut kernel, "egress", &from_server(PORT, 900, SYN | ACK, SECOND + 1));
    assert_eq!(entry(&kernel), first);
    let mut kernel = Kernel::load(&small(64)).unwrap();
    pass(&mut kernel, "ingress", &syn(PORT, FIRST));
    pass(&mut kernel, "egress", &from_server(PORT, 900, SYN | ACK, SECOND + 1));
    assert_eq!(entry(&kernel).syn_ack_ns, 0, "another attempt's answer is no answer");
    assert_eq!(kernel.counter(Counter::StraySynAck).unwrap(), 1);
}

/// The client's socket is gone without a word, as after a crash; it connects again from the same port.
fn vanish(socket: &TcpStream) {
    let on: libc::c_int = 1;
    let length = u32::try_from(size_of::<libc::c_int>()).unwrap();
    // SAFETY: the option is an int, which outlives the call. A socket in repair mode is closed without a packet.
    let answer = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_REPAIR, (&raw const on).cast(), length)
    };
    assert_eq!(answer, 0, "{}", std::io::Error::last_os_error());
}

fn connect_from(line: &Line, port: u16) -> TcpStream {
    within(&line.client, || {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket.bind(&std::net::SocketAddr::from(([10, 9, 0, 1], port)).into()).unwrap();
        socket
            .connect_timeout(&std::net::SocketAddr::from(([10, 9, 0, 2], 8080)).into(), Duration::from_secs(10))
            .unwrap();
        socket.into()
    })
}

#[test]
fn a_client_that_crashed_and_came_back_is_measured_with_the_time_its_old_connection_cost() {
    let line = Line::new("crash");
    line.bridge();
    let mut kernel = Kernel::load(&small(64)).unwrap();
    let mut ring = kernel.take_events().unwrap();
    let _attached = observe_on_wire(&mut kernel, &line);
    let listener = listen(&line, 8080);
    let client = connect_from(&line, PORT);
    let _server_has_not_noticed = listener.accept().unwrap();
    vanish(&client);
    drop(client);
    // The server challenges the SYN, the client resets the old connection, and sends the SYN again.
    let again = connect_from(&line, PORT);

    let mut seen = Vec::new();
    let established = |events: &[Event]| -> Vec<Event> {
        events.iter().filter(|event| event.kind == EventKind::Established as u8).copied().collect()
    };
    let both = wait_for("both connections are established", || {
        drain(&mut ring, &mut seen);
        Some(established(&seen)).filter(|events| events.len() == 2)
    });
    let reset = seen.iter().find(|event| event.kind == EventKind::Reset as u8).expect("the old one is reset");
    assert_eq!((both[0].syn_retries, both[1].syn_retries), (0, 1));
    assert!(both[1].syn_ns < reset.at_ns, "measured from the SYN that was challenged: {both:?}");
    assert_eq!(counts(&kernel, &[Counter::SynOverLive, Counter::PendingAdopted]), [1, 1]);
    drop(again);
}

#[test]
fn where_both_ends_have_forgotten_the_old_connection_the_new_one_takes_its_place_at_once() {
    let line = Line::new("both-gone");
    line.bridge();
    let mut kernel = Kernel::load(&small(64)).unwrap();
    let mut ring = kernel.take_events().unwrap();
    let _attached = observe_on_wire(&mut kernel, &line);
    let listener = listen(&line, 8080);
    for round in 0..2 {
        let client = connect_from(&line, PORT);
        let (server, _) = listener.accept().unwrap();
        let mut seen = Vec::new();
        let established = wait_for("it is established", || {
            drain(&mut ring, &mut seen);
            seen.iter().find(|event| event.kind == EventKind::Established as u8).copied()
        });
        let latency_ns = established.established_ns - established.syn_ns;
        assert!(latency_ns < 500_000_000 && established.syn_retries == 0, "round {round}: {established:?}");
        assert_eq!(kinds(&seen).contains(&(EventKind::Abandoned as u8)), round == 1);
        vanish(&client);
        vanish(&server);
    }
    assert_eq!(kernel.counter(Counter::SynOverLive).unwrap(), 1);
}

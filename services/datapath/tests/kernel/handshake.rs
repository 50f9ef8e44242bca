//! Handshakes between namespaces.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::time::Duration;

use aya::Ebpf;
use aya::maps::{MapData, RingBuf};
use aya::programs::SchedClassifier;
use aya::programs::tc::{self, TcAttachType};
use synscope_abi::counter::Counter;
use synscope_abi::event::{Event, EventKind};
use synscope_abi::tcp::State;
use synscope_datapath::attach::{self, Hook};
use synscope_datapath::kernel::Kernel;
use synscope_datapath::netlink::links;

use crate::drain;
use crate::netns::{Line, ip, within};
use crate::wire::{
    DEADLINE, connect, connect_to, listen, listen_on, observe_interface, observe_on_wire, small, wait_for,
};

static BEHIND: &[u8] = aya::include_bytes_aligned!(env!("DATAPATH_EBPF_BEHIND"));

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
fn the_wire_of_these_tests_joins_nothing_by_itself() {
    let line = Line::new("plain");
    let _listener = listen(&line, 8080);
    ip(&line.wire, "link show c");
    assert!(connect(&line, 8080, Duration::from_millis(200)).is_err(), "else the redirect test would prove nothing");
}

/// Server's address of a line in IPv6.
const SERVER_V6: [u16; 8] = [0xfd09, 0, 0, 0, 0, 0, 0, 2];

#[test]
fn an_ipv6_handshake_is_measured_and_its_table_resized() {
    let line = Line::new("six");
    line.bridge();
    let mut kernel = Kernel::load(&small(64)).unwrap();
    let mut ring = kernel.take_events().unwrap();
    let _attached = observe_on_wire(&mut kernel, &line);
    let listener = listen_on(&line, (SERVER_V6, 8080));
    let mut client = connect_to(&line, (SERVER_V6, 8080), DEADLINE).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    let mut seen = Vec::new();
    let established = wait_for("it is established", || event(&mut ring, &mut seen, EventKind::Established));
    assert_eq!((established.family, established.server[0], established.server[15]), (6, 0xfd, 2));
    assert!(established.syn_ns < established.syn_ack_ns && established.syn_ack_ns < established.established_ns);

    // Neighbours and multicast have entries too, and more of them come.
    let resized = kernel.resize_v6(1000).unwrap();
    assert!(resized.moved >= 1 && resized.left == 0, "{resized:?}");
    assert_eq!(kernel.fill().unwrap()[1].max, 1000);
    client.write_all(b"order").unwrap();
    server.read_exact(&mut [0; 5]).unwrap();
    drop((client, server));
    let closed = wait_for("the connection closes", || event(&mut ring, &mut seen, EventKind::Closed));
    assert_eq!(closed.established_ns, established.established_ns, "the entry moved with its stamps");
    assert_eq!(kernel.counter(Counter::MidStream).unwrap(), 0);
}

fn event(ring: &mut RingBuf<MapData>, seen: &mut Vec<Event>, kind: EventKind) -> Option<Event> {
    drain(ring, seen);
    seen.iter().find(|event| event.kind == kind as u8 && event.server_port == [0x1f, 0x90]).copied()
}

/// Direct server return: the server's side goes another way.
#[test]
fn where_only_the_client_passes_the_connection_is_half_seen_and_not_measured() {
    let line = Line::new("half");
    line.bridge();
    let mut kernel = Kernel::load(&small(64)).unwrap();
    let mut ring = kernel.take_events().unwrap();
    let _attached =
        within(&line.wire, || attach::first(&mut kernel, &links::named("c").unwrap(), Hook::Ingress, None).unwrap());
    let listener = listen(&line, 8080);
    let mut client = connect(&line, 8080, DEADLINE).unwrap();
    let _server = listener.accept().unwrap();
    client.write_all(b"order").unwrap();
    let mut seen = Vec::new();
    let half = wait_for("it is half seen", || event(&mut ring, &mut seen, EventKind::HalfSeen));
    assert_eq!((half.state, half.syn_ack_ns, half.established_ns), (State::HalfSeen as u8, 0, 0));
    assert!(half.syn_ns > 0 && half.packets[1] == 0, "{half:?}");
    drop(client);
    // From the client's FIN on it is closing, and never called established.
    wait_for("it is closing", || {
        let table = kernel.table_v4().unwrap();
        let states: Vec<u8> = table.iter().map(|entry| entry.unwrap().1.state).collect();
        states.contains(&(State::FinWait as u8)).then_some(())
    });
    assert!(event(&mut ring, &mut seen, EventKind::Established).is_none());
}

#[test]
fn where_only_the_server_passes_the_connection_is_counted_as_unmeasured() {
    let line = Line::new("reply");
    line.bridge();
    let mut kernel = Kernel::load(&small(64)).unwrap();
    let mut ring = kernel.take_events().unwrap();
    let _attached =
        within(&line.wire, || attach::first(&mut kernel, &links::named("c").unwrap(), Hook::Egress, None).unwrap());
    let _listener = listen(&line, 8080);
    let client = connect(&line, 8080, DEADLINE).unwrap();
    let mut seen = Vec::new();
    let opened = wait_for("it is opened", || event(&mut ring, &mut seen, EventKind::Opened));
    assert_eq!((opened.server[3], opened.syn_ns), (2, 0), "the SYN-ACK tells who is the server");
    assert_eq!(kernel.counter(Counter::MidStream).unwrap(), 1);
    assert!(event(&mut ring, &mut seen, EventKind::Established).is_none());
    drop(client);
}

/// The answer is lost behind the place of observation: both ends send again.
#[test]
fn a_lost_answer_is_a_retry_of_both_sides() {
    let line = Line::new("again");
    line.bridge();
    let mut kernel = Kernel::load(&small(64)).unwrap();
    let mut ring = kernel.take_events().unwrap();
    let _attached = observe_on_wire(&mut kernel, &line);
    let _listener = listen(&line, 8080);
    // Addresses are resolved before the client goes deaf.
    drop(connect(&line, 8080, DEADLINE).unwrap());
    wait_for("the first connection is over", || event(&mut ring, &mut Vec::new(), EventKind::Established));

    let mut deaf = Ebpf::load(BEHIND).unwrap();
    within(&line.client, || {
        let program: &mut SchedClassifier = deaf.program_mut("drop_all").unwrap().try_into().unwrap();
        program.load().unwrap();
        // Where there is tcx it is not needed.
        drop(tc::qdisc_add_clsact("eth0"));
        program.attach("eth0", TcAttachType::Ingress).unwrap();
    });
    let mut seen = Vec::new();
    std::thread::scope(|scope| {
        let connecting = scope.spawn(|| connect(&line, 8080, DEADLINE));
        wait_for("SYN and SYN-ACK are sent again", || {
            drain(&mut ring, &mut seen);
            let retried = seen.iter().filter(|event| event.kind == EventKind::Retried as u8);
            retried.clone().any(|event| event.syn_retries > 0).then_some(())?;
            retried.clone().any(|event| event.syn_ack_retries > 0).then_some(())
        });
        within(&line.client, || drop(deaf));
        drop(connecting.join().unwrap().unwrap());
    });
    let established = wait_for("it is established", || event(&mut ring, &mut seen, EventKind::Established));
    assert!(established.syn_retries >= 1 && established.syn_ack_retries >= 1, "{established:?}");
    assert!(established.syn_ack_ns - established.syn_ns < 500_000_000, "the server answered the first copy");
    assert!(established.established_ns - established.syn_ack_ns > 900_000_000, "and the client heard it late");
}

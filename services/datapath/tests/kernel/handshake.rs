//! Handshakes between namespaces.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::time::Duration;

use synscope_abi::counter::Counter;
use synscope_abi::event::{Event, EventKind};
use synscope_datapath::kernel::Kernel;

use crate::drain;
use crate::netns::{Line, ip};
use crate::wire::{DEADLINE, connect, listen, observe_interface, observe_on_wire, small, wait_for};

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
    ip(&format!("-n {} link show c", line.wire));
    assert!(connect(&line, 8080, Duration::from_millis(200)).is_err(), "else the redirect test would prove nothing");
}

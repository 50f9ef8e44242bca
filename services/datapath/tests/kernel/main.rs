//! The loaded kernel programs: through `BPF_PROG_TEST_RUN`, and on real traffic between network namespaces.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

#[path = "../netns/mod.rs"]
mod netns;
#[path = "../pins/mod.rs"]
mod pins;
#[path = "../wire/mod.rs"]
mod wire;

mod full;
mod handshake;
mod parser;
mod pending;
mod resize;
mod reuse;
mod sweep;

use aya::maps::{MapData, RingBuf};
use aya::programs::{SchedClassifier, TestRun, TestRunOptions};
use etherparse::{PacketBuilder, TcpHeader};
use synscope_abi::event::{Event, EventKind};
use synscope_abi::tcp::{ACK, FIN, RST, SYN};
use synscope_datapath::events;
use synscope_datapath::kernel::Kernel;

/// Runs a packet through a program that leaves its fate alone.
fn pass(kernel: &mut Kernel, program: &'static str, frame: &[u8]) {
    assert_eq!(run_on(kernel, program, frame), -1, "`next program`");
}

fn run(kernel: &mut Kernel, frame: &[u8]) -> i32 {
    run_on(kernel, "ingress", frame)
}

fn run_on(kernel: &mut Kernel, program: &'static str, frame: &[u8]) -> i32 {
    let program: &SchedClassifier = kernel.classifier(program).unwrap();
    let mut out = vec![0; frame.len() + 64];
    let options = TestRunOptions { data_in: Some(frame), data_out: Some(&mut out), ..TestRunOptions::new() };
    let answer = program.test_run(options).unwrap();
    assert_eq!(&out[..answer.data_size_out as usize], frame, "the packet must come out as it went in");
    answer.return_value.cast_signed()
}

/// As the agent does it: the ring is taken at the start, and a device without Ethernet header comes later.
#[test]
fn a_program_that_is_loaded_later_writes_to_the_ring_that_was_taken() {
    let mut kernel = Kernel::load(&wire::small(16)).unwrap();
    let (mut ring, mut seen) = (kernel.take_events().unwrap(), Vec::new());
    let frame = syn(4000, 7);
    pass(&mut kernel, "ingress_bare", &frame[14..]);
    drain(&mut ring, &mut seen);
    assert_eq!(seen.iter().map(|event| event.kind).collect::<Vec<_>>(), [EventKind::Opened as u8]);
}

/// The SYN of a client's port to the server's port 80.
fn syn(source_port: u16, sequence: u32) -> Vec<u8> {
    from_client(source_port, sequence, SYN, 0)
}

/// A segment of the client with these flags.
fn from_client(port: u16, sequence: u32, flags: u8, acknowledgement: u32) -> Vec<u8> {
    segment([10, 9, 0, 1], [10, 9, 0, 2], (port, 80), (sequence, acknowledgement), flags)
}

/// A segment of the server with these flags.
fn from_server(port: u16, sequence: u32, flags: u8, acknowledgement: u32) -> Vec<u8> {
    segment([10, 9, 0, 2], [10, 9, 0, 1], (80, port), (sequence, acknowledgement), flags)
}

fn segment(from: [u8; 4], to: [u8; 4], ports: (u16, u16), numbers: (u32, u32), flags: u8) -> Vec<u8> {
    let mut header = TcpHeader::new(ports.0, ports.1, numbers.0, 1024);
    header.acknowledgment_number = numbers.1;
    (header.fin, header.syn, header.rst, header.ack) =
        (flags & FIN != 0, flags & SYN != 0, flags & RST != 0, flags & ACK != 0);
    let mut frame = Vec::new();
    let packet = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(from, to, 64).tcp_header(header);
    packet.write(&mut frame, &[]).unwrap();
    frame
}

fn drain(ring: &mut RingBuf<MapData>, into: &mut Vec<Event>) {
    assert_eq!(events::drain(ring, |event| into.push(*event)).foreign, 0);
}

//! The loaded parser beside the host's, on frames of every kind: whole, cut short and damaged.
//!
//! `PROPTEST_CASES` says how many of each.

#[path = "../../../../shared/abi/tests/frames/mod.rs"]
mod frames;

use std::cell::RefCell;
use std::os::fd::AsRawFd;

use aya::programs::{SchedClassifier, TestRun, TestRunOptions};
use frames::{Frame, damaged, frames};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use socket2::{Domain, Socket, Type};
use synscope_abi::conntrack;
use synscope_abi::counter::Counter;
use synscope_abi::flow::{Flow, FlowKey};
use synscope_abi::packet::{self, Addresses, Packet};
use synscope_abi::sighting::Sighting;
use synscope_datapath::kernel::{Kernel, Table};

use crate::netns::{Line, within};
use crate::wire::{observe_on_wire, small, wait_for};

/// Devices of one kind: how frames begin there, and what is said of them.
#[derive(Clone, Copy)]
struct Devices {
    programs: [&'static str; 2],
    bytes: fn(&Frame) -> Vec<u8>,
    /// What must come of a frame that was built.
    built: fn(&Frame) -> Result<Packet, Counter>,
    /// What the host says of any bytes.
    parse: fn(&[u8]) -> Result<Packet, Counter>,
}

#[test]
fn with_ethernet_headers_it_agrees_with_the_host() {
    compare(Devices {
        programs: ["ingress", "egress"],
        bytes: Frame::bytes,
        built: Frame::parsed,
        parse: |frame| {
            let (ethertype, offset) = packet::ethernet(frame)?;
            packet::network(frame, ethertype, offset)
        },
    });
}

#[test]
fn without_ethernet_headers_it_agrees_with_the_host() {
    compare(Devices {
        programs: ["ingress_bare", "egress_bare"],
        bytes: Frame::bytes_bare,
        built: Frame::parsed_bare,
        parse: |bytes| {
            let (ethertype, offset) = packet::bare(bytes)?;
            packet::network(bytes, ethertype, offset)
        },
    });
}

fn compare(devices: Devices) {
    let loaded = RefCell::new(Loaded(Kernel::load(&small(65_536)).unwrap()));
    let agrees = |bytes: &[u8], expected: Result<Packet, Counter>| {
        for (hook, program) in (0..).zip(devices.programs) {
            loaded.borrow_mut().agrees(bytes, expected, hook, program);
        }
        Ok(())
    };
    let mut runner = TestRunner::new(ProptestConfig::with_source_file(file!()));
    let whole = runner.run(&frames(), |frame| agrees(&(devices.bytes)(&frame), (devices.built)(&frame)));
    whole.unwrap_or_else(|error| panic!("{error}"));
    let damaged = runner.run(&damaged(devices.bytes), |bytes| agrees(&bytes, (devices.parse)(&bytes)));
    damaged.unwrap_or_else(|error| panic!("{error}"));
}

/// The outermost tag of a frame that comes in is not in the packet any more but beside it (`net/core/dev.c`,
/// `skb_vlan_untag`): `BPF_PROG_TEST_RUN` cannot do that, a wire can.
#[test]
fn a_tag_beside_the_packet_is_no_tag_in_it() {
    let line = Line::new("tags");
    line.bridge();
    let mut kernel = Kernel::load(&small(65_536)).unwrap();
    let _attached = observe_on_wire(&mut kernel, &line);
    let loaded = RefCell::new(Loaded(kernel));
    let socket = within(&line.client, || packet_socket("eth0"));
    let tagged = frames().prop_filter("it is tagged", |frame| !frame.tags.is_empty());
    let sent = TestRunner::new(ProptestConfig::with_source_file(file!())).run(&tagged, |mut frame| {
        let loaded = loaded.borrow_mut();
        let bytes = frame.bytes();
        frame.tags.remove(0);
        let expected = frame.parsed();
        if let Ok(packet) = &expected {
            loaded.take_entry(packet);
        }
        let before = loaded.counts();
        socket.send(&bytes).unwrap();
        wait_for("it passes", || match &expected {
            // Others use the wire too, so other counters may move.
            Err(reason) => (loaded.0.counter(*reason).unwrap() > before[*reason as usize]).then_some(()),
            Ok(packet) => {
                let entry = loaded.take_entry(packet)?;
                assert_eq!(entry, opened(packet, &entry, 0, bytes.len() - 4), "{packet:?} of {bytes:02x?}");
                Some(())
            }
        });
        Ok(())
    });
    sent.unwrap_or_else(|error| panic!("{error}"));
}

/// A socket that sends whole frames from an interface of this thread's namespace.
fn packet_socket(interface: &str) -> Socket {
    let socket = Socket::new(Domain::PACKET, Type::RAW, None).unwrap();
    let index = nix::net::if_::if_nametoindex(interface).unwrap();
    // SAFETY: all bytes zero are a valid address of any family.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = u16::try_from(libc::AF_PACKET).unwrap();
    address.sll_ifindex = index.cast_signed();
    let length = u32::try_from(size_of::<libc::sockaddr_ll>()).unwrap();
    // SAFETY: the address is as long as is said and outlives the call.
    let answer = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    assert_eq!(answer, 0, "{}", std::io::Error::last_os_error());
    socket
}

/// The loaded programs.
struct Loaded(Kernel);

impl Loaded {
    fn agrees(&mut self, bytes: &[u8], expected: Result<Packet, Counter>, hook: u8, program: &'static str) {
        // An entry of an earlier frame would only be counted up.
        if let Ok(packet) = &expected {
            self.take_entry(packet);
        }
        let before = self.counts();
        let program: &SchedClassifier = self.0.classifier(program).unwrap();
        match program.test_run(TestRunOptions { data_in: Some(bytes), ..TestRunOptions::new() }) {
            Ok(answer) => assert_eq!(answer.return_value.cast_signed(), -1, "`next program`"),
            Err(error) => return assert!(too_short_to_run(bytes), "{error:?} for {bytes:02x?}"),
        }
        let after = self.counts();
        let counted: Vec<Counter> =
            Counter::ALL.iter().copied().filter(|at| before[*at as usize] != after[*at as usize]).collect();
        match expected {
            Err(reason) => assert_eq!(counted, [reason], "{bytes:02x?}"),
            Ok(packet) => {
                let entry = self.take_entry(&packet);
                let entry = entry.unwrap_or_else(|| panic!("no entry for {packet:?} of {bytes:02x?}, but {counted:?}"));
                assert_eq!(entry, opened(&packet, &entry, hook, bytes.len()), "{packet:?} of {bytes:02x?}");
            }
        }
    }

    fn counts(&self) -> Vec<u64> {
        Counter::ALL.iter().map(|counter| self.0.counter(*counter).unwrap()).collect()
    }

    fn take_entry(&self, packet: &Packet) -> Option<Flow> {
        let ports = (packet.source_port, packet.destination_port);
        match packet.addresses {
            Addresses::V4(from, to) => {
                take(self.0.table_v4().unwrap(), FlowKey::canonical(from, to, ports.0, ports.1, packet.protocol).0)
            }
            Addresses::V6(from, to) => {
                take(self.0.table_v6().unwrap(), FlowKey::canonical(from, to, ports.0, ports.1, packet.protocol).0)
            }
        }
    }
}

/// What `BPF_PROG_TEST_RUN` refuses (`net/bpf/test_run.c`): there must be an Ethernet header with something behind it, and
/// the IP header that it promises.
fn too_short_to_run(bytes: &[u8]) -> bool {
    let promised = match bytes.get(12..14) {
        Some([0x08, 0x00]) => 20,
        Some([0x86, 0xdd]) => 40,
        _ => 1,
    };
    bytes.len() < 14 + promised
}

fn take<const N: usize>(mut table: Table<N>, key: FlowKey<N>) -> Option<Flow>
where
    FlowKey<N>: aya::Pod,
{
    let entry = table.get(&key, 0).ok()?;
    table.remove(&key).unwrap();
    Some(entry)
}

/// The entry that the host makes for a packet, at the time at which the kernel made its own.
fn opened(packet: &Packet, entry: &Flow, hook: u8, length: usize) -> Flow {
    let ports = (packet.source_port, packet.destination_port);
    let from = match packet.addresses {
        Addresses::V4(from, to) => FlowKey::canonical(from, to, ports.0, ports.1, packet.protocol).1,
        Addresses::V6(from, to) => FlowKey::canonical(from, to, ports.0, ports.1, packet.protocol).1,
    };
    let seen = Sighting {
        protocol: packet.protocol,
        tcp_flags: packet.tcp_flags,
        sequence: packet.sequence,
        acknowledgement: packet.acknowledgement,
        from,
        ifindex: entry.ifindex,
        hook,
        segments: 1,
        bytes: u32::try_from(length).unwrap(),
        jiffies: entry.last_seen_jiffies,
        heartbeat_shift: 0,
    };
    let mut flow = Flow::default();
    conntrack::open(&mut flow, &seen, entry.syn_ns.max(entry.syn_ack_ns));
    flow
}

//! The loaded parser beside the host's.

use etherparse::PacketBuilder;
use synscope_abi::counter::Counter;
use synscope_abi::flow::FlowKey;
use synscope_abi::packet::{self, Addresses};
use synscope_datapath::kernel::Kernel;

use crate::wire::small;
use crate::{run, syn};

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

//! The loaded kernel programs: through `BPF_PROG_TEST_RUN`, and on real traffic between network namespaces.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

#[path = "../netns/mod.rs"]
mod netns;
#[path = "../wire/mod.rs"]
mod wire;

mod full;
mod handshake;
mod parser;
mod resize;
mod sweep;

use aya::maps::{MapData, RingBuf};
use aya::programs::{SchedClassifier, TestRun, TestRunOptions};
use etherparse::PacketBuilder;
use synscope_abi::event::Event;
use synscope_datapath::events;
use synscope_datapath::kernel::Kernel;

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

fn drain(ring: &mut RingBuf<MapData>, into: &mut Vec<Event>) {
    assert_eq!(events::drain(ring, |event| into.push(*event)).foreign, 0);
}

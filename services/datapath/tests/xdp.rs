//! The XDP program on real traffic, and its parser beside the host's.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

#[path = "../../../shared/abi/tests/frames/mod.rs"]
#[allow(dead_code, reason = "frames without Ethernet headers do not come here")]
mod frames;
mod netns;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use aya::programs::{TestRun, TestRunOptions};
use frames::{Frame, damaged, frames};
use netns::{Line, within};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use synscope_abi::counter::Counter;
use synscope_abi::packet::{self, Packet};
use synscope_datapath::netlink::links;
use synscope_datapath::xdp::Passing;

#[test]
fn packets_are_parsed_and_pass_and_it_comes_off_again() {
    let line = Line::new("xdp");
    line.bridge();
    let listener = within(&line.server, || TcpListener::bind("10.9.0.2:80").unwrap());
    let mut passing = within(&line.client, || {
        let mut passing = Passing::load().unwrap();
        passing.attach(&links::named("eth0").unwrap()).unwrap();
        passing
    });
    let hooks: Vec<_> = passing.status().collect();
    assert!(hooks.len() == 1 && hooks[0].attached && hooks[0].hook == "xdp", "{hooks:?}");

    let mut client = within(&line.client, || TcpStream::connect("10.9.0.2:80").unwrap());
    let mut server = listener.accept().unwrap().0;
    server.write_all(b"through").unwrap();
    let mut read = [0; 7];
    client.read_exact(&mut read).unwrap();
    let (parsed, refused) = passing.counts().unwrap();
    assert!(parsed >= 2, "the SYN-ACK and the data came in: {parsed}, {refused:?}");
    assert!(!refused.keys().any(|name| name.starts_with("malformed")), "{refused:?}");

    within(&line.client, || passing.keep_on([]));
    let shown = within(&line.client, || {
        String::from_utf8(std::process::Command::new("ip").args(["link", "show", "eth0"]).output().unwrap().stdout)
            .unwrap()
    });
    assert!(!shown.contains("prog/xdp"), "{shown}");
}

/// Frames of every kind, whole, cut short and damaged; `PROPTEST_CASES` says how many of each.
#[test]
fn the_loaded_parser_agrees_with_the_host() {
    let passing = Passing::load().unwrap();
    let parse = |frame: &[u8]| {
        let (ethertype, offset) = packet::ethernet(frame)?;
        packet::network(frame, ethertype, offset)
    };
    let mut runner = TestRunner::new(ProptestConfig::with_source_file(file!()));
    let whole = runner.run(&frames(), |frame| {
        agrees(&passing, &frame.bytes(), frame.parsed());
        Ok(())
    });
    whole.unwrap_or_else(|error| panic!("{error}"));
    let damaged = runner.run(&damaged(Frame::bytes), |bytes| {
        agrees(&passing, &bytes, parse(&bytes));
        Ok(())
    });
    damaged.unwrap_or_else(|error| panic!("{error}"));
}

fn agrees(passing: &Passing, bytes: &[u8], expected: Result<Packet, Counter>) {
    const XDP_PASS: u32 = 2;
    let (mut parsed, mut refused) = passing.counts().unwrap();
    match passing.program().unwrap().test_run(TestRunOptions { data_in: Some(bytes), ..TestRunOptions::new() }) {
        Ok(answer) => assert_eq!(answer.return_value, XDP_PASS),
        // net/bpf/test_run.c, bpf_prog_test_run_xdp: there must be an Ethernet header.
        Err(error) => return assert!(bytes.len() < 14, "{error:?} for {bytes:02x?}"),
    }
    match expected {
        Ok(_packet) => parsed += 1,
        Err(reason) => *refused.entry(reason.name()).or_default() += 1,
    }
    assert_eq!(passing.counts().unwrap(), (parsed, refused), "{expected:?} of {bytes:02x?}");
}

#[test]
fn a_device_that_cannot_do_it_itself_gets_it_behind_the_driver_and_says_so() {
    let line = Line::new("generic");
    line.bridge();
    netns::ip(&line.wire, "addr add 10.9.0.3/24 dev bridge");
    // A bridge has no `ndo_bpf`.
    let mut passing = within(&line.wire, || {
        let mut passing = Passing::load().unwrap();
        passing.keep_on([&links::named("bridge").unwrap()]);
        passing
    });
    let hooks: Vec<_> = passing.status().collect();
    assert!(hooks[0].attached && hooks[0].mechanism == "xdp, generic", "{hooks:?}");
    assert!(hooks[0].why.as_ref().is_some_and(|why| why.contains("the driver refused")), "{hooks:?}");
    let listener = within(&line.wire, || TcpListener::bind("10.9.0.3:80").unwrap());
    let mut client = within(&line.client, || TcpStream::connect("10.9.0.3:80").unwrap());
    let mut server = listener.accept().unwrap().0;
    client.write_all(b"through").unwrap();
    server.read_exact(&mut [0; 7]).unwrap();
    let (parsed, refused) = passing.counts().unwrap();
    assert!(parsed >= 3, "SYN, ACK and data came in: {parsed}, {refused:?}");
    within(&line.wire, || passing.keep_on([]));
}

#[test]
fn where_it_cannot_be_at_all_the_reason_is_said_and_nothing_ends() {
    let line = Line::new("off");
    netns::ip(&line.client, "tuntap add tun0 mode tun");
    let (_first, second) = within(&line.client, || {
        let [eth0, tun0] = ["eth0", "tun0"].map(|name| links::named(name).unwrap());
        let mut first = Passing::load().unwrap();
        first.attach(&eth0).unwrap();
        let mut second = Passing::load().unwrap();
        second.keep_on([&eth0, &tun0]);
        (first, second)
    });
    let why: Vec<_> = second.status().map(|hook| (hook.interface, hook.attached, hook.why.unwrap())).collect();
    assert!(!why[0].1 && why[0].2.contains("refused by the driver"), "another program has the place: {why:?}");
    assert!(!why[1].1 && why[1].2.contains("the packets of tun0 have none"), "{why:?}");
}

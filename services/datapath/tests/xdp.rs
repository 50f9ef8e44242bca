//! The XDP program on real traffic.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod netns;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use netns::{Line, within};
use synscope_datapath::xdp::Passing;

#[test]
fn packets_are_parsed_and_pass_and_it_comes_off_again() {
    let line = Line::new("xdp");
    line.bridge();
    let listener = within(&line.server, || TcpListener::bind("10.9.0.2:80").unwrap());
    let mut passing = within(&line.client, || {
        let mut passing = Passing::load().unwrap();
        passing.attach("eth0").unwrap();
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

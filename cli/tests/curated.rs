//! Curated probes that are at functions of the kernel, hit by what this test does; and all of them asked for on the
//! guest's kernel. They need fentry, so they run in a guest:
//! `cargo xtask vm --kernel 6.1 -- <this program> --ignored --test-threads=1`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod traced;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::thread;
use std::time::Duration;

use traced::{OURS, ours, traced};

const PROBES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../services/tracer/probes");
const ACCEPT: &str = include_str!("../../services/tracer/probes/accept-queue-wait.bt");
const CONNTRACK: &str = include_str!("../../services/tracer/probes/conntrack.bt");
const LAYERS: &str = include_str!("../../services/tracer/probes/layer-latency.bt");
/// How long a connection waits until it is accepted.
const WAIT: Duration = Duration::from_millis(100);

/// Runs a command.
fn run(words: &str) {
    let ran = Command::new("sh").args(["-c", words]).output().unwrap();
    assert!(ran.status.success(), "{words}: {}", String::from_utf8_lossy(&ran.stderr));
}

/// Rules that make the kernel track connections; gone with the value.
struct Tracked;

impl Tracked {
    fn new() -> Self {
        run(
            "nft 'add table t; add chain t c { type filter hook input priority 0; }; add rule t c ct state invalid drop'",
        );
        Self
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        run("nft delete table t");
    }
}

/// What a histogram's lines say: the beginnings of ranges and how often.
fn ranges(written: &str, map: &str) -> Vec<(u64, u64)> {
    let histogram = written.split(map).nth(1).unwrap_or_else(|| panic!("no {map} in:\n{written}"));
    let lines = histogram.lines().skip(1).take_while(|line| line.starts_with(['[', '(']));
    lines.map(|line| range(line).unwrap_or_else(|| panic!("no range: {line}"))).collect()
}

fn range(line: &str) -> Option<(u64, u64)> {
    let (range, rest) = line.split_once([',', ']'])?;
    let number = range.trim_start_matches(['[', '(']);
    let from = match number.strip_suffix('K') {
        Some(number) => number.parse::<u64>().ok()? << 10,
        None => match number.strip_suffix('M') {
            Some(number) => number.parse::<u64>().ok()? << 20,
            None => number.parse().ok()?,
        },
    };
    let count = rest.split(['|']).next()?.split_whitespace().last()?;
    Some((from, count.parse().ok()?))
}

fn count(written: &str, map: &str) -> u64 {
    ranges(written, map).iter().map(|(_, count)| count).sum()
}

fn has(written: &str, line: &str) {
    assert!(written.lines().any(|other| other == line), "no line {line:?} in:\n{written}");
}

/// What a line says behind the colon.
fn number(written: &str, map: &str) -> u64 {
    let line = written.lines().find_map(|line| line.strip_prefix(map)?.strip_prefix(": "));
    line.unwrap_or_else(|| panic!("no {map} in:\n{written}")).parse().unwrap()
}

/// The verifier of this kernel takes all of them.
#[test]
#[ignore = "probes functions of the kernel: run in a guest"]
fn every_probe_runs_on_this_kernel() {
    let _tracked = Tracked::new();
    let mut checked = 0;
    for probe in fs::read_dir(PROBES).unwrap() {
        let path = probe.unwrap().path();
        let script = fs::read_to_string(&path).unwrap();
        // Each parameter's default.
        let parameters = script.lines().filter_map(|line| line.strip_prefix("// parameter: "));
        let defaults = parameters.map(|parameter| parameter.split_once(" = ").unwrap().1.split_once(';').unwrap().0);
        let ran = Command::new(OURS).args(["trace", "--check"]).arg(&path).args(defaults).output().unwrap();
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(ran.status.success() && said.is_empty(), "{}: {said}", path.display());
        checked += 1;
    }
    assert_eq!(checked, 11);
}

#[test]
#[ignore = "probes functions of the kernel: run in a guest"]
fn connections_are_timed_until_they_are_accepted() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let written = traced(&ours(), ACCEPT, move || {
        let at = listener.local_addr().unwrap();
        let waiting: Vec<TcpStream> = (0..3).map(|_| TcpStream::connect(at).unwrap()).collect();
        thread::sleep(WAIT);
        (0..2).for_each(|_| drop(listener.accept().unwrap()));
        // The third is closed with its listener.
        drop(listener);
        drop(waiting);
    });
    let waited = ranges(&written, &format!("@waited_us[{port}]:"));
    assert_eq!(waited.iter().map(|(_, count)| count).sum::<u64>(), 2, "{written}");
    assert!(waited.iter().all(|(from, count)| *count == 0 || *from >= 65_536), "{written}");
    has(&written, &format!("@most_waiting[{port}]: 3"));
    has(&written, &format!("@never_accepted[{port}]: 1"));
}

#[test]
#[ignore = "probes functions of the kernel: run in a guest"]
fn packets_are_timed_by_layer() {
    const MESSAGES: usize = 5;
    let _tracked = Tracked::new();
    run("tc qdisc add dev lo clsact");
    run("tc filter add dev lo ingress matchall action ok");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let written = traced(&ours(), LAYERS, || {
        let mut stream = TcpStream::connect(at).unwrap();
        let (mut other, _) = listener.accept().unwrap();
        for _message in 0..MESSAGES {
            stream.write_all(b"data").unwrap();
            other.read_exact(&mut [0; 4]).unwrap();
        }
    });
    run("tc qdisc del dev lo clsact");
    // SYN, SYN-ACK, ACK, and each message.
    let least = 3 + MESSAGES as u64;
    for layer in ["driver", "tc", "conntrack", "ip", "tcp"] {
        assert!(count(&written, &format!("@took_ns[{layer}]:")) >= least, "{layer} in:\n{written}");
    }
}

#[test]
#[ignore = "probes functions of the kernel: run in a guest"]
fn the_tracking_table_is_told_of() {
    const LIMIT: &str = "/proc/sys/net/netfilter/nf_conntrack_max";
    let _tracked = Tracked::new();
    let before = fs::read_to_string(LIMIT).unwrap();
    let written = traced(&ours(), CONNTRACK, || {
        let own = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = |last: u8| SocketAddr::from(([127, 0, 1, last], 4343));
        let send = |last: u8| match own.send_to(b"x", to(last)) {
            Ok(_) => {}
            // An earlier one reached nobody; or the table is full.
            Err(error) => assert!(matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::PermissionDenied)),
        };
        (1..=6).for_each(send);
        // Full: there is no room for more but what is given up.
        fs::write(LIMIT, "4").unwrap();
        (7..=12).for_each(send);
    });
    fs::write(LIMIT, before).unwrap();
    assert!(number(&written, "@inserted[udp, 4343]") >= 6, "{written}");
    let full = number(&written, "@dropped_early") + number(&written, "@dropped_packets");
    assert!(full >= 6, "{written}");
}

//! Scripts that people found on the way to a cause, as they stand; and the twins of those that cannot work. They probe
//! functions of the kernel, so they run in a guest:
//! `cargo xtask vm --kernel 6.1 -- <this program> --ignored --test-threads=1`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod traced;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::thread;
use std::time::Duration;

use traced::{OURS, ours, traced};

const CONNECT: &str = include_str!("../../services/tracer/tests/corpus/seed_tcp_connect_latency.bt");
const RETRANSMIT: &str = include_str!("../../services/tracer/tests/corpus/seed_tcp_retransmit.bt");
const DNS: &str = include_str!("../../services/tracer/tests/corpus/seed_dns_latency.bt");
const STACK: &str = include_str!("../../services/tracer/tests/corpus/seed_network_stack_latency.bt");
const POD: &str = include_str!("../../services/tracer/tests/corpus/seed_pod_network_latency.bt");
const STACK_TWIN: &str = include_str!("../../services/tracer/tests/twins/network_stack_latency.bt");
const POD_TWIN: &str = include_str!("../../services/tracer/tests/twins/pod_network_latency.bt");

fn ip(words: &str) {
    let ran = Command::new("ip").args(words.split(' ')).output().unwrap();
    assert!(ran.status.success(), "ip {words}: {}", String::from_utf8_lossy(&ran.stderr));
}

/// A device that takes packets for a network and answers none; gone with the value.
struct Silent(&'static str);

impl Silent {
    fn new(name: &'static str, address: &str) -> Self {
        ip(&format!("link add {name} type dummy"));
        let device = Self(name);
        ip(&format!("addr add {address} dev {name}"));
        ip(&format!("link set {name} up"));
        device
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        ip(&format!("link del {}", self.0));
    }
}

/// Says all that is wrong with a script.
fn refused(script: &str) -> String {
    let ran = Command::new(OURS).args(["trace", "--check", "-e", script]).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(!ran.status.success(), "not refused: {said}");
    said
}

fn hits(written: &str, map: &str) -> u64 {
    let histogram = written.split(map).last().unwrap_or_default();
    let counted = |line: &str| line.get(16..)?.trim_start().split(' ').next()?.parse::<u64>().ok();
    histogram.lines().skip(1).take_while(|line| line.starts_with(['[', '('])).filter_map(counted).sum()
}

/// It prints what takes longer than 10 ms, which the call itself never does here: so that its rows are seen, all are.
#[test]
#[ignore = "probes functions of the kernel: run in a guest"]
fn connect_latency_runs_as_it_stands() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let connect = || (0..3).for_each(|_| drop(TcpStream::connect(at).unwrap()));
    let written = traced(&ours(), CONNECT, connect);
    assert!(written.contains("Tracing TCP connect latency"), "{written}");
    assert!(!written.contains("@start") && !written.contains("@sock"), "{written}");
    let written = traced(&ours(), &CONNECT.replace("$delta > 10", "$delta >= 0"), connect);
    let row = format!(" {:<6} 127.0.0.1 ", std::process::id());
    let rows: Vec<&str> = written.lines().filter(|line| line.contains(row.trim_end())).collect();
    assert_eq!(rows.len(), 3, "{written}");
    for row in rows {
        let words: Vec<&str> = row.split_whitespace().collect();
        assert_eq!((words.get(4), words.get(5)), (Some(&"127.0.0.1"), Some(&at.port().to_string().as_str())), "{row}");
    }
}

#[test]
#[ignore = "probes functions of the kernel: run in a guest"]
fn retransmissions_run_as_they_stand() {
    let silent = Silent::new("silent0", "10.66.0.1/24");
    let at = SocketAddr::from(([10, 66, 0, 2], 4242));
    let written = traced(&ours(), RETRANSMIT, || {
        // The first SYN is sent again after a second.
        let error = TcpStream::connect_timeout(&at, Duration::from_millis(1_500)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    });
    drop(silent);
    // 2 is `TCP_SYN_SENT`.
    let row = written.lines().find(|line| line.contains("10.66.0.2")).unwrap_or_else(|| panic!("{written}"));
    let words: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(words.get(2), Some(&"10.66.0.1"), "{row}");
    assert_eq!(words.get(4..), Some(["10.66.0.2", "4242", "2"].as_slice()), "{row}");
    assert!(written.contains("@retrans[10.66.0.1, 10.66.0.2]: 1"), "{written}");
}

#[test]
#[ignore = "probes functions of the kernel: run in a guest"]
fn dns_latency_runs_as_it_stands() {
    const SERVER_TAKES: Duration = Duration::from_millis(40);
    let server = UdpSocket::bind("127.0.0.1:53").unwrap();
    let answers = thread::spawn(move || {
        let mut bytes = [0; 64];
        for _query in 0..2 {
            let (length, from) = server.recv_from(&mut bytes).unwrap();
            thread::sleep(SERVER_TAKES);
            server.send_to(bytes.get(..length).unwrap(), from).unwrap();
        }
    });
    let written = traced(&ours(), DNS, || {
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect("127.0.0.1:53").unwrap();
        let mut bytes = [0; 64];
        for _query in 0..2 {
            client.send(b"who is it").unwrap();
            client.recv(&mut bytes).unwrap();
        }
    });
    answers.join().unwrap();
    let took = |line: &str| line.split_once("DNS to 127.0.0.1 took ")?.1.strip_suffix("ms")?.parse::<u64>().ok();
    let took: Vec<u64> = written.lines().filter_map(took).collect();
    assert!(took.len() == 2 && took.iter().all(|ms| (40..5_000).contains(ms)), "{written}");
    assert_eq!(hits(&written, "@dns_latency:"), 2, "{written}");
}

/// Two of its functions are parts of others, and its kretprobes ask for what they were called with.
#[test]
#[ignore = "probes functions of the kernel: run in a guest"]
fn stack_latency_is_refused_and_its_twin_runs() {
    let said = refused(STACK);
    for part in [
        "this kernel has no function `bpf_prog_run_xdp`",
        "the compiler put it into its callers",
        "this kernel has no function `sch_handle_ingress`",
        "`kretprobe:ip_rcv` no longer knows what the function was called with",
        "or use `fexit`",
    ] {
        assert!(said.contains(part), "no {part:?} in:\n{said}");
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let written = traced(&ours(), STACK_TWIN, || {
        let mut stream = TcpStream::connect(at).unwrap();
        let (mut other, _) = listener.accept().unwrap();
        stream.write_all(b"data").unwrap();
        other.read_exact(&mut [0; 4]).unwrap();
    });
    // SYN, SYN-ACK, ACK, data and its ACK.
    assert!(hits(&written, "@tcp_rcv_latency:") >= 5, "{written}");
    assert!(hits(&written, "@ip_rcv_latency:") >= 5, "{written}");
}

/// Its packet is another argument, its mask in the wrong byte order, and its keys of two types.
#[test]
#[ignore = "probes functions of the kernel: run in a guest"]
fn pod_latency_is_refused_and_its_twin_runs() {
    let said = refused(POD);
    // Kernels since 6.2 have it as a part of its callers, so that nothing is known of the probe that is there.
    let symbols = std::fs::read_to_string("/proc/kallsyms").unwrap();
    let third = if symbols.lines().any(|line| line.ends_with(" dev_queue_xmit")) {
        "keys of `@start` are `struct sk_buff *`, and this is `uint64`"
    } else {
        "this kernel has no function `dev_queue_xmit`"
    };
    for part in [
        "this argument of `kprobe:ip_output` is `struct sock *`, not `struct sk_buff *`",
        "$skb = (struct sk_buff *)arg2;",
        third,
    ] {
        assert!(said.contains(part), "no {part:?} in:\n{said}");
    }
    let silent = Silent::new("pods0", "10.244.0.1/16");
    let written = traced(&ours(), POD_TWIN, || {
        let socket = UdpSocket::bind("10.244.0.1:0").unwrap();
        (0..3).for_each(|_| assert_eq!(socket.send_to(b"to a pod", "10.244.7.8:9").unwrap(), 8));
    });
    drop(silent);
    let rows = written.lines().filter(|line| line.starts_with("10.244.0.1       10.244.7.8       ")).count();
    assert_eq!(rows, 3, "{written}");
    assert_eq!(hits(&written, "@latency_us:"), 3, "{written}");
}

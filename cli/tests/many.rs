//! A script at more than a thousand functions at once. It needs kprobes, so it runs in a guest: `cargo xtask vm --kernel 6.1
//! -- <this program> --ignored`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod traced;

use std::fs;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use traced::{OURS, attached, named, ours, say};

/// More than 1,024 functions, which is how many may be probed where nothing else is said, none of which tracing runs.
const SCRIPT: &str = r#"kprobe:tcp_*,kprobe:udp*,kprobe:inet*,kprobe:ip_*,kprobe:ip6*,kprobe:fib*,kprobe:neigh*
    /comm == "caller"/ { @[func] = count(); }"#;

/// How many functions the kernel has written calls into.
fn probed() -> usize {
    fs::read_to_string("/sys/kernel/tracing/enabled_functions").unwrap().lines().count()
}

#[test]
#[ignore = "needs kprobes: run in a guest"]
fn a_thousand_functions_are_probed_counted_and_let_go() {
    let ran = Command::new(OURS).args(["trace", "--check", "-e", SCRIPT]).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(1), "{said}");
    for part in [
        "error[too-many-probes]: the script makes more than 1024 probes\n --> stdin:1:",
        "`max_probes` says how many: `config = { max_probes = … }` in the script, or BPFTRACE_MAX_PROBES",
    ] {
        assert!(said.contains(part), "no {part:?} in:\n{said}");
    }

    let before = probed();
    let begun = Instant::now();
    let script = format!("config = {{ max_probes = 4000 }} {SCRIPT}");
    let (mut child, mut lines) = attached(&ours(), &script);
    let attached = begun.elapsed();
    let functions = probed() - before;
    assert!(functions >= 1_000, "{functions} functions are probed");

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    named("caller", move || (0..7).for_each(|_| drop(TcpStream::connect(at).unwrap())));

    let asked = Instant::now();
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
    let mut written = String::new();
    lines.read_to_string(&mut written).unwrap();
    assert!(child.wait().unwrap().success(), "{written}");
    let detached = asked.elapsed();
    say(&format!("{functions} functions: attached after {attached:.1?}, detached after {detached:.1?}"));
    for line in ["@[tcp_v4_connect]: 7", "@[inet_stream_connect]: 7"] {
        assert!(written.lines().any(|other| other == line), "no {line:?} in:\n{written}");
    }
    assert!(!written.contains("Lost"), "{written}");
    assert_eq!(probed(), before, "functions that are still probed");
}

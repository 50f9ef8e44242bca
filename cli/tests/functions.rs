//! Probes at functions of the kernel, hit by what this test does. They need kprobes or fentry, so they run in a guest:
//! `cargo xtask vm --kernel 6.1 -- <this program> --ignored --test-threads=1`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod traced;

use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{MsgFlags, send};
use nix::unistd::Pid;
use traced::{OURS, attached, has, named, ours, traced};

/// Runs `ip` with these words.
fn ip(words: &str) {
    let ran = Command::new("ip").args(words.split(' ')).output().unwrap();
    assert!(ran.status.success(), "ip {words}: {}", String::from_utf8_lossy(&ran.stderr));
}

/// A module's types are named by a descriptor of their own.
#[test]
#[ignore = "needs a kernel whose l2tp is a module: run in a guest"]
fn a_modules_tracepoint_is_read_by_type() {
    // The kernel loads the module when it is first spoken to.
    ip("l2tp show tunnel");
    let script =
        r#"rawtracepoint:register_tunnel { printf("%d %d\n", args.tunnel->tunnel_id, args.tunnel->version); }"#;
    let written = traced(&ours(), script, || {
        ip(
            "l2tp add tunnel tunnel_id 7 peer_tunnel_id 8 encap udp local 127.0.0.1 remote 127.0.0.1 udp_sport 5000 udp_dport 6000",
        );
        ip("l2tp del tunnel tunnel_id 7");
    });
    assert!(written.starts_with("7 3\n"), "{written}");
}

/// Opens and closes connections to a listener of our own, in a thread of this name.
fn dial(name: &str, times: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    named(name, move || (0..times).for_each(|_| drop(TcpStream::connect(at).unwrap())));
    at
}

/// What `check` says of a script: how its probes are attached, or what is wrong.
fn checked(script: &str) -> String {
    let ran = Command::new(OURS).args(["trace", "--check", "-e", script]).output().unwrap();
    String::from_utf8_lossy(&ran.stdout).into_owned() + &String::from_utf8_lossy(&ran.stderr)
}

/// Calls and returns of one function, with all that scripts may ask there. The kernel writes calls into the function.
#[test]
#[ignore = "needs fentry: run in a guest"]
fn a_functions_calls_and_returns_are_seen_by_type() {
    let script = r#"kprobe:tcp_v4_connect /comm == "dialer"/ {
            @called[comm, func, probe, args.addr_len] = count();
            @family[((struct sock *)arg0)->__sk_common.skc_family] = count();
            @pointer[arg0 & 7, arg0 >> 60] = count();
            @start[tid] = nsecs; @socket[tid] = arg0;
        }
        kretprobe:tcp_v4_connect /@start[tid]/ {
            $sk = (struct sock *)@socket[tid];
            @us = hist((nsecs - @start[tid]) / 1000);
            @returned[retval, ntop($sk->__sk_common.skc_daddr), bswap($sk->__sk_common.skc_dport)] = count();
            delete(@start[tid]); delete(@socket[tid]);
        }
        fentry:tcp_connect /comm == "dialer"/ { @state[args.sk->__sk_common.skc_state] = count(); }
        fexit:tcp_v4_connect /comm == "dialer"/ {
            @left[probe, retval, bswap(args.sk->__sk_common.skc_dport), args.addr_len] = count();
        }"#;
    let mut port = 0;
    let written = traced(&ours(), script, || port = dial("dialer", 3).port());
    has(&written, &["@pointer[0, 15]: 3"]);
    has(
        &written,
        &[
            "@called[dialer, tcp_v4_connect, kprobe:tcp_v4_connect, 16]: 3",
            "@family[2]: 3",
            &format!("@returned[0, 127.0.0.1, {port}]: 3"),
            "@state[2]: 3",
            &format!("@left[fexit:vmlinux:tcp_v4_connect, 0, {port}, 16]: 3"),
        ],
    );
    let (_, histogram) = written.split_once("@us:").unwrap_or_else(|| panic!("{written}"));
    let counted = |line: &str| line.get(16..)?.trim_start().split(' ').next()?.parse::<u64>().ok();
    assert_eq!(histogram.lines().skip(1).take_while(|line| line.starts_with('[')).filter_map(counted).sum::<u64>(), 3);
    assert!(!written.contains("@start[") && !written.contains("@socket["), "{written}");
}

/// Registers and stacks are found where a kprobe is.
#[test]
#[ignore = "needs kprobes: run in a guest"]
#[cfg(target_arch = "x86_64")]
fn registers_and_stacks_are_seen_by_kprobes() {
    let script = r#"kprobe:tcp_v4_connect /comm == "walker"/ {
            @entry[reg("di") == arg0, reg("si") == arg1, func, args.addr_len] = count();
            @up[sarg0 != sarg1] = count();
        }
        kprobe:tcp_connect /comm == "walker"/ { @stack[kstack(2)] = count(); }
        kretprobe:tcp_v4_connect /comm == "walker"/ { @exit[reg("ax") == retval, retval, func] = count(); }"#;
    let said = checked(script);
    has(
        &said,
        &[
            "kprobe:tcp_v4_connect: kprobe (the script reads registers)",
            "kprobe:tcp_connect: kprobe (a stack begins elsewhere in fentry)",
        ],
    );
    let written = traced(&ours(), script, || {
        dial("walker", 4);
    });
    has(&written, &["@entry[1, 1, tcp_v4_connect, 16]: 4", "@exit[1, 0, tcp_v4_connect]: 4"]);
    let stack = written.split_once("@stack[").unwrap().1;
    assert!(stack.starts_with("\n        tcp_connect+") && stack.contains("\n        tcp_v4_connect+"), "{written}");
}

/// A pattern stands for many functions, which tell themselves apart.
#[test]
#[ignore = "needs kprobes: run in a guest"]
fn a_pattern_is_at_all_functions_like_it() {
    let script = r#"kprobe:tcp_v* /comm == "spotter"/ { @calls[func] = count(); }
        kretprobe:tcp_v4_* /comm == "spotter"/ { @returns[probe, retval == 0] = count(); }"#;
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split('.').map_while(|number| number.parse::<u32>().ok());
    let release = (numbers.next().unwrap(), numbers.next().unwrap());
    let by = if release < (5, 15) {
        // Programs cannot ask which function it is: each has its own.
        "kprobe:tcp_v4_connect: kprobe (these are many functions)"
    } else if release < (6, 12) {
        "kprobe:tcp_v*: kprobe at "
    } else {
        // Debian's kernels have fprobes.
        "kprobe:tcp_v*: multi-kprobe at "
    };
    let said = checked(script);
    assert!(said.lines().any(|line| line.starts_with(by)), "{said}");
    let written = traced(&ours(), script, || {
        dial("spotter", 5);
    });
    has(&written, &["@calls[tcp_v4_connect]: 5", "@returns[kretprobe:tcp_v4_connect, 1]: 5"]);
}

/// With nine arguments, no program can be called from within the function: a kprobe knows those in registers.
#[test]
#[ignore = "needs kprobes: run in a guest"]
fn a_function_of_many_arguments_is_probed_all_the_same() {
    let script = r#"fentry:ip_append_data /comm == "appender"/ { @[args.length, args.transhdrlen, arg4] = count(); }"#;
    let said = checked(script);
    has(&said, &["fentry:vmlinux:ip_append_data: kprobe (a program cannot be called with its arguments)"]);
    let written = traced(&ours(), script, || {
        named("appender", || {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.connect("127.0.0.1:9").unwrap();
            // More is to come: the datagram is put together piece by piece.
            assert_eq!(send(socket.as_raw_fd(), b"some", MsgFlags::from_bits_retain(libc::MSG_MORE)).unwrap(), 4);
        });
    });
    // The UDP header's eight bytes come first.
    has(&written, &["@[12, 8, 12]: 1"]);
}

/// Of functions that probes themselves run, the kernel lets none be probed: `notifier_call_chain` is one.
#[test]
#[ignore = "needs kprobes: run in a guest"]
fn a_pattern_leaves_out_what_cannot_be_probed() {
    let script = "kprobe:notif* { @[sarg0] = count(); } interval:ms:1 { exit(); }";
    let ran = Command::new(OURS).args(["trace", "-e", script]).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{said}");
    assert!(said.contains("functions of `kprobe:notif*` that cannot be probed: 1\n"), "{said}");
}

/// Whoever is killed cleans nothing up: the kernel does.
#[test]
#[ignore = "needs fentry and kprobes: run in a guest"]
fn a_killed_tracer_leaves_nothing_attached() {
    let enabled = || std::fs::read_to_string("/sys/kernel/tracing/enabled_functions").unwrap();
    let is_attached = |name: &str| enabled().lines().any(|line| line.split(' ').next() == Some(name));
    let script = "fentry:tcp_connect { @ = count(); } kprobe:tcp_v4_connect { @by[sarg0] = count(); }";
    let (mut child, _lines) = attached(&ours(), script);
    assert!(is_attached("tcp_connect") && is_attached("tcp_v4_connect"), "{}", enabled());
    child.kill().unwrap();
    child.wait().unwrap();
    let start = Instant::now();
    while is_attached("tcp_connect") || is_attached("tcp_v4_connect") {
        assert!(start.elapsed() < Duration::from_secs(20), "{}", enabled());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What a script likely does not mean is said at functions too.
#[test]
#[ignore = "needs functions to probe: run in a guest"]
fn likely_mistakes_at_functions_are_warned_of() {
    let script = r#"kprobe:ip_rcv { @packets[tid] = count(); printf("a packet\n"); }
        kprobe:tcp_v4_connect { @start[tid] = nsecs; }
        fentry:tcp_connect { if (args.sk->__sk_common.skc_dport == 443) { @https = count(); } }
        kprobe:tcp_close { @[((struct sk_buff *)arg0)->len] = count(); }"#;
    let said = checked(script);
    for code in ["foreign-process", "prints-often", "never-deleted", "byte-order", "argument-type"] {
        assert!(said.contains(&format!("warning[{code}]")), "no {code} in:\n{said}");
    }
}

/// What is not there is said, with what is.
#[test]
#[ignore = "needs the kernel's own list of functions: run in a guest"]
fn functions_that_are_not_there_are_named_with_those_near() {
    let script = r"kprobe:tcp_v4_conect { } kprobe:sch_handle_ingress { } fentry:no_such_* { } kretprobe:udp_sendmsg { print(arg1); }
        kprobe:fuse:tcp_v4_connect { }";
    let said = checked(script);
    for part in [
        "this kernel has no function `tcp_v4_conect`",
        "one is called `tcp_v4_connect`",
        "`sch_handle_ingress`",
        "a part of `__netif_receive_skb_core`",
        "no function that can be traced is like `no_such_*`",
        "not in `fuse`; there is one in `vmlinux`",
        "no longer knows what the function was called with",
    ] {
        assert!(said.contains(part), "no {part:?} in:\n{said}");
    }
}

/// A program that is hit by what it does itself is not run then, which the kernel counts.
#[test]
#[ignore = "needs fentry: run in a guest"]
fn hits_that_were_missed_are_told() {
    let (mut child, mut lines) = attached(&ours(), "fentry:htab_map_update_elem { @by[comm] = 1; @seen = count(); }");
    let inner = [OURS, "trace", "-e", "BEGIN { @key[1] = 1; exit(); }"];
    assert!(Command::new(inner[0]).args(&inner[1..]).output().unwrap().status.success());
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
    let [mut written, mut said] = [String::new(), String::new()];
    lines.read_to_string(&mut written).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(child.wait().unwrap().success(), "{written}{said}");
    let seen = written.lines().find_map(|line| line.strip_prefix("@seen: ")).unwrap();
    assert!(seen.parse::<u64>().unwrap() > 0, "{written}");
    assert_eq!(said, format!("{seen} hits were missed: a program ran on their CPU already\n"), "{written}");
}

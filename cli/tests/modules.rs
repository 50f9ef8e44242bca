//! Probes in a module of the kernel that is taken away while they are attached. They need a kernel whose l2tp is a module,
//! kprobes and fentry, so they run in a guest: `cargo xtask vm --kernel 6.1 -- <this program> --ignored --test-threads=1`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod traced;

use std::fs;
use std::ops::RangeInclusive;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::unistd::{Pid, getpgid};
use traced::{OURS, has, named, ours, traced};

const DEADLINE: Duration = Duration::from_mins(1);
const MODULE: &str = "l2tp_core";
/// Uses it.
const USER: &str = "l2tp_netlink";
/// Runs a command; what it says where it fails.
fn run(words: &str) -> Result<(), String> {
    let (program, arguments) = words.split_once(' ').unwrap();
    let ran = Command::new(program).args(arguments.split(' ')).output().unwrap();
    ran.status.success().then_some(()).ok_or_else(|| String::from_utf8_lossy(&ran.stderr).into_owned())
}

/// The kernel loads both modules when one of them is first spoken to.
fn load() {
    run("ip l2tp show tunnel").unwrap();
    assert!(users(MODULE).is_some() && users(USER).is_some(), "l2tp is no module here");
}

/// Calls what the scripts are at, once.
fn make_tunnel() {
    run("ip l2tp add tunnel tunnel_id 7 peer_tunnel_id 8 encap udp local 127.0.0.1 remote 127.0.0.1 udp_sport 5000 \
         udp_dport 6000")
    .unwrap();
    run("ip l2tp del tunnel tunnel_id 7").unwrap();
}

/// How many use a module; none where it is not loaded.
fn users(module: &str) -> Option<u32> {
    fs::read_to_string(format!("/sys/module/{module}/refcnt")).ok()?.trim().parse().ok()
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < DEADLINE, "{what} was waited for; {MODULE} has users: {:?}", users(MODULE));
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Takes a module away, if nobody uses it.
fn unload(module: &str) -> Result<(), String> {
    run(&format!("busybox rmmod {module}"))
}

/// Tries to take both modules away while a trace is attached to one of them, and so many of its probes hold it. A tunnel
/// goes some time after its end was asked for.
fn take_away(holding: RangeInclusive<u32>) {
    wait_until("the end of the tunnel", || users(USER) == Some(0));
    unload(USER).unwrap();
    wait_until("the trace's own use", || users(MODULE).is_some_and(|users| holding.contains(&users)));
    let unloaded = unload(MODULE);
    assert_eq!(unloaded.is_err(), *holding.start() > 0, "{unloaded:?}");
    if let Err(why) = unloaded {
        assert!(why.contains("Resource temporarily unavailable"), "{why}");
    }
}

/// Traces with these probes at the module, takes it away, and gives what was written. The trace must go on, and end soon;
/// what comes next must not find the probes any more.
fn without_module(probes: &str, holding: RangeInclusive<u32>, next: &str, missing: &[&str]) -> String {
    load();
    let other = format!(r#"/comm == "other" && args.id == {}/ {{ @other = count(); }}"#, libc::SYS_getpgid);
    let script = format!("{probes} tracepoint:raw_syscalls:sys_enter {other}");
    let held = *holding.start() > 0;
    let mut asked = Instant::now();
    let written = traced(&ours(), &script, || {
        make_tunnel();
        take_away(holding.clone());
        named("other", || assert!((0..5).all(|_| getpgid(None::<Pid>).is_ok())));
        if !held {
            // A module that comes again is not probed again: who wants that starts again.
            load();
            make_tunnel();
            take_away(holding);
        }
        asked = Instant::now();
    });
    assert!(asked.elapsed() < DEADLINE / 2, "{:?}", asked.elapsed());
    assert!(written.lines().any(|line| line == "@other: 5"), "{written}");
    if held {
        wait_until("the end of the probes", || users(MODULE) == Some(0));
        unload(MODULE).unwrap();
    }
    let ran = Command::new(OURS).args(["trace", "-e", next]).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(1), "{said}");
    for missing in missing {
        assert!(said.contains(&format!("error[no-probe]: {missing}\n")), "no {missing} in:\n{said}");
    }
    written
}

/// Perf events let their module go.
#[test]
#[ignore = "needs kprobes and modules: run in a guest"]
fn a_kprobe_lets_its_module_go_and_keeps_what_it_found() {
    let kprobe = r#"kprobe:l2tp_tunnel_register { @[func, reg("ip") > 0] = count(); }"#;
    let written = without_module(kprobe, 0..=0, kprobe, &["this kernel has no function `l2tp_tunnel_register`"]);
    // By a name that the kernel no longer knows.
    has(&written, &["@[l2tp_tunnel_register, 1]: 1"]);
}

#[test]
#[ignore = "needs fentry and modules: run in a guest"]
fn other_probes_hold_their_module() {
    let written = without_module(
        "kprobe:l2tp_tunnel_register { @entry = count(); }
        fexit:l2tp_tunnel_register { @exit = count(); }
        rawtracepoint:register_tunnel { @raw = count(); }
        rawtracepoint:register_tunnel { @typed = sum(args.tunnel->tunnel_id); }
        tracepoint:l2tp:register_tunnel { @record = sum(args.tid); }",
        // Both calls within the function may hold it together.
        4..=5,
        "rawtracepoint:register_tunnel { } tracepoint:l2tp:register_tunnel { }",
        &[
            "this kernel has no raw tracepoint `register_tunnel`",
            "this kernel has no tracepoint `l2tp:register_tunnel`",
        ],
    );
    has(&written, &["@entry: 1", "@exit: 1", "@raw: 1", "@typed: 7", "@record: 7"]);
}

/// Many functions of a module at once: by one attachment where the kernel has it, else by a kprobe each.
#[test]
#[ignore = "needs kprobes and modules: run in a guest"]
fn a_pattern_within_a_module_keeps_what_it_found() {
    let probe = "kprobe:l2tp_core:* { @[func] = count(); }";
    // Debian's kernels have fprobes since 6.12.
    let multi = u32::from(!fs::read_to_string("/proc/sys/kernel/osrelease").unwrap().starts_with("6.1."));
    let written = without_module(probe, multi..=multi, probe, &["no function that can be traced is like `*`"]);
    has(&written, &["@[l2tp_tunnel_register]: 1"]);
}

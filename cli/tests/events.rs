//! Probes at tracepoints, hit by what this test does: exact counts of real system calls, threads and waits.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod traced;

use std::io::{BufRead, Read};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use traced::{OURS, attached, named, ours, traced};

/// System calls by their arguments, which lie in a record and in the process' memory.
#[test]
fn a_system_calls_arguments_are_read() {
    let script = r#"tracepoint:syscalls:sys_enter_openat /comm == "opener"/ { @[str(args.filename)] = count(); }"#;
    let written = traced(&ours(), script, || {
        named("opener", || {
            for (file, times) in [("/proc/self/stat", 7), ("/proc/no/such", 3)] {
                (0..times).for_each(|_| drop(std::fs::File::open(file)));
            }
        });
    });
    assert!(written.contains("@[/proc/no/such]: 3\n@[/proc/self/stat]: 7\n"), "{written}");
}

/// A tracepoint whose record is not read: a raw tracepoint does.
#[test]
fn a_tracepoint_is_hit_by_every_thread_that_ends() {
    let script = r#"tracepoint:sched:sched_process_exit /comm == "leaver"/ { @left = count(); @[pid] = count(); }"#;
    let written = traced(&ours(), script, || (0..5).for_each(|_| named("leaver", || {})));
    assert!(written.contains("@left: 5\n"), "{written}");
    assert!(written.contains(&format!("@[{}]: 5\n", std::process::id())), "{written}");
}

/// Names are read from the task, eight characters at once.
#[test]
fn a_name_of_any_length_is_read_whole() {
    let names: Vec<String> = (1..16).map(|length| "reader-of-names".chars().skip(15 - length).collect()).collect();
    let script = "tracepoint:syscalls:sys_enter_getppid /pid == $1/ { @[comm] = count(); @same[comm == curtask->comm] = count(); }";
    let script = script.replace("$1", &std::process::id().to_string());
    let written = traced(&ours(), &script, || {
        for (times, name) in (1..).zip(&names) {
            named(name, move || (0..times).for_each(|_| _ = nix::unistd::getppid()));
        }
    });
    for (times, name) in (1..).zip(&names) {
        assert!(written.contains(&format!("@[{name}]: {times}\n")), "{name}: {written}");
    }
    assert!(written.contains("@same[1]: 120\n") && !written.contains("@same[0]"), "{written}");
}

/// The verifier knows what these point to, and lets nobody compute with what it knows.
#[test]
fn pointers_that_are_arguments_are_numbers_too() {
    let script = r#"rawtracepoint:sched_switch {
            $before = args.prev;
            $number = arg1;
            printf("%d %d %d %d %d %d\n", (uint64)args.prev % 4096 == (uint64)curtask % 4096, $number >> 12 == arg1 / 4096,
                ~arg1 == -1 - $number, (uint32)(uint64)$before == ($number & 0xffffffff), curtask->pid == tid,
                (uint8)(rand % 2 ? arg1 : $number) == (arg1 & 255));
            exit();
        }"#;
    let mut child = Command::new(OURS).args(["trace", "-q", "-e", script]).stdout(Stdio::piped()).spawn().unwrap();
    let mut written = String::new();
    child.stdout.take().unwrap().read_to_string(&mut written).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(written.lines().next().is_some_and(|line| line == "1 1 1 1 1 1"), "{written}");
}

/// Time between two probes, by thread.
#[test]
fn time_passes_between_two_probes() {
    let script = r#"tracepoint:syscalls:sys_enter_clock_nanosleep /comm == "sleeper"/ { @start[tid] = nsecs; }
        tracepoint:syscalls:sys_exit_clock_nanosleep /@start[tid]/ {
            @us = min((nsecs - @start[tid]) / 1000); @times[args.ret] = count(); delete(@start[tid]);
        }"#;
    let written = traced(&ours(), script, || {
        named("sleeper", || (0..4).for_each(|_| thread::sleep(Duration::from_millis(3))));
    });
    assert!(written.contains("@times[0]: 4\n"), "{written}");
    let shortest = written.lines().find_map(|line| line.strip_prefix("@us: ")).unwrap();
    assert!((3_000..1_000_000).contains(&shortest.parse::<u64>().unwrap()), "{written}");
}

/// Addresses and ports of a connection, from the record and from the socket itself.
#[test]
fn a_connection_is_seen_by_its_addresses() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let script = format!(
        r#"tracepoint:sock:inet_sock_set_state /args.newstate == 1 && args.dport == {port}/ {{
            $sk = (struct sock *)args.skaddr;
            printf("%s %s %d %r\n", comm, ntop(args.daddr), args.saddr[0], buf(args.saddr, 4));
            printf("%s %d\n", ntop($sk->__sk_common.skc_daddr), bswap($sk->__sk_common.skc_dport));
            @[args.daddr_v6[15], args.protocol] = count();
        }}"#,
        port = at.port()
    );
    let written = traced(&ours(), &script, || {
        named("dialer", move || (0..3).for_each(|_| drop(std::net::TcpStream::connect(at).unwrap())));
    });
    let each = format!("dialer 127.0.0.1 127 \\x7f\\x00\\x00\\x01\n127.0.0.1 {}\n", at.port());
    assert_eq!(written.matches(&each).count(), 3, "{written}");
    assert!(written.contains("@[1, 6]: 3\n"), "{written}");
}

/// Reasons have names: nobody listens where these datagrams go.
#[test]
fn packets_are_dropped_for_a_reason() {
    let script = r#"tracepoint:skb:kfree_skb /comm == "shouter"/ {
        @[args.reason] = count(); @told[args.reason == SKB_DROP_REASON_NO_SOCKET] = count();
    }"#;
    let written = traced(&ours(), script, || {
        named("shouter", || {
            let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            let closed = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            (0..3).for_each(|_| assert_eq!(socket.send_to(b"hello", closed).unwrap(), 5));
        });
    });
    assert!(written.contains("@[SKB_DROP_REASON_NO_SOCKET]: 3\n") && written.contains("@told[1]: 3\n"), "{written}");
}

/// Numbers of a raw tracepoint.
#[test]
#[cfg(target_arch = "x86_64")]
fn a_raw_tracepoints_arguments_are_numbers() {
    let script = r#"rawtracepoint:sys_enter /comm == "asker" && arg1 == 110/ { @asked = count(); }"#;
    let written = traced(&ours(), script, || {
        named("asker", || (0..6).for_each(|_| assert!(nix::unistd::getppid().as_raw() > 0)));
    });
    assert!(written.contains("@asked: 6\n"), "{written}");
}

/// Events that the kernel counts: pages that are touched for the first time, waits, and time that is spent.
#[test]
fn events_are_counted() {
    const PAGES: usize = 64;
    const PAGE: usize = 4096;
    const SPUN: Duration = Duration::from_millis(200);
    let script = r#"software:page-faults:1 /comm == "toucher"/ { @touched = count(); }
        software:cs:1 /comm == "waiter"/ { @waited = count(); }
        software:cpu-clock:1000000 /comm == "spinner"/ { @spun[probe] = count(); }
        software:faults { @seldom = count(); }"#;
    let written = traced(&ours(), script, || {
        named("toucher", || {
            // Memory that is asked for as zeroes is none until it is touched.
            let mut memory = vec![0_u8; PAGES * PAGE];
            memory.iter_mut().step_by(PAGE).for_each(|byte| *byte = 1);
            std::hint::black_box(&memory);
        });
        named("waiter", || (0..10).for_each(|_| thread::sleep(Duration::from_millis(1))));
        named("spinner", || {
            let start = Instant::now();
            while start.elapsed() < SPUN {}
        });
    });
    let number = |name: &str| -> u64 {
        let line = written.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.unwrap_or_else(|| panic!("no {name} in {written}")).parse().unwrap()
    };
    // A thread's own stack and heap are touched too.
    assert!((64..500).contains(&number("@touched")), "{written}");
    assert!((10..500).contains(&number("@waited")), "{written}");
    // Others may have the CPU at times, and a tick is lost now and then.
    assert!((20..=210).contains(&number("@spun[software:cpu-clock:1000000]")), "{written}");
}

/// The tracer itself is what the signal goes to.
#[test]
fn a_signal_to_the_tracer_runs_a_probe() {
    let script = r#"self:signal:SIGUSR1 { printf("%s %d\n", probe, pid > 0); @ = count(); }"#;
    let (mut child, mut lines) = attached(&ours(), script);
    let id = Pid::from_raw(child.id().cast_signed());
    let mut line = String::new();
    for _signal in 0..3 {
        kill(id, Signal::SIGUSR1).unwrap();
        line.clear();
        lines.read_line(&mut line).unwrap();
        assert_eq!(line, "self:signal:SIGUSR1 1\n");
    }
    kill(id, Signal::SIGINT).unwrap();
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(rest.contains("@: 3\n"), "{rest}");
}

/// What the CPU counts, where there is such a CPU; most virtual machines have none.
#[test]
fn a_cpus_events_are_counted_or_refused() {
    let script = "hardware:cycles:100000 { @hits = count(); } interval:ms:200 { exit(); }";
    let ran = Command::new(OURS).args(["trace", "-e", script]).output().unwrap();
    let (out, said) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    let counts = std::fs::read_dir("/sys/bus/event_source/devices").unwrap();
    let counts = counts.map(|entry| entry.unwrap().file_name()).any(|name| name.to_string_lossy().starts_with("cpu"));
    assert_eq!(ran.status.success(), counts, "{said}");
    if counts {
        let hits = out.lines().find_map(|line| line.strip_prefix("@hits: ")).unwrap();
        assert!(hits.parse::<u64>().unwrap() > 0, "{out}");
    } else {
        assert!(
            said.contains("`hardware:cycles:100000` cannot be attached: this machine has no such counter"),
            "{said}"
        );
    }
}

/// Pointers that the verifier knows are followed by loads; 4 is `PF_EXITING`, `in_iowait` a bit field.
#[test]
fn structs_of_the_kernel_are_followed_by_type() {
    let script = r#"rawtracepoint:sched_process_exit /args.p->comm == "parting"/ {
        @[args.p->comm, args.p->tgid, args.p->group_leader->pid == args.p->real_parent->pid] = count();
        @flags[args.p->in_iowait, args.p->flags & 4] = count();
    }"#;
    let written = traced(&ours(), script, || (0..4).for_each(|_| named("parting", || {})));
    assert!(written.contains(&format!("@[parting, {}, 0]: 4\n", std::process::id())), "{written}");
    assert!(written.contains("@flags[0, 4]: 4\n"), "{written}");
}

/// Whoever may not trace is told what it takes.
#[test]
fn without_rights_nothing_runs_and_it_says_why() {
    // Where it was built, others may not be let in.
    let copy = std::env::temp_dir().join(format!("synscope-{}", std::process::id()));
    std::fs::copy(OURS, &copy).unwrap();
    let nobody = |script: &str| {
        let ran = Command::new(&copy).args(["trace", "-e", script]).uid(65_534).gid(65_534).output().unwrap();
        assert!(!ran.status.success());
        String::from_utf8_lossy(&ran.stderr).into_owned()
    };
    let said = nobody("BEGIN { exit(); }");
    let of_tracepoints = nobody("tracepoint:sched:sched_switch { @ = count(); }");
    std::fs::remove_file(&copy).unwrap();
    assert!(said.contains("tracing takes root, or CAP_BPF and CAP_PERFMON: Operation not permitted"), "{said}");
    assert!(of_tracepoints.contains("error[tracefs]"), "{of_tracepoints}");
    assert!(of_tracepoints.contains("Permission denied"), "{of_tracepoints}");
}

/// A full map and a full buffer are counted, not passed over.
#[test]
fn what_found_no_room_is_counted() {
    let script = "config = { max_map_keys = 2 } BEGIN { unroll(5) { @n++; @[@n] = 1; } exit(); }";
    let ran = Command::new(OURS).args(["trace", "-e", script]).output().unwrap();
    let (out, error) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert_eq!(out.matches("@[").count(), 2, "{out}");
    assert!(error.contains("3 values found no room in their maps"), "{error}");
}

//! Probes at tracepoints, hit by what this test does: exact counts of real system calls, threads and waits. The same
//! scripts run under bpftrace 0.23 where `SYNSCOPE_BPFTRACE` names a command that runs it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod traced;

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::thread;
use std::time::Duration;

use traced::{OURS, named, ours, traced};

/// System calls by their arguments, which lie in a record and in the process' memory.
fn opened_files(tracer: &[OsString]) {
    let script = r#"tracepoint:syscalls:sys_enter_openat /comm == "opener"/ { @[str(args.filename)] = count(); }"#;
    let written = traced(tracer, script, || {
        named("opener", || {
            for (file, times) in [("/proc/self/stat", 7), ("/proc/no/such", 3)] {
                (0..times).for_each(|_| drop(std::fs::File::open(file)));
            }
        });
    });
    assert!(written.contains("@[/proc/no/such]: 3\n@[/proc/self/stat]: 7\n"), "{written}");
}

/// A tracepoint whose record is not read: a raw tracepoint does.
fn leaving_threads(tracer: &[OsString]) {
    let script = r#"tracepoint:sched:sched_process_exit /comm == "leaver"/ { @left = count(); @[pid] = count(); }"#;
    let written = traced(tracer, script, || (0..5).for_each(|_| named("leaver", || {})));
    assert!(written.contains("@left: 5\n"), "{written}");
    assert!(written.contains(&format!("@[{}]: 5\n", std::process::id())), "{written}");
}

/// Time between two probes, by thread.
fn shortest_sleep(tracer: &[OsString]) {
    let script = r#"tracepoint:syscalls:sys_enter_clock_nanosleep /comm == "sleeper"/ { @start[tid] = nsecs; }
        tracepoint:syscalls:sys_exit_clock_nanosleep /@start[tid]/ {
            @us = min((nsecs - @start[tid]) / 1000); @times[args.ret] = count(); delete(@start[tid]);
        }"#;
    let written = traced(tracer, script, || {
        named("sleeper", || (0..4).for_each(|_| thread::sleep(Duration::from_millis(3))));
    });
    assert!(written.contains("@times[0]: 4\n"), "{written}");
    let shortest = written.lines().find_map(|line| line.strip_prefix("@us: ")).unwrap();
    assert!((3_000..1_000_000).contains(&shortest.parse::<u64>().unwrap()), "{written}");
}

/// Addresses and ports of a connection, from the record and from the socket itself.
fn connections(tracer: &[OsString]) {
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
    let written = traced(tracer, &script, || {
        named("dialer", move || (0..3).for_each(|_| drop(std::net::TcpStream::connect(at).unwrap())));
    });
    let each = format!("dialer 127.0.0.1 127 \\x7f\\x00\\x00\\x01\n127.0.0.1 {}\n", at.port());
    assert_eq!(written.matches(&each).count(), 3, "{written}");
    assert!(written.contains("@[1, 6]: 3\n"), "{written}");
}

/// Numbers of a raw tracepoint.
fn raw_arguments(tracer: &[OsString]) {
    let script = r#"rawtracepoint:sys_enter /comm == "asker" && arg1 == 110/ { @asked = count(); }"#;
    let written = traced(tracer, script, || {
        named("asker", || (0..6).for_each(|_| assert!(nix::unistd::getppid().as_raw() > 0)));
    });
    assert!(written.contains("@asked: 6\n"), "{written}");
}

#[test]
fn a_system_calls_arguments_are_read() {
    opened_files(&ours());
}

#[test]
fn a_tracepoint_is_hit_by_every_thread_that_ends() {
    leaving_threads(&ours());
}

#[test]
fn time_passes_between_two_probes() {
    shortest_sleep(&ours());
}

#[test]
#[cfg(target_arch = "x86_64")]
fn a_raw_tracepoints_arguments_are_numbers() {
    raw_arguments(&ours());
}

#[test]
fn a_connection_is_seen_by_its_addresses() {
    connections(&ours());
}

#[test]
#[ignore = "needs bpftrace 0.23: SYNSCOPE_BPFTRACE names a command that runs it"]
fn bpftrace_sees_the_same() {
    let tracer = [std::env::var_os("SYNSCOPE_BPFTRACE").expect("SYNSCOPE_BPFTRACE")];
    opened_files(&tracer);
    leaving_threads(&tracer);
    shortest_sleep(&tracer);
    raw_arguments(&tracer);
    connections(&tracer);
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

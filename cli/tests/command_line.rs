//! The options of `synscope trace`, on this machine.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod traced;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use traced::{OURS, attached};

fn trace(arguments: &[&str]) -> Output {
    Command::new(OURS).arg("trace").args(arguments).output().unwrap()
}

fn out(ran: &Output) -> String {
    String::from_utf8(ran.stdout.clone()).unwrap()
}

fn error(ran: &Output) -> String {
    String::from_utf8(ran.stderr.clone()).unwrap()
}

/// A file that goes with the value.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("synscope-{}-{name}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        Self(path)
    }

    fn name(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

#[test]
fn json_is_a_document_on_each_line() {
    let script = r#"BEGIN { @n = 3; @k["a\"b", 2] = count(); @h = lhist(-1, 0, 4, 2); @h = lhist(1, 0, 4, 2); @s[1] = stats(4);
        @a = avg(5); @b = buf("x\x01", 2); printf("one\ntwo \xff"); print((1, ("x", 2))); print(@n); time("%%\n"); exit(); }"#;
    let ran = trace(&["-f", "json", "-e", script]);
    let text = out(&ran);
    let (before, after) = text.split_once("\n\n\n").unwrap_or_else(|| panic!("{text}{}", error(&ran)));
    let parsed = |line: &str| -> serde_json::Value { serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")) };
    let lines: Vec<_> = before.lines().map(parsed).collect();
    let expected = [
        r#"{"type": "attached_probes", "data": {"probes": 1}}"#,
        "{\"type\": \"printf\", \"data\": \"one\\ntwo \u{fffd}\"}",
        r#"{"type": "value", "data": [1, ["x", 2]]}"#,
        r#"{"type": "map", "data": {"@n": 3}}"#,
        r#"{"type": "time", "data": "%\n"}"#,
    ];
    assert_eq!(lines, expected.map(parsed));
    let maps: Vec<_> = after.lines().map(parsed).collect();
    let expected = [
        r#"{"type": "stats", "data": {"@a": 5}}"#,
        r#"{"type": "map", "data": {"@b": "x\\x01"}}"#,
        r#"{"type": "hist", "data": {"@h": [{"max": -1, "count": 1}, {"min": 0, "max": 1, "count": 1}]}}"#,
        r#"{"type": "map", "data": {"@k": {"a\\\"b,2": 1}}}"#,
        r#"{"type": "map", "data": {"@n": 3}}"#,
        r#"{"type": "stats", "data": {"@s": {"1": {"count": 1, "average": 4, "total": 4}}}}"#,
    ];
    assert_eq!(maps, expected.map(parsed));
}

#[test]
fn results_go_to_a_file_and_nothing_else_does() {
    let file = Scratch::new("results", "");
    let ran = trace(&["-q", "-o", file.name(), "-e", r#"BEGIN { printf("here\n"); @n = 1; exit(); }"#]);
    assert_eq!(out(&ran), "\n\n");
    assert_eq!(std::fs::read_to_string(&file.0).unwrap(), "here\n@n: 1\n");
    let nowhere = trace(&["-o", "/no/such/file", "-e", "BEGIN { exit(); }"]);
    assert!(error(&nowhere).contains("/no/such/file cannot be written"), "{}", error(&nowhere));
    assert_eq!(nowhere.status.code(), Some(1));
}

/// The command's own `execve` is seen: it begins after the probes are attached. That it fails changes nothing.
#[test]
fn a_command_runs_from_its_first_instruction_to_its_last() {
    let script = r#"BEGIN { printf("%d\n", cpid > 1); }
        tracepoint:syscalls:sys_enter_execve /pid == cpid/ { printf("%s\n", str(args.filename)); }
        tracepoint:sched:sched_process_exit /pid == cpid/ { printf("ended\n"); }"#;
    let ran = trace(&["-q", "-c", "/bin/sh -c 'echo \"two words\"; exit 3'", "-e", script]);
    let written = out(&ran);
    assert!(written.contains("two words\n"), "{written}{}", error(&ran));
    assert_eq!(written.replace("two words\n", ""), "1\n/bin/sh\nended\n\n\n");
    assert_eq!(ran.status.code(), Some(0));
}

#[test]
fn a_command_that_cannot_be_is_said() {
    let ran = trace(&["-c", "/no/such/program", "-e", "BEGIN { }"]);
    assert!(error(&ran).contains("`/no/such/program` cannot be run"), "{}", error(&ran));
    let ran = trace(&["-c", "echo 'open", "-e", "BEGIN { }"]);
    assert!(error(&ran).contains("a quote that is not closed"), "{}", error(&ran));
    assert_eq!(ran.status.code(), Some(1));
    let ran = trace(&["-e", "BEGIN { print(cpid); }"]);
    assert!(error(&ran).contains("error[no-command]"), "{}", error(&ran));
}

/// Whoever leaves takes the command along, whether it had begun or not.
#[test]
fn a_command_does_not_outlive_its_trace() {
    let is_there = |line: &str| {
        let id = line.trim().parse::<i32>().unwrap();
        kill(Pid::from_raw(id), None).is_ok()
    };
    let ran = trace(&["-q", "-c", "sleep 1000", "-e", r#"BEGIN { printf("%d\n", cpid); exit(); }"#]);
    assert_eq!(ran.status.code(), Some(0), "{}", error(&ran));
    assert!(!is_there(out(&ran).lines().next().unwrap()), "{}", out(&ran));
    let ran = trace(&["-c", "sleep 1000", "--listing", "-e", "BEGIN { print(cpid); }"]);
    assert_eq!(ran.status.code(), Some(0), "{}", error(&ran));
}

#[test]
fn a_trace_ends_with_a_process() {
    let mut other = Command::new("sleep").arg("1000").spawn().unwrap();
    let id = other.id().to_string();
    let mut traced = Command::new(OURS);
    traced
        .args(["trace", "-p", &id, "-e", "END { printf(\"over\\n\"); }"])
        .env("__BPFTRACE_NOTIFY_PROBES_ATTACHED", "1");
    let mut traced = traced.stdout(Stdio::piped()).spawn().unwrap();
    let mut written = [0; 64];
    let mut lines = traced.stdout.take().unwrap();
    assert!(lines.read(&mut written).unwrap() > 0);
    other.kill().unwrap();
    other.wait().unwrap();
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    assert!(traced.wait().unwrap().success());
    assert!(rest.contains("over\n"), "{rest}");
    let ran = trace(&["-p", &id, "-e", "BEGIN { }"]);
    assert!(error(&ran).contains(&format!("process {id}: No such process")), "{}", error(&ran));
    assert_eq!(ran.status.code(), Some(1));
}

#[test]
fn test_drivers_are_told_before_anything_is_written() {
    let script = r#"BEGIN { printf("first\n"); exit(); }"#;
    let ran = Command::new(OURS).args(["trace", "-e", script]).env("__BPFTRACE_NOTIFY_PROBES_ATTACHED", "1").output();
    assert_eq!(out(&ran.unwrap()), "Attaching 1 probe...\n__BPFTRACE_NOTIFY_PROBES_ATTACHED\nfirst\n\n\n");
}

#[test]
fn an_interrupt_prints_maps_and_a_second_ends_at_once() {
    let (mut child, mut lines) = attached(&traced::ours(), "BEGIN { @n = 5; }");
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    assert_eq!((rest.as_str(), child.wait().unwrap().code()), ("\n\n@n: 5\n", Some(0)));
    // Nobody reads what it writes: it cannot come to its end.
    let (mut child, lines) = attached(&traced::ours(), r#"interval:us:100 { unroll(40) { printf("%64d\n", 1); } }"#);
    let stuck = |id: u32| std::fs::read_to_string(format!("/proc/{id}/wchan")).unwrap_or_default().contains("pipe");
    let start = Instant::now();
    while !stuck(child.id()) && start.elapsed() < Duration::from_secs(10) {
        std::thread::yield_now();
    }
    // Those that wait at the same time are one.
    while child.try_wait().unwrap().is_none() && start.elapsed() < Duration::from_secs(20) {
        kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
        std::thread::yield_now();
    }
    drop(child.kill());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    drop(lines);
}

#[test]
fn wrong_options_and_scripts_give_one_and_help_gives_nothing() {
    let code = |arguments: &[&str]| trace(arguments).status.code();
    assert_eq!(code(&["--no-such-option"]), Some(1));
    assert_eq!(code(&["-f", "xml", "-e", "BEGIN { }"]), Some(1));
    assert_eq!(code(&[]), Some(1));
    assert_eq!(code(&["/no/such/script.bt"]), Some(1));
    assert_eq!(code(&["-e", "BEGIN { $x = foo(); }"]), Some(1));
    assert_eq!(code(&["--help"]), Some(0));
    let version = trace(&["-V"]);
    // With the commit it was built from.
    assert_eq!(version.status.code(), Some(0));
    let told = out(&version);
    assert!(
        told.starts_with(&format!("synscope-trace {} (", env!("CARGO_PKG_VERSION"))) && told.ends_with(")\n"),
        "{told}"
    );
}

#[test]
fn scripts_come_from_files_and_from_standard_input_with_parameters() {
    let script = "#!/usr/bin/env bpftrace\nBEGIN { printf(\"%d %s %d\\n\", $1, str($2), $#); exit(); }";
    let file = Scratch::new("parameters.bt", script);
    assert_eq!(out(&trace(&["-q", file.name(), "7", "seven"])), "7 seven 2\n\n\n");
    let mut traced = Command::new(OURS);
    let mut traced =
        traced.args(["trace", "-q", "-", "8"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    traced.stdin.take().unwrap().write_all(b"BEGIN { print($1); exit(); }").unwrap();
    assert_eq!(out(&traced.wait_with_output().unwrap()), "8\n\n\n");
}

#[test]
fn the_environment_sets_what_bpftrace_reads_from_it() {
    let with = |variable: &str, value: &str, script: &str| {
        let ran = Command::new(OURS).args(["trace", "-q", "-e", script]).env(variable, value).output().unwrap();
        (out(&ran), error(&ran))
    };
    let (written, said) = with("BPFTRACE_MAX_MAP_KEYS", "2", "BEGIN { @[1] = 1; @[2] = 1; @[3] = 1; exit(); }");
    assert_eq!((written.matches("@[").count(), said.contains("1 values found no room")), (2, true), "{written}{said}");
    let (written, _) = with("BPFTRACE_MAX_STRLEN", "8", r#"BEGIN { print(str("a long text")); exit(); }"#);
    assert!(written.starts_with("a long t"), "{written}");
    // A frame is an address, an address and a name, or a name; what the environment says counts more than the script.
    let stack = "config = { stack_mode = perf } BEGIN { printf(\"%s\", kstack(1)); exit(); }";
    let is_hex = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let (raw, _) = with("BPFTRACE_STACK_MODE", "raw", stack);
    assert!(raw.trim_end().strip_prefix('\n').is_some_and(is_hex), "{raw}");
    let (named, _) = with("BPFTRACE_STACK_MODE", "bpftrace", stack);
    assert!(named.starts_with("\n        ") && named.contains("_BEGIN+"), "{named}");
    let (both, _) = with("BPFTRACE_MAX_STRLEN", "64", stack);
    assert!(
        both.strip_prefix("\n\t").and_then(|line| line.split_once(' ')).is_some_and(|(hex, _)| is_hex(hex)),
        "{both}"
    );
    assert!(with("BPFTRACE_STACK_MODE", "best", stack).1.contains("is `bpftrace`, `perf` or `raw`, not `best`"));
    let several = "tracepoint:sched:sched_process_* { } BEGIN { exit(); }";
    for variable in ["BPFTRACE_MAX_PROBES", "BPFTRACE_MAX_BPF_PROGS"] {
        let (_, said) = with(variable, "2", several);
        assert!(said.contains("the script makes more than 2 probes"), "{variable}: {said}");
    }
}

#[test]
fn probes_and_types_are_listed() {
    assert_eq!(out(&trace(&["-l", "tracepoint:sched:sched_process_exit"])), "tracepoint:sched:sched_process_exit\n");
    let fields = out(&trace(&["-lv", "tracepoint:syscalls:sys_enter_openat"]));
    assert!(
        fields.starts_with("tracepoint:syscalls:sys_enter_openat\n    int __syscall_nr\n    int dfd\n"),
        "{fields}"
    );
    let path = "struct path {\n\tstruct vfsmount *mnt;\n\tstruct dentry *dentry;\n};\n\n";
    assert_eq!(out(&trace(&["-lv", "struct path"])), path);
    let script = "BEGIN { } tracepoint:sched:sched_process_e* { } interval:s:1 { }";
    let listed = "BEGIN\ntracepoint:sched:sched_process_exec\ntracepoint:sched:sched_process_exit\ninterval:s:1\n";
    assert_eq!(out(&trace(&["-l", "-e", script])), listed);
    let wrong = trace(&["-l", "nothing:*"]);
    assert_eq!((wrong.status.code(), error(&wrong).contains("nothing")), (Some(1), true));
}

/// Only probes in user space would be at one process, and there are none: a trace that ends with a process sees all.
#[test]
fn a_trace_that_ends_with_a_process_sees_others() {
    let mut other = Command::new("sleep").arg("1000").spawn().unwrap();
    let script = "tracepoint:sched:sched_process_exec { @[comm] = count(); }";
    let mut tracer = traced::ours();
    tracer.extend(["-p".into(), other.id().to_string().into()]);
    let written = traced::traced(&tracer, script, || {
        assert!(Command::new("/bin/true").status().unwrap().success());
    });
    other.kill().unwrap();
    other.wait().unwrap();
    assert!(written.contains("@[true]: "), "{written}");
}

#[test]
fn what_the_kernel_has_is_told() {
    let told = out(&trace(&["--info"]));
    let (system, rest) = told.split_once("\n\nBuild\n").unwrap();
    assert!(system.starts_with("System\n  OS: Linux ") && system.contains("\n  Arch: "), "{told}");
    assert!(rest.starts_with(&format!("  version: {}\n", env!("CARGO_PKG_VERSION"))), "{told}");
    let titles = ["Kernel helpers", "Kernel features", "Map types", "Probe types"];
    assert!(titles.iter().all(|title| told.contains(&format!("\n\n{title}\n"))), "{told}");
    // What every kernel has that the tracer runs on, and what is tried.
    for feature in ["probe_read_kernel: yes", "btf: yes", "ringbuf: yes", "tracepoint: yes"] {
        assert!(told.contains(&format!("  {feature}\n")), "{feature}: {told}");
    }
    let has_fentry = trace(&["--check", "-e", "fentry:tcp_v4_connect { }"]).status.success();
    assert_eq!(told.contains("  fentry: yes\n"), has_fentry, "{told}");
}

#[test]
fn a_dry_run_attaches_and_runs_nothing() {
    let ran = trace(&["--dry-run", "-e", r#"BEGIN { printf("begun\n"); } interval:s:1 { printf("hit\n"); }"#]);
    assert_eq!((out(&ran).as_str(), ran.status.code()), ("Attaching 2 probes...\n\n\n", Some(0)));
}

#[test]
fn warnings_can_be_left_out() {
    let script = "tracepoint:sched:sched_process_exec { @[nsecs] = 1; } BEGIN { exit(); }";
    assert!(error(&trace(&["--unsafe", "-e", script])).contains("`--unsafe` changes nothing"));
    assert!(error(&trace(&["-e", script])).contains("warning[unbounded-keys]"));
    assert_eq!(error(&trace(&["--no-warnings", "--unsafe", "-e", script])), "");
}

/// As whoever reads the first lines only.
#[test]
fn a_reader_who_leaves_ends_the_trace_quietly() {
    let (mut child, lines) = attached(&traced::ours(), r#"interval:ms:1 { printf("again\n"); }"#);
    drop(lines);
    assert_eq!(child.wait().unwrap().code(), Some(141));
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(said, "");
}

/// With a full buffer, results wait until it is full or the trace ends; without one, none waits.
#[test]
fn results_wait_as_long_as_they_are_told_to() {
    for (mode, expected) in [("none", "early\n"), ("full", "")] {
        let file = Scratch::new(mode, "");
        let script = r#"BEGIN { printf("early\n"); errorf("now\n"); }"#;
        let mut traced = Command::new(OURS);
        traced.args(["trace", "-q", "-B", mode, "-o", file.name(), "-e", script]).stderr(Stdio::piped());
        let mut traced = traced.stdout(Stdio::null()).spawn().unwrap();
        let mut said = String::new();
        BufReader::new(traced.stderr.take().unwrap()).read_line(&mut said).unwrap();
        assert_eq!((said.as_str(), std::fs::read_to_string(&file.0).unwrap().as_str()), ("now\n", expected), "{mode}");
        kill(Pid::from_raw(traced.id().cast_signed()), Signal::SIGINT).unwrap();
        assert!(traced.wait().unwrap().success());
        assert_eq!(std::fs::read_to_string(&file.0).unwrap(), "early\n", "{mode}");
    }
}

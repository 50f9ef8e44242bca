//! Functions of the language whose values differ from run to run: each is compared with what this test knows.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod traced;

use std::io::BufRead;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};
use traced::{OURS, attached, named, ours, traced};

/// Runs a script that ends by itself.
fn ran(script: &str, variables: &[(&str, &str)]) -> Output {
    Command::new(OURS).args(["trace", "-e", script]).envs(variables.iter().copied()).output().unwrap()
}

/// The lines that a script writes.
fn lines(script: &str, variables: &[(&str, &str)]) -> Vec<String> {
    let ran = ran(script, variables);
    assert!(ran.status.success(), "{script}: {}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8_lossy(&ran.stdout).lines().skip(1).map(str::to_owned).collect()
}

/// In local time, which need not be a whole number of hours from UTC; `XYZ-5:45` lies east of it.
#[test]
fn points_in_time_are_local() {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros();
    let before = now();
    let script = r#"BEGIN {
        time("%z %Z\n"); time("%s%f\n"); time();
        printf("%s|%s\n", strftime("%z %Z", nsecs), strftime("%s%f", nsecs));
        @kept = strftime("%s%f", nsecs - 1000000000); print(strftime("%H:%M:%S", nsecs)); exit();
    }"#;
    let lines = lines(script, &[("TZ", "XYZ-5:45")]);
    let after = now();
    let [zone, time, clock, both, of_probe, .., kept] = lines.as_slice() else { panic!("{lines:?}") };
    let number = |text: &str| text.parse::<u128>().unwrap();
    assert_eq!(zone, "+0545 XYZ");
    assert!((before..=after).contains(&number(time)), "{before} {time} {after}");
    let (zone, time) = both.split_once('|').unwrap();
    assert_eq!(zone, "+0545 XYZ");
    // The clocks are read one after the other.
    let slack = 1_000;
    assert!((before - slack..=after + slack).contains(&number(time)), "{before} {time} {after}");
    let second_ago = number(kept.strip_prefix("@kept: ").unwrap());
    assert!((before - 1_000_000 - slack..=after - 1_000_000 + slack).contains(&second_ago), "{before} {kept} {after}");
    for clock in [clock, of_probe] {
        let parts: Vec<u64> = clock.split(':').map(|part| part.parse().unwrap()).collect();
        let [hour, minute, second] = parts.as_slice() else { panic!("{clock}") };
        let shown = hour * 3600 + minute * 60 + second;
        let (day, offset) = (86_400, 5 * 3600 + 45 * 60);
        let local = |at: u128| (u64::try_from(at / 1_000_000).unwrap() + offset) % day;
        assert!([local(before), local(after)].iter().any(|at| shown.abs_diff(*at) <= 1), "{clock}");
    }
}

/// The machine's clocks, each beside what this test reads of it.
#[test]
fn clocks_are_told_apart() {
    let lines = lines(r#"BEGIN { printf("%d %d %d\n", nsecs(boot), nsecs(monotonic), nsecs(sw_tai)); exit(); }"#, &[]);
    let told = lines[0].split(' ').map(|number| number.parse::<i64>().unwrap());
    for (told, clock) in told.zip([ClockId::CLOCK_BOOTTIME, ClockId::CLOCK_MONOTONIC, ClockId::CLOCK_TAI]) {
        let now = clock_gettime(clock).unwrap();
        let passed = now.tv_sec() * 1_000_000_000 + now.tv_nsec() - told;
        assert!((0..60_000_000_000).contains(&passed), "{clock:?}: {passed}");
    }
}

#[test]
fn a_script_names_its_exit_code() {
    for (code, expected) in [("", 0), ("7", 7), ("200 + 55", 255), ("pid - pid + 3", 3)] {
        let ran = ran(&format!("BEGIN {{ exit({code}); }} END {{ printf(\"the end\\n\"); }}"), &[]);
        assert_eq!(ran.status.code(), Some(expected), "{code}: {}", String::from_utf8_lossy(&ran.stderr));
        assert!(String::from_utf8_lossy(&ran.stdout).contains("the end\n"));
    }
}

/// What a program is started with lies in its memory, pointer by pointer.
#[test]
fn texts_in_a_row_are_joined() {
    let script =
        r#"tracepoint:syscalls:sys_enter_execve /comm == "starter"/ { join(args.argv); join(args.argv, "+"); }"#;
    let written = traced(&ours(), script, || {
        named("starter", || {
            let words = ["one", "two words", "three"];
            assert!(Command::new("/bin/true").args(words).status().unwrap().success());
            let many: Vec<String> = (0..20).map(|number| number.to_string()).collect();
            assert!(Command::new("/bin/true").args(many).status().unwrap().success());
        });
    });
    let expected = "/bin/true one two words three\n/bin/true+one+two words+three\n\
        /bin/true 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14\n";
    assert!(written.starts_with(expected), "{written}");
}

#[test]
fn joined_texts_are_a_document_in_json() {
    let script = r#"tracepoint:syscalls:sys_enter_execve /comm == "starter"/ { join(args.argv, ","); exit(); }"#;
    let mut tracer = ours();
    tracer.extend(["-f", "json"].map(Into::into));
    let (mut child, mut lines) = attached(&tracer, script);
    named("starter", || assert!(Command::new("/bin/true").arg("a \"word\"").status().unwrap().success()));
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    assert_eq!(line, "{\"type\": \"join\", \"data\": \"/bin/true,a \\\"word\\\"\"}\n");
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_symbol_lies_where_the_kernel_lists_it() {
    let symbols = std::fs::read_to_string("/proc/kallsyms").unwrap();
    let address = symbols.lines().find_map(|line| line.strip_suffix(" T schedule")).unwrap();
    let script = r#"BEGIN {
        $p = kaddr("schedule"); printf("%lx %s %d\n", $p, ksym($p), *$p == *(uint64 *)$p);
        printf("%s %rh\n", macaddr($p), buf($p, 6)); @[macaddr($p)] = 1; exit();
    }"#;
    let lines = lines(script, &[]);
    assert_eq!(lines[0], format!("{address} schedule 1"));
    // Six bytes at the same place, written in two ways.
    let (mac, bytes) = lines[1].split_once(' ').unwrap();
    assert_eq!(mac, bytes.replace(' ', ":").to_uppercase());
    assert_eq!(mac.len(), 17);
    assert_eq!(lines.last().unwrap(), &format!("@[{mac}]: 1"));
}

/// A folder of a `cgroup2` mount, which is made where the machine has none.
struct Cgroups {
    at: PathBuf,
    made: bool,
}

impl Cgroups {
    fn find() -> Self {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let found = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>()).find(|line| line[2] == "cgroup2");
        if let Some(line) = found {
            return Self { at: PathBuf::from(line[1]), made: false };
        }
        let at = std::env::temp_dir().join(format!("synscope-cgroups-{}", std::process::id()));
        std::fs::create_dir(&at).unwrap();
        assert!(Command::new("mount").args(["-t", "cgroup2", "none"]).arg(&at).status().unwrap().success());
        Self { at, made: true }
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        if self.made {
            drop(Command::new("umount").arg(&self.at).status());
            drop(std::fs::remove_dir(&self.at));
        }
    }
}

#[test]
fn a_cgroup_has_the_number_of_its_folder() {
    let cgroups = Cgroups::find();
    let path = cgroups.at.to_str().unwrap();
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    let own = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap();
    let own = cgroups.at.join(own);
    let script = format!(
        r#"BEGIN {{ printf("%d %d\n", cgroupid("{path}"), cgroupid("{}") == cgroup); exit(); }}"#,
        own.display()
    );
    let number = cgroups.at.metadata().unwrap().ino();
    assert_eq!(lines(&script, &[])[0], format!("{number} 1"));
    let refused = ran(r#"BEGIN { print(cgroupid("/proc")); }"#, &[]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("`/proc` is no cgroup"));
}

/// Frames are those that the stack shows.
#[test]
fn stacks_and_maps_have_a_length() {
    let script = r#"tracepoint:sched:sched_process_exit /comm == "leaver"/ {
        printf("%d %d\n", len(kstack), len(kstack(2)));
        printf("%s", kstack); @seen[tid] = 1; @seen[0] = 2; @counted[cpu, 1] = count();
        printf("%d %d\n", len(@seen), len(@counted)); delete(@seen[0]); printf("%d\n", len(@seen)); clear(@seen);
    }"#;
    let written = traced(&ours(), script, || named("leaver", || {}));
    let mut lines = written.lines();
    let (frames, two) = lines.next().unwrap().split_once(' ').unwrap();
    let stack = lines.by_ref().skip(1).take_while(|line| line.starts_with("        ")).count();
    assert_eq!((frames.parse::<usize>().unwrap(), two), (stack, "2"), "{written}");
    assert!(written.contains("2 1\n1\n"), "{written}");
}

/// Every name of the language that is no probe's own runs here; those that are (`reg`, `retval`, `func`) run at functions.
#[test]
fn every_name_runs() {
    let script = r#"BEGIN {
        printf("%d %s %d\n", 1, "two", 3); errorf("to the error stream %d\n", 4); print(5); time("%H");
        print((nsecs > 0, elapsed < 1000000000, pid == tid, uid, gid, comm, cpu < ncpus, ncpus > 0));
        print((curtask != 0, cgroup != 0, rand != rand || 1, numaid, jiffies > 0, probe));
        printf("%s %s %d\n", strftime("%Y", nsecs(boot)), str("text"), strncmp("text", "test", 2));
        printf("%r %s %s %s\n", buf("by", 2), ntop(1), ntop(pton("::2")), ksym(kaddr("schedule")));
        printf("%s%s%d\n", kstack(1), ustack(1), len(kstack(1)) <= 1);
        printf("%d %s %d %p\n", bswap((uint16)1), macaddr(0), strcontains(comm, "s"), kptr(curtask));
        @m[1] = 2; @m[2] = 3; print(has_key(@m, 1)); delete(@m, 1); print(len(@m)); zero(@m); print(@m); clear(@m); exit(0);
    }
    rawtracepoint:sys_enter /arg1 == 0/ { @ids[args.id] = count(); }
    tracepoint:syscalls:sys_enter_openat { @modes[args.mode] = count(); }"#;
    let ran = ran(script, &[]);
    let (out, said) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{said}");
    assert_eq!(said, "to the error stream 4\n");
    for part in
        ["1 two 3\n5\n", "(1, 1, 1, 0, 0, synscope, 1, 1)\n", ", BEGIN)\n", " text 0\nby 1.0.0.0 ::2 schedule\n"]
    {
        assert!(out.contains(part), "no {part:?} in:\n{out}");
    }
    assert!(out.contains("256 00:00:00:00:00:00 1 0x"), "{out}");
    assert!(out.contains("1\n1\n@m[2]: 0\n"), "{out}");
}

//! Kernels without types (BTF): `/sys/kernel/btf` is covered in a mount namespace of the tracer's own, which goes when the
//! tracer ends.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

use std::process::{Command, Output};

const OURS: &str = env!("CARGO_BIN_EXE_synscope");
const MISSING: &str =
    "the kernel's types cannot be read: /sys/kernel/btf/vmlinux: No such file or directory (os error 2)";
/// Its kernel's types are read from the third descriptor.
const COVERED: &str = "exec 3</sys/kernel/btf/vmlinux; mount -t tmpfs none /sys/kernel/btf";

/// Runs `synscope trace` where the folder of types is covered and then filled by these commands.
fn trace(fill: &str, words: &[&str]) -> (Option<i32>, String, String) {
    let script = format!("{COVERED}; {fill}\nexec 3<&-; exec timeout 60 {OURS} trace \"$@\"");
    let ran = Command::new("unshare").args(["--mount", "sh", "-ec", &script, "sh"]).args(words).output();
    let Output { status, stdout, stderr } = ran.unwrap();
    let [written, said] = [stdout, stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(!said.contains("panicked"), "{said}");
    (status.code(), written, said)
}

#[test]
fn what_needs_types_says_which_file_is_missing_and_what_has_it() {
    for (script, column) in [
        ("rawtracepoint:sched_switch { print(args.preempt); }", 1),
        ("rawtracepoint:sched_s* { @ = count(); }", 1),
        ("struct own { int x; } BEGIN { print(sizeof(struct own)); }", 1),
        ("BEGIN { print(((struct task_struct *)curtask)->pid); }", 17),
        ("BEGIN { print(curtask->pid); }", 15),
        ("BEGIN { print(sizeof(struct sock)); }", 22),
        ("BEGIN { @a = count(); if (@a > 0) { exit(); } }", 27),
    ] {
        let (code, written, said) = trace("", &["-e", script]);
        assert_eq!((code, written.as_str()), (Some(1), ""), "{script}: {said}");
        let first = format!("error[no-types]: {MISSING}\n --> stdin:1:{column}\n");
        assert!(said.starts_with(&first), "{script}: {said}");
        assert!(said.contains("note: a kernel that was built with `CONFIG_DEBUG_INFO_BTF=y` has this file"), "{said}");
        // Nothing else is wrong with them.
        assert_eq!(said.matches("error[").count(), 1, "{script}: {said}");
    }
    for words in [["--info"].as_slice(), &["-lv", "struct sock"], &["-l", "rawtracepoint:*"]] {
        let (code, written, said) = trace("", words);
        assert_eq!((code, written.as_str()), (Some(1), ""), "{words:?}: {said}");
        assert!(said.starts_with(&format!("error: {MISSING} (a kernel that was built with")), "{words:?}: {said}");
    }
}

#[test]
fn what_needs_no_types_runs_without() {
    let (code, written, said) = trace(
        "",
        &[
            "-e",
            "rawtracepoint:sys_enter { @raw = count(); } tracepoint:raw_syscalls:sys_enter /args.id >= 0/ { exit(); }",
        ],
    );
    assert_eq!((code, said.as_str()), (Some(0), ""), "{written}");
    let counted = written.lines().find_map(|line| line.strip_prefix("@raw: ")).and_then(|count| count.parse().ok());
    assert!(counted.is_some_and(|count: u64| count > 0), "{written}");
}

#[test]
fn damaged_types_are_refused_by_file() {
    for (fill, what) in [
        (": > /sys/kernel/btf/vmlinux", "it ends within the header"),
        ("head -c 23 <&3 > /sys/kernel/btf/vmlinux", "it ends within the header"),
        ("head -c 100000 <&3 > /sys/kernel/btf/vmlinux", "its types lie outside the file"),
        ("head -c -1 <&3 > /sys/kernel/btf/vmlinux", ""),
        ("head -c 100000 /dev/zero > /sys/kernel/btf/vmlinux", ""),
        ("head -c 24 <&3 > /sys/kernel/btf/vmlinux; head -c 16777216 /dev/urandom >> /sys/kernel/btf/vmlinux", ""),
    ] {
        let (code, written, said) = trace(fill, &["-e", "rawtracepoint:sched_switch { print(args.preempt); }"]);
        assert_eq!((code, written.as_str()), (Some(1), ""), "{fill}: {said}");
        let file = "error[no-types]: the kernel's types cannot be read: /sys/kernel/btf/vmlinux holds no sound types: ";
        assert!(said.starts_with(file) && said.contains(what), "{fill}: {said}");
        assert!(said.contains("`findmnt -R /sys/kernel/btf` shows what is mounted over it"), "{said}");
    }
}

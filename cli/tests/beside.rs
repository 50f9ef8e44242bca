//! Scripts under bpftrace 0.23 and under ours, on this machine: see [`side_by_side`].
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod side_by_side;
mod traced;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::process::Command;

use side_by_side::{all_are_alike, same};
use traced::OURS;

#[test]
#[ignore = "needs bpftrace 0.23: SYNSCOPE_BPFTRACE names a command that runs it"]
fn bpftrace_and_ours_write_the_same() {
    all_are_alike("beside", 200);
}

/// What a command with these options writes.
fn written(command: &OsStr, options: &[&str]) -> String {
    let ran = Command::new(command).args(options).output().unwrap();
    assert!(ran.status.success(), "{options:?}: {}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap()
}

#[test]
#[ignore = "needs bpftrace 0.23: SYNSCOPE_BPFTRACE names a command that runs it"]
fn events_are_listed_alike() {
    let bpftrace = std::env::var_os("SYNSCOPE_BPFTRACE").expect("SYNSCOPE_BPFTRACE");
    for pattern in ["software:*", "hardware:*", "software:c*", "hardware:*-misses", "s:*", "h:cycles"] {
        let ours = written(OURS.as_ref(), &["trace", "-l", pattern]);
        assert_eq!(ours, written(&bpftrace, &["-l", pattern]), "{pattern}");
    }
}

/// Of what both know, they know the same about this kernel; but bpftrace has kprobes where programs for them load, also
/// where the kernel has no way to attach any.
#[test]
#[ignore = "needs bpftrace 0.23: SYNSCOPE_BPFTRACE names a command that runs it"]
fn what_the_kernel_has_is_told_alike() {
    let bpftrace = std::env::var_os("SYNSCOPE_BPFTRACE").expect("SYNSCOPE_BPFTRACE");
    let features = |text: &str| -> BTreeMap<String, String> {
        let words = text.lines().flat_map(|line| line.split("  ").map(str::trim).filter(|word| !word.is_empty()));
        let feature = |word: &str| word.split_once(": ").map(|(name, has)| (name.to_owned(), has.to_owned()));
        words.filter_map(feature).filter(|(_, has)| has == "yes" || has == "no").collect()
    };
    let ours = features(&written(OURS.as_ref(), &["trace", "--info"]));
    let theirs = features(&written(&bpftrace, &["--info"]));
    let both: Vec<_> = ours.iter().filter(|(name, _)| theirs.contains_key(*name) && *name != "kprobe").collect();
    assert!(both.len() >= 15, "{ours:?}\n{theirs:?}");
    for (name, has) in both {
        assert_eq!(has, &theirs[name], "{name}");
    }
}

/// What is compared near and by shape is compared at all.
#[test]
fn comparisons_find_differences() {
    assert!(same("near", "a: 100\nb: 5", "a: 110\nb: 5") && !same("near", "a: 100", "a: 200"));
    assert!(!same("near", "a: 1", "b: 1") && !same("near", "a: 1", "a: 1 2"));
    assert!(same("shape", "a: 1", "a: 99") && !same("shape", "a: 1", "a: -"));
    assert!(same("lines", "a\nb\n", "b\na\n") && !same("lines", "a\na\n", "a\n") && !same("exact", "a\nb", "b\na"));
}

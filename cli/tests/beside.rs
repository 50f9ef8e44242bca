//! Scripts under bpftrace 0.23 and under ours, on this machine: see [`side_by_side`].
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod side_by_side;
mod traced;

use side_by_side::{all_are_alike, same};

#[test]
#[ignore = "needs bpftrace 0.23: SYNSCOPE_BPFTRACE names a command that runs it"]
fn bpftrace_and_ours_write_the_same() {
    all_are_alike("beside", 200);
}

/// What is compared near and by shape is compared at all.
#[test]
fn comparisons_find_differences() {
    assert!(same("near", "a: 100\nb: 5", "a: 110\nb: 5") && !same("near", "a: 100", "a: 200"));
    assert!(!same("near", "a: 1", "b: 1") && !same("near", "a: 1", "a: 1 2"));
    assert!(same("shape", "a: 1", "a: 99") && !same("shape", "a: 1", "a: -"));
    assert!(same("lines", "a\nb\n", "b\na\n") && !same("lines", "a\na\n", "a\n") && !same("exact", "a\nb", "b\na"));
}

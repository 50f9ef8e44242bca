//! Scripts at functions of the kernel under bpftrace 0.23 and under ours: see [`side_by_side`]. They need kprobes, so they
//! run in a guest.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod side_by_side;
mod traced;

#[test]
#[ignore = "probes functions of the kernel: run in a guest"]
fn bpftrace_and_ours_write_the_same_at_functions() {
    side_by_side::all_are_alike_at_once("beside/functions", 7);
}

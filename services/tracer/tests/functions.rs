//! Probes at functions of the kernel, hit by what this test does. They need kprobes or fentry, so they run in a guest:
//! `cargo xtask vm --kernel 6.1 -- <this program> --ignored --test-threads=1`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod traced;

use std::process::Command;

use traced::{ours, traced};

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

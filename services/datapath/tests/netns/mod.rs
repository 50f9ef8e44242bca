//! Network namespaces for tests: made, used from threads of their own, and removed also when the test fails.

use std::fs::File;
use std::process::Command;
use std::thread;

use nix::sched::{CloneFlags, setns};

pub(crate) fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().expect("`ip` of iproute2");
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Runs in a namespace, on a thread that ends with it: a thread that changed its namespace is never given back.
pub(crate) fn within<T: Send>(netns: &str, work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let run = scope.spawn(|| {
            let handle = File::open(format!("/run/netns/{netns}")).expect("namespace");
            setns(handle, CloneFlags::CLONE_NEWNET).expect("setns");
            work()
        });
        run.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// `client` (10.9.0.1, `fd09::1`), veth `c`, `wire`, veth `s`, `server` (10.9.0.2, `fd09::2`): all in one subnet.
///
/// The wire's interfaces are not joined by anything: who wants traffic through it attaches a redirect, or calls
/// [`Line::bridge`].
pub(crate) struct Line {
    pub(crate) client: String,
    pub(crate) wire: String,
    pub(crate) server: String,
}

impl Line {
    pub(crate) fn new(name: &str) -> Self {
        let named = |role: &str| format!("syn-t-{name}-{}-{role}", std::process::id());
        let line = Self { client: named("c"), wire: named("w"), server: named("s") };
        for netns in [&line.client, &line.wire, &line.server] {
            ip(&format!("netns add {netns}"));
            ip(&format!("-n {netns} link set lo up"));
        }
        for (netns, end, host) in [(&line.client, "c", 1), (&line.server, "s", 2)] {
            ip(&format!("-n {} link add {end} type veth peer name eth0 netns {netns}", line.wire));
            ip(&format!("-n {} link set {end} up", line.wire));
            ip(&format!("-n {netns} addr add 10.9.0.{host}/24 dev eth0"));
            ip(&format!("-n {netns} addr add fd09::{host}/64 dev eth0 nodad"));
            ip(&format!("-n {netns} link set eth0 up"));
        }
        line
    }

    /// Joins the wire's two ends, by a bridge that says nothing itself: one that snoops multicast joins a group, and its
    /// IGMP report is one more entry in a table.
    pub(crate) fn bridge(&self) {
        ip(&format!("-n {} link add name bridge type bridge forward_delay 0 mcast_snooping 0", self.wire));
        for end in ["c", "s"] {
            ip(&format!("-n {} link set {end} master bridge", self.wire));
        }
        ip(&format!("-n {} link set bridge up", self.wire));
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        for netns in [&self.client, &self.wire, &self.server] {
            let removed = Command::new("ip").args(["netns", "del", netns]).status();
            if !removed.is_ok_and(|status| status.success()) {
                eprintln!("namespace {netns} is left behind");
            }
        }
    }
}

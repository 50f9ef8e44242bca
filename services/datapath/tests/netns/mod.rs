//! Network namespaces for tests: made, used from threads of their own, and removed also when the test fails.

use std::fs::File;
use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;

use nix::sched::{CloneFlags, setns};

/// Runs `ip` with commands, a line each, in a namespace.
pub(crate) fn ip(netns: &str, commands: &str) {
    if let Err(why) = run(&["-n", netns], commands) {
        panic!("ip -n {netns}: {why}\n{commands}");
    }
}

/// All by one process: an emulated machine takes a third of a second to start one. Those after one that fails are run too.
fn run(options: &[&str], commands: &str) -> Result<(), String> {
    let mut ip = Command::new("ip");
    ip.args(options).args(["-force", "-batch", "-"]);
    ip.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut ip = ip.spawn().map_err(|error| error.to_string())?;
    let written = ip.stdin.take().map(|mut input| input.write_all(commands.as_bytes()));
    let output = ip.wait_with_output().map_err(|error| error.to_string())?;
    if output.status.success() && written.is_some_and(|written| written.is_ok()) {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
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
        let Self { client, wire, server } = &line;
        run(&[], &format!("netns add {client}\n netns add {wire}\n netns add {server}\n")).expect("namespaces");
        ip(
            wire,
            &format!(
                "link set lo up
                link add c type veth peer name eth0 netns {client}
                link set c up
                link add s type veth peer name eth0 netns {server}
                link set s up"
            ),
        );
        for (netns, host) in [(client, 1), (server, 2)] {
            ip(
                netns,
                &format!(
                    "link set lo up
                    addr add 10.9.0.{host}/24 dev eth0
                    addr add fd09::{host}/64 dev eth0 nodad
                    link set eth0 up"
                ),
            );
        }
        line
    }

    /// Joins the wire's two ends, by a bridge that says nothing itself: one that snoops multicast joins a group, and its
    /// IGMP report is one more entry in a table.
    pub(crate) fn bridge(&self) {
        ip(
            &self.wire,
            "link add name bridge type bridge forward_delay 0 mcast_snooping 0
            link set c master bridge
            link set s master bridge
            link set bridge up",
        );
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let Self { client, wire, server } = self;
        if let Err(why) = run(&[], &format!("netns del {client}\n netns del {wire}\n netns del {server}\n")) {
            eprintln!("namespaces are left behind: {why}");
        }
    }
}

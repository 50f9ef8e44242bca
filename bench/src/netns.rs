//! Two network namespaces and the cable between them; removed when dropped.

use std::fs::File;
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use nix::sched::{CloneFlags, setns};

/// Address of the server's end.
pub(crate) const SERVER: &str = "10.9.0.2";

/// A client and a server, each with an `eth0`.
pub(crate) struct Pair {
    client: String,
    server: String,
}

impl Pair {
    /// Makes both, and the cable.
    pub(crate) fn new() -> Result<Self> {
        let named = |role: &str| format!("syn-t-bench-{}-{role}", std::process::id());
        let pair = Self { client: named("c"), server: named("s") };
        let Self { client, server } = &pair;
        for netns in [client, server] {
            ip(&format!("netns add {netns}"))?;
        }
        ip(&format!("-n {client} link add eth0 type veth peer name eth0 netns {server}"))?;
        for (netns, address) in [(client, "10.9.0.1"), (server, SERVER)] {
            ip(&format!("-n {netns} addr add {address}/24 dev eth0"))?;
            ip(&format!("-n {netns} link set eth0 up"))?;
        }
        Ok(pair)
    }

    /// Runs on a thread of the client's.
    pub(crate) fn in_client<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        within(&self.client, work)
    }

    /// Runs on a thread of the server's.
    pub(crate) fn in_server<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        within(&self.server, work)
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for netns in [&self.client, &self.server] {
            if let Err(error) = ip(&format!("netns del {netns}")) {
                eprintln!("namespace {netns} is left behind: {error:#}");
            }
        }
    }
}

/// A thread that changed its namespace is never given back: it ends with its work.
fn within<T: Send>(netns: &str, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        let run = scope.spawn(|| {
            let handle = File::open(format!("/run/netns/{netns}")).with_context(|| netns.to_owned())?;
            setns(handle, CloneFlags::CLONE_NEWNET).with_context(|| netns.to_owned())?;
            work()
        });
        run.join().map_err(|_panic| anyhow!("a thread in {netns} panicked"))?
    })
}

fn ip(arguments: &str) -> Result<()> {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().context("cannot run ip")?;
    ensure!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

//! Two nodes with two pods each, and the cables between them, as network namespaces:
//!
//! ```text
//! order ──pod-order┐                                     ┌pod-inv──(cable)── inventory
//!                   node a ──eth0── (wire) ──eth0── node b
//! batch ──pod-batch┘                                     └pod-sink── sink
//! ```
//!
//! `wire` and `cable` are namespaces that no agent watches; [`crate::wire`] carries the frames through them.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, ensure};
use nix::sched::{CloneFlags, setns};

/// Of namespaces and pins; the process's number comes next. `cargo xtask` removes those of runs that were killed.
const PREFIX: &str = "syn-lab-";

/// Address of a pod, the port its service listens on, and its name.
pub(crate) const ORDER: &str = "10.1.1.2";
pub(crate) const BATCH: &str = "10.1.2.2";
pub(crate) const INVENTORY: &str = "10.2.1.2";
pub(crate) const SINK: &str = "10.2.2.2";

/// A namespace; removed when dropped.
#[derive(Debug)]
pub(crate) struct Netns {
    name: String,
}

impl Netns {
    fn new(role: &str) -> Result<Self> {
        let name = format!("{PREFIX}{}-{role}", std::process::id());
        ip(&format!("netns add {name}"))?;
        let netns = Self { name };
        netns.ip("link set lo up")?;
        Ok(netns)
    }

    /// The file that stands for it.
    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }

    /// Runs `ip` inside.
    pub(crate) fn ip(&self, arguments: &str) -> Result<()> {
        ip(&format!("-n {} {arguments}", self.name))
    }

    /// Starts a thread inside; it ends with the namespace's work.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<JoinHandle<Result<T>>> {
        let (path, name) = (self.path(), self.name.clone());
        let run = move || {
            let file = File::open(&path).with_context(|| path.display().to_string())?;
            setns(file, CloneFlags::CLONE_NEWNET).with_context(|| path.display().to_string())?;
            work()
        };
        thread::Builder::new().name(name).spawn(run).context("cannot start a thread")
    }

    /// Writes a sysctl of this namespace.
    pub(crate) fn sysctl(&self, name: &str, value: &str) -> Result<()> {
        let (path, value) = (format!("/proc/sys/{}", name.replace('.', "/")), value.to_owned());
        let write = move || fs::write(&path, value).with_context(|| path.clone());
        self.spawn(write)?.join().map_err(|_panic| anyhow::anyhow!("writing {name} panicked"))?
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        if let Err(error) = ip(&format!("netns del {}", self.name)) {
            eprintln!("namespace {} is left behind: {error:#}", self.name);
        }
    }
}

/// All namespaces of one run.
#[derive(Debug)]
pub(crate) struct Topology {
    pub(crate) node_a: Netns,
    pub(crate) node_b: Netns,
    pub(crate) wire: Netns,
    pub(crate) cable: Netns,
    pub(crate) order: Netns,
    pub(crate) batch: Netns,
    pub(crate) inventory: Netns,
    pub(crate) sink: Netns,
}

impl Topology {
    /// Makes them all.
    pub(crate) fn new() -> Result<Self> {
        let topology = Self {
            node_a: Netns::new("a")?,
            node_b: Netns::new("b")?,
            wire: Netns::new("wire")?,
            cable: Netns::new("cable")?,
            order: Netns::new("order")?,
            batch: Netns::new("batch")?,
            inventory: Netns::new("inventory")?,
            sink: Netns::new("sink")?,
        };
        let Self { node_a, node_b, wire, cable, order, batch, inventory, sink } = &topology;
        uplink(node_a, wire, "left", "10.0.0.1/24", "10.2.0.0/16 via 10.0.0.2")?;
        uplink(node_b, wire, "right", "10.0.0.2/24", "10.1.0.0/16 via 10.0.0.1")?;
        pod(node_a, order, "pod-order", ORDER)?;
        pod(node_a, batch, "pod-batch", BATCH)?;
        pod(node_b, sink, "pod-sink", SINK)?;
        cabled_pod(node_b, cable, inventory, "pod-inv", INVENTORY)?;
        // Steps of 1, 3, 7 s, as kernels before 6.5 have them and the article saw them.
        for client in [order, batch] {
            client.sysctl("net.ipv4.tcp_syn_linear_timeouts", "0")?;
        }
        Ok(topology)
    }
}

fn uplink(node: &Netns, wire: &Netns, end: &str, address: &str, route: &str) -> Result<()> {
    wire.ip(&format!("link add {end} type veth peer name eth0 netns {}", node.name))?;
    wire.ip(&format!("link set {end} up"))?;
    node.ip(&format!("addr add {address} dev eth0"))?;
    node.ip("link set eth0 up")?;
    node.ip(&format!("route add {route}"))?;
    node.sysctl("net.ipv4.ip_forward", "1")
}

fn pod(node: &Netns, pod: &Netns, interface: &str, address: &str) -> Result<()> {
    node.ip(&format!("link add {interface} type veth peer name eth0 netns {}", pod.name))?;
    addresses(node, pod, interface, address)
}

/// A pod whose veth pair is cut in two, with `cable` between.
fn cabled_pod(node: &Netns, cable: &Netns, pod: &Netns, interface: &str, address: &str) -> Result<()> {
    cable.ip(&format!("link add left type veth peer name {interface} netns {}", node.name))?;
    cable.ip(&format!("link add right type veth peer name eth0 netns {}", pod.name))?;
    cable.ip("link set left up")?;
    cable.ip("link set right up")?;
    addresses(node, pod, interface, address)
}

fn addresses(node: &Netns, pod: &Netns, interface: &str, address: &str) -> Result<()> {
    let (net, _host) = address.rsplit_once('.').context("an IPv4 address")?;
    node.ip(&format!("addr add {net}.1/24 dev {interface}"))?;
    node.ip(&format!("link set {interface} up"))?;
    pod.ip(&format!("addr add {address}/24 dev eth0"))?;
    pod.ip("link set eth0 up")?;
    pod.ip(&format!("route add default via {net}.1"))
}

/// Where the agent of a node pins.
pub(crate) fn pins(node: &str) -> PathBuf {
    PathBuf::from(format!("/sys/fs/bpf/{PREFIX}{}-{node}", std::process::id()))
}

fn ip(arguments: &str) -> Result<()> {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().context("`ip` of iproute2")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ip {arguments}: {}", said.trim());
    Ok(())
}

//! The sources that each network namespace has for itself.
//!
//! Cost: a short thread per watched namespace and reading, because a namespace is a thread's property.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::thread;

use nix::net::if_::if_nameindex;
use synscope_bus::message::signal::{NfConntrack, TcpCounters};

use super::{nf_conntrack, tcp};
use crate::agent;

/// Namespaces that are read at most, the node's own first.
const NETNS_MAX: usize = 1024;

/// What one network namespace said.
#[derive(Debug, Clone)]
pub struct Reading {
    /// Its inode.
    pub netns: u64,
    /// Its interfaces by index.
    pub interfaces: BTreeMap<u32, String>,
    /// Connection tracking; none without the module.
    pub nf_conntrack: Result<Option<NfConntrack>, String>,
    /// TCP.
    pub tcp: Result<Option<TcpCounters>, String>,
}

/// Reads this thread's namespace and those that match the patterns. One that vanishes meanwhile is left out.
pub fn read_all(patterns: &[String]) -> Vec<Reading> {
    let mut readings: Vec<Reading> = read_here().into_iter().collect();
    for path in files(patterns).into_iter().take(NETNS_MAX) {
        match read_in(&path) {
            Ok(reading) if readings.iter().all(|known| known.netns != reading.netns) => readings.push(reading),
            Ok(_known) => {}
            Err(error) => tracing::debug!(netns = %path.display(), error, "not read"),
        }
    }
    readings
}

fn files(patterns: &[String]) -> Vec<PathBuf> {
    let matching = patterns.iter().filter_map(|pattern| glob::glob(pattern).ok());
    matching.flatten().filter_map(Result::ok).collect()
}

fn read_in(path: &Path) -> Result<Reading, String> {
    thread::scope(|scope| {
        let reading = scope.spawn(|| {
            agent::enter(path).map_err(|error| format!("{error:#}"))?;
            read_here().ok_or_else(|| "its inode cannot be read".to_owned())
        });
        reading.join().unwrap_or_else(|_panic| Err("reading panicked".to_owned()))
    })
}

fn read_here() -> Option<Reading> {
    use std::os::unix::fs::MetadataExt;
    let netns = std::fs::metadata("/proc/thread-self/ns/net").ok()?.ino();
    let mut interfaces = BTreeMap::new();
    if let Ok(named) = if_nameindex() {
        for interface in &named {
            interfaces.insert(interface.index(), interface.name().to_string_lossy().into_owned());
        }
    }
    Some(Reading { netns, interfaces, nf_conntrack: nf_conntrack::read(netns), tcp: tcp::read(netns).map(Some) })
}

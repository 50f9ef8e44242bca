//! The sources that each network namespace has for itself.
//!
//! Reads: the files of [`nf_conntrack`] and [`tcp`], and the interfaces' names. Cost: a short thread per namespace, some
//! 70 µs, because a namespace is a thread's property. Kernels: all. Not observed: a namespace that cannot be entered or has
//! vanished is left out, with the reason.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::{fs, thread};

use nix::net::if_::if_nameindex;
use synscope_bus::message::signal::{NfConntrack, TcpCounters};

use super::{nf_conntrack, tcp};
use crate::agent;

/// Namespaces that are read at most, beside the node's own.
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

/// The thread's own namespace and those that are watched.
#[derive(Debug, Default)]
pub struct Namespaces {
    patterns: Vec<String>,
    /// Those that could not be read the last time, and why.
    unread: BTreeMap<PathBuf, String>,
    /// How many there are beyond those that are read.
    beyond: usize,
}

impl Namespaces {
    /// `watched` are patterns of files that stand for namespaces, such as `/run/netns/pod-*`.
    pub fn new(watched: Vec<String>) -> Self {
        Self { patterns: watched, ..Self::default() }
    }

    /// Reads this thread's namespace and those that match the patterns now, each once; one that cannot be read is left
    /// out. An error is this thread's own namespace.
    pub fn read(&mut self) -> Result<Vec<Reading>, String> {
        let mut readings = vec![read_here()?];
        let mut known = BTreeSet::from([readings[0].netns]);
        let paths = self.paths();
        self.unread.clear();
        for path in paths {
            match read_in(&path) {
                Ok(reading) if known.insert(reading.netns) => readings.push(reading),
                Ok(_known) => {}
                Err(why) => drop(self.unread.insert(path, why)),
            }
        }
        Ok(readings)
    }

    /// Which of the watched namespaces the latest reading does not tell of, and why.
    pub fn left_out(&self) -> Option<String> {
        let first = self.unread.iter().next();
        let unread = first.map(|(path, why)| format!("{}, first {}: {why}", self.unread.len(), path.display()));
        let beyond = (self.beyond > 0).then(|| format!("{} beyond the first {NETNS_MAX}", self.beyond));
        match (unread, beyond) {
            (Some(unread), Some(beyond)) => Some(format!("{unread}; {beyond}")),
            (unread, beyond) => unread.or(beyond),
        }
    }

    fn paths(&mut self) -> BTreeSet<PathBuf> {
        let matching = self.patterns.iter().filter_map(|pattern| glob::glob(pattern).ok());
        let mut paths: BTreeSet<PathBuf> = matching.flatten().filter_map(Result::ok).collect();
        self.beyond = paths.len().saturating_sub(NETNS_MAX);
        if let Some(first_left_out) = paths.iter().nth(NETNS_MAX).cloned() {
            paths.split_off(&first_left_out);
        }
        paths
    }
}

fn read_in(path: &Path) -> Result<Reading, String> {
    thread::scope(|scope| {
        let entered = || {
            agent::enter(path).map_err(|error| format!("{error:#}"))?;
            read_here()
        };
        let reading = thread::Builder::new()
            .name("netns".to_owned())
            .spawn_scoped(scope, entered)
            .map_err(|error| format!("a thread cannot be started: {error}"))?;
        reading.join().unwrap_or_else(|_panic| Err("reading panicked".to_owned()))
    })
}

fn read_here() -> Result<Reading, String> {
    const NETNS: &str = "/proc/thread-self/ns/net";
    let netns = fs::metadata(NETNS).map_err(|error| format!("{NETNS}: {error}"))?.ino();
    let mut interfaces = BTreeMap::new();
    if let Ok(named) = if_nameindex() {
        for interface in &named {
            interfaces.insert(interface.index(), interface.name().to_string_lossy().into_owned());
        }
    }
    Ok(Reading { netns, interfaces, nf_conntrack: nf_conntrack::read(netns), tcp: tcp::read(netns).map(Some) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_told_until_it_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let no_netns = folder.path().join("syn-t-none");
        fs::write(&no_netns, "").unwrap();
        let mut namespaces = Namespaces::new(vec![format!("{}/*", folder.path().display())]);
        for _again in 0..2 {
            assert_eq!(namespaces.read().unwrap().len(), 1, "our own");
            let told = namespaces.left_out().unwrap();
            assert!(told.starts_with(&format!("1, first {}: ", no_netns.display())), "{told}");
        }
        fs::remove_file(&no_netns).unwrap();
        namespaces.read().unwrap();
        assert_eq!(namespaces.left_out(), None);
    }

    #[test]
    fn a_namespace_of_several_names_is_read_once() {
        let own = "/proc/self/task/*/ns/net".to_owned();
        assert_eq!(Namespaces::new(vec![own, "/proc/self/ns/net".to_owned()]).read().unwrap().len(), 1);
    }

    #[test]
    fn more_than_are_read_are_left_out_and_counted() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..NETNS_MAX + 3 {
            fs::write(folder.path().join(format!("{number:05}")), "").unwrap();
        }
        let mut namespaces = Namespaces::new(vec![format!("{}/*", folder.path().display())]);
        assert_eq!(namespaces.paths().len(), NETNS_MAX);
        assert_eq!(namespaces.left_out().unwrap(), format!("3 beyond the first {NETNS_MAX}"));
    }
}

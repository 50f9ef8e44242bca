//! What the node says about itself beside its packets: one file per source, all alike.
//!
//! A source that cannot be read is *not observed*, with the reason, and never zero. The costs in
//! these files are rough: read on a busy virtual machine of two cores.

pub mod drops;
pub mod maps;
pub mod netns;
pub mod nf_conntrack;
pub mod pressure;
pub mod report;
pub mod softnet;
pub mod tcp;

use std::fs;

use synscope_bus::message::signal::{MapFill, NodeSignals, Observed};
use synscope_bus::reasons::reasons;

use drops::Counting;
use maps::Maps;
use netns::{Namespaces, Reading};

/// Reads all sources, from a thread that is in the node's network namespace.
#[derive(Debug)]
pub struct Sampler {
    namespaces: Namespaces,
    maps: Maps,
    drops: Result<Counting, String>,
}

impl Sampler {
    /// `watched` are patterns of files that stand for further network namespaces of this node.
    pub fn new(watched: Vec<String>) -> Self {
        let drops = Counting::start().map_err(|error| reasons(&error));
        Self { namespaces: Namespaces::new(watched), maps: Maps::default(), drops }
    }

    /// All that can be read now; `own` are the agent's own tables, which it counts itself.
    pub fn sample(&mut self, own: Vec<MapFill>) -> NodeSignals {
        let namespaces = self.namespaces.read();
        let drops = match (&mut self.drops, &namespaces) {
            (Ok(counting), Ok(namespaces)) => counting.read(namespaces).map_err(|error| reasons(&error)),
            (Err(why), _) => Err(why.clone()),
            (_, Err(why)) => Err(why.clone()),
        };
        NodeSignals {
            maps: observed(self.maps.sample(own).map_err(|error| reasons(&error))),
            nf_conntrack: observed(each(&namespaces, |reading| &reading.nf_conntrack)),
            tcp: observed(each(&namespaces, |reading| &reading.tcp)),
            drops: observed(drops),
            softnet: observed(softnet::read()),
            pressure: observed(pressure::read()),
            ..NodeSignals::default()
        }
    }

    /// Which maps the latest sample does not tell of, and why.
    pub fn maps_left_out(&self) -> Option<&str> {
        self.maps.left_out()
    }
}

/// One source of all namespaces; not observed when it could be read in none of them.
fn each<T: Clone>(
    namespaces: &Result<Vec<Reading>, String>,
    source: impl Fn(&Reading) -> &Result<Option<T>, String>,
) -> Result<Vec<T>, String> {
    let namespaces = namespaces.as_ref().map_err(Clone::clone)?;
    let read = || namespaces.iter().filter_map(|reading| source(reading).as_ref().ok());
    let why = namespaces.iter().find_map(|reading| source(reading).as_ref().err());
    match why {
        Some(why) if read().next().is_none() => Err(why.clone()),
        _ => Ok(read().flatten().cloned().collect()),
    }
}

fn observed<T>(read: Result<T, String>) -> Observed<T> {
    match read {
        Ok(value) => Observed::Observed { value },
        Err(reason) => Observed::NotObserved { reason },
    }
}

/// A file's text, or why there is none.
fn text(path: &str) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))
}

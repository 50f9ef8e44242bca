//! What the node says about itself beside its packets: one file per source, all alike.
//!
//! A source that cannot be read is *not observed*, with the reason, and never zero.

pub mod drops;
pub mod maps;
pub mod netns;
pub mod nf_conntrack;
pub mod pressure;
pub mod softnet;
pub mod tcp;

use std::fs;
use std::io;

use synscope_bus::message::signal::{MapFill, NodeSignals, Observed};

use crate::interfaces::reasons;
use drops::Counting;
use maps::Maps;
use netns::Reading;

/// Reads all sources, from a thread that is in the node's network namespace.
#[derive(Debug)]
pub struct Sampler {
    watched: Vec<String>,
    maps: Maps,
    drops: Result<Counting, String>,
}

impl Sampler {
    /// `watched` are patterns of files that stand for further network namespaces of this node.
    pub fn new(watched: Vec<String>) -> Self {
        let drops = Counting::start().map_err(|error| reasons(&error));
        if let Err(why) = &drops {
            tracing::warn!(why, "dropped packets are not observed");
        }
        Self { watched, maps: Maps::default(), drops }
    }

    /// All that can be read now; `own` are the agent's own tables, which it counts itself.
    pub fn sample(&mut self, own: Vec<MapFill>) -> NodeSignals {
        let namespaces = netns::read_all(&self.watched);
        NodeSignals {
            maps: observed(self.maps.sample(own).map_err(|error| reasons(&error))),
            nf_conntrack: each(&namespaces, |reading| &reading.nf_conntrack),
            tcp: each(&namespaces, |reading| &reading.tcp),
            drops: observed(
                self.drops
                    .as_ref()
                    .map_err(Clone::clone)
                    .and_then(|counting| counting.read(&namespaces).map_err(|error| reasons(&error))),
            ),
            softnet: observed(softnet::read()),
            pressure: observed(pressure::read()),
            ..NodeSignals::default()
        }
    }
}

/// One source of all namespaces; not observed when it could be read in none of them.
fn each<T: Clone>(namespaces: &[Reading], source: impl Fn(&Reading) -> &Result<Option<T>, String>) -> Observed<Vec<T>> {
    let (mut values, mut observed) = (Vec::new(), false);
    let mut reason = "no network namespace could be read".to_owned();
    for reading in namespaces {
        match source(reading) {
            Ok(value) => {
                observed = true;
                values.extend(value.clone());
            }
            Err(error) => reason.clone_from(error),
        }
    }
    if observed { Observed::Observed { value: values } } else { Observed::NotObserved { reason } }
}

fn observed<T>(read: Result<T, String>) -> Observed<T> {
    match read {
        Ok(value) => Observed::Observed { value },
        Err(reason) => Observed::NotObserved { reason },
    }
}

/// A file's text, or why there is none.
fn text(path: &str) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error: io::Error| format!("{path}: {error}"))
}

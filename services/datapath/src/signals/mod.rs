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
    left_out: [(&'static str, Option<String>); 4],
}

impl Sampler {
    /// `watched` are patterns of files that stand for further network namespaces of this node.
    pub fn new(watched: Vec<String>) -> Self {
        let drops = Counting::start().map_err(|error| reasons(&error));
        Self { namespaces: Namespaces::new(watched), maps: Maps::default(), drops, left_out: Default::default() }
    }

    /// All that can be read now; `own` are the agent's own tables, which it counts itself.
    pub fn sample(&mut self, own: Vec<MapFill>) -> NodeSignals {
        let namespaces = self.namespaces.read();
        let drops = match (&mut self.drops, &namespaces) {
            (Ok(counting), Ok(namespaces)) => counting.read(namespaces).map_err(|error| reasons(&error)),
            (Err(why), _) => Err(why.clone()),
            (_, Err(why)) => Err(why.clone()),
        };
        let (nf_conntrack, nf_conntrack_left_out) = each(&namespaces, |reading| &reading.nf_conntrack);
        let (tcp, tcp_left_out) = each(&namespaces, |reading| &reading.tcp);
        let maps = observed(self.maps.sample(own).map_err(|error| reasons(&error)));
        self.left_out = [
            ("maps", self.maps.left_out().map(str::to_owned)),
            ("network namespaces", self.namespaces.left_out()),
            ("nf_conntrack", nf_conntrack_left_out),
            ("tcp", tcp_left_out),
        ];
        NodeSignals {
            maps,
            nf_conntrack,
            tcp,
            drops: observed(drops),
            softnet: observed(softnet::read()),
            pressure: observed(pressure::read()),
            ..NodeSignals::default()
        }
    }

    /// What the latest sample does not tell of, beside what it tells: of which source, and why.
    pub fn left_out(&self) -> impl Iterator<Item = (&'static str, Option<&str>)> {
        self.left_out.iter().map(|(source, why)| (*source, why.as_deref()))
    }
}

/// One source of all namespaces, and why it is left out of some; not observed when it could be read in none.
fn each<T: Clone>(
    namespaces: &Result<Vec<Reading>, String>,
    source: impl Fn(&Reading) -> &Result<Option<T>, String>,
) -> (Observed<Vec<T>>, Option<String>) {
    let namespaces = match namespaces {
        Ok(namespaces) => namespaces,
        Err(why) => return (observed(Err(why.clone())), None),
    };
    let (mut values, mut failures) = (Vec::new(), Vec::new());
    for reading in namespaces {
        match source(reading) {
            Ok(value) => values.extend(value.clone()),
            Err(why) => failures.push((reading.netns, why)),
        }
    }
    match failures.first() {
        Some((_, why)) if failures.len() == namespaces.len() => (observed(Err((*why).clone())), None),
        Some((netns, why)) => {
            let (failed, all) = (failures.len(), namespaces.len());
            let left_out = format!("{failed} of {all} network namespaces, first that with inode {netns}: {why}");
            (observed(Ok(values)), Some(left_out))
        }
        None => (observed(Ok(values)), None),
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use synscope_bus::message::signal::TcpCounters;

    use super::*;

    fn reading(netns: u64, tcp: Result<u64, &str>) -> Reading {
        let tcp = tcp.map(|netns| Some(TcpCounters { netns, ..TcpCounters::default() })).map_err(str::to_owned);
        Reading { netns, interfaces: BTreeMap::new(), nf_conntrack: Ok(None), tcp }
    }

    #[test]
    fn a_source_read_in_some_namespaces_tells_of_those_and_names_the_others() {
        let told = |readings: &[Reading]| each(&Ok(readings.to_vec()), |reading| &reading.tcp);
        let (read, unread, other) = (reading(1, Ok(1)), reading(2, Err("no such file")), reading(3, Err("denied")));

        let (value, left_out) = told(&[read.clone(), unread.clone(), other]);
        assert_eq!(value.value().unwrap().iter().map(|tcp| tcp.netns).collect::<Vec<_>>(), [1]);
        let expected = "2 of 3 network namespaces, first that with inode 2: no such file";
        assert_eq!(left_out.unwrap(), expected);

        assert_eq!(told(&[read]).1, None);
        assert_eq!(told(&[unread]), (Observed::NotObserved { reason: "no such file".into() }, None));
    }
}

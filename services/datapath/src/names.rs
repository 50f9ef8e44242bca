//! Which address is which workload, and which of them live on this node.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use synscope_bus::document::Endpoints;
use synscope_bus::message::flow::Vantage;

/// Names of all nodes' workloads. Cheap to share: whoever reads holds one version of it.
#[derive(Debug, Default)]
pub struct Names {
    workloads: HashMap<IpAddr, (Arc<str>, bool)>,
}

impl Names {
    /// The workload at an address.
    pub fn workload(&self, address: IpAddr) -> Option<&Arc<str>> {
        self.workloads.get(&address).map(|(name, _)| name)
    }

    /// The workload, or the address where it has no name.
    pub fn label(&self, address: IpAddr) -> String {
        self.workload(address).map_or_else(|| address.to_string(), std::string::ToString::to_string)
    }

    /// From where this node sees a connection. Both ends here: the client's side, which sees all of it.
    pub fn vantage(&self, client: IpAddr, server: IpAddr) -> Vantage {
        let local = |address| self.workloads.get(&address).is_some_and(|(_, local)| *local);
        if local(client) {
            Vantage::Client
        } else if local(server) {
            Vantage::Server
        } else {
            Vantage::Transit
        }
    }
}

/// Puts names together from what this node knows and what the others told.
#[derive(Debug)]
pub struct Directory {
    node: String,
    nodes: BTreeMap<String, Endpoints>,
}

impl Directory {
    /// Only this node's own.
    pub fn new(node: &str, own: Endpoints) -> Self {
        Self { node: node.to_owned(), nodes: BTreeMap::from([(node.to_owned(), own)]) }
    }

    /// Another node's; none when it is gone. What others say about this node is ignored: it knows better. Tells whether
    /// that is news.
    pub fn set(&mut self, node: &str, endpoints: Option<Endpoints>) -> bool {
        if node == self.node || self.nodes.get(node) == endpoints.as_ref() {
            return false;
        }
        match endpoints {
            Some(endpoints) => drop(self.nodes.insert(node.to_owned(), endpoints)),
            None => drop(self.nodes.remove(node)),
        }
        true
    }

    /// All names. Where two nodes claim an address, this node's claim wins.
    pub fn names(&self) -> Names {
        let mut workloads = HashMap::new();
        let own_last =
            self.nodes.iter().filter(|(node, _)| **node != self.node).chain(self.nodes.get_key_value(&self.node));
        for (node, endpoints) in own_last {
            let local = *node == self.node;
            for (address, name) in &endpoints.workloads {
                workloads.insert(*address, (Arc::from(name.as_str()), local));
            }
        }
        Names { workloads }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(pairs: &[(&str, &str)]) -> Endpoints {
        Endpoints {
            workloads: pairs.iter().map(|(address, name)| (address.parse().unwrap(), (*name).to_owned())).collect(),
        }
    }

    #[test]
    fn the_vantage_follows_from_who_lives_here() {
        let mut directory = Directory::new("a", endpoints(&[("10.0.0.1", "order")]));
        let others = endpoints(&[("10.0.0.2", "inventory"), ("10.0.0.1", "impostor")]);
        assert!(directory.set("b", Some(others.clone())));
        assert!(!directory.set("b", Some(others)), "told again, as after each lost connection");
        assert!(!directory.set("a", Some(endpoints(&[]))) && !directory.set("c", None));
        let (order, inventory) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let names = directory.names();
        assert_eq!((names.label(order).as_str(), names.label(inventory).as_str()), ("order", "inventory"));
        assert_eq!(names.vantage(order, inventory), Vantage::Client);
        assert_eq!(names.vantage(inventory, order), Vantage::Server);
        assert_eq!(names.vantage(inventory, inventory), Vantage::Transit);

        assert!(directory.set("b", None));
        assert_eq!(directory.names().label(inventory), "10.0.0.2");
    }
}

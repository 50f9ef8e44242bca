//! The pods of this node, and which of them has which address.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use synscope_bus::endpoint::Endpoint;
use synscope_kubernetes::Event;

use super::pod::Pod;
use crate::names::Names;
use crate::own::Own;

/// Pods of one node, at most: many times what a kubelet takes.
const PODS_MAX: usize = 10_000;

/// The pods as they were told last.
#[derive(Debug)]
pub(super) struct Pods {
    own: Own,
    node: String,
    addresses: HashMap<String, BTreeSet<IpAddr>>,
    /// By pod: for a moment two have one address, where the old one's end comes after the new one's beginning.
    claims: HashMap<IpAddr, BTreeMap<String, Endpoint>>,
    /// Those of the list that is being read.
    listed: BTreeSet<String>,
}

impl Pods {
    pub(super) fn new(own: Own, node: &str) -> Self {
        let node = format!("node/{node}");
        Self { own, node, addresses: HashMap::new(), claims: HashMap::new(), listed: BTreeSet::new() }
    }

    /// Takes what the API server says. What a list has again stays as it is; what it has not is gone when it is complete.
    pub(super) fn take(&mut self, event: Event<Pod>) {
        match event {
            Event::Apply(pod) => self.put(&pod),
            Event::Delete(pod) => self.remove(&pod.name()),
            Event::Init => self.listed.clear(),
            Event::InitApply(pod) => {
                self.put(&pod);
                self.listed.insert(pod.name());
            }
            Event::InitDone => {
                let listed = std::mem::take(&mut self.listed);
                let gone: Vec<_> = self.addresses.keys().filter(|name| !listed.contains(*name)).cloned().collect();
                for name in gone {
                    self.remove(&name);
                }
                self.own.complete(|address| self.claims.contains_key(&address));
            }
        }
    }

    fn put(&mut self, pod: &Pod) {
        let (name, claims) = (pod.name(), pod.claims(&self.node));
        if self.addresses.len() >= PODS_MAX && !self.addresses.contains_key(&name) {
            return self.own.directory().change(Names::refuse);
        }
        let addresses = claims.iter().map(|(address, _)| *address).collect();
        let before = self.addresses.insert(name.clone(), addresses).unwrap_or_default();
        for address in before {
            if claims.iter().all(|(claimed, _)| *claimed != address) {
                self.give_up(&name, address);
            }
        }
        for (address, endpoint) in claims {
            self.claims.entry(address).or_default().insert(name.clone(), endpoint);
            self.settle(address);
        }
    }

    fn remove(&mut self, name: &str) {
        for address in self.addresses.remove(name).unwrap_or_default() {
            self.give_up(name, address);
        }
    }

    fn give_up(&mut self, name: &str, address: IpAddr) {
        if let Some(claims) = self.claims.get_mut(&address) {
            claims.remove(name);
        }
        self.settle(address);
    }

    /// Who came last has the address.
    fn settle(&mut self, address: IpAddr) {
        let claims = self.claims.get(&address);
        let holder = claims.and_then(|claims| claims.iter().max_by_key(|(name, one)| (one.since_unix_ns, *name)));
        self.own.set(address, holder.map(|(_name, endpoint)| endpoint.clone()));
        if claims.is_some_and(BTreeMap::is_empty) {
            self.claims.remove(&address);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use synscope_bus::subject::NodeId;

    use super::*;
    use crate::names::Directory;
    use crate::own::Workloads;

    fn pods() -> Pods {
        let directory = Directory::new(Names::new("a", Duration::from_secs(10)));
        Pods::new(Own::new(NodeId::new("a").unwrap(), directory, Workloads::default()), "a")
    }

    fn pod(name: &str, address: &str, second: u8) -> Pod {
        let text = format!(
            r#"{{"metadata": {{"name": "{name}", "namespace": "shop"}}, "status": {{"phase": "Running",
                "podIP": "{address}", "hostIP": "192.0.2.1", "startTime": "2026-11-20T10:00:{second:02}Z"}}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    fn named(pods: &Pods, address: &str) -> Option<String> {
        pods.own.directory().read().workload(address.parse().unwrap()).map(ToString::to_string)
    }

    #[test]
    fn an_address_goes_from_pod_to_pod_whichever_is_told_first() {
        let mut pods = pods();
        pods.take(Event::Apply(pod("old", "10.0.0.1", 1)));
        pods.take(Event::Apply(pod("new", "10.0.0.1", 2)));
        assert_eq!(named(&pods, "10.0.0.1").as_deref(), Some("shop/new"));
        pods.take(Event::Apply(pod("old", "10.0.0.1", 1)));
        assert_eq!(named(&pods, "10.0.0.1").as_deref(), Some("shop/new"), "its end is told in steps");
        pods.take(Event::Delete(pod("old", "10.0.0.1", 1)));
        assert_eq!(named(&pods, "10.0.0.1").as_deref(), Some("shop/new"));
        pods.take(Event::Apply(pod("new", "10.0.0.2", 2)));
        assert_eq!((named(&pods, "10.0.0.1"), named(&pods, "10.0.0.2")), (None, Some("shop/new".into())));
        pods.take(Event::Delete(pod("new", "", 2)));
        assert_eq!((named(&pods, "10.0.0.2"), pods.claims.len()), (None, 0), "the host's too");
    }

    #[test]
    fn a_list_removes_what_it_has_not_when_it_is_complete() {
        let mut pods = pods();
        pods.take(Event::Apply(pod("stays", "10.0.0.1", 1)));
        pods.take(Event::Apply(pod("goes", "10.0.0.2", 1)));
        pods.own.take_untold();
        pods.take(Event::Init);
        pods.take(Event::InitApply(pod("stays", "10.0.0.1", 1)));
        pods.take(Event::InitApply(pod("comes", "10.0.0.3", 1)));
        assert!(named(&pods, "10.0.0.2").is_some(), "the list may have more");
        pods.take(Event::InitDone);
        assert_eq!(named(&pods, "10.0.0.2"), None);
        let told: Vec<_> = pods.own.take_untold().into_iter().map(|(key, _)| key.address.to_string()).collect();
        assert_eq!(told, ["10.0.0.2", "10.0.0.3"], "of what stays nothing is told again");
        assert_eq!(named(&pods, "192.0.2.1").as_deref(), Some("node/a"));
    }

    #[test]
    fn pods_are_bounded_and_those_refused_counted() {
        let mut pods = pods();
        for number in 0..=PODS_MAX {
            let text = format!(r#"{{"metadata": {{"name": "pod-{number}", "namespace": "shop"}}}}"#);
            pods.take(Event::Apply(serde_json::from_str(&text).unwrap()));
        }
        assert_eq!((pods.addresses.len(), pods.own.directory().read().refused()), (PODS_MAX, 1));
    }
}

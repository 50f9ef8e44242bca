//! Who lives on this node, as it is known here, and what of it the others have still to be told.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use synscope_bus::endpoint::{Endpoint, EndpointKey};
use synscope_bus::life::unix_now_ns;
use synscope_bus::subject::NodeId;
use tokio::sync::Notify;

use crate::names::Directory;

/// The file that names workloads of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Workloads {
    /// Workload by address, such as `shop/order` by `10.0.1.2`.
    pub workloads: BTreeMap<IpAddr, String>,
}

#[derive(Debug, Default)]
struct State {
    endpoints: BTreeMap<IpAddr, Endpoint>,
    /// Addresses whose state the bucket does not have; of this node only, so no more than live or lived here.
    untold: BTreeSet<IpAddr>,
    /// Until then what the bucket has of this node may hold: it was told before a restart.
    is_complete: bool,
}

/// Who lives on this node.
#[derive(Debug, Clone)]
pub struct Own {
    node: NodeId,
    directory: Directory,
    fixed: Arc<BTreeMap<IpAddr, String>>,
    state: Arc<Mutex<State>>,
    news: Arc<Notify>,
}

impl Own {
    /// Those of the file, which wins over everything that is learned later.
    pub fn new(node: NodeId, directory: Directory, file: Workloads) -> Self {
        let (state, news) = (Arc::default(), Arc::new(Notify::new()));
        let own = Self { node, directory, fixed: Arc::new(file.workloads), state, news };
        for (address, workload) in own.fixed.iter() {
            own.put(*address, Some(Endpoint { workload: workload.clone(), since_unix_ns: 0 }));
        }
        own
    }

    /// The node.
    pub const fn node(&self) -> &NodeId {
        &self.node
    }

    /// Names, which change with what is learned here.
    pub const fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Somebody lives at an address now; nobody where it is none.
    pub fn set(&self, address: IpAddr, endpoint: Option<Endpoint>) {
        if !self.fixed.contains_key(&address) {
            self.put(address, endpoint);
        }
    }

    /// All who live here are known now: who is not among `addresses`, or in the file, does not.
    pub fn complete(&self, addresses: impl Fn(IpAddr) -> bool) {
        let mut state = self.state();
        state.is_complete = true;
        let gone: Vec<_> = state.endpoints.keys().filter(|address| !addresses(**address)).copied().collect();
        drop(state);
        for address in gone {
            self.set(address, None);
        }
    }

    /// What the bucket has of this node: it is told otherwise where that does not hold.
    pub fn heard(&self, address: IpAddr, endpoint: Option<Endpoint>) {
        let mut state = self.state();
        if state.endpoints.get(&address) == endpoint.as_ref() {
            return;
        }
        let may_hold = !state.is_complete && !state.endpoints.contains_key(&address);
        if may_hold {
            drop(state);
            return self.set(address, endpoint);
        }
        state.untold.insert(address);
        drop(state);
        self.news.notify_one();
    }

    /// All is to be told again.
    pub fn tell_all(&self) {
        let mut state = self.state();
        let all: Vec<_> = state.endpoints.keys().copied().collect();
        state.untold.extend(all);
        drop(state);
        self.news.notify_one();
    }

    /// Returns when there may be something to tell.
    pub async fn news(&self) {
        self.news.notified().await;
    }

    /// What is to be told; none where nobody lives there any more. Who cannot tell it gives it back.
    pub fn take_untold(&self) -> Vec<(EndpointKey, Option<Endpoint>)> {
        let mut state = self.state();
        let untold = std::mem::take(&mut state.untold);
        let key = |address| EndpointKey { node: self.node.clone(), address };
        untold.into_iter().map(|address| (key(address), state.endpoints.get(&address).cloned())).collect()
    }

    /// It could not be told.
    pub fn give_back(&self, address: IpAddr) {
        self.state().untold.insert(address);
    }

    fn put(&self, address: IpAddr, endpoint: Option<Endpoint>) {
        let mut state = self.state();
        if state.endpoints.get(&address) == endpoint.as_ref() {
            return;
        }
        // Under the lock, so that the last change here is the last there.
        self.directory.change(|names| match &endpoint {
            Some(endpoint) => names.claim(self.node.as_str(), address, endpoint, unix_now_ns()),
            None => names.release(self.node.as_str(), address, unix_now_ns()),
        });
        match endpoint {
            Some(endpoint) => drop(state.endpoints.insert(address, endpoint)),
            None => drop(state.endpoints.remove(&address)),
        }
        state.untold.insert(address);
        drop(state);
        self.news.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock, so a poisoned lock still guards a whole state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::names::Names;

    const HERE: [IpAddr; 3] = [address(1), address(2), address(3)];

    const fn address(last: u8) -> IpAddr {
        IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, last))
    }

    fn endpoint(workload: &str) -> Endpoint {
        Endpoint { workload: workload.to_owned(), since_unix_ns: 5 }
    }

    fn own() -> Own {
        let directory = Directory::new(Names::new("a", Duration::from_secs(10)));
        let file = Workloads { workloads: [(address(1), "of-the-file".to_owned())].into() };
        Own::new(NodeId::new("a").unwrap(), directory, file)
    }

    fn names(own: &Own) -> [Option<String>; 3] {
        let names = own.directory().read();
        HERE.map(|address| names.workload(address).map(ToString::to_string))
    }

    fn untold(own: &Own) -> Vec<(IpAddr, Option<Endpoint>)> {
        own.take_untold().into_iter().map(|(key, endpoint)| (key.address, endpoint)).collect()
    }

    #[test]
    fn what_changes_is_named_at_once_and_told_once() {
        let own = own();
        assert_eq!(untold(&own).len(), 1);
        own.set(address(2), Some(endpoint("order")));
        own.set(address(2), Some(endpoint("order")));
        own.set(address(1), Some(endpoint("the-file-wins")));
        assert_eq!(names(&own), [Some("of-the-file".into()), Some("order".into()), None]);
        assert_eq!(untold(&own), [(address(2), Some(endpoint("order")))]);
        assert_eq!(untold(&own), []);
        own.set(address(2), None);
        own.give_back(address(1));
        assert_eq!(untold(&own).iter().map(|(address, _)| *address).collect::<Vec<_>>(), [address(1), address(2)]);
        assert_eq!(names(&own)[1], None);
    }

    /// Told before a restart: kept until it is known better.
    #[test]
    fn what_the_bucket_has_holds_until_all_is_known() {
        let own = own();
        own.heard(address(2), Some(endpoint("gone-meanwhile")));
        own.heard(address(3), Some(endpoint("still-there")));
        own.heard(address(1), Some(endpoint("the-file-wins")));
        assert_eq!(names(&own), ["of-the-file", "gone-meanwhile", "still-there"].map(|name| Some(name.to_owned())));
        own.take_untold();
        own.complete(|address| address == HERE[2] || address == HERE[0]);
        assert_eq!(names(&own), [Some("of-the-file".into()), None, Some("still-there".into())]);
        assert_eq!(untold(&own), [(address(2), None)]);

        own.heard(address(2), Some(endpoint("somebody-elses-doing")));
        own.heard(address(3), Some(endpoint("still-there")));
        assert_eq!((untold(&own), names(&own)[1].clone()), (vec![(address(2), None)], None));
        own.heard(address(3), None);
        assert_eq!(untold(&own), [(address(3), Some(endpoint("still-there")))]);
    }

    #[test]
    fn all_is_told_again_where_a_bucket_knows_nothing() {
        let own = own();
        own.set(address(2), Some(endpoint("order")));
        own.take_untold();
        own.tell_all();
        assert_eq!(untold(&own).len(), 2);
    }
}

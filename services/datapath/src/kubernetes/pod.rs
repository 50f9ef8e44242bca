//! Of a pod what names need; the rest of its document is not kept, nor even read.

use std::net::IpAddr;

use serde::Deserialize;
use synscope_bus::endpoint::Endpoint;
use synscope_kubernetes::{ObjectMeta, Time, core_object};

use super::owner;

/// A pod.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Pod {
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

core_object!(Pod, "Pod", "pods");

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    host_network: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    phase: String,
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
    #[serde(rename = "podIPs")]
    pod_ips: Vec<Address>,
    #[serde(rename = "hostIP")]
    host_ip: Option<String>,
    #[serde(rename = "hostIPs")]
    host_ips: Vec<Address>,
    start_time: Option<Time>,
}

#[derive(Clone, Debug, Deserialize)]
struct Address {
    ip: String,
}

impl Pod {
    /// Its name among all pods, `<namespace>/<name>`.
    pub(super) fn name(&self) -> String {
        let ObjectMeta { namespace, name, .. } = &self.metadata;
        format!("{}/{}", namespace.as_deref().unwrap_or_default(), name.as_deref().unwrap_or_default())
    }

    /// What it says about addresses: that it lives at its own, since the kubelet took it up by the clock of this node, and
    /// that its node, called `node`, has the host's. One in the host's network has no address of its own, and one that has
    /// ended none any more.
    pub(super) fn claims(&self, node: &str) -> Vec<(IpAddr, Endpoint)> {
        let Status { phase, pod_ip, pod_ips, host_ip, host_ips, start_time } = &self.status;
        let began = start_time.as_ref().or(self.metadata.creation_timestamp.as_ref());
        let since_unix_ns = began.and_then(|time| u64::try_from(time.0.as_nanosecond()).ok()).unwrap_or(0);
        let own = Endpoint { workload: owner::workload(&self.metadata), since_unix_ns };
        let host = Endpoint { workload: node.to_owned(), since_unix_ns: 0 };
        let lives = !self.spec.host_network && !matches!(phase.as_str(), "Succeeded" | "Failed");
        let hosts = addresses(host_ips, host_ip.as_ref()).map(|address| (address, host.clone()));
        let pods = addresses(pod_ips, pod_ip.as_ref()).filter(|_| lives).map(|address| (address, own.clone()));
        pods.chain(hosts).collect()
    }
}

/// All of them; the one alone where the API server tells no list.
fn addresses<'a>(all: &'a [Address], one: Option<&'a String>) -> impl Iterator<Item = IpAddr> + 'a {
    let one = one.filter(|_| all.is_empty());
    all.iter().map(|address| &address.ip).chain(one).filter_map(|text| text.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(spec: &str, status: &str) -> Vec<(String, String, u64)> {
        let text =
            format!(r#"{{"metadata": {{"name": "order", "namespace": "shop"}}, "spec": {spec}, "status": {status}}}"#);
        let pod: Pod = serde_json::from_str(&text).unwrap();
        assert_eq!(pod.name(), "shop/order");
        let claim =
            |(address, endpoint): (IpAddr, Endpoint)| (address.to_string(), endpoint.workload, endpoint.since_unix_ns);
        pod.claims("node/a").into_iter().map(claim).collect()
    }

    #[test]
    fn all_addresses_of_a_pod_are_its_own_since_it_started() {
        let status = r#"{"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}],
            "hostIP": "192.0.2.1", "startTime": "2026-11-20T10:00:00Z"}"#;
        let since = 1_795_168_800_000_000_000;
        let own = |address: &str| (address.to_owned(), "shop/order".to_owned(), since);
        let host = ("192.0.2.1".to_owned(), "node/a".to_owned(), 0);
        assert_eq!(claims(r#"{"nodeName": "a"}"#, status), [own("10.0.0.1"), own("fd00::1"), host]);
    }

    #[test]
    fn who_shares_the_hosts_network_has_no_address_of_its_own() {
        let status = r#"{"phase": "Running", "podIP": "192.0.2.1", "hostIP": "192.0.2.1",
            "hostIPs": [{"ip": "192.0.2.1"}, {"ip": "2001:db8::1"}]}"#;
        let host = |address: &str| (address.to_owned(), "node/a".to_owned(), 0);
        assert_eq!(claims(r#"{"hostNetwork": true}"#, status), [host("192.0.2.1"), host("2001:db8::1")]);
    }

    #[test]
    fn who_has_ended_or_not_begun_has_none() {
        for phase in ["Succeeded", "Failed"] {
            assert_eq!(claims("{}", &format!(r#"{{"phase": "{phase}", "podIP": "10.0.0.1"}}"#)), []);
        }
        assert_eq!(claims("{}", r#"{"phase": "Pending"}"#), []);
        assert_eq!(claims("{}", r#"{"phase": "Running", "podIP": "nonsense"}"#), []);
        assert_eq!(claims("{}", "{}"), []);
    }
}

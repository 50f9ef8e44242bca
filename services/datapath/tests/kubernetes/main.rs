//! Names from the Kubernetes API server, on their way to the others through a real nats-server.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

#[allow(dead_code, reason = "desired state and signals are not tested here")]
#[path = "../agent/mod.rs"]
mod agent;
#[path = "../../../../shared/kubernetes/tests/api/mod.rs"]
#[allow(dead_code, reason = "services are tested elsewhere")]
mod api;
mod churn;
#[path = "../../../../shared/bus/tests/nats/mod.rs"]
mod nats;
#[allow(dead_code, reason = "its own interfaces are enough")]
#[path = "../netns/mod.rs"]
mod netns;
mod service;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use api::{Api, pod};
use nats::free_port;
use serde_json::{Value, json};
use synscope_bus::connection::Connection;
use synscope_bus::life::Life;
use synscope_bus::subject::NodeId;
use synscope_datapath::kubernetes;
use synscope_datapath::names::{Directory, Names};
use synscope_datapath::own::{Own, Workloads};
use synscope_kubernetes::{CONCERNED, Config};

const DEADLINE: Duration = Duration::from_mins(1);
/// What Kubernetes calls it; synscope calls it otherwise.
const NODE: &str = "node-a.example.net";

/// One agent's part that knows names.
struct Learner {
    life: Life,
    own: Own,
}

impl Learner {
    /// Where nothing else is said NATS is away.
    async fn begin(node: &str, nats: u16) -> Self {
        let connection = Connection::start(&format!("nats://127.0.0.1:{nats}"), "test").await.unwrap();
        let life = Life::begin("test", node, connection).unwrap();
        let directory = Directory::new(Names::new(node, Duration::from_mins(5)));
        let own = Own::new(NodeId::new(node).unwrap(), directory, Workloads::default());
        Self { life, own }
    }

    fn watch(&self, api: &Api) {
        let config = Config::new(format!("http://127.0.0.1:{}", api.port).parse().unwrap());
        tokio::spawn(kubernetes::watch(self.life.clone(), self.own.clone(), NODE.to_owned(), config));
    }

    fn named(&self, address: &str) -> Option<String> {
        let address: IpAddr = address.parse().unwrap();
        self.own.directory().read().workload(address).map(ToString::to_string)
    }

    async fn until_named(&self, address: &str, expected: Option<&str>) {
        let what = format!("{address} is {expected:?}");
        until(&what, || self.named(address).as_deref() == expected).await;
    }

    fn trouble(&self) -> Option<String> {
        self.life.health().degradations.remove(CONCERNED)
    }
}

async fn until(what: &str, mut look: impl FnMut() -> bool) {
    let start = Instant::now();
    while !look() {
        assert!(start.elapsed() < DEADLINE, "{what}: not within {DEADLINE:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// An agent that watches one pod, `order`.
async fn watching() -> (Api, Learner) {
    let (api, agent) = (Api::start(), Learner::begin("node-a", free_port()).await);
    api.put(pod(NODE, "order-1", "order", "10.0.0.1"));
    agent.watch(&api);
    agent.until_named("10.0.0.1", Some("shop/order")).await;
    (api, agent)
}

fn with(mut pod: Value, key: &str, value: Value) -> Value {
    pod["status"][key] = value;
    pod
}

#[tokio::test(flavor = "multi_thread")]
async fn this_nodes_pods_are_named_as_they_come_change_and_go() {
    let (api, agent) = watching().await;
    assert_eq!(api.asked().selector, format!("spec.nodeName={NODE}"));
    assert_eq!(agent.named("192.0.2.1").as_deref(), Some("node/node-a.example.net"));

    api.put(json!({"metadata": {"name": "cart-0", "namespace": "shop"}, "spec": {"nodeName": NODE}}));
    api.put(pod("node-b", "elsewhere", "elsewhere", "10.0.1.1"));
    let cart = json!([{"ip": "10.0.0.2"}, {"ip": "fd00::2"}]);
    api.put(with(pod(NODE, "cart-0", "cart", "10.0.0.2"), "podIPs", cart));
    agent.until_named("10.0.0.2", Some("shop/cart")).await;
    assert_eq!(agent.named("fd00::2").as_deref(), Some("shop/cart"));
    assert_eq!(agent.named("10.0.1.1"), None, "its own node's agent tells of it");

    api.put(with(pod(NODE, "order-1", "order", "10.0.0.1"), "phase", json!("Succeeded")));
    agent.until_named("10.0.0.1", None).await;
    api.remove("pods", "cart-0");
    agent.until_named("fd00::2", None).await;
    assert_eq!((agent.named("10.0.0.2"), agent.trouble(), api.asked().lists), (None, None, 1));
}

/// More than are listed at once.
#[tokio::test(flavor = "multi_thread")]
async fn all_pages_of_a_list_are_read() {
    let (api, agent) = (Api::start(), Learner::begin("node-a", free_port()).await);
    for number in 0..1200 {
        let address = format!("10.0.{}.{}", number / 250, number % 250);
        api.put(pod(NODE, &format!("pod-{number:04}"), &format!("app-{number}"), &address));
    }
    agent.watch(&api);
    agent.until_named("10.0.4.199", Some("shop/app-1199")).await;
    assert_eq!((agent.own.directory().read().addresses(), api.asked().lists), (1201, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_too_far_behind_lists_again_and_names_that_stay_are_not_touched() {
    let (mut api, agent) = watching().await;
    api.put(pod(NODE, "goes", "goes", "10.0.0.2"));
    agent.until_named("10.0.0.2", Some("shop/goes")).await;
    let before = agent.own.take_untold();
    assert!(!before.is_empty());

    api.stop();
    api.remove("pods", "goes");
    api.put(pod(NODE, "comes", "comes", "10.0.0.3"));
    api.forget();
    api.go_on();
    until("the pods are listed again", || {
        assert_eq!(agent.named("10.0.0.1").as_deref(), Some("shop/order"));
        agent.named("10.0.0.3").is_some()
    })
    .await;
    agent.until_named("10.0.0.2", None).await;
    assert_eq!(api.asked().lists, 2);
    let told: Vec<_> = agent.own.take_untold().into_iter().map(|(key, _)| key.address.to_string()).collect();
    assert_eq!(told, ["10.0.0.2", "10.0.0.3"], "of the others nothing is told again");
    until("that is usual", || agent.trouble().is_none()).await;
}

/// Though nothing happens when it is back.
#[tokio::test(flavor = "multi_thread")]
async fn while_the_api_server_is_away_names_stay_and_health_says_so() {
    let (mut api, agent) = watching().await;
    api.stop();
    until("it is said", || agent.trouble().is_some()).await;
    assert_eq!(agent.named("10.0.0.1").as_deref(), Some("shop/order"));
    api.go_on();
    until("it recovers", || agent.trouble().is_none()).await;
    api.put(pod(NODE, "cart-0", "cart", "10.0.0.2"));
    agent.until_named("10.0.0.2", Some("shop/cart")).await;
    assert_eq!((api.asked().lists, agent.named("10.0.0.1").as_deref()), (1, Some("shop/order")));
}

/// What happens on other nodes makes a quiet watch grow old.
#[tokio::test(flavor = "multi_thread")]
async fn a_watch_goes_on_from_its_last_bookmark() {
    let (api, agent) = watching().await;
    for number in 0..10 {
        api.put(pod("node-b", &format!("other-{number}"), "other", "10.0.1.1"));
    }
    api.bookmark();
    let marked = api.version();
    until("the bookmark is read", || {
        api.cut();
        api.asked().watches.last() == Some(&marked)
    })
    .await;
    api.forget();
    api.cut();
    until("the watch goes on", || api.asked().watches.last() == Some(&marked)).await;
    api.put(pod(NODE, "cart-0", "cart", "10.0.0.2"));
    agent.until_named("10.0.0.2", Some("shop/cart")).await;
    assert_eq!((api.asked().lists, agent.trouble()), (1, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_says_no_is_in_the_health_with_what_it_said() {
    // A server of another kind: it knows no pods.
    let port = free_port();
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let no = axum::Router::new().fallback(async || (axum::http::StatusCode::FORBIDDEN, "pods is forbidden"));
    tokio::spawn(async { axum::serve(listener, no).await });
    let agent = Learner::begin("node-a", free_port()).await;
    let config = Config::new(format!("http://127.0.0.1:{port}").parse().unwrap());
    tokio::spawn(kubernetes::watch(agent.life.clone(), agent.own.clone(), NODE.to_owned(), config));
    until("it is said", || agent.trouble().is_some()).await;
    assert!(agent.trouble().unwrap().contains("pods is forbidden"), "{:?}", agent.trouble());
}

//! The whole service, which finds the API server as `kubectl` does.

use std::process::Stdio;
use std::time::Duration;

use futures::StreamExt;
use synscope_bus::document::Documents;
use synscope_bus::endpoint::Endpoint;
use synscope_bus::inbox::Inbox;
use synscope_bus::message::edge::EdgeBatch;
use synscope_bus::subject::Wildcard;
use tokio::time::timeout;

use super::NODE;
use super::agent::{self, Agent, ready};
use super::api::{Api, pod};

fn kubeconfig(port: u16) -> tempfile::NamedTempFile {
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: lab\n\
         clusters: [{{ name: lab, cluster: {{ server: 'http://127.0.0.1:{port}' }} }}]\n\
         users: [{{ name: lab, user: {{}} }}]\n\
         contexts: [{{ name: lab, context: {{ cluster: lab, user: lab }} }}]\n"
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_to_a_pod_has_the_name_of_its_workload_and_the_others_are_told() {
    let api = Api::start();
    api.put(pod(NODE, "inventory-1", "inventory", "10.9.0.2"));
    let mut agent = Agent::new("k8s", &format!("kubernetes = {{ enabled = true, node = '{NODE}' }}"));
    let (_nats, connection) = agent.nats().await;
    let mut edges = connection.client().subscribe(Wildcard::Edges.to_string()).await.unwrap();
    let listener = agent.server();
    let config = kubeconfig(api.port);
    agent.child = Some(agent.command().env("KUBECONFIG", config.path()).stderr(Stdio::inherit()).spawn().unwrap());
    ready(&connection).await;
    let endpoints = Documents::<Endpoint>::open(&connection).await.unwrap();
    let told = async || endpoints.get("node-a.10-9-0-2").await.unwrap();
    let told = agent::until("the others are told", told, Option::is_some).await.unwrap().0;
    // 2026-11-20 10:00, as its kubelet says.
    assert_eq!(told, Endpoint { workload: "shop/inventory".into(), since_unix_ns: 1_795_168_800_000_000_000 });

    let _client = agent.client();
    listener.accept().unwrap();
    let mut inbox = Inbox::default();
    let edge = async {
        loop {
            let received = inbox.read::<EdgeBatch>(&edges.next().await.unwrap());
            if let Some(bucket) = received.and_then(|batch| batch.message.buckets.into_iter().next()) {
                return bucket.edge;
            }
        }
    };
    let edge = timeout(Duration::from_mins(1), edge).await.expect("no edge is told");
    assert_eq!(edge, "shop/order->shop/inventory:80", "the file named the client");
    agent.terminate();
    assert!(agent.command().arg("uninstall").status().unwrap().success());
    assert_eq!(endpoints.keys().await.unwrap(), [""; 0]);
}

//! What is left of an agent after `uninstall`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

#[allow(dead_code, reason = "whole connections are not tested here")]
mod agent;
#[path = "../../../shared/bus/tests/nats/mod.rs"]
mod nats;
mod netns;

use agent::{Agent, NODE, ready, until};
use async_nats::jetstream;
use futures::TryStreamExt;
use synscope_bus::document::{Desired, Documents};
use synscope_bus::endpoint::Endpoint;

#[tokio::test(flavor = "multi_thread")]
async fn what_the_agent_wrote_goes_and_what_the_operator_wrote_stays() {
    let mut agent = Agent::new("unin", "");
    let (_nats, connection) = agent.nats().await;
    let wish = Desired { conntrack_entries: Some(1000) };
    let desired = Documents::<Desired>::open(&connection).await.unwrap();
    desired.put(NODE, &wish).await.unwrap();
    let endpoints = Documents::<Endpoint>::open(&connection).await.unwrap();
    let others = format!("{NODE}-2.10-9-0-1");
    endpoints.put(&others, &Endpoint::default()).await.unwrap();
    agent.start();
    ready(&connection).await;
    let told = async || endpoints.get(&format!("{NODE}.10-9-0-1")).await.unwrap();
    until("it tells who lives here", told, Option::is_some).await;
    agent.terminate();
    assert!(agent.command().arg("uninstall").status().unwrap().success());
    assert!(!agent.pins.exists());
    assert_eq!(endpoints.keys().await.unwrap(), [others]);
    assert_eq!(desired.get(NODE).await.unwrap().unwrap().0, wish);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_knew_nothing_is_left_so() {
    let agent = Agent::new("none", "");
    let (_nats, connection) = agent.nats().await;
    assert!(agent.command().arg("uninstall").status().unwrap().success());
    let jetstream = jetstream::new(connection.client().clone());
    let streams: Vec<String> = jetstream.stream_names().try_collect().await.unwrap();
    assert_eq!(streams, [""; 0]);
}

#[test]
fn pins_go_also_where_the_nodes_namespace_is_gone_and_that_is_said() {
    let agent = Agent::new("nons", "");
    std::fs::create_dir(&agent.pins).unwrap();
    std::fs::create_dir(agent.pins.join("clsact-7")).unwrap();
    let uninstalled =
        agent.command().arg("uninstall").env("SYNSCOPE_NETNS", "/run/netns/syn-t-nowhere").output().unwrap();
    let said = String::from_utf8(uninstalled.stderr).unwrap();
    assert!(!uninstalled.status.success() && said.contains("/run/netns/syn-t-nowhere"), "{said}");
    assert!(said.contains("what it knows of the node stays"), "NATS is away, too: {said}");
    assert!(!agent.pins.exists());
}

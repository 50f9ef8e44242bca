//! What nodes tell each other through a real nats-server.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

#[path = "../../../shared/bus/tests/nats/mod.rs"]
mod nats;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use nats::{Server, free_port};
use synscope_bus::connection::Connection;
use synscope_bus::document::{Documents, Endpoints};
use synscope_bus::life::Life;
use synscope_datapath::follow;
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(20);

async fn begin(port: u16) -> Life {
    let connection = Connection::start(&format!("nats://127.0.0.1:{port}"), "test").await.unwrap();
    Life::begin("test", "node-a", connection).unwrap()
}

fn at(address: impl Into<IpAddr>, workload: &str) -> Endpoints {
    Endpoints { workloads: [(address.into(), workload.to_owned())].into() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_lost_its_store_is_told_again_who_lives_here() {
    let port = free_port();
    let life = begin(port).await;
    let own = at([10, 0, 0, 1], "order");
    let _names = follow::names(&life, own.clone());
    for _empty in 0..2 {
        let store = tempfile::tempdir().unwrap();
        let _server = Server::start(port, store.path());
        let told = async {
            loop {
                if let Ok(documents) = Documents::<Endpoints>::open(life.connection()).await
                    && let Ok(Some((told, _revision))) = documents.get("node-a").await
                {
                    return told;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        assert_eq!(timeout(DEADLINE, told).await.expect("nothing is told"), own);
    }
}

/// Each node's news alone would have all names put together anew.
#[tokio::test(flavor = "multi_thread")]
async fn the_news_of_many_nodes_at_once_are_put_together_few_times() {
    const NODES: u32 = 500;
    let (port, store) = (free_port(), tempfile::tempdir().unwrap());
    let _server = Server::start(port, store.path());
    let life = begin(port).await;
    timeout(DEADLINE, life.connection().connected()).await.unwrap();
    let documents = Documents::<Endpoints>::open(life.connection()).await.unwrap();
    let address = |node: u32| Ipv4Addr::from(0x0a00_0000 + node);
    for node in 1..=NODES {
        documents.put(&format!("node-{node}"), &at(address(node), "inventory")).await.unwrap();
    }
    let mut names = follow::names(&life, Endpoints::default());
    let mut times = 0;
    let put_together = async {
        while names.borrow_and_update().workload(address(NODES).into()).is_none() {
            names.changed().await.unwrap();
            times += 1;
        }
    };
    timeout(DEADLINE, put_together).await.expect("the last node's name is not known");
    assert!(times < NODES / 10, "{times} times for {NODES} nodes");
}

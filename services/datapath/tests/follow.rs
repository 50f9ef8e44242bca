//! What nodes tell each other through a real nats-server.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

#[path = "../../../shared/bus/tests/nats/mod.rs"]
mod nats;

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use async_nats::Subscriber;
use futures::StreamExt;
use nats::{Server, free_port};
use synscope_abi::event::{Event, EventKind, Verdict};
use synscope_bus::connection::Connection;
use synscope_bus::document::Documents;
use synscope_bus::endpoint::Endpoint;
use synscope_bus::envelope::PublisherId;
use synscope_bus::inbox::Inbox;
use synscope_bus::life::Life;
use synscope_bus::message::Message;
use synscope_bus::message::edge::EdgeBatch;
use synscope_bus::message::flow::FlowBatch;
use synscope_bus::service::Service;
use synscope_bus::subject::{NodeId, Wildcard};
use synscope_datapath::edges::Edges;
use synscope_datapath::flow::WallClock;
use synscope_datapath::follow;
use synscope_datapath::names::{Directory, Names};
use synscope_datapath::own::{Own, Workloads};
use synscope_datapath::publish::Publisher;
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(20);
const ORDER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

async fn begin(port: u16, node: &str) -> Life {
    let connection = Connection::start(&format!("nats://127.0.0.1:{port}"), "test").await.unwrap();
    Life::begin("test", node, connection).unwrap()
}

fn own(node: &str, workloads: Workloads) -> Own {
    let directory = Directory::new(Names::new(node, Duration::from_mins(1)));
    Own::new(NodeId::new(node).unwrap(), directory, workloads)
}

fn order() -> Workloads {
    Workloads { workloads: [(ORDER, "order".to_owned())].into() }
}

fn endpoint(workload: &str) -> Endpoint {
    Endpoint { workload: workload.to_owned(), since_unix_ns: 0 }
}

async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(start.elapsed() < DEADLINE, "{what}: not within {DEADLINE:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn told(life: &Life, key: &str) -> Option<Endpoint> {
    let documents = Documents::<Endpoint>::open(life.connection()).await.ok()?;
    documents.get(key).await.ok()?.map(|(endpoint, _revision)| endpoint)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_lost_its_store_is_told_again_who_lives_here() {
    let port = free_port();
    let life = begin(port, "node-a").await;
    let own = own("node-a", order());
    own.complete(|_| false);
    follow::names(&life, &own);
    for _empty in 0..2 {
        let store = tempfile::tempdir().unwrap();
        let _server = Server::start(port, store.path());
        let told = until("it is told", async || told(&life, "node-a.10-0-0-1").await).await;
        assert_eq!(told, endpoint("order"));
    }
}

/// What was told before a restart and holds no more is taken back; what others told stays.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_starts_takes_back_what_does_not_hold_any_more() {
    let (port, store) = (free_port(), tempfile::tempdir().unwrap());
    let _server = Server::start(port, store.path());
    let life = begin(port, "node-a").await;
    until("the server is there", async || life.connection().is_connected().then_some(())).await;
    let documents = Documents::<Endpoint>::open(life.connection()).await.unwrap();
    for key in ["node-a.10-0-0-1", "node-a.10-0-0-7", "node-b.10-0-0-8", "node-a"] {
        documents.put(key, &endpoint("before")).await.unwrap();
    }
    let own = own("node-a", order());
    follow::names(&life, &own);
    let address = |last| IpAddr::from([10, 0, 0, last]);
    let named = |last| own.directory().read().workload(address(last)).map(ToString::to_string);
    until("what was told holds for now", async || named(7)).await;
    until("the file wins", async || (told(&life, "node-a.10-0-0-1").await? == endpoint("order")).then_some(())).await;

    own.complete(|_| false);
    assert_eq!((named(7), named(1).as_deref()), (None, Some("order")));
    until("it is taken back", async || told(&life, "node-a.10-0-0-7").await.is_none().then_some(())).await;
    until("the others are known", async || named(8)).await;
    let mut keys = documents.keys().await.unwrap();
    keys.sort();
    assert_eq!(keys, ["node-a", "node-a.10-0-0-1", "node-b.10-0-0-8"], "the first is none of ours");
}

/// A change at one node is one at all others, and each of them is one message.
#[tokio::test(flavor = "multi_thread")]
async fn what_changes_on_one_node_changes_on_the_others() {
    let (port, store) = (free_port(), tempfile::tempdir().unwrap());
    let _server = Server::start(port, store.path());
    let [(_life_a, a), (life_b, b)] = [begin_node(port, "node-a").await, begin_node(port, "node-b").await];
    let named = || b.directory().read().workload(ORDER).map(ToString::to_string);
    for workload in ["order", "billing"] {
        a.set(ORDER, Some(endpoint(workload)));
        until("the other knows", async || (named()? == workload).then_some(())).await;
    }
    a.set(ORDER, None);
    until("the other forgets", async || named().is_none().then_some(())).await;
    let documents = Documents::<Endpoint>::open(life_b.connection()).await.unwrap();
    assert_eq!(documents.keys().await.unwrap(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_of_services_are_named_as_the_bucket_says() {
    let (port, store) = (free_port(), tempfile::tempdir().unwrap());
    let _server = Server::start(port, store.path());
    let (life, own) = begin_node(port, "node-a").await;
    life.connection().connected().await;
    let services = Documents::<Service>::open(life.connection()).await.unwrap();
    let addresses = |last: u8| vec![ORDER, IpAddr::from([10, 96, 0, last])];
    let named = |address: IpAddr| own.directory().read().workload(address).map(ToString::to_string);
    for last in [1, 2] {
        services.put("shop.order", &Service { addresses: addresses(last), since_unix_ns: 0 }).await.unwrap();
        until("it is named", async || (named(addresses(last)[1])? == "service/shop/order").then_some(())).await;
    }
    assert_eq!((named(ORDER).as_deref(), named(addresses(1)[1])), (Some("service/shop/order"), None));
    services.delete("shop.order").await.unwrap();
    until("it is forgotten", async || named(ORDER).is_none().then_some(())).await;
}

async fn begin_node(port: u16, node: &str) -> (Life, Own) {
    let (life, own) = (begin(port, node).await, own(node, Workloads::default()));
    own.complete(|_| false);
    follow::names(&life, &own);
    (life, own)
}

async fn next<M: Message>(messages: &mut Subscriber) -> M {
    let message = timeout(DEADLINE, messages.next()).await.expect("nothing is published").unwrap();
    Inbox::default().read::<M>(&message).expect("a message of ours").message
}

/// A handshake is known to have failed when its address is another pod's already.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_of_a_connection_has_the_names_that_it_began_with() {
    const CLOCK: WallClock = WallClock { offset_ns: 1_700_000_000_000_000_000 };
    const SECOND: u64 = 1_000_000_000;
    let (port, store) = (free_port(), tempfile::tempdir().unwrap());
    let _server = Server::start(port, store.path());
    let life = begin(port, "node-a").await;
    timeout(DEADLINE, life.connection().connected()).await.unwrap();
    let client = life.connection().client();
    let subscribe = async |wildcard: Wildcard| client.subscribe(wildcard.to_string()).await.unwrap();
    let [mut flows, mut slows] = [subscribe(Wildcard::Flows).await, subscribe(Wildcard::Slows).await];
    let mut edges = subscribe(Wildcard::Edges).await;
    client.flush().await.unwrap();

    let mut names = Names::new("node-a", Duration::from_secs(200));
    let mut claim = |workload: &str, second: u64| {
        let since_unix_ns = CLOCK.offset_ns + second * SECOND;
        let endpoint = Endpoint { workload: workload.to_owned(), since_unix_ns };
        names.claim("node-a", ORDER, &endpoint, since_unix_ns);
    };
    claim("order", 1);
    claim("billing", 20);
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&[10, 0, 0, 1]);
    let failed = Event {
        at_ns: 140 * SECOND,
        syn_ns: 10 * SECOND,
        client: bytes,
        server: bytes,
        server_port: 80_u16.to_be_bytes(),
        kind: EventKind::Expired as u8,
        verdict: Verdict::Forwarded as u8,
        family: 4,
        protocol: 6,
        ..Event::default()
    };
    let bucket = Duration::from_secs(10);
    let (publisher, slow) = (PublisherId::begin(NodeId::new("node-a").unwrap()), Duration::from_millis(100));
    let mut publisher = Publisher::new(&life, &publisher, Edges::new("node-a", bucket, slow), bucket);
    publisher.take(&failed, &names, CLOCK);
    publisher.take(&Event { syn_ns: 30 * SECOND, ..failed }, &names, CLOCK);
    publisher.finish();

    for messages in [&mut flows, &mut slows] {
        let batch = next::<FlowBatch>(messages).await;
        let names: Vec<_> = batch.events.iter().map(|event| event.source_workload.as_deref().unwrap()).collect();
        assert_eq!(names, ["order", "billing"]);
    }
    let mut told = Vec::new();
    while told.len() < 2 {
        told.extend(next::<EdgeBatch>(&mut edges).await.buckets.into_iter().map(|bucket| bucket.edge));
    }
    told.sort();
    assert_eq!(told, ["billing->billing:80", "order->order:80"]);
}

//! Names of services from a Kubernetes API server to the bucket that all nodes read.

use std::collections::BTreeMap;
use std::time::Duration;

use synscope_api::kubernetes;
use synscope_bus::document::Documents;
use synscope_bus::life::Life;
use synscope_bus::service::Service;
use synscope_kubernetes::Config;
use tokio::time::{Instant, sleep};

use crate::kubernetes_api::{Api, service};
use crate::service::Nats;

const DEADLINE: Duration = Duration::from_mins(1);

/// One instance that follows services.
async fn follow(nats: &Nats, api: &Api) -> Life {
    let life = nats.life("api").await;
    life.connection().connected().await;
    let config = Config::new(format!("http://127.0.0.1:{}", api.port).parse().unwrap());
    tokio::spawn(kubernetes::follow(life.clone(), config));
    life
}

async fn until_told(documents: &Documents<Service>, expected: &[(&str, &[&str])]) {
    let owned = |(key, addresses): &(&str, &[&str])| {
        ((*key).to_owned(), addresses.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    let expected: BTreeMap<_, _> = expected.iter().map(owned).collect();
    let start = Instant::now();
    loop {
        let addresses = |service: Service| service.addresses.iter().map(ToString::to_string).collect::<Vec<_>>();
        let all = documents.all().await.unwrap().into_iter();
        let told: BTreeMap<_, _> = all.map(|(key, service)| (key, addresses(service))).collect();
        if told == expected {
            return;
        }
        assert!(start.elapsed() < DEADLINE, "expected {expected:?}, told {told:?}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// Two instances, as where one takes over from the other.
#[tokio::test(flavor = "multi_thread")]
async fn services_are_told_as_they_come_change_and_go_and_written_once() {
    let nats = Nats::new();
    let _server = nats.start();
    let api = Api::start();
    api.put(service("order", &["10.96.0.1", "fd96::1"]));
    api.put(service("headless", &["None"]));
    let before = nats.life("test").await;
    before.connection().connected().await;
    let documents = Documents::<Service>::open(before.connection()).await.unwrap();
    documents.put("shop.gone-long-ago", &Service::default()).await.unwrap();
    let _first = follow(&nats, &api).await;
    until_told(&documents, &[("shop.order", &["10.96.0.1", "fd96::1"])]).await;
    let (order, revision) = documents.get("shop.order").await.unwrap().unwrap();
    assert_eq!(order.since_unix_ns, 1_795_168_800_000_000_000);

    let _second = follow(&nats, &api).await;
    api.put(service("cart", &["10.96.0.2"]));
    until_told(&documents, &[("shop.cart", &["10.96.0.2"]), ("shop.order", &["10.96.0.1", "fd96::1"])]).await;
    api.put(service("cart", &["10.96.0.3"]));
    until_told(&documents, &[("shop.cart", &["10.96.0.3"]), ("shop.order", &["10.96.0.1", "fd96::1"])]).await;
    assert_eq!(documents.get("shop.order").await.unwrap().unwrap().1, revision, "what is told is not told again");
    api.remove("services", "cart");
    until_told(&documents, &[("shop.order", &["10.96.0.1", "fd96::1"])]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_made_anew_is_told_all() {
    let nats = Nats::new();
    let _server = nats.start();
    let api = Api::start();
    api.put(service("order", &["10.96.0.1"]));
    let life = follow(&nats, &api).await;
    let documents = Documents::<Service>::open(life.connection()).await.unwrap();
    until_told(&documents, &[("shop.order", &["10.96.0.1"])]).await;
    let jetstream = async_nats::jetstream::new(life.connection().client().clone());
    jetstream.delete_key_value("synscope-services").await.unwrap();
    let documents = Documents::<Service>::open(life.connection()).await.unwrap();
    until_told(&documents, &[("shop.order", &["10.96.0.1"])]).await;
}

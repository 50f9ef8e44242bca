//! Without NATS the service tells what it has, and that it is all.

use serde_json::json;
use synscope_api::settings::Settings;
use synscope_bus::life::unix_now_ns;
use synscope_bus::message::edge::{EdgeBatch, EdgeBucket};
use synscope_bus::message::signal::NodeSignals;
use synscope_bus::subject::{Shard, Subject};

use crate::service::{Nats, Service, outbox};

fn reading() -> NodeSignals {
    NodeSignals { node: "node-a".into(), time_unix_ns: unix_now_ns(), ..NodeSignals::default() }
}

fn handshakes(n: u64) -> EdgeBatch {
    let bucket = EdgeBucket { edge: "a->b:1".into(), start_unix_ns: unix_now_ns(), n, ..EdgeBucket::default() };
    EdgeBatch { node: "node-a".into(), slow_above_ns: 1, buckets: vec![bucket] }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_starts_without_nats_and_survives_its_death() {
    let nats = Nats::new();
    let service = Service::start(&nats, Settings::default()).await;
    assert_eq!(service.get("/healthz").status, 200);
    let ready = service.get("/readyz");
    assert_eq!((ready.status, ready.media.as_str()), (503, "application/problem+json"));
    assert!(ready.json()["detail"].as_str().unwrap().contains("NATS"), "{ready:?}");
    assert_eq!(service.get("/v1/nodes").json(), json!([]));
    for path in ["/v1/nodes/node-a/conntrack", "/v1/nodes/node-a/conntrack/top", "/v1/nodes/node-a/desired"] {
        assert_eq!(service.get(path).status, 503, "{path}");
    }
    let degraded = |status: &serde_json::Value| status["api"]["degradations"].get("nats").is_some();
    service.json_when("/v1/status", degraded).await;

    let server = nats.start();
    let life = nats.life("datapath").await;
    let signals = outbox(&life, Subject::Signal);
    let edges = outbox(&life, |node| Subject::Edge(Shard::of_edge("a->b:1"), node));
    signals.put(&reading()).unwrap();
    edges.put(&handshakes(2)).unwrap();
    service.json_when("/readyz", |ready| ready["ready"] == true).await;
    service.json_when("/v1/nodes", |nodes| nodes[0]["node"] == "node-a").await;
    service.json_when("/v1/edges", |edges| edges[0]["n"] == 2).await;
    service.json_when("/v1/status", |status| !degraded(status)).await;

    drop(server);
    service.json_when("/v1/status", degraded).await;
    assert_eq!(service.get("/v1/edges").json()[0]["n"], 2, "what was heard is still told");
    assert_eq!(service.get("/readyz").status, 200, "it was of use once, and still is");

    // Published while the server is away, and read once: nothing is counted twice.
    edges.put(&handshakes(3)).unwrap();
    let _server = nats.start();
    let read = service.json_when("/v1/edges", |edges| edges[0]["n"].as_u64().unwrap() >= 5).await;
    assert_eq!(read[0]["n"], 5);
    let status = service.json_when("/v1/status", |status| !degraded(status)).await;
    assert_eq!(status["feeds"]["edges"]["gaps"]["missing"], 0);

    let restarted = Service::start(&nats, Settings::default()).await;
    restarted.json_when("/v1/edges", |edges| edges[0]["n"] == 5).await;
}

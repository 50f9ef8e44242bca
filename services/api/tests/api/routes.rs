//! Every route, once, with something to tell.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use synscope_api::settings::Settings;
use synscope_bus::command::Answers;
use synscope_bus::command::datapath::{
    ConntrackEntry, ConntrackPart, ConntrackTop, GetStatus, ListConntrack, Status, TableStatus, TopConntrack,
};
use synscope_bus::document::Documents;
use synscope_bus::life::{Life, unix_now_ns};
use synscope_bus::message::edge::{EdgeBatch, EdgeBucket};
use synscope_bus::message::flow::{FlowBatch, Vantage};
use synscope_bus::message::incident::Incident;
use synscope_bus::message::signal::{Conntrack, Drops, MapFill, NfConntrack, NodeSignals, Observed};
use synscope_bus::subject::{Shard, Subject};

use crate::service::{Nats, Service, handshake, outbox};

const EDGE: &str = "shop/order->shop/inventory:8080";

fn signals() -> NodeSignals {
    let fill = MapFill { id: 7, name: "ct4".into(), live: 90, max: 120, ..MapFill::default() };
    let empty = MapFill { id: 8, name: "none".into(), ..MapFill::default() };
    let failures = BTreeMap::from([("E2BIG".to_owned(), 3)]);
    let table = Conntrack { live: 90, max: 120, refused_syns: 5, insert_failures: failures, ..Conntrack::default() };
    let drops = Drops { reason: "SKB_DROP_REASON_NO_SOCKET".into(), packets: 11, ..Drops::default() };
    NodeSignals {
        node: "node-a".into(),
        time_unix_ns: unix_now_ns(),
        maps: Observed::Observed { value: vec![empty, fill] },
        conntrack: Observed::Observed { value: table },
        nf_conntrack: Observed::Observed {
            value: vec![NfConntrack { netns: 4, live: 1, max: 2, ..NfConntrack::default() }],
        },
        drops: Observed::Observed { value: vec![drops] },
        ..NodeSignals::default()
    }
}

fn edges(vantage: Vantage, latencies_ns: &[u64]) -> EdgeBatch {
    let mut bucket = EdgeBucket {
        edge: EDGE.into(),
        vantage,
        start_unix_ns: unix_now_ns(),
        length_ns: 10,
        n: latencies_ns.len() as u64,
        slow: 1,
        retries: 2,
        refused: 3,
        dropped: 2,
        unmeasured: 7,
        failed: 6,
        reset: 4,
        half_seen: 5,
        ..EdgeBucket::default()
    };
    for latency in latencies_ns {
        bucket.latency_ns.record(*latency);
    }
    EdgeBatch { node: "node-a".into(), slow_above_ns: 100_000_000, buckets: vec![bucket] }
}

async fn datapath(life: &Life) -> Answers {
    let answers = Answers::announce(life).await.unwrap();
    let status = || Status {
        node: "node-a".into(),
        mode: "observe".into(),
        tables: vec![TableStatus { family: 4, live: 30, max: 120 }],
        ..Status::default()
    };
    answers.answer(move |GetStatus {}| Ok(status())).await.unwrap();
    let list = |asked: ListConntrack| {
        let entry = ConntrackEntry { source: "10.0.1.2".into(), state: "syn_sent".into(), ..ConntrackEntry::default() };
        let asked_for = (asked.address.as_deref(), asked.port, asked.state.as_deref(), asked.limit);
        if asked_for != (Some("10.0.1.2"), Some(80), Some("syn_sent"), 7) {
            return Err(format!("not as asked: {asked:?}"));
        }
        Ok(ConntrackPart { entries: vec![entry], next: asked.after.is_none().then(|| "99".to_owned()) })
    };
    answers.answer(list).await.unwrap();
    let top = |asked: TopConntrack| Ok(vec![ConntrackTop { entries: asked.limit.into(), ..ConntrackTop::default() }]);
    answers.answer(top).await.unwrap();
    life.ready();
    answers
}

fn number(value: &Value, pointer: &str) -> u64 {
    value.pointer(pointer).and_then(Value::as_u64).unwrap_or_else(|| panic!("no number at {pointer}: {value:#}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_tells_what_was_heard() {
    let nats = Nats::new();
    let _server = nats.start();
    let life = nats.life("datapath").await;
    let _datapath = datapath(&life).await;
    let analyzer = Life::begin("analyzer", "one", nats.connect().await).unwrap();
    let _analyzer = Answers::announce(&analyzer).await.unwrap();
    // Published before the service starts: it learns of the past.
    outbox(&life, Subject::Signal).put(&signals()).unwrap();
    let shard = Shard::of_edge(EDGE);
    let told = outbox(&life, |node| Subject::Edge(shard, node));
    told.put(&edges(Vantage::Client, &[1_000_000, 3_000_000_000])).unwrap();
    told.put(&edges(Vantage::Client, &[2_000_000])).unwrap();
    told.put(&edges(Vantage::Server, &[500_000])).unwrap();
    let slow =
        FlowBatch { node: "node-a".into(), events: vec![handshake(1, Some(3_000_000_000))], ..FlowBatch::default() };
    outbox(&life, Subject::Slow).put(&slow).unwrap();
    let incident = Incident { id: "i1".into(), title: "slow".into(), ..Incident::default() };
    life.connection().connected().await;
    Documents::<Incident>::open(life.connection()).await.unwrap().put("i1", &incident).await.unwrap();

    let service = Service::start(&nats, Settings::default()).await;
    let mut stream = service.open_stream("/v1/flows/stream?port=8080");
    let mut events = service.open_stream("/v1/events/stream");
    let ready = service.json_when("/readyz", |ready| ready["ready"] == json!(true)).await;
    assert_eq!(ready["ready"], json!(true));

    let status = service
        .json_when("/v1/status", |status| {
            let heard = status.pointer("/datapaths/0/health/value/phase") == Some(&json!("ready"));
            heard && status.pointer("/analyzers/value/0/node") == Some(&json!("one"))
        })
        .await;
    assert_eq!(
        (status["api"]["nats_connected"].clone(), status["api"]["phase"].clone()),
        (json!(true), json!("ready"))
    );
    assert_eq!(status["feeds"]["flows"]["foreign"], json!(0));

    let nodes = service.json_when("/v1/nodes", |nodes| number_or(nodes, "/0/conntrack/value/live") == 90).await;
    assert_eq!(nodes[0]["mode"]["value"], json!("observe"));
    assert_eq!(nodes[0]["tables"]["value"][0]["fill_ratio"], json!(0.25));
    assert!(number(&nodes, "/0/signal_age_ms") < 60_000);
    // One machine, one clock: what is left is the time that a message took.
    assert!(number(&nodes, "/0/clock_offset_ns") < 5_000_000_000, "{nodes}");

    let edges = service.json_when("/v1/edges", |edges| edges.as_array().unwrap().len() == 2).await;
    let edge = &edges[0];
    let names = ["n", "slow", "retries", "refused", "dropped", "unmeasured", "failed", "reset", "half_seen"];
    let counts = names.map(|name| edge[name].as_u64().unwrap());
    assert_eq!((edge["vantage"].clone(), counts), (json!("client"), [3, 2, 4, 6, 4, 14, 12, 8, 10]));
    assert!(edge["p50_ns"].as_u64().unwrap().abs_diff(2_000_000) < 20_000, "{edge}");
    assert!(edge["max_ns"].as_u64().unwrap().abs_diff(3_000_000_000) < 30_000_000, "{edge}");
    for nothing in ["?until=-1h", "?node=other", "?since=2100-01-01T00:00:00Z"] {
        assert_eq!(service.get(&format!("/v1/edges{nothing}")).json(), json!([]), "{nothing}");
    }

    let part = service.get("/v1/nodes/node-a/conntrack?address=10.0.1.2&port=80&state=syn_sent&limit=7").json();
    assert_eq!((part["entries"][0]["state"].clone(), part["next"].clone()), (json!("syn_sent"), json!("99")));
    let rest = "/v1/nodes/node-a/conntrack?address=10.0.1.2&port=80&state=syn_sent&limit=7&cursor=99";
    assert_eq!(service.get(rest).json()["next"], Value::Null);
    assert_eq!(service.get("/v1/nodes/node-a/conntrack/top?limit=3").json()[0]["entries"], json!(3));

    let maps = service.get("/v1/maps").json();
    assert_eq!(maps[0]["maps"]["value"][0]["name"], json!("ct4"));
    assert_eq!(maps[0]["maps"]["value"][0]["fill_ratio"], json!(0.75));
    assert_eq!(maps[0]["maps"]["value"][1].get("fill_ratio"), None);
    let signals = service.get("/v1/signals?node=node-a&since=-5m&step_ms=1000").json();
    assert_eq!(signals["signals"][0]["softnet"]["state"], json!("not_observed"));
    assert_eq!(service.get("/v1/signals?node=other").json()["signals"], json!([]));

    assert_eq!(service.json_when("/v1/incidents", |all| all[0]["id"] == json!("i1")).await[0]["title"], json!("slow"));
    assert_eq!(service.get("/v1/incidents/i1").json()["id"], json!("i1"));
    assert_eq!(service.get("/v1/nodes/node-a/desired").etag.as_deref(), Some("\"0\""));

    let report = service.json_when("/v1/reports/slow-syns", |report| report["found"] == json!(1)).await;
    assert_eq!(report["slowest"][0]["connection"], json!("shop/order:1->shop/inventory"));
    let text = service.ask("GET", "/v1/reports/slow-syns?above_ms=50", &[("accept", "text/plain")], "");
    assert_eq!(text.media, "text/plain; charset=utf-8");
    assert!(text.text.starts_with("Found 1 slow SYN packets (>50ms)\n\nTop 10 slowest:\n "), "{}", text.text);

    let flows = outbox(&life, Subject::Flow);
    let events_now = vec![handshake(1, Some(5)), handshake(2, None)];
    flows.put(&FlowBatch { node: "node-a".into(), first: 1, events: events_now, lost: 6 }).unwrap();
    let (name, flow) = tokio::task::block_in_place(|| stream.next()).unwrap();
    assert_eq!((name.as_str(), flow["latency_ns"].clone()), ("flow", json!(5)));
    let page = service.get("/v1/flows?workload=shop/order&address=10.0.2.3&kind=established&verdict=FORWARDED").json();
    assert_eq!((page["flows"][0]["source_port"].clone(), page["flows"][0].get("latency_ns")), (json!(2), None));
    assert_eq!(service.get("/v1/flows?min_latency_ns=5").json()["flows"].as_array().unwrap().len(), 1);

    let changed = Incident { title: "slower".into(), ..incident };
    let documents = Documents::<Incident>::open(life.connection()).await.unwrap();
    documents.put("i1", &changed).await.unwrap();
    // The first state may have been read before the stream was opened, or after.
    tokio::task::block_in_place(|| {
        while let Some((name, incident)) = events.next() {
            assert_eq!((name.as_str(), &incident["id"]), ("incident", &json!("i1")));
            if incident["title"] == json!("slower") {
                return;
            }
        }
        panic!("the change was not told");
    });
    documents.delete("i1").await.unwrap();
    assert_eq!(tokio::task::block_in_place(|| events.next()), Some(("gone".into(), json!({ "id": "i1" }))));

    check_metrics(&service.get("/metrics").text);
    assert_eq!(service.get("/healthz").json(), json!({ "alive": true }));
    service.life.stop();
    assert_eq!(tokio::task::block_in_place(|| events.next()), None, "the stream outlives the service");
}

fn number_or(value: &Value, pointer: &str) -> u64 {
    value.pointer(pointer).and_then(Value::as_u64).unwrap_or_default()
}

fn check_metrics(text: &str) {
    let lines: BTreeSet<&str> = text.lines().collect();
    for line in [
        r#"synscope_conntrack_entries{node="node-a"} 90.0"#,
        r#"synscope_conntrack_fill_ratio{node="node-a"} 0.75"#,
        r#"synscope_conntrack_refused_syns_total{node="node-a"} 5"#,
        r#"synscope_conntrack_insert_failures_total{node="node-a",errno="E2BIG"} 3"#,
        r#"synscope_dropped_packets_total{node="node-a",reason="SKB_DROP_REASON_NO_SOCKET"} 11"#,
        r#"synscope_nf_conntrack_entries{node="node-a",netns="4"} 1.0"#,
        r#"synscope_map_fill_ratio{node="node-a",map="ct4",owner="",id="7"} 0.75"#,
        r#"synscope_edge_slow_handshakes_total{edge="shop/order->shop/inventory:8080",vantage="client"} 2"#,
        r#"synscope_edge_refused_syns_total{edge="shop/order->shop/inventory:8080",vantage="server"} 3"#,
        r#"synscope_edge_dropped_syns_total{edge="shop/order->shop/inventory:8080",vantage="server"} 2"#,
        r#"synscope_edge_failed_handshakes_total{edge="shop/order->shop/inventory:8080",vantage="server"} 6"#,
        r#"synscope_edge_reset_handshakes_total{edge="shop/order->shop/inventory:8080",vantage="server"} 4"#,
        r#"synscope_lost_flow_events_total{node="node-a"} 6"#,
        r#"synscope_feed_missing_messages_total{feed="edges"} 0"#,
        r#"synscope_service_up{service="datapath",node="node-a"} 1.0"#,
        "synscope_stream_missed_events_total 0",
        "# EOF",
    ] {
        assert!(lines.contains(line), "{line} is not in\n{text}");
    }
    assert!(!text.contains(r#"map="none""#), "a map that holds nothing has no fill");
}

//! Pages of flows, and streams of them.

use serde_json::json;
use synscope_api::settings::Settings;
use synscope_bus::message::flow::FlowBatch;
use synscope_bus::subject::Subject;

use crate::service::{Nats, Service, bounded_outbox, handshake, outbox};

fn batch(ports: impl IntoIterator<Item = u16>) -> FlowBatch {
    let events = ports.into_iter().map(|port| handshake(port, Some(1_000_000))).collect();
    FlowBatch { node: "node-a".into(), events, ..FlowBatch::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_fit_together_while_flows_come() {
    let nats = Nats::new();
    let _server = nats.start();
    let service = Service::start(&nats, Settings { flows_kept: 1000, ..Settings::default() }).await;
    let life = nats.life("datapath").await;
    let flows = outbox(&life, Subject::Flow);
    service.json_when("/readyz", |ready| ready["ready"] == true).await;
    flows.put(&batch(1..=300)).unwrap();
    service.json_when("/v1/status", |status| status["memory"]["flows"]["kept"] == 300).await;

    let (mut path, mut ports) = ("/v1/flows?limit=37".to_owned(), Vec::new());
    let mut kept = 300;
    loop {
        let page = service.get(&path).json();
        ports.extend(page["flows"].as_array().unwrap().iter().map(|flow| flow["source_port"].as_u64().unwrap()));
        // More come between two pages.
        flows.put(&batch(1000..1020)).unwrap();
        kept += 20;
        service.json_when("/v1/status", |status| status["memory"]["flows"]["kept"] == kept).await;
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/v1/flows?limit=37&cursor={next}");
    }
    assert_eq!(ports, (1..=300).rev().collect::<Vec<_>>());

    // Pages that were pushed out end the listing; they do not repeat or fail.
    let cursor = service.get("/v1/flows?limit=1").json()["next"].as_str().unwrap().to_owned();
    flows.put(&batch(1..=1000)).unwrap();
    let forgotten = u64::try_from(kept).unwrap();
    service.json_when("/v1/status", |status| status["memory"]["flows"]["forgotten"] == forgotten).await;
    let page = service.get(&format!("/v1/flows?cursor={cursor}")).json();
    assert_eq!(page, json!({ "flows": [], "next": null }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_is_told_what_it_missed() {
    const BATCHES: u16 = 400;
    const EACH: u16 = 128;
    let nats = Nats::new();
    let _server = nats.start();
    let service = Service::start(&nats, Settings { stream_behind: 64, ..Settings::default() }).await;
    let life = nats.life("datapath").await;
    let flows = outbox(&life, Subject::Flow);
    service.json_when("/readyz", |ready| ready["ready"] == true).await;
    let mut slow = service.open_stream("/v1/flows/stream");
    // More than the sockets' buffers take, while nobody reads.
    let all = u64::from(BATCHES) * u64::from(EACH);
    for _ in 0..BATCHES {
        flows.put(&batch(1..=EACH)).unwrap();
    }
    service
        .json_when("/v1/status", |status| {
            let flows = &status["memory"]["flows"];
            flows["kept"].as_u64().unwrap() + flows["forgotten"].as_u64().unwrap() == all
        })
        .await;
    let (mut seen, mut missed) = (0, 0);
    while seen + missed < all {
        let (name, data) = tokio::task::block_in_place(|| slow.next()).unwrap();
        match name.as_str() {
            "flow" => seen += 1,
            "missed" => missed += data["missed"].as_u64().unwrap(),
            other => panic!("an event of the name {other}"),
        }
    }
    assert!(missed > 0 && seen > 0, "{seen} seen, {missed} missed");
    assert_eq!(seen + missed, all);
    assert_eq!(service.get("/v1/status").json()["stream_missed"], missed);
}

#[tokio::test(flavor = "multi_thread")]
async fn gaps_and_foreign_messages_are_counted() {
    let nats = Nats::new();
    let _server = nats.start();
    let service = Service::start(&nats, Settings::default()).await;
    let life = nats.life("datapath").await;
    let flows = bounded_outbox(&life, Subject::Flow, 10_000);
    service.json_when("/readyz", |ready| ready["ready"] == true).await;
    flows.put(&batch([1])).unwrap();
    service.json_when("/v1/status", |status| status["memory"]["flows"]["kept"] == 1).await;
    #[expect(clippy::disallowed_methods, reason = "what no outbox would send")]
    life.connection().client().publish("synscope.flow.node-a", "garbage".into()).await.unwrap();
    // Too large for its bound, this one is dropped, and its number is missing.
    flows.put(&batch(1..=1000)).unwrap();
    flows.put(&batch([2])).unwrap();
    let status = service.json_when("/v1/status", |status| status["memory"]["flows"]["kept"] == 2).await;
    let counts = &status["feeds"]["flows"];
    assert_eq!((counts["foreign"].clone(), counts["gaps"]["missing"].clone()), (json!(1), json!(1)));
    assert_eq!(counts["gaps"]["received"], json!(2));
}

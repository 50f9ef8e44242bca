//! Traces on several nodes: what they tell is put together, and what one of them does not do is said.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use synscope_api::settings::Settings;
use synscope_bus::command::Answers;
use synscope_bus::command::tracer::{
    Activity, CheckTrace, Checked, Diagnostic, GetActivity, GetResults, ListTraces, RenewTrace, StartProbe,
    StartScript, Started, StopTrace, TraceResults, TraceStatus,
};
use synscope_bus::envelope::PublisherId;
use synscope_bus::life::Life;
use synscope_bus::message::trace::{Ending, Limit, Line, TraceBatch, TraceLosses, TraceState};
use synscope_bus::outbox::Outbox;
use synscope_bus::snapshot::{Entry, Held, Map, Snapshot};
use synscope_bus::subject::{NodeId, Subject, TraceId};

use crate::service::{Nats, Service};

/// What a node has counted.
fn counted(count: u64) -> Vec<Snapshot> {
    vec![Map { name: "n".into(), held: Held::Count { entries: vec![Entry { key: None, value: count }] }, left_out: 0 }]
}

fn status(node: &str, trace: &str) -> TraceStatus {
    TraceStatus { node: node.into(), trace: trace.into(), state: TraceState::Running, ..TraceStatus::default() }
}

fn activity() -> Activity {
    Activity {
        running: 1,
        running_max: 8,
        ended: BTreeMap::from([("exited".into(), 4), ("limit".into(), 2)]),
        exceeded: BTreeMap::from([(Limit::HitsPerSecond, 2)]),
        hits: 70,
        run_ns: 1_500_000_000,
        lines: 9,
        losses: TraceLosses { records: 5, values: 6, hits: 8, cut: 7 },
    }
}

fn line(text: &str) -> Line {
    Line { text: text.into(), error: false }
}

/// A tracer that starts probes, refuses scripts, and has counted to three in the trace `t-1`.
async fn tracer(nats: &Nats, node: &'static str, runs_probes: bool) -> (Life, Answers) {
    let life = Life::begin("tracer", node, nats.connect().await).unwrap();
    let zone = node.replace("node-", "zone=");
    let answers = Answers::announce_labelled(&life, &format!("disk=ssd,{zone}").parse().unwrap()).await.unwrap();
    let start = move |asked: StartProbe| {
        assert_eq!(asked.terms.lease_ms.is_some(), asked.terms.duration_ms.is_none());
        assert_eq!(asked.terms.limits.hits_per_second, Some(9));
        if runs_probes {
            Ok(Started { trace: Some(status(node, &asked.terms.trace)), diagnostics: Vec::new() })
        } else {
            Err("curated probes are off".to_owned())
        }
    };
    answers.answer(start).await.unwrap();
    let wrong = || vec![Diagnostic { code: "unknown-function".into(), ..Diagnostic::default() }];
    answers.answer(move |_: StartScript| Ok(Started { trace: None, diagnostics: wrong() })).await.unwrap();
    answers.answer(move |_: CheckTrace| Ok(Checked { diagnostics: wrong(), ..Checked::default() })).await.unwrap();
    answers.answer(move |ListTraces {}| Ok(vec![status(node, "t-1")])).await.unwrap();
    let results = move |trace: &str| {
        let found = TraceResults {
            status: status(node, trace),
            maps: counted(3),
            first: 1,
            lines: vec![line("one"), line("two")],
        };
        if trace == "t-1" { Ok(found) } else { Err("there is no such trace".to_owned()) }
    };
    answers.answer(move |GetResults { trace }| results(&trace)).await.unwrap();
    answers.answer(move |StopTrace { trace }| results(&trace)).await.unwrap();
    answers.answer(|GetActivity {}| Ok(activity())).await.unwrap();
    answers.answer(move |RenewTrace { trace }| Ok(status(node, &trace))).await.unwrap();
    life.ready();
    (life, answers)
}

async fn started(nats: &Nats) -> Service {
    let service = Service::start(nats, Settings::default()).await;
    service.json_when("/v1/status", |status| status["tracers"].as_array().is_some_and(|all| all.len() == 2)).await;
    service
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_is_one_over_all_its_nodes() {
    let nats = Nats::new();
    let _server = nats.start();
    let _a = tracer(&nats, "node-a", true).await;
    let _b = tracer(&nats, "node-b", false).await;
    let service = started(&nats).await;

    let begun = service.post("/v1/traces", r#"{"probe": "drops", "limits": {"hits_per_second": 9}}"#).json();
    assert_eq!((&begun["nodes"][0]["node"], &begun["nodes"][1]), (&json!("node-a"), &Value::Null), "{begun}");
    let failed = json!([{ "node": "node-b", "reason": "curated probes are off", "diagnostics": [] }]);
    assert_eq!(begun["failed"], failed);
    let only = r#"{"probe": "drops", "nodes": ["node-b"], "duration_ms": 5, "limits": {"hits_per_second": 9}}"#;
    let refused = service.post("/v1/traces", only);
    assert_eq!((refused.status, &refused.json()["detail"]), (422, &json!("curated probes are off")));

    let wrong = service.post("/v1/traces", r#"{"script": "BEGIN { cuont(); }"}"#);
    assert_eq!((wrong.status, &wrong.json()["diagnostics"][0]["code"]), (422, &json!("unknown-function")));
    let checked = service.post("/v1/traces/check", r#"{"script": "BEGIN { cuont(); }"}"#);
    assert_eq!((checked.status, &checked.json()["runs"]), (200, &json!(false)));

    let all = service.get("/v1/traces").json();
    assert_eq!(all["traces"][0]["nodes"].as_array().unwrap().len(), 2, "{all}");
    for answer in [service.get("/v1/traces/t-1"), service.ask("DELETE", "/v1/traces/t-1", &[], "")] {
        let trace = answer.json();
        assert_eq!(trace["maps"][0]["held"], json!({ "kind": "count", "entries": [{ "key": null, "value": 6 }] }));
        assert_eq!((trace["lines"].as_array().unwrap().len(), &trace["failed"]), (4, &json!([])), "{trace}");
    }
    for answer in [service.get("/v1/traces/t-2"), service.get("/v1/traces/t-2/stream")] {
        assert_eq!((answer.status, answer.media.as_str()), (404, "application/problem+json"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_chosen_by_name_and_by_label() {
    let nats = Nats::new();
    let _server = nats.start();
    let _a = tracer(&nats, "node-a", true).await;
    let _b = tracer(&nats, "node-b", true).await;
    let service = started(&nats).await;
    let ask = |nodes: Value| {
        let body = json!({ "probe": "drops", "nodes": nodes, "limits": { "hits_per_second": 9 } });
        service.post("/v1/traces", &body.to_string())
    };
    for (nodes, expected) in [
        (json!(["zone=b"]), vec!["node-b"]),
        (json!(["disk=ssd"]), vec!["node-a", "node-b"]),
        (json!(["disk=ssd,zone=a"]), vec!["node-a"]),
        (json!(["zone=b", "node-a", "node-b"]), vec!["node-a", "node-b"]),
    ] {
        let begun = ask(nodes.clone()).json();
        let names: Vec<_> = begun["nodes"].as_array().unwrap().iter().map(|node| node["node"].clone()).collect();
        assert_eq!(
            (names, &begun["failed"]),
            (expected.iter().map(|node| json!(node)).collect(), &json!([])),
            "{nodes}"
        );
    }
    for (nodes, detail) in [
        (json!(["zone=c"]), "of 2 nodes with a tracer none has zone=c; there are disk=ssd, zone=a, zone=b"),
        (json!(["node-a", "zone=a,zone=b"]), r#""zone=a,zone=b": label "zone" has two values"#),
        (json!(["zone="]), r#""zone=": label "zone" has the value "", which must have"#),
        (json!(["Node"]), r#"token "Node" holds 'N'"#),
    ] {
        let refused = ask(nodes.clone());
        let problem = refused.json();
        assert_eq!((refused.status, &problem["field"]), (400, &json!("nodes")), "{nodes}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(detail), "{nodes}: {problem}");
    }
    let all = service.get("/v1/status").json();
    assert_eq!(all["tracers"][1]["labels"], json!({ "disk": "ssd", "zone": "b" }));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_traces_come_to_is_in_status_and_metrics() {
    let nats = Nats::new();
    let _server = nats.start();
    let _a = tracer(&nats, "node-a", true).await;
    let service = Service::start(&nats, Settings::default()).await;
    let known = |status: &Value| status["tracers"][0]["activity"]["state"] == "observed";
    let status = service.json_when("/v1/status", known).await;
    assert_eq!(status["tracers"][0]["activity"]["value"], serde_json::to_value(activity()).unwrap());
    let text = service.get("/metrics").text;
    for line in [
        r#"synscope_traces_running{node="node-a"} 1.0"#,
        r#"synscope_traces_running_max{node="node-a"} 8.0"#,
        r#"synscope_traces_ended_total{node="node-a",why="exited"} 4"#,
        r#"synscope_trace_limits_exceeded_total{node="node-a",limit="hits_per_second"} 2"#,
        r#"synscope_trace_hits_total{node="node-a"} 70"#,
        r#"synscope_trace_run_seconds_total{node="node-a"} 1.5"#,
        r#"synscope_trace_lines_total{node="node-a"} 9"#,
        r#"synscope_trace_losses_total{node="node-a",what="records"} 5"#,
        r#"synscope_trace_losses_total{node="node-a",what="values"} 6"#,
        r#"synscope_trace_losses_total{node="node-a",what="hits"} 8"#,
        r#"synscope_trace_losses_total{node="node-a",what="cut_lines"} 7"#,
    ] {
        assert!(text.lines().any(|other| other == line), "{line} is not in\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_tells_each_line_once_what_it_missed_and_the_end_on_every_node() {
    let nats = Nats::new();
    let _server = nats.start();
    let (a, _answers_a) = tracer(&nats, "node-a", true).await;
    let (b, _answers_b) = tracer(&nats, "node-b", true).await;
    let service = started(&nats).await;
    let mut stream = service.open_stream("/v1/traces/t-1/stream");
    let outbox = |life: &Life, node: &str| -> Arc<Outbox> {
        let node = NodeId::new(node).unwrap();
        let subject = Subject::Trace(TraceId::new("t-1").unwrap(), node.clone());
        let outbox = Outbox::new(&subject, PublisherId::begin(node), 1 << 20);
        life.send(&outbox);
        outbox
    };
    let (a, b) = (outbox(&a, "node-a"), outbox(&b, "node-b"));
    let batch = |node: &str, first, lines: &[&str]| TraceBatch {
        node: node.into(),
        trace: "t-1".into(),
        state: TraceState::Running,
        first,
        lines: lines.iter().map(|text| line(text)).collect(),
        ..TraceBatch::default()
    };
    // The second line is known already; the fourth was lost.
    a.put(&batch("node-a", 2, &["two", "three"])).unwrap();
    a.put(&batch("node-a", 5, &["five"])).unwrap();
    let losses = TraceLosses { records: 4, ..TraceLosses::default() };
    let ended = |node: &str| TraceBatch {
        state: TraceState::Ended { ending: Ending::Stopped },
        maps: Some(counted(10)),
        losses,
        ..batch(node, 6, &[])
    };
    a.put(&ended("node-a")).unwrap();
    b.put(&ended("node-b")).unwrap();

    let (mut lines, mut ends, mut missed, mut total) = (Vec::new(), Vec::new(), Vec::new(), json!(0));
    tokio::task::block_in_place(|| {
        while let Some((name, data)) = stream.next() {
            match name.as_str() {
                "line" if data["node"] == "node-a" => lines.push(data["text"].as_str().unwrap().to_owned()),
                "line" => {}
                "missed" => missed.push((data["node"].clone(), data["missed"].clone())),
                "maps" => total = data["maps"][0]["held"]["entries"][0]["value"].clone(),
                "ended" => ends.push((data["ending"]["why"].clone(), data["losses"]["records"].clone())),
                other => panic!("{other}: {data}"),
            }
        }
    });
    assert_eq!(lines, ["one", "two", "three", "five"]);
    assert_eq!(missed, [(json!("node-a"), json!(1))]);
    assert_eq!(ends, [(json!("stopped"), json!(4)), (json!("stopped"), json!(4))]);
    assert_eq!(total, json!(20), "the last maps come before the stream ends");
}

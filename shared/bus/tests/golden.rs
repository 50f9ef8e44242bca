//! Each message's bytes, pinned: `BLESS=1 cargo test -p synscope-bus` rewrites them.
#![allow(clippy::unwrap_used, reason = "clippy takes helpers of a test file for no test")]

use std::{collections::BTreeMap, fs, path::Path};

use rmpv::Value;
use serde::{Serialize, de::DeserializeOwned};
use synscope_bus::{
    command::datapath::{
        ConntrackEntry, ConntrackPart, ConntrackTop, HookStatus, ListConntrack, Status, TableStatus, TopConntrack,
    },
    command::tracer::{
        Activity, AttachPoint, CheckTrace, Checked, Cost, CuratedProbe, DescribeType, Diagnostic, Function, Functions,
        GetResults, Label, Limits, ListFunctions, Place, Probe, ProbeParameter, RenewTrace, Script, Severity,
        StartProbe, StartScript, Started, StopTrace, Suggestion, Terms, TraceResults, TraceSource, TraceStatus,
        TypeText,
    },
    document::Desired,
    endpoint::Endpoint,
    life::Health,
    message::{
        Message,
        audit::AuditEvent,
        edge::{EdgeBatch, EdgeBucket},
        flow::{FlowBatch, FlowEvent, FlowKind, Vantage, Verdict},
        incident::{
            Advice, Cause, Change, Evidence, Finding, Fix, Incident, Measured, Point, ProbeOutcome, ProbeRun,
            Recurrence, Sizing, Spike, State, Step,
        },
        signal::{Conntrack, MapFill, NodeSignals, Observed, Softnet},
        trace::{Ending, Limit, Line, TraceBatch, TraceLosses, TraceState},
    },
    service::Service,
    sketch::Sketch,
    snapshot::{Each, Entry, Held, Histogram, Map, Mean, Number, Series, Snapshot, Value as MapValue},
};

const TIME: u64 = 1_700_000_000_000_000_000;

fn flow() -> FlowBatch {
    FlowBatch {
        node: "node-a".into(),
        first: 12,
        events: vec![FlowEvent {
            kind: FlowKind::PendingExpired,
            time_unix_ns: TIME,
            vantage: Vantage::Client,
            verdict: Verdict::Dropped,
            drop_reason: Some("CT_MAP_INSERTION_FAILED".into()),
            protocol: 6,
            source: "10.0.1.2".into(),
            source_port: 40_000,
            destination: "fd00::2".into(),
            destination_port: 8080,
            initial_sequence: Some(u32::MAX),
            first_syn_unix_ns: Some(TIME - 3_000_000_000),
            syn_retries: 2,
            ..FlowEvent::default()
        }],
        lost: 1,
    }
}

fn edge() -> EdgeBatch {
    let mut latency_ns = Sketch::default();
    for latency in [100, 520_000_000, 520_000_000] {
        latency_ns.record(latency);
    }
    EdgeBatch {
        node: "node-a".into(),
        slow_above_ns: 100_000_000,
        buckets: vec![EdgeBucket {
            edge: "shop/order->shop/inventory:8080".into(),
            vantage: Vantage::Server,
            start_unix_ns: TIME,
            length_ns: 10_000_000_000,
            n: 3,
            slow: 2,
            unmeasured: 5,
            failed: 4,
            reset: 1,
            latency_ns,
            ..EdgeBucket::default()
        }],
    }
}

fn signal() -> NodeSignals {
    NodeSignals {
        node: "node-a".into(),
        time_unix_ns: TIME,
        maps: Observed::Observed {
            value: vec![MapFill {
                id: 7,
                name: "cilium_ct4_global".into(),
                kind: "lru_hash".into(),
                owner: Some("cilium".into()),
                live: 512_000,
                max: 524_288,
                estimate: true,
            }],
        },
        conntrack: Observed::Observed {
            value: Conntrack {
                live: 10,
                max: 10,
                inserts: 90,
                insert_failures: BTreeMap::from([("E2BIG".into(), 4)]),
                refused_syns: 4,
                dropped_syns: 3,
                sweep_cost_ns: None,
            },
        },
        softnet: Observed::Observed { value: Softnet::default() },
        ..NodeSignals::default()
    }
}

fn incident() -> Incident {
    Incident {
        id: "i-1".into(),
        kind: "ct-full".into(),
        title: "order to inventory is slow every 20 s".into(),
        state: State::FixApplied,
        edges: vec!["shop/order->shop/inventory:8080".into()],
        more_edges: 3,
        nodes: vec!["node-a".into()],
        vantage: Vantage::Client,
        first_seen_unix_ns: TIME,
        last_seen_unix_ns: TIME + 60_000_000_000,
        recurrence: Recurrence::Regular {
            period_ns: 20_000_000_000,
            spread_ns: 100_000_000,
            spike_ns: 5_000_000_000,
            cycles: 3,
            cycles_expected: 3,
            next_unix_ns: TIME + 60_000_000_000,
            drift_ns: -1,
            chance_per_million: 499,
        },
        normal_p50_ns: Some(200_000),
        spikes: vec![Spike {
            start_unix_ns: TIME,
            end_unix_ns: TIME + 5_000_000_000,
            n: 9,
            failed: 2,
            ..Spike::default()
        }],
        causes: vec![Cause {
            name: "ct-full".into(),
            finding: Finding::Confirmed,
            node: Some("node-a".into()),
            score: 0.5,
            summary: "the table was full".into(),
            evidence_for: vec![Evidence {
                name: "refused SYNs".into(),
                value: 4.0,
                baseline: Some(0.0),
                unit: "1".into(),
                node: Some("node-a".into()),
                measured: Some(Measured {
                    probe: "drops".into(),
                    trace: "i-1-65536000".into(),
                    from_unix_ns: TIME,
                    to_unix_ns: TIME + 9_000_000_000,
                }),
            }],
            evidence_against: vec![],
        }],
        refuted: vec![Cause { name: "path-loss".into(), finding: Finding::Refuted, ..Cause::default() }],
        fix: Some(Fix {
            summary: "a larger table".into(),
            change: Some(Change::ConntrackEntries { node: "node-a".into(), from: 4096, to: 16_384 }),
            advice: vec![Advice { owner: "cilium".into(), command: "bpf.ctTcpMax=16384".into() }],
            sizing: Some(Sizing { demand_entries: 8000, ..Sizing::default() }),
            ..Fix::default()
        }),
        series: vec![Point {
            start_unix_ns: TIME,
            n: 3,
            slow: 0,
            failed: 1,
            max_ns: Some(300_000),
            table_per_mille: Some(977),
        }],
        timeline: vec![Step { time_unix_ns: TIME, state: State::Open, what: "found".into() }],
        probes: vec![ProbeRun {
            trace: "i-1-65536000".into(),
            probe: "drops".into(),
            why: "no cause is confirmed".into(),
            from_unix_ns: TIME,
            until_unix_ns: TIME + 9_000_000_000,
            nodes: [
                ("node-a", ProbeOutcome::Observed { from_unix_ns: TIME, to_unix_ns: TIME + 9_000_000_000, spikes: 1 }),
                ("node-b", ProbeOutcome::NotObserved { reason: "no tracer answers".into() }),
                ("node-c", ProbeOutcome::Running),
            ]
            .map(|(node, outcome)| (node.to_owned(), outcome))
            .into(),
        }],
    }
}

fn trace_maps() -> Vec<Snapshot> {
    let key = MapValue::Tuple(vec![MapValue::Text("curl".into()), MapValue::Number(Number(-1)), MapValue::Bool(true)]);
    let entry = |value: i64| vec![Entry { key: Some(key.clone()), value: Number::from(value) }];
    let mean = || vec![Entry { key: Some(key.clone()), value: Mean { total: Number(-9), count: 2 } }];
    let histogram = || vec![Entry { key: Some(key.clone()), value: Histogram::new([(0, 1), (7, 2)]) }];
    let series =
        || vec![Entry { key: Some(key.clone()), value: Series::new([(1_700, Number(-3), 2), (1_800, Number(4), 1)]) }];
    let plain = MapValue::Number(Number(u64::MAX.into()));
    let held = [
        Held::Values { entries: vec![Entry { key: None, value: plain }] },
        Held::Count { entries: vec![Entry { key: Some(key.clone()), value: 3 }] },
        Held::Sum { entries: entry(-5) },
        Held::Min { entries: entry(-6) },
        Held::Max { entries: entry(6) },
        Held::Average { entries: mean() },
        Held::Stats { entries: mean() },
        Held::Log2 { bits: 2, entries: histogram() },
        Held::Linear { min: -10, max: 10, step: 5, entries: histogram() },
        Held::Series { interval_ns: 100, intervals: 20, each: Each::Average, entries: series() },
    ];
    let map = |(number, held)| Map { name: format!("m{number}"), held, left_out: 0 };
    held.into_iter().enumerate().map(map).collect()
}

fn trace() -> TraceBatch {
    let detail = "100001 hits within 12 ms on CPU 1, 100000 per second are allowed".into();
    let ending = Ending::Limit { limit: Limit::HitsPerSecond, found: 100_001, allowed: 100_000, detail };
    TraceBatch {
        node: "node-a".into(),
        trace: "t-1".into(),
        time_unix_ns: TIME,
        state: TraceState::Ended { ending },
        first: 7,
        lines: vec![Line { text: "10.0.1.2 resets".into(), error: true }],
        maps: Some(trace_maps()),
        losses: TraceLosses { records: 1, values: 2, hits: 4, cut: 3 },
    }
}

fn trace_status() -> TraceStatus {
    TraceStatus {
        trace: "t-1".into(),
        node: "node-a".into(),
        probe: Some("drops".into()),
        state: TraceState::Running,
        started_unix_ns: TIME,
        until_unix_ns: TIME + 60_000_000_000,
        lease_ms: Some(10_000),
        probes: attach_points(),
        limits: Limits { hits_per_second: Some(100_000), ..Limits::default() },
        hits: 11,
        run_ns: 2_000,
        lines: 1,
        ..TraceStatus::default()
    }
}

fn attach_points() -> Vec<AttachPoint> {
    vec![AttachPoint {
        name: "tracepoint:skb:kfree_skb".into(),
        attached_as: "tracepoint".into(),
        why: "the script reads fields of its record".into(),
        places: 1,
    }]
}

fn diagnostics() -> Vec<Diagnostic> {
    let place = Place { start: 8, end: 12, line: 1, column: 9, end_line: 1, end_column: 13 };
    vec![Diagnostic {
        severity: Severity::Error,
        code: "unknown-function".into(),
        message: "there is no function `cuont`".into(),
        place,
        labels: vec![Label { place, text: "here".into() }],
        notes: vec!["functions are listed in the manual".into()],
        suggestion: Some(Suggestion { place, replacement: "count".into(), text: "did you mean".into() }),
    }]
}

fn status() -> Status {
    Status {
        node: "node-a".into(),
        mode: "enforce".into(),
        hooks: vec![HookStatus {
            interface: "eth0".into(),
            hook: "ingress".into(),
            attached: true,
            mechanism: "tcx".into(),
            position: Some(2),
            programs: Some(3),
            before: vec!["other (program 7)".into()],
            why: Some("what other (program 7) drops is not observed".into()),
        }],
        tables: vec![TableStatus { family: 4, live: 10, max: 2048 }],
        counters: BTreeMap::from([("inserted".into(), 90)]),
        desired: Some(Desired { conntrack_entries: Some(8192) }),
        desired_error: Some("does not fit".into()),
        sweep_cost_ns: Some(40_000_000),
        edges_refused: 1,
        foreign_records: 2,
        questions_refused: 3,
        names_refused: 4,
    }
}

fn connections() -> ConntrackPart {
    ConntrackPart {
        entries: vec![ConntrackEntry {
            protocol: 6,
            source: "10.0.1.2".into(),
            source_port: 40_000,
            source_workload: Some("shop/order".into()),
            destination: "10.0.2.2".into(),
            destination_port: 80,
            state: "established".into(),
            packets_forward: 3,
            server_latency_ns: Some(216_000),
            ..ConntrackEntry::default()
        }],
        next: Some("17".into()),
    }
}

/// The message's bytes and how they read, beside those that were blessed.
fn pin<M: Serialize>(name: &str, message: &M) -> Vec<u8> {
    pin_json(name, message);
    let bytes = rmp_serde::to_vec_named(message).unwrap();
    pin_bytes(&format!("{name}.msgpack"), &bytes);
    bytes
}

fn pin_json(name: &str, message: &impl Serialize) {
    let json = serde_json::to_string_pretty(message).unwrap() + "\n";
    pin_bytes(&format!("{name}.json"), json.as_bytes());
}

fn pin_bytes(name: &str, bytes: &[u8]) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(name);
    if std::env::var_os("BLESS").is_some() {
        fs::write(&file, bytes).unwrap();
    }
    let blessed = fs::read(&file).unwrap();
    assert!(blessed == bytes, "{name} is {:?}, BLESS=1?", String::from_utf8_lossy(bytes));
}

fn check<M: Message + PartialEq + std::fmt::Debug + Default>(message: &M) {
    check_named(M::SCHEMA, message);
}

/// The bytes are pinned, other versions of the writer are understood.
fn check_named<M>(name: &str, message: &M)
where
    M: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug + Default,
{
    let bytes = pin(name, message);
    assert_eq!(&rmp_serde::from_slice::<M>(&bytes).unwrap(), message);

    // A newer writer's field is ignored, at every depth.
    let mut value = rmpv::decode::read_value(&mut bytes.as_slice()).unwrap();
    add_unknown(&mut value);
    let mut longer = Vec::new();
    rmpv::encode::write_value(&mut longer, &value).unwrap();
    assert_eq!(&rmp_serde::from_slice::<M>(&longer).unwrap(), message);

    // An older writer's missing fields are defaulted: here all of them.
    assert_eq!(rmp_serde::from_slice::<M>(&[0x80]).unwrap(), M::default());
}

/// Adds a field to each map that is a struct; maps from name to number, and by node, are data.
fn add_unknown(value: &mut Value) {
    match value {
        Value::Map(fields) => {
            let is_name = |key: &str| key == "E2BIG" || key == "reason" || key.starts_with("node-");
            let is_data = fields.iter().all(|(key, _)| key.as_str().is_some_and(is_name));
            for (_, value) in fields.iter_mut() {
                add_unknown(value);
            }
            if !is_data {
                fields.push(("from_the_future".into(), Value::from(1)));
            }
        }
        Value::Array(values) => values.iter_mut().for_each(add_unknown),
        _ => {}
    }
}

#[test]
fn flow_is_pinned() {
    check(&flow());
}

#[test]
fn edge_is_pinned() {
    check(&edge());
}

#[test]
fn signal_is_pinned() {
    check(&signal());
}

#[test]
fn incident_is_pinned() {
    check(&incident());
}

#[test]
fn audit_is_pinned() {
    check(&AuditEvent {
        node: "api".into(),
        time_unix_ns: 1_700_000_000_000_000_000,
        who: Some("alice".into()),
        from: "10.0.1.2".into(),
        method: "POST".into(),
        path: "/v1/incidents/i-8908ed5adf6f9ccc/fix".into(),
        request: r#"{"revision":3}"#.into(),
        status: 409,
        problem: Some("desired state of node \"node-a\" has revision 4 by now".into()),
    });
}

#[test]
fn commands_are_pinned() {
    let list = ListConntrack { address: Some("10.0.1.2".into()), limit: 100, ..ListConntrack::default() };
    check_named("command-conntrack-list", &list);
    check_named("command-conntrack-list-answer", &connections());
    check_named("command-conntrack-top", &TopConntrack { limit: 10 });
    let line = ConntrackTop { source: "shop/order".into(), entries: 9, bytes: 540, ..ConntrackTop::default() };
    let bytes = pin("command-conntrack-top-answer", &vec![line.clone()]);
    assert_eq!(rmp_serde::from_slice::<Vec<ConntrackTop>>(&bytes).unwrap(), [line]);
    pin("command-status-answer", &status());
    let health =
        Health { service: "datapath".into(), node: "node-a".into(), nats_connected: true, ..Health::default() };
    check_named("command-health-answer", &health);
}

#[test]
fn trace_is_pinned() {
    check(&trace());
}

#[test]
fn an_older_tracers_exit_has_the_code_0() {
    let read = |text| serde_json::from_str::<Ending>(text).unwrap();
    assert_eq!(read(r#"{"why": "exited"}"#), Ending::Exited { code: 0 });
    assert_eq!(read(r#"{"why": "exited", "code": 3}"#), Ending::Exited { code: 3 });
}

#[test]
fn questions_to_a_tracer_are_pinned() {
    let script = Script { text: "BEGIN { exit(); }".into(), parameters: vec!["80".into()] };
    let probe = Probe { name: "drops".into(), parameters: BTreeMap::from([("reason".into(), "*".into())]) };
    let limits = Limits { hits_per_second: Some(1000), map_entries: Some(10), ..Limits::default() };
    let terms = Terms { trace: "t-1".into(), duration_ms: Some(5_000), lease_ms: Some(10_000), limits };
    for (name, source) in
        [("script", TraceSource::Script(script.clone())), ("probe", TraceSource::Probe(probe.clone()))]
    {
        let asked = CheckTrace { source };
        let bytes = pin(&format!("command-check-{name}"), &asked);
        assert_eq!(rmp_serde::from_slice::<CheckTrace>(&bytes).unwrap(), asked);
    }
    check_named("command-start-script", &StartScript { script, terms: terms.clone() });
    check_named("command-start-probe", &StartProbe { probe, terms });
    check_named("command-renew", &RenewTrace { trace: "t-1".into() });
    check_named("command-stop", &StopTrace { trace: "t-1".into() });
    check_named("command-results", &GetResults { trace: "t-1".into() });
    check_named("command-functions", &ListFunctions { pattern: "tcp_*".into(), limit: 100 });
    check_named("command-type", &DescribeType { name: "sock".into() });
}

#[test]
fn a_tracers_answers_are_pinned() {
    let checked = Checked { runs: true, diagnostics: diagnostics(), probes: attach_points(), memory_bytes: 4096 };
    check_named("command-check-answer", &checked);
    check_named("command-start-answer", &Started { trace: Some(trace_status()), diagnostics: diagnostics() });
    check_named("command-renew-answer", &trace_status());
    let lines = vec![Line { text: "one".into(), error: false }];
    check_named(
        "command-results-answer",
        &TraceResults { status: trace_status(), maps: trace_maps(), first: 1, lines },
    );
    let exited = TraceState::Ended { ending: Ending::Exited { code: 3 } };
    check_named("command-renew-answer-exited", &TraceStatus { state: exited, ..trace_status() });
    let activity = Activity {
        running: 1,
        running_max: 8,
        ended: BTreeMap::from([("limit".into(), 2), ("stopped".into(), 3)]),
        exceeded: BTreeMap::from([(Limit::HitsPerSecond, 2)]),
        hits: 100,
        run_ns: 5000,
        lines: 7,
        losses: TraceLosses { records: 1, values: 2, hits: 4, cut: 3 },
    };
    let bytes = pin("command-activity-answer", &activity);
    assert_eq!(rmp_serde::from_slice::<Activity>(&bytes).unwrap(), activity);
    let parameter = ProbeParameter { name: "port".into(), about: "Only this port.".into(), default: "0".into() };
    let probe = CuratedProbe {
        name: "drops".into(),
        about: "Dropped packets by reason.".into(),
        cost: Cost::Medium,
        kernels: vec!["6.12".into()],
        differs: "It counts.".into(),
        parameters: vec![parameter],
        script: "BEGIN { }".into(),
    };
    check_named("command-probes-answer-one", &probe);
    let function = Function {
        name: "tcp_v4_connect".into(),
        module: None,
        declaration: Some("int tcp_v4_connect(struct sock *sk)".into()),
    };
    check_named("command-functions-answer", &Functions { functions: vec![function], left_out: 3 });
    check_named(
        "command-type-answer",
        &TypeText { name: "struct sock".into(), size_bytes: Some(760), text: "struct sock {};".into(), cut: true },
    );
}

#[test]
fn an_older_datapaths_status_is_understood() {
    let read: Status = rmp_serde::from_slice(&rmp_serde::to_vec_named(&status()).unwrap()).unwrap();
    assert_eq!(read, status());
    assert_eq!(rmp_serde::from_slice::<Status>(&[0x80]).unwrap(), Status::default());
}

/// Documents are JSON in their buckets.
#[test]
fn documents_are_pinned() {
    let desired = Desired { conntrack_entries: Some(8192) };
    pin_json("document-desired", &desired);
    pin_json("document-endpoint", &Endpoint { workload: "shop/order".into(), since_unix_ns: TIME });
    let addresses = vec!["10.96.0.1".parse().unwrap(), "fd96::1".parse().unwrap()];
    pin_json("document-service", &Service { addresses, since_unix_ns: TIME });
    assert_eq!(Service::label("shop.order").as_deref(), Some("service/shop/order"));
    assert_eq!(serde_json::from_str::<Desired>("{}").unwrap(), Desired::default());
    assert_eq!(serde_json::from_str::<Endpoint>(r#"{"from_the_future": 1}"#).unwrap(), Endpoint::default());
}

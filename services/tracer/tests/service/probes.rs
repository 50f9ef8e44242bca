//! Curated probes, all of them compiled, and run on what they are for.

use std::collections::BTreeMap;
use std::net::{TcpListener, TcpStream};

use synscope_bus::command::tracer::{CheckTrace, ListProbes, Probe, StartProbe, TraceSource};
use synscope_bus::message::trace::TraceState;
use synscope_bus::snapshot::{Held, Value};

use crate::node::{Fleet, Tracer, terms, until};

#[tokio::test(flavor = "multi_thread")]
async fn every_probe_is_listed_and_runs_on_this_kernel() {
    let fleet = Fleet::new().await;
    let tracer = fleet.tracer("node-a", &[]).await;
    let probes = tracer.ask(&ListProbes {}).await.unwrap();
    assert_eq!(probes.len(), 11);
    for probe in probes {
        let source = TraceSource::Probe(Probe { name: probe.name.clone(), ..Probe::default() });
        let checked = tracer.ask(&CheckTrace { source }).await.unwrap();
        if checked.runs {
            assert!(checked.diagnostics.is_empty(), "{}: {checked:#?}", probe.name);
            continue;
        }
        // Where functions cannot be probed, that is all there is to say; a guest has them run.
        let at_functions = ["fentry:", "fexit:"].iter().any(|provider| probe.script.contains(provider));
        assert!(at_functions, "{}: {checked:#?}", probe.name);
        for diagnostic in checked.diagnostics {
            let why = ["no-fexit", "no-kprobes", "no-probe"];
            assert!(why.contains(&diagnostic.code.as_str()), "{}: {diagnostic:#?}", probe.name);
        }
    }
}

/// Starts a probe with these parameters.
pub(crate) async fn start(tracer: &Tracer, name: &str, parameters: &[(&str, &str)]) {
    let parameters = parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let probe = Probe { name: name.to_owned(), parameters };
    let started = tracer.ask(&StartProbe { probe, terms: terms(name) }).await.unwrap();
    assert_eq!(started.trace.expect("it runs").probe.as_deref(), Some(name), "{:?}", started.diagnostics);
    let running = async || !matches!(tracer.results(name).await.status.state, TraceState::Starting);
    until("the probe runs", running).await;
}

/// What a map of counts, of largest values, or of histograms, has by key.
pub(crate) async fn counts(tracer: &Tracer, trace: &str, map: &str) -> BTreeMap<Value, u64> {
    let maps = tracer.results(trace).await.maps;
    let Some(map) = maps.into_iter().find(|found| found.name == map) else { return BTreeMap::new() };
    match map.held {
        Held::Count { entries } => entries.into_iter().map(|entry| (entry.key.unwrap(), entry.value)).collect(),
        Held::Max { entries } => {
            entries.into_iter().map(|entry| (entry.key.unwrap(), u64::try_from(entry.value.0).unwrap())).collect()
        }
        Held::Log2 { entries, .. } => entries
            .into_iter()
            .map(|entry| (entry.key.unwrap(), entry.value.counts().map(|(_, count)| count).sum()))
            .collect(),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn port(port: u16) -> Value {
    Value::Number(u64::from(port).into())
}

pub(crate) fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

pub(crate) fn tuple(parts: impl IntoIterator<Item = Value>) -> Value {
    Value::Tuple(parts.into_iter().collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_timed_and_failures_counted() {
    let fleet = Fleet::new().await;
    let tracer = fleet.tracer("node-a", &[]).await;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let open = listener.local_addr().unwrap();
    let closed = {
        let gone = TcpListener::bind("127.0.0.1:0").unwrap();
        gone.local_addr().unwrap()
    };
    start(&tracer, "connect-latency", &[]).await;
    for _ in 0..5 {
        TcpStream::connect(open).unwrap();
        assert!(TcpStream::connect(closed).is_err());
    }
    let seen = async || {
        let connected = counts(&tracer, "connect-latency", "connected_us").await;
        let failed = counts(&tracer, "connect-latency", "failed").await;
        connected.get(&port(open.port())) == Some(&5) && failed.get(&port(closed.port())) == Some(&5)
    };
    until("all connections are there", seen).await;
    // What it only needs itself is nobody's result.
    let results = tracer.stop("connect-latency").await;
    assert!(results.maps.iter().all(|map| map.name != "start"), "{:?}", results.maps);
}

#[tokio::test(flavor = "multi_thread")]
async fn drops_have_the_kernels_reasons_by_name() {
    let fleet = Fleet::new().await;
    let tracer = fleet.tracer("node-a", &[]).await;
    start(&tracer, "drops", &[]).await;
    let closed = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    for _ in 0..3 {
        socket.send_to(b"nobody", closed).unwrap();
    }
    let seen = async || {
        let drops = counts(&tracer, "drops", "drops").await;
        drops.iter().any(|(key, count)| {
            let Value::Tuple(parts) = key else { panic!("{key:?}") };
            let named = |part: usize, text: &str| matches!(&parts[part], Value::Text(name) if name.contains(text));
            named(0, "SKB_DROP_REASON_NO_SOCKET") && named(1, "udp") && *count >= 3
        })
    };
    until("the drops are there", seen).await;
}

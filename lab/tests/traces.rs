//! Traces the whole way: over HTTP, through NATS, into the kernel and back, on two nodes.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[path = "../../shared/bus/tests/nats/mod.rs"]
mod nats;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use synscope_api::access::serve::serve;
use synscope_api::app::App;
use synscope_api::{feed, routes};
use synscope_bus::command::Answers;
use synscope_bus::connection::Connection;
use synscope_bus::envelope::PublisherId;
use synscope_bus::life::Life;
use synscope_bus::subject::NodeId;
use synscope_tracer::service::{Settings, Traces};
use tokio::task::block_in_place;

const DEADLINE: Duration = Duration::from_mins(1);

/// A tracer as one node, as its program starts it.
async fn tracer(url: &str, node: &str) -> (Life, Answers) {
    let life = Life::begin("tracer", node, Connection::start(url, node).await.unwrap()).unwrap();
    let settings = Settings { node: node.to_owned(), scripts: true, ..Settings::default() };
    let traces = Traces::new(&life, settings, PublisherId::begin(NodeId::new(node).unwrap()));
    let answers = Answers::announce(&life).await.unwrap();
    traces.answer(&answers).await.unwrap();
    life.ready();
    (life, answers)
}

/// The API, on a port of its own.
struct Api {
    life: Life,
    port: u16,
}

impl Drop for Api {
    fn drop(&mut self) {
        self.life.stop();
    }
}

impl Api {
    async fn start(url: &str) -> Self {
        let life = Life::begin("api", "api", Connection::start(url, "api").await.unwrap()).unwrap();
        let settings = synscope_api::settings::Settings::default();
        let app = App::new(life.clone(), NodeId::new("api").unwrap(), &settings).unwrap();
        feed::start(&app, DEADLINE);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = life.clone();
        tokio::spawn(async move { serve(routes::router(app), listener, None, &serving).await.unwrap() });
        Self { life, port }
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let agent: ureq::Agent =
            ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(DEADLINE)).build().into();
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("http://127.0.0.1:{}{path}", self.port))
            .header("content-type", "application/json")
            .body(body.to_owned());
        let mut response = block_in_place(|| agent.run(request.unwrap())).unwrap();
        let text = block_in_place(|| response.body_mut().read_to_string()).unwrap();
        (response.status().as_u16(), serde_json::from_str(&text).unwrap())
    }

    /// The answer, once it is as wanted.
    async fn when(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            let (_, answer) = self.ask("GET", path, "");
            if wanted(&answer) {
                return answer;
            }
            assert!(begun.elapsed() < DEADLINE, "{path} is not as wanted: {answer:#}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn stream(&self, path: &str) -> BufReader<TcpStream> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
        BufReader::new(stream)
    }
}

/// The next event's name and data; none when the stream has ended.
fn next(stream: &mut BufReader<TcpStream>) -> Option<(String, Value)> {
    let mut name = String::new();
    loop {
        let mut line = String::new();
        if block_in_place(|| stream.read_line(&mut line)).unwrap() == 0 || line == "0\r\n" {
            return None;
        }
        if let Some(told) = line.trim_end().strip_prefix("event: ") {
            name = told.to_owned();
        }
        if let Some(data) = line.trim_end().strip_prefix("data: ") {
            return Some((name, serde_json::from_str(data).unwrap()));
        }
    }
}

fn states(trace: &Value) -> Vec<Value> {
    trace["nodes"].as_array().unwrap().iter().map(|node| node["state"].clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_goes_from_http_into_two_kernels_and_back() {
    let (port, store) = (nats::free_port(), tempfile::tempdir().unwrap());
    let _server = nats::Server::start(port, store.path());
    let url = format!("nats://127.0.0.1:{port}");
    let (_a, _b) = (tracer(&url, "node-a").await, tracer(&url, "node-b").await);
    let api = Api::start(&url).await;
    api.when("/v1/status", |status| status["tracers"].as_array().is_some_and(|all| all.len() == 2)).await;

    let (status, problem) = api.ask("POST", "/v1/traces", r#"{"script": "BEGIN {\n @ = cuont();\n}"}"#);
    let place = &problem["diagnostics"][0]["place"];
    assert_eq!((status, &place["line"], &place["column"]), (422, &json!(2), &json!(6)), "{problem:#}");
    let (_, probes) = api.ask("GET", "/v1/probes", "");
    assert!(probes.as_array().unwrap().iter().any(|probe| probe["name"] == "drops"), "{probes}");
    let (_, functions) = api.ask("GET", "/v1/functions?match=tcp_v4_connec*&node=node-b", "");
    assert_eq!(functions["functions"][0]["name"], "tcp_v4_connect");
    let (_, told) = api.ask("GET", "/v1/types/sock_common", "");
    assert!(told["text"].as_str().unwrap().contains("skc_daddr"), "{told}");

    // Read as it goes on; both nodes are this machine, so each sees all.
    let script =
        r#"tracepoint:sched:sched_process_exit /comm == "whole-way"/ { printf("left\n"); @[comm] = count(); }"#;
    let (status, begun) = api.ask("POST", "/v1/traces", &json!({ "script": script }).to_string());
    assert_eq!((status, states(&begun).len(), &begun["failed"]), (200, 2, &json!([])), "{begun:#}");
    let trace = format!("/v1/traces/{}", begun["id"].as_str().unwrap());
    api.when(&trace, |trace| states(trace).iter().all(|state| state["state"] == "running")).await;
    let mut stream = api.stream(&format!("{trace}/stream"));
    let begun = Instant::now();
    for _ in 0..5 {
        std::thread::Builder::new().name("whole-way".into()).spawn(|| {}).unwrap().join().unwrap();
    }
    let (mut lines, mut total) = (0, Value::Null);
    while lines < 10 || total != 10 || begun.elapsed() < Duration::from_secs(17) {
        let (name, data) = next(&mut stream).unwrap();
        match name.as_str() {
            "line" => lines += 1,
            "maps" => total = data["maps"][0]["held"]["entries"][0]["value"].clone(),
            other => panic!("{other}: {data}"),
        }
    }
    let (_, found) = api.ask("GET", &trace, "");
    // It was read for longer than its lease.
    assert!(states(&found).iter().all(|state| state["state"] == "running"), "{found:#}");
    assert_eq!((lines, &found["maps"][0]["held"]["kind"]), (10, &json!("count")));
    drop(stream);
    let ended = api.when(&trace, |trace| states(trace).iter().all(|state| state["state"] == "ended")).await;
    assert!(states(&ended).iter().all(|state| state["ending"]["why"] == "lease"), "{ended:#}");
    assert_eq!(ended["maps"], found["maps"]);

    // Ended by whoever started it.
    let body =
        r#"{"probe": "connect-latency", "parameters": {"port": "1"}, "nodes": ["node-b"], "duration_ms": 60000}"#;
    let (status, begun) = api.ask("POST", "/v1/traces", body);
    assert_eq!(status, 200, "{begun:#}");
    let trace = format!("/v1/traces/{}", begun["id"].as_str().unwrap());
    assert!(TcpStream::connect("127.0.0.1:1").is_err());
    let failed = |map: &Value| map["name"] == "failed" && map["held"]["entries"][0]["value"] == 1;
    api.when(&trace, |trace| trace["maps"].as_array().unwrap().iter().any(failed)).await;
    let mut stream = api.stream(&format!("{trace}/stream"));
    let (_, stopped) = api.ask("DELETE", &trace, "");
    assert_eq!(states(&stopped), [json!({ "state": "ended", "ending": { "why": "stopped" } })]);
    let events: Vec<_> = std::iter::from_fn(|| next(&mut stream)).collect();
    let ended = events.iter().find(|(name, _)| name == "ended").unwrap();
    assert_eq!((&ended.1["node"], &ended.1["ending"]["why"]), (&json!("node-b"), &json!("stopped")));
    let (_, all) = api.ask("GET", "/v1/traces", "");
    // And the one that was refused.
    assert_eq!(all["traces"].as_array().unwrap().len(), 3, "{all:#}");
}

//! The service over a real port, with a real nats-server, and a datapath that answers what the test wants.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use synscope_api::access::serve::serve;
use synscope_api::app::App;
use synscope_api::settings::Settings;
use synscope_api::{feed, routes};
use synscope_bus::connection::Connection;
use synscope_bus::envelope::PublisherId;
use synscope_bus::life::{Life, unix_now_ns};
use synscope_bus::message::flow::{FlowEvent, FlowKind, Verdict};
use synscope_bus::outbox::Outbox;
use synscope_bus::subject::{NodeId, Subject};
use tempfile::TempDir;

use crate::nats::{Server, free_port};

pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// A port and a folder for a nats-server that comes and goes.
pub(crate) struct Nats {
    pub(crate) port: u16,
    store: TempDir,
}

impl Nats {
    pub(crate) fn new() -> Self {
        Self { port: free_port(), store: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn start(&self) -> Server {
        Server::start(self.port, self.store.path())
    }

    pub(crate) async fn connect(&self) -> Connection {
        Connection::start(&format!("nats://127.0.0.1:{}", self.port), "test").await.unwrap()
    }

    /// Another service's life.
    pub(crate) async fn life(&self, service: &'static str) -> Life {
        Life::begin(service, "node-a", self.connect().await).unwrap()
    }
}

/// The service under test.
pub(crate) struct Service {
    pub(crate) life: Life,
    pub(crate) port: u16,
}

impl Service {
    pub(crate) async fn start(nats: &Nats, settings: Settings) -> Self {
        let life = Life::begin("api", "api", nats.connect().await).unwrap();
        let app = App::new(life.clone(), NodeId::new("api").unwrap(), &settings).unwrap();
        feed::start(&app, Duration::from_secs(settings.kept_seconds));
        let seen = life.clone();
        tokio::spawn(async move {
            seen.connection().connected().await;
            seen.ready();
        });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = life.clone();
        tokio::spawn(async move { serve(routes::router(app), listener, settings.tls, &serving).await.unwrap() });
        Self { life, port }
    }

    /// Status, headers by lower-case name, body.
    pub(crate) fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Response {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .timeout_global(Some(DEADLINE))
            .build()
            .into();
        let uri = format!("http://127.0.0.1:{}{path}", self.port);
        let request = ureq::http::Request::builder().method(method).uri(uri);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let mut response = tokio::task::block_in_place(|| agent.run(request.body(body.to_owned()).unwrap())).unwrap();
        let header = |name| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        let (media, etag) = (header("content-type").unwrap_or_default(), header("etag"));
        let text = tokio::task::block_in_place(|| response.body_mut().read_to_string()).unwrap();
        Response { status: response.status().as_u16(), media, etag, text }
    }

    pub(crate) fn get(&self, path: &str) -> Response {
        self.ask("GET", path, &[], "")
    }

    pub(crate) fn post(&self, path: &str, body: &str) -> Response {
        self.ask("POST", path, &[("content-type", "application/json")], body)
    }

    /// The JSON at the path, once it is as wanted.
    pub(crate) async fn json_when(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            let answer = self.get(path).json();
            if wanted(&answer) {
                return answer;
            }
            assert!(begun.elapsed() < DEADLINE, "{path} is not as wanted: {answer:#}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A stream of server-sent events, not read from yet.
    pub(crate) fn open_stream(&self, path: &str) -> EventReader {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        assert!(line.starts_with("HTTP/1.1 200"), "{line}");
        EventReader { reader }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.life.stop();
    }
}

#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) media: String,
    pub(crate) etag: Option<String>,
    pub(crate) text: String,
}

impl Response {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

pub(crate) struct EventReader {
    reader: BufReader<TcpStream>,
}

impl EventReader {
    /// The next event's name and data; none when the stream has ended.
    pub(crate) fn next(&mut self) -> Option<(String, Value)> {
        let mut name = None;
        loop {
            let mut line = String::new();
            // A read of nothing is the end; the time-out makes it an error instead.
            if self.reader.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            let line = line.trim_end();
            if let Some(given) = line.strip_prefix("event: ") {
                name = Some(given.to_owned());
            }
            if let (Some(name), Some(data)) = (&name, line.strip_prefix("data: ")) {
                return Some((name.clone(), serde_json::from_str(data).unwrap()));
            }
            if line == "0" {
                return None;
            }
        }
    }
}

/// What `node-a` publishes on one subject.
pub(crate) fn outbox(life: &Life, subject: impl FnOnce(NodeId) -> Subject) -> Arc<Outbox> {
    bounded_outbox(life, subject, 64 << 20)
}

/// The same with room for so many bytes.
pub(crate) fn bounded_outbox(life: &Life, subject: impl FnOnce(NodeId) -> Subject, bytes: usize) -> Arc<Outbox> {
    let node = NodeId::new("node-a").unwrap();
    let outbox = Outbox::new(&subject(node.clone()), PublisherId::begin(node), bytes);
    life.send(&outbox);
    outbox
}

/// A handshake between two workloads, just now.
pub(crate) fn handshake(port: u16, latency_ns: Option<u64>) -> FlowEvent {
    FlowEvent {
        kind: FlowKind::Established,
        time_unix_ns: unix_now_ns(),
        verdict: Verdict::Forwarded,
        protocol: 6,
        source: "10.0.1.2".into(),
        source_port: port,
        source_workload: Some("shop/order".into()),
        destination: "10.0.2.3".into(),
        destination_port: 8080,
        destination_workload: Some("shop/inventory".into()),
        initial_sequence: Some(u32::from(port)),
        first_syn_unix_ns: Some(unix_now_ns()),
        server_latency_ns: latency_ns,
        ..FlowEvent::default()
    }
}

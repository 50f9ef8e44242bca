//! The subscriber in Python tells messages that are as described from those that are not.

#![expect(clippy::disallowed_methods, reason = "what no outbox would send")]

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use futures::StreamExt;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use synscope_bus::connection::Connection;
use synscope_bus::envelope::{self, PublisherId};
use synscope_bus::message::Message;
use synscope_bus::message::{
    audit::AuditEvent, edge::EdgeBatch, flow::FlowBatch, incident::Incident, signal::NodeSignals, trace::TraceBatch,
};
use synscope_bus::subject::{IncidentKind, Shard, Subject, TraceId};
use tokio::time::timeout;

use crate::nats::{Server, free_port};
use crate::{DEADLINE, connected, node};

/// Kinds of events.
const KINDS: [&str; 7] = ["flow", "slow", "edge", "signal", "incident", "trace", "audit"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The subscriber, subscribed.
fn subscriber(port: u16) -> Child {
    let mut child = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "python3"])
        .arg(root().join("examples/subscribe.py"))
        .args(["--server", &format!("nats://127.0.0.1:{port}"), "--seconds", "20"])
        .arg("--require")
        .args(KINDS)
        .env("PYTHONPATH", root().join("target/python"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    BufReader::new(child.stderr.as_mut().unwrap()).read_line(&mut said).unwrap();
    assert_eq!(said, "subscribed\n", "is `cargo xtask setup` done?");
    child
}

/// Complaints about a document: `AsyncAPI`'s own schema (npm `@asyncapi/specs` 6.11.1, Apache-2.0, without its descriptions
/// and examples).
const VALIDATE: &str = "
import json, sys, jsonschema
schema, document = json.load(open(sys.argv[1])), json.load(sys.stdin)
for error in jsonschema.Draft7Validator(schema).iter_errors(document):
    print(error.json_path, error.message[:200].replace('\\n', ' '))
";

fn complaints(document: &Value) -> Vec<String> {
    let mut child = Command::new("python3")
        .args(["-c", VALIDATE])
        .arg(root().join("shared/bus/tests/schema/asyncapi-3.0.0.json"))
        .env("PYTHONPATH", root().join("target/python"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    serde_json::to_writer(child.stdin.take().unwrap(), document).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "is `cargo xtask setup` done?");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn the_document_is_what_asyncapi_says() {
    let text = std::fs::read(root().join("docs/asyncapi.json")).unwrap();
    let document: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(complaints(&document), [""; 0]);
    for (pointer, wrong) in [
        ("/asyncapi", Value::from("2.6.0")),
        ("/channels/flow/address", Value::from(1)),
        ("/components/messages/flow/payload", Value::from("a flow")),
    ] {
        let mut damaged = document.clone();
        *damaged.pointer_mut(pointer).unwrap() = wrong;
        assert!(!complaints(&damaged).is_empty(), "{pointer} may be anything");
    }
}

/// The golden message of a schema, on a subject.
async fn publish<M: Message>(connection: &Connection, subject: &Subject, sequence: u64) {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(format!("{}.msgpack", M::SCHEMA));
    let message: M = rmp_serde::from_slice(&std::fs::read(golden).unwrap()).unwrap();
    let publisher = PublisherId { node: node(), boot_nonce: 7 };
    let encoded = envelope::encode(&message, &publisher, sequence).unwrap();
    let mut headers = async_nats::HeaderMap::new();
    for (name, value) in encoded.headers {
        headers.insert(name, value);
    }
    connection.client().publish_with_headers(subject.to_string(), headers, encoded.payload).await.unwrap();
}

/// What the subscriber counted, and its exit status.
async fn told(publish_more: impl AsyncFnOnce(&Connection)) -> (Value, i32) {
    let (port, store) = (free_port(), tempfile::tempdir().unwrap());
    let _server = Server::start(port, store.path());
    let connection = connected(port).await;
    let child = subscriber(port);
    publish::<FlowBatch>(&connection, &Subject::Flow(node()), 1).await;
    publish::<FlowBatch>(&connection, &Subject::Slow(node()), 1).await;
    publish::<EdgeBatch>(&connection, &Subject::Edge(Shard::new(3).unwrap(), node()), 1).await;
    publish::<NodeSignals>(&connection, &Subject::Signal(node()), 1).await;
    publish::<Incident>(&connection, &Subject::Incident(IncidentKind::new("ct-full").unwrap()), 1).await;
    publish::<TraceBatch>(&connection, &Subject::Trace(TraceId::new("t-1").unwrap(), node()), 1).await;
    publish::<AuditEvent>(&connection, &Subject::Audit, 1).await;
    publish_more(&connection).await;
    // A server takes one connection's messages in turn: when the last is back, it has handed out all of them.
    let mut echo = connection.client().subscribe("echo").await.unwrap();
    connection.client().publish("echo", "".into()).await.unwrap();
    timeout(DEADLINE, echo.next()).await.unwrap().unwrap();
    kill(pid(&child), Signal::SIGTERM).unwrap();
    let output = child.wait_with_output().unwrap();
    (serde_json::from_slice(&output.stdout).unwrap(), output.status.code().unwrap())
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id().try_into().unwrap())
}

/// Hands over what one client and a server say to each other; what the client said so far, each piece before it goes on.
fn overheard(server: u16) -> (u16, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let said = Arc::new(Mutex::new(Vec::new()));
    let all = said.clone();
    thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut server = TcpStream::connect(("127.0.0.1", server)).unwrap();
        let (mut answers, mut back) = (server.try_clone().unwrap(), client.try_clone().unwrap());
        thread::spawn(move || io::copy(&mut answers, &mut back));
        let mut piece = [0; 4096];
        while let Ok(length @ 1..) = client.read(&mut piece) {
            all.lock().unwrap().extend_from_slice(&piece[..length]);
            server.write_all(&piece[..length]).unwrap();
        }
    });
    (port, said)
}

#[test]
fn it_says_that_it_is_subscribed_when_the_server_has_answered_after_the_last_subscription() {
    let (port, store) = (free_port(), tempfile::tempdir().unwrap());
    let _server = Server::start(port, store.path());
    let (proxy, said) = overheard(port);
    let mut child = subscriber(proxy);
    let said = String::from_utf8_lossy(&said.lock().unwrap()).into_owned();
    assert_eq!(said.matches("\r\nSUB ").count(), KINDS.len(), "{said}");
    assert!(said.rfind("PING\r\n") > said.rfind("\r\nSUB "), "{said}");
    child.kill().unwrap();
    child.wait().unwrap();
}

/// How long a server is busy.
const BUSY: Duration = Duration::from_millis(300);

#[tokio::test]
async fn what_the_server_already_has_is_taken_before_the_end() {
    let (port, store) = (free_port(), tempfile::tempdir().unwrap());
    let server = Server::start(port, store.path());
    let connection = connected(port).await;
    let child = subscriber(port);
    kill(pid(&server.child), Signal::SIGSTOP).unwrap();
    publish::<FlowBatch>(&connection, &Subject::Flow(node()), 1).await;
    connection.client().flush().await.unwrap();
    kill(pid(&child), Signal::SIGTERM).unwrap();
    tokio::time::sleep(BUSY).await;
    kill(pid(&server.child), Signal::SIGCONT).unwrap();
    let output = child.wait_with_output().unwrap();
    let counts: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(counts["flow"]["received"], 1);
}

#[tokio::test]
async fn what_is_as_described_is_taken() {
    let (counts, status) = told(async |_: &Connection| {}).await;
    for kind in KINDS {
        assert_eq!(counts[kind], serde_json::json!({ "received": 1, "invalid": 0, "missing": 0 }), "{kind}");
    }
    assert_eq!(status, 0);
}

#[tokio::test]
async fn what_is_not_as_described_is_told() {
    let (counts, status) = told(async |connection: &Connection| {
        publish::<FlowBatch>(connection, &Subject::Flow(node()), 3).await;
        publish::<FlowBatch>(connection, &Subject::Signal(node()), 2).await;
        connection.client().publish("synscope.edge.p03.node-a", (&b"\xc1"[..]).into()).await.unwrap();
    })
    .await;
    assert_eq!(counts["flow"], serde_json::json!({ "received": 2, "invalid": 0, "missing": 1 }));
    assert_eq!((&counts["signal"]["invalid"], &counts["edge"]["invalid"]), (&Value::from(1), &Value::from(1)));
    assert_eq!(status, 1);
}

//! What streams, buckets and commands promise, against a real nats-server.

#![expect(clippy::disallowed_methods, reason = "what no outbox would send")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::{HeaderMap, jetstream};
use bytes::Bytes;
use futures::StreamExt;
use synscope_bus::command::roll::{self, Present};
use synscope_bus::command::{self, Answers, Command, CommandError};
use synscope_bus::connection::Connection;
use synscope_bus::document::{self, Desired, DocumentError, Documents, Seen};
use synscope_bus::envelope::{self, PublisherId};
use synscope_bus::inbox::Inbox;
use synscope_bus::labels::Labels;
use synscope_bus::life::{Life, Phase};
use synscope_bus::message::Message;
use synscope_bus::message::{edge::EdgeBatch, flow::FlowBatch, incident::Incident, signal::NodeSignals};
use synscope_bus::outbox::{Counts, Outbox};
use synscope_bus::streams::{Bucket, Stream};
use synscope_bus::subject::{IncidentKind, NodeId, Shard, Subject};
use tokio::time::timeout;

use crate::nats::{Server, free_port};
use crate::{DEADLINE, connect, connected, node};

async fn until<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let probed = async {
        loop {
            if let Some(found) = probe() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(DEADLINE, probed).await.unwrap_or_else(|_| panic!("{what}: not within {DEADLINE:?}"))
}

/// A server that takes messages and does not store them is said in the health, and so is that it stores again.
#[tokio::test]
async fn why_nothing_is_stored_is_in_the_health() {
    let (port, store) = (free_port(), tempfile::tempdir().unwrap());
    let _server = Server::start(port, store.path());
    let connection = connected(port).await;
    let life = Life::begin("test", "node-a", connection.clone()).unwrap();
    let outbox = Outbox::new(&Subject::Signal(node()), PublisherId::begin(node()), 1 << 20);
    let jetstream = jetstream::new(connection.client().clone());
    let name = "somebody-elses".to_owned();
    let subjects = vec!["synscope.signal.>".to_owned()];
    let theirs = jetstream::stream::Config { name: name.clone(), subjects, ..jetstream::stream::Config::default() };
    jetstream.create_stream(theirs).await.unwrap();

    life.send(&outbox);
    outbox.put(&NodeSignals::default()).unwrap();
    let why = until("the trouble is told", || life.health().degradations.get(outbox.subject()).cloned()).await;
    assert!(why.contains("SYNSCOPE_SIGNALS") && why.contains("overlap"), "{why}");
    jetstream.delete_stream(name).await.unwrap();
    until("the message is stored", || (outbox.counts().sent == 1).then_some(())).await;
    assert_eq!(life.health().degradations.len(), 0);
}

/// The server is killed with -9 again and again while messages go out: what is settled as stored is on its disk.
#[tokio::test]
async fn what_is_settled_survives_the_servers_death() {
    const MESSAGES: u64 = 600;
    let (port, store) = (free_port(), tempfile::tempdir().unwrap());
    let connection = connect(port).await;
    let life = Life::begin("test", "node-a", connection.clone()).unwrap();
    let outbox = Outbox::new(&Subject::Signal(node()), PublisherId::begin(node()), 1 << 20);
    life.send(&outbox);
    for third in 1..=3 {
        let server = Server::start(port, store.path());
        for time_unix_ns in (third - 1) * MESSAGES / 3 + 1..=third * MESSAGES / 3 {
            outbox.put(&NodeSignals { node: "node-a".into(), time_unix_ns, ..NodeSignals::default() }).unwrap();
        }
        until("something was sent", || (outbox.counts().sent > (third - 1) * MESSAGES / 3).then_some(())).await;
        drop(server);
    }
    let _server = Server::start(port, store.path());
    let counts = until("all was sent", || Some(outbox.counts()).filter(|counts| counts.waiting == 0)).await;
    assert_eq!(counts, Counts { produced: MESSAGES, sent: MESSAGES, ..Counts::default() });

    // Where the third server stored all, its death may still be unknown to the first connection.
    let reading = connected(port).await;
    let stream = Stream::Signals.ensure(&jetstream::new(reading.client().clone())).await.unwrap();
    let config = jetstream::consumer::pull::OrderedConfig::default();
    let mut messages = stream.create_consumer(config).await.unwrap().messages().await.unwrap();
    let (mut inbox, mut read) = (Inbox::default(), Vec::new());
    while read.len() < usize::try_from(MESSAGES).unwrap() {
        let message = timeout(DEADLINE, messages.next()).await.unwrap().unwrap().unwrap();
        if let Some(received) = inbox.read::<NodeSignals>(&message) {
            read.push(received.message.time_unix_ns);
        }
    }
    // A batch that a death cut in two may come end first.
    read.sort_unstable();
    assert_eq!(read, (1..=MESSAGES).collect::<Vec<_>>());
    assert_eq!(inbox.counts().gaps.missing, 0);
}

/// What is none of ours, or not whole, then one that is; the inbox reads that one and counts the others.
async fn foreign_ones_are_counted<M: Message>(connection: &Connection, subject: &Subject, message: &M) {
    let mut messages = connection.client().subscribe(subject.to_string()).await.unwrap();
    let encoded = envelope::encode(message, &PublisherId::begin(node()), 1).unwrap();
    let headers = |change: fn(&mut HeaderMap)| {
        let mut headers = HeaderMap::new();
        encoded.headers.iter().for_each(|(name, value)| headers.insert(*name, value.as_str()));
        change(&mut headers);
        headers
    };
    let whole = encoded.payload.clone();
    let foreign = [
        (HeaderMap::new(), whole.clone()),
        (headers(|_| {}), Bytes::new()),
        (headers(|_| {}), Bytes::from_static(b"\xc1")),
        (headers(|_| {}), whole.slice(..whole.len() / 2)),
        (headers(|headers| headers.insert(envelope::SCHEMA_HEADER, "weather/1")), whole.clone()),
        (headers(|headers| headers.insert(envelope::SEQUENCE_HEADER, "-1")), whole.clone()),
    ];
    let count = foreign.len() as u64;
    for (headers, payload) in foreign.into_iter().chain([(headers(|_| {}), whole)]) {
        connection.client().publish_with_headers(subject.to_string(), headers, payload).await.unwrap();
    }
    let mut inbox = Inbox::default();
    loop {
        let message = timeout(DEADLINE, messages.next()).await.unwrap().unwrap();
        if inbox.read::<M>(&message).is_some() {
            break;
        }
    }
    assert_eq!((inbox.counts().foreign, inbox.counts().gaps.received), (count, 1), "{subject}");
}

#[tokio::test]
async fn foreign_messages_are_counted_and_ignored_on_every_subject() {
    let (port, store) = (free_port(), tempfile::tempdir().unwrap());
    let _server = Server::start(port, store.path());
    let connection = connected(port).await;
    let flows = FlowBatch { node: "node-a".into(), ..FlowBatch::default() };
    foreign_ones_are_counted(&connection, &Subject::Flow(node()), &flows).await;
    foreign_ones_are_counted(&connection, &Subject::Slow(node()), &flows).await;
    let edges = EdgeBatch { node: "node-a".into(), ..EdgeBatch::default() };
    foreign_ones_are_counted(&connection, &Subject::Edge(Shard::new(3).unwrap(), node()), &edges).await;
    foreign_ones_are_counted(&connection, &Subject::Signal(node()), &signals("node-a")).await;
    let kind = IncidentKind::new("ct-full").unwrap();
    foreign_ones_are_counted(&connection, &Subject::Incident(kind), &Incident::default()).await;
}

fn signals(node: &str) -> NodeSignals {
    NodeSignals { node: node.into(), ..NodeSignals::default() }
}

/// The server lets a node speak on its own subjects only; what it says there of another is not believed.
#[tokio::test]
async fn who_speaks_for_another_node_is_not_heard() {
    let (port, store) = (free_port(), tempfile::tempdir().unwrap());
    let _server = Server::start(port, store.path());
    let connection = connected(port).await;
    let mut messages = connection.client().subscribe("synscope.>").await.unwrap();
    let other = NodeId::new("node-b").unwrap();
    for (publisher, said, subject) in [
        (other.clone(), "node-b", Subject::Signal(node())),
        (node(), "node-b", Subject::Signal(node())),
        (node(), "node-a", Subject::Signal(other)),
        (node(), "node-a", Subject::Signal(node())),
    ] {
        let encoded = envelope::encode(&signals(said), &PublisherId::begin(publisher), 1).unwrap();
        let headers = encoded.headers.into_iter().fold(HeaderMap::new(), |mut headers, (name, value)| {
            headers.insert(name, value);
            headers
        });
        connection.client().publish_with_headers(subject.to_string(), headers, encoded.payload).await.unwrap();
    }
    let mut inbox = Inbox::default();
    let mut heard = Vec::new();
    for _ in 0..4 {
        let message = timeout(DEADLINE, messages.next()).await.unwrap().unwrap();
        heard.push(inbox.read::<NodeSignals>(&message).is_some());
    }
    assert_eq!((heard, inbox.counts().foreign), (vec![false, false, false, true], 3));
}

#[tokio::test]
async fn a_document_is_followed_through_a_servers_death_and_conflicts_are_refused() {
    let (port, store) = (free_port(), tempfile::tempdir().unwrap());
    let server = Server::start(port, store.path());
    let connection = connect(port).await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (tell, following) = (seen.clone(), connection.clone());
    let follower = tokio::spawn(async move {
        document::follow::<Desired>(&following, ">", |seen| tell.lock().unwrap().push(seen)).await;
    });
    let entries = |entries| Desired { conntrack_entries: Some(entries) };

    let documents = Documents::<Desired>::open(&connection).await.unwrap();
    assert_eq!(documents.get("node-a").await.unwrap(), None);
    let first = documents.compare_and_set("node-a", &entries(1), 0).await.unwrap();
    let second = documents.compare_and_set("node-a", &entries(2), first).await.unwrap();
    let refused = documents.compare_and_set("node-a", &entries(3), first).await.unwrap_err();
    assert!(matches!(refused, DocumentError::Conflict { .. }), "{refused}");
    assert_eq!(documents.get("node-a").await.unwrap(), Some((entries(2), second)));
    let last = || seen.lock().unwrap().last().cloned();
    let put =
        |number| move |seen: &Seen<Desired>| matches!(seen, Seen::Put { document, .. } if *document == entries(number));
    until("the second is seen", || last().filter(put(2))).await;

    drop(server);
    let _server = Server::start(port, store.path());
    timeout(DEADLINE, connection.connected()).await.unwrap();
    let written = async { while documents.put("node-a", &entries(4)).await.is_err() {} };
    timeout(DEADLINE, written).await.unwrap();
    until("the fourth is seen", || last().filter(put(4))).await;
    follower.abort();
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Double {
    number: u32,
}

impl Command for Double {
    const SERVICE: &str = "test";
    const VERB: &str = "double";
    type Answer = u32;
}

#[tokio::test]
async fn a_command_is_answered_refused_or_nobody_is_there() {
    let (port, store) = (free_port(), tempfile::tempdir().unwrap());
    let _server = Server::start(port, store.path());
    let connection = connect(port).await;
    let life = Life::begin("test", "node-a", connection.clone()).unwrap();
    let answers = Answers::announce(&life).await.unwrap();
    answers
        .answer(|Double { number }| number.checked_mul(2).ok_or_else(|| format!("{number} is too large")))
        .await
        .unwrap();
    life.ready();

    assert_eq!(command::ask(&connection, "node-a", &Double { number: 4 }).await.unwrap(), 8);
    let refused = command::ask(&connection, "node-a", &Double { number: u32::MAX }).await.unwrap_err();
    assert_eq!(refused.to_string(), "4294967295 is too large");
    let nobody = command::ask(&connection, "node-b", &Double { number: 4 }).await.unwrap_err();
    assert!(matches!(nobody, CommandError::Nobody { .. }), "{nobody}");
    let health = command::ask_health(&connection, "test", "node-a").await.unwrap();
    assert_eq!((health.phase, health.nats_connected), (Phase::Ready, true));
}

/// What `nats micro` shows of two instances of one service, and what it counts of questions that are none.
#[tokio::test]
async fn every_instance_shows_itself_and_foreign_questions_are_refused_and_counted() {
    let (port, store) = (free_port(), tempfile::tempdir().unwrap());
    let _server = Server::start(port, store.path());
    let connection = connected(port).await;
    let labels = |node: &str| if node == "node-a" { "rack=007,zone=a".parse().unwrap() } else { Labels::none() };
    let mut announced = Vec::new();
    for node in ["node-a", "node-b"] {
        let life = Life::begin("test", node, connection.clone()).unwrap();
        let labels = labels(node);
        let answers = Answers::announce_labelled(&life, &labels).await.unwrap();
        answers.answer(|Double { number }| number.checked_mul(2).ok_or_else(|| "too large".to_owned())).await.unwrap();
        announced.push(answers);
    }
    let node = |node: &str| Present { service: "test".into(), node: node.into(), labels: labels(node) };
    let both = [node("node-a"), node("node-b")];
    let mut present = Vec::new();
    while present != both {
        present.clear();
        roll::call(&connection, Duration::from_millis(100), |who| present.push(who)).await.unwrap();
        present.sort();
    }

    let client = connection.client();
    let subject = "synscope.command.test.node-a.double";
    for payload in [&b""[..], b"\xc1", b"\x81\xa6number", b"{\"number\": 1}"] {
        let refused = client.request(subject, payload.to_vec().into()).await.unwrap();
        let headers = refused.headers.unwrap();
        let code = headers.get(async_nats::service::NATS_SERVICE_ERROR_CODE).unwrap();
        assert_eq!(code.as_str(), "400", "{payload:?}: {headers:?}");
    }
    assert_eq!(command::ask(&connection, "node-a", &Double { number: 4 }).await.unwrap(), 8);

    let all = async |verb: &str| {
        let inbox = client.new_inbox();
        let mut answers = client.subscribe(inbox.clone()).await.unwrap();
        client.publish_with_reply(format!("$SRV.{verb}.synscope-test"), inbox, "".into()).await.unwrap();
        let mut found = BTreeMap::new();
        while found.len() < 2 {
            let answer = timeout(DEADLINE, answers.next()).await.unwrap().unwrap();
            let answer: serde_json::Value = serde_json::from_slice(&answer.payload).unwrap();
            found.insert(answer["id"].as_str().unwrap().to_owned(), answer);
        }
        found
    };
    let mut ids = BTreeMap::new();
    for (id, info) in all("INFO").await {
        let node = info["metadata"]["node"].as_str().unwrap().to_owned();
        let endpoints = info["endpoints"].as_array().unwrap().iter();
        let subjects: BTreeSet<_> = endpoints.map(|one| one["subject"].as_str().unwrap().to_owned()).collect();
        let own = ["health", "double"].map(|verb| format!("synscope.command.test.{node}.{verb}")).into();
        assert_eq!(subjects, own, "{info}");
        ids.insert(node, id);
    }
    let stats = all("STATS").await;
    let count = |node: &str, what: &str| {
        let endpoints = stats[&ids[node]]["endpoints"].as_array().unwrap();
        endpoints.iter().find(|one| one["name"] == "double").unwrap()[what].as_u64().unwrap()
    };
    assert_eq!((count("node-a", "num_requests"), count("node-a", "num_errors")), (5, 4), "{stats:?}");
    assert_eq!((count("node-b", "num_requests"), count("node-b", "num_errors")), (0, 0), "{stats:?}");
}

/// What the server keeps is what was asked of it.
#[tokio::test]
async fn streams_and_buckets_have_their_limits() {
    let (port, store) = (free_port(), tempfile::tempdir().unwrap());
    let _server = Server::start(port, store.path());
    let connection = connected(port).await;
    let jetstream = jetstream::new(connection.client().clone());
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    for (stream, subjects, max_age, max_bytes) in [
        (Stream::Edges, "synscope.edge.*.*", hours(4), 2 << 30),
        (Stream::Signals, "synscope.signal.*", hours(4), 1 << 30),
        (Stream::Slows, "synscope.slow.*", hours(24), 1 << 30),
        (Stream::Incidents, "synscope.incident.*", hours(30 * 24), 256 << 20),
        (Stream::Audit, "synscope.audit", hours(365 * 24), 256 << 20),
    ] {
        let made = stream.ensure(&jetstream).await.unwrap().get_info().await.unwrap().config;
        assert_eq!((made.name.as_str(), made.subjects), (stream.name(), vec![subjects.to_owned()]));
        assert_eq!((made.max_age, made.max_bytes), (max_age, max_bytes), "{}", stream.name());
        assert_eq!(made.discard, jetstream::stream::DiscardPolicy::Old);
        assert_eq!(made.storage, jetstream::stream::StorageType::File);
    }
    for (bucket, history, max_bytes, max_age) in [
        (Bucket::Desired, 16, 16 << 20, Duration::ZERO),
        (Bucket::Endpoints, 1, 256 << 20, hours(6)),
        (Bucket::Incidents, 1, 256 << 20, Duration::ZERO),
        (Bucket::Services, 1, 64 << 20, Duration::ZERO),
    ] {
        let made = bucket.ensure(&jetstream).await.unwrap().stream.get_info().await.unwrap().config;
        assert_eq!((made.max_messages_per_subject, made.max_bytes), (history, max_bytes), "{}", bucket.name());
        assert_eq!(made.max_age, max_age, "{}", bucket.name());
    }

    // Limits of the operator's own stay.
    let own = jetstream::stream::Config { max_bytes: 1 << 20, ..Stream::Signals.config() };
    jetstream.update_stream(own).await.unwrap();
    let kept = Stream::Signals.ensure(&jetstream).await.unwrap().get_info().await.unwrap().config;
    assert_eq!(kept.max_bytes, 1 << 20);
}

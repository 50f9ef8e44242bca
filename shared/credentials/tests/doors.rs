//! What a real nats-server refuses, with the configuration that is made for it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]
#![allow(clippy::disallowed_methods, reason = "what may be published is what is tested")]

#[path = "../../bus/tests/nats/mod.rs"]
mod nats;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::jetstream::{self, kv};
use async_nats::{Client, ConnectOptions, Event};
use synscope_bus::command::tracer::{StopTrace, TraceResults};
use synscope_bus::command::{self, Answers, Command, CommandError};
use synscope_bus::configuration::Nats;
use synscope_bus::connection::Connection;
use synscope_bus::document::{Desired, Documents};
use synscope_bus::life::Life;
use synscope_bus::permissions::{AUTHORITY, Identity, inbox, key_file};
use synscope_bus::streams::{Bucket, keep_made};
use synscope_bus::subject::{CommandSubject, NodeId};
use synscope_credentials::{CredentialsError, make};
use tempfile::TempDir;
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(20);

fn node(name: &str) -> NodeId {
    NodeId::new(name).unwrap()
}

fn identities() -> BTreeSet<Identity> {
    let nodes = ["node-a", "node-b"]
        .into_iter()
        .flat_map(|name| [Identity::Datapath(node(name)), Identity::Tracer(node(name))]);
    nodes.chain([Identity::Analyzer(node("analyzer-0")), Identity::Api(node("api")), Identity::Subscriber]).collect()
}

/// A server with credentials, and their folder.
struct Fleet {
    _server: nats::Server,
    folder: TempDir,
    url: String,
}

impl Fleet {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (port, credentials) = (nats::free_port(), folder.path().join("credentials"));
        make(&credentials, &identities(), &["127.0.0.1".to_owned()]).unwrap();
        let server = nats::Server::start_with(port, folder.path(), "include \"credentials/synscope.conf\"\n");
        Self { _server: server, folder, url: format!("tls://127.0.0.1:{port}") }
    }

    fn credentials(&self) -> std::path::PathBuf {
        self.folder.path().join("credentials")
    }

    /// A connection as services have it.
    async fn connect(&self, identity: Identity) -> Connection {
        let nats = Nats { url: self.url.clone(), credentials: Some(self.credentials()) };
        let connection = Connection::start(&nats, &identity.to_string()).await.unwrap();
        timeout(DEADLINE, connection.connected()).await.unwrap();
        connection
    }

    /// A client of this identity, and what the server refused it.
    async fn client(&self, identity: &Identity) -> (Client, Arc<Mutex<Vec<String>>>) {
        let refused = Arc::new(Mutex::new(Vec::new()));
        let told = refused.clone();
        let seed = std::fs::read_to_string(key_file(&self.credentials(), &identity.to_string())).unwrap();
        let options = ConnectOptions::with_nkey(seed)
            .add_root_certificates(self.credentials().join(AUTHORITY))
            .custom_inbox_prefix(inbox(&identity.to_string()))
            .retry_on_initial_connect()
            .event_callback(move |event| {
                if let Event::ServerError(error) = event {
                    told.lock().unwrap().push(error.to_string().to_lowercase());
                }
                async {}
            });
        let client = options.connect(&self.url).await.unwrap();
        timeout(DEADLINE, client.flush()).await.unwrap().unwrap();
        (client, refused)
    }
}

/// The server's refusals so far: a connection's words are taken in turn, and an answer comes after what was refused before.
async fn after_all(client: &Client, refused: &Mutex<Vec<String>>) -> Vec<String> {
    // To whom nothing may be published, the server's own answer to a ping is enough; the client takes both in turn.
    for _ in 0..2 {
        timeout(DEADLINE, client.flush()).await.unwrap().unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    refused.lock().unwrap().drain(..).collect()
}

#[tokio::test]
async fn what_is_not_allowed_is_refused() {
    let fleet = Fleet::start();
    let own = Identity::Datapath(node("node-a"));
    let tracer = Identity::Tracer(node("node-a"));
    let (analyzer, api) = (Identity::Analyzer(node("analyzer-0")), Identity::Api(node("api")));
    let outsider = Identity::Subscriber;
    let table: [(&Identity, &[&str], &[&str]); 5] = [
        (
            &own,
            &[
                "synscope.flow.node-a",
                "synscope.edge.p03.node-a",
                "synscope.signal.node-a",
                "$KV.synscope-endpoints.node-a.x",
            ],
            &[
                "synscope.flow.node-b",
                "synscope.edge.p03.node-b",
                "synscope.signal.node-b",
                "synscope.incident.ct-full",
                "synscope.trace.t-1.node-a",
                "synscope.audit",
                "synscope.command.tracer.node-a.start-script",
                "synscope.command.datapath.node-b.status",
                "$KV.synscope-endpoints.node-b.x",
                "$KV.synscope-desired.node-a",
                "$KV.synscope-incidents.i-1",
                "$JS.API.STREAM.DELETE.SYNSCOPE_EDGES",
                "$JS.API.STREAM.UPDATE.SYNSCOPE_EDGES",
                "$JS.API.STREAM.PURGE.SYNSCOPE_EDGES",
                "$JS.API.STREAM.CREATE.SYNSCOPE_EDGES",
                "$JS.API.CONSUMER.CREATE.SYNSCOPE_EDGES.c",
                "_INBOX.synscope-api-api.x",
                "anything",
            ],
        ),
        (
            &tracer,
            &["synscope.trace.t-1.node-a"],
            &["synscope.trace.t-1.node-b", "synscope.signal.node-a", "$KV.synscope-endpoints.node-a.x"],
        ),
        (
            &analyzer,
            &["synscope.incident.ct-full", "synscope.command.tracer.node-a.start-probe", "$KV.synscope-incidents.i-1"],
            &["synscope.command.tracer.node-a.start-script", "$KV.synscope-desired.node-a", "synscope.signal.node-a"],
        ),
        (
            &api,
            &["synscope.audit", "synscope.command.tracer.node-a.start-script", "$KV.synscope-desired.node-a"],
            &["synscope.signal.node-a", "$KV.synscope-incidents.i-1", "$JS.API.STREAM.DELETE.SYNSCOPE_AUDIT"],
        ),
        (&outsider, &[], &["synscope.flow.node-a", "$SRV.PING", "$JS.API.INFO", "anything"]),
    ];
    for (identity, allowed, forbidden) in table {
        let (client, refused) = fleet.client(identity).await;
        for subject in allowed {
            client.publish(*subject, "".into()).await.unwrap();
        }
        assert_eq!(after_all(&client, &refused).await, [""; 0], "{identity}");
        for subject in forbidden {
            client.publish(*subject, "".into()).await.unwrap();
            let told = after_all(&client, &refused).await;
            let named = format!("\"{}\"", subject.to_lowercase());
            assert!(
                told.iter().any(|told| told.contains("publish") && told.contains(&named)),
                "{identity}: {subject}: {told:?}"
            );
        }
    }
    // What may be heard.
    let hears: [(&Identity, &[&str], &[&str]); 3] = [
        (
            &own,
            &["synscope.command.datapath.node-a.*"],
            &["synscope.>", "synscope.command.datapath.node-b.*", "_INBOX.>", ">"],
        ),
        (&tracer, &["$SRV.PING"], &["synscope.command.tracer.*.start-script", "synscope.audit"]),
        (
            &outsider,
            &["synscope.flow.*", "synscope.incident.*"],
            &["synscope.audit", "$KV.>", "_INBOX.synscope-api-api.>", ">"],
        ),
    ];
    for (identity, allowed, forbidden) in hears {
        let (client, refused) = fleet.client(identity).await;
        for subject in allowed {
            let _kept = client.subscribe(*subject).await.unwrap();
            assert_eq!(after_all(&client, &refused).await, [""; 0], "{identity}: {subject}");
        }
        for subject in forbidden {
            let _kept = client.subscribe(*subject).await.unwrap();
            let told = after_all(&client, &refused).await;
            assert!(told.iter().any(|told| told.contains("subscription")), "{identity}: {subject}: {told:?}");
        }
    }
}

/// The server delivers to wherever a consumer says, with no look at who made it, so whoever listens has to look.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_consumer_delivers_is_neither_a_question_nor_an_event() {
    let fleet = Fleet::start();
    let api = fleet.connect(Identity::Api(node("api"))).await;
    let ensured = tokio::spawn(async move { keep_made(&api).await });
    let tracer = fleet.connect(Identity::Tracer(node("node-b"))).await;
    let life = Life::begin("tracer", "node-b", tracer.clone()).unwrap();
    let answers = Answers::announce(&life).await.unwrap();
    let (asked, mut questions) = tokio::sync::mpsc::unbounded_channel();
    let answer = move |question: StopTrace| {
        asked.send(question.trace).unwrap();
        Err::<TraceResults, _>("no such trace".to_owned())
    };
    answers.answer(answer).await.unwrap();
    tracer.client().flush().await.unwrap();

    // A node keeps a question in a document of its own, and has it delivered to where another listens for questions.
    let (datapath, _) = fleet.client(&Identity::Datapath(node("node-a"))).await;
    let bucket = jetstream::new(datapath.clone());
    let bucket = bucket_when_made(&bucket).await;
    let forged = StopTrace { trace: "t-forged".into() };
    bucket.put("node-a.x", rmp_serde::to_vec_named(&forged).unwrap().into()).await.unwrap();
    let to = CommandSubject { service: "tracer", node: node("node-b"), verb: StopTrace::VERB };
    let consumer = format!(
        r#"{{"stream_name":"KV_synscope-endpoints","config":{{"name":"c","deliver_subject":"{to}","deliver_group":"q",
        "deliver_policy":"all","ack_policy":"explicit","filter_subject":"$KV.synscope-endpoints.>"}}}}"#
    );
    let subject = "$JS.API.CONSUMER.CREATE.KV_synscope-endpoints.c.$KV.synscope-endpoints.>";
    let made = timeout(DEADLINE, datapath.request(subject, consumer.into())).await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&made.payload).contains("push_bound"), "this server does not do that: {made:?}");
    // It has been delivered once the server tells so.
    let info = "$JS.API.CONSUMER.INFO.KV_synscope-endpoints.c";
    let is_delivered = async || {
        let told = timeout(DEADLINE, datapath.request(info, "".into())).await.unwrap().unwrap();
        String::from_utf8_lossy(&told.payload).contains(r#""num_pending":0"#)
    };
    while !is_delivered().await {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // What who may ask asks comes after it on the same subscription, and is the first that is heard.
    let api = fleet.connect(Identity::Api(node("api"))).await;
    let refused = command::ask(&api, "node-b", &StopTrace { trace: "t-asked".into() }).await;
    assert!(matches!(refused, Err(CommandError::Refused(_))), "{refused:?}");
    assert_eq!(questions.recv().await.as_deref(), Some("t-asked"));
    life.stop();
    ensured.abort();
}

/// Nodes may not make it.
async fn bucket_when_made(jetstream: &jetstream::Context) -> kv::Store {
    let when_made = async {
        loop {
            if let Ok(bucket) = jetstream.get_key_value(Bucket::Endpoints.name()).await {
                return bucket;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(DEADLINE, when_made).await.unwrap()
}

#[tokio::test]
async fn nobody_gets_in_without_a_key_or_by_another_authority() {
    let fleet = Fleet::start();
    let (_, _) = fleet.client(&Identity::Subscriber).await;
    let ca = fleet.credentials().join(AUTHORITY);
    let without = ConnectOptions::new().add_root_certificates(ca.clone()).connect(&fleet.url).await;
    assert!(without.unwrap_err().to_string().to_lowercase().contains("authorization"));
    let stranger = nkeys::KeyPair::new_user().seed().unwrap();
    let unknown = ConnectOptions::with_nkey(stranger).add_root_certificates(ca).connect(&fleet.url).await;
    assert!(unknown.unwrap_err().to_string().to_lowercase().contains("authorization"));
    let seed = std::fs::read_to_string(key_file(&fleet.credentials(), &Identity::Subscriber.to_string())).unwrap();
    let unverified = ConnectOptions::with_nkey(seed).connect(&fleet.url).await;
    assert!(unverified.is_err(), "the system knows no such authority");
}

/// As services do it.
#[tokio::test]
async fn a_service_reads_and_writes_with_its_key() {
    let fleet = Fleet::start();
    let api = fleet.connect(Identity::Api(node("api"))).await;
    let documents = Documents::<Desired>::open(&api).await.unwrap();
    let desired = Desired { conntrack_entries: Some(4096) };
    let revision = documents.compare_and_set("node-a", &desired, 0).await.unwrap();
    let datapath = fleet.connect(Identity::Datapath(node("node-a"))).await;
    let documents = Documents::<Desired>::open(&datapath).await.unwrap();
    assert_eq!(documents.get("node-a").await.unwrap(), Some((desired, revision)));
}

#[test]
fn credentials_are_secret_and_are_not_replaced() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    let (folder, hosts) = (folder.path().join("made"), ["localhost".to_owned()]);
    make(&folder, &identities(), &hosts).unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o750);
    assert!(std::fs::read_dir(&folder).unwrap().all(|file| mode(&file.unwrap().path()) == 0o640));
    let again = make(&folder, &identities(), &hosts).unwrap_err();
    assert!(matches!(again, CredentialsError::There(_)), "{again}");
}

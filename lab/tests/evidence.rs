//! The analyzer asks for a probe, a real tracer runs it, and what this kernel drops meanwhile is evidence.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops at the first surprise")]

#[path = "../../services/analyzer/tests/life/fleet.rs"]
mod fleet;
#[path = "../../shared/bus/tests/nats/mod.rs"]
mod nats;

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::time::Duration;

use fleet::{Fate, Fleet, S, Second};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use synscope_analyzer::service::{self as analyzer, Settings};
use synscope_bus::command::Answers;
use synscope_bus::command::tracer::{ListTraces, TraceStatus};
use synscope_bus::connection::Connection;
use synscope_bus::document::Documents;
use synscope_bus::envelope::PublisherId;
use synscope_bus::life::{Life, unix_now_ns};
use synscope_bus::message::incident::{Cause, Evidence, Finding, Incident, ProbeOutcome, ProbeRun};
use synscope_bus::message::trace::{Ending, TraceState};
use synscope_bus::subject::NodeId;
use synscope_tracer::service::{Settings as TracerSettings, Traces};

const DEADLINE: Duration = Duration::from_mins(1);
/// Seconds of the story that are over when the analyzer begins: three spikes.
const PAST_S: u64 = 60;
/// Packets that are dropped in each second of a spike.
const DROPS: usize = 20;

/// Node a's tracer, as its program starts it.
async fn tracer(url: &str) -> (Life, Answers) {
    let life = Life::begin("tracer", "node-a", Connection::start(url, "tracer").await.unwrap()).unwrap();
    let settings = TracerSettings { node: "node-a".into(), ..TracerSettings::default() };
    let traces = Traces::new(&life, settings, PublisherId::begin(NodeId::new("node-a").unwrap()));
    let answers = Answers::announce(&life).await.unwrap();
    traces.answer(&answers).await.unwrap();
    life.ready();
    (life, answers)
}

/// A server, node a's tracer, and who looks at both. There is no tracer on node b.
struct Stage {
    connection: Connection,
    url: String,
    tracer: Life,
    _answers: Answers,
    _server: nats::Server,
    _store: tempfile::TempDir,
}

impl Stage {
    async fn set() -> Self {
        let (port, store) = (nats::free_port(), tempfile::tempdir().unwrap());
        let server = nats::Server::start(port, store.path());
        let url = format!("nats://127.0.0.1:{port}");
        let (tracer, answers) = tracer(&url).await;
        let connection = Connection::start(&url, "test").await.unwrap();
        connection.connected().await;
        Self { connection, url, tracer, _answers: answers, _server: server, _store: store }
    }
}

/// Packets of a protocol that nobody here speaks (RFC 3692, for experiments): the kernel drops them, and says why.
struct Nobody(Socket);

impl Nobody {
    fn new() -> Self {
        // It only sends, and brings the IP header along.
        Self(Socket::new(Domain::IPV4, Type::from(libc::SOCK_RAW), Some(Protocol::from(libc::IPPROTO_RAW))).unwrap())
    }

    fn send(&self) {
        let mut packet = [0_u8; 28];
        // Version and length, time to live, protocol; the kernel fills in the rest.
        (packet[0], packet[8], packet[9]) = (0x45, 64, 253);
        packet[12..16].copy_from_slice(&[127, 0, 0, 1]);
        packet[16..20].copy_from_slice(&[127, 0, 0, 1]);
        self.0.send_to(&packet, &SockAddr::from(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))).unwrap();
    }
}

/// A server that accepts nobody for a while, so that connections to it take until the SYN is sent again.
struct Crowded {
    listener: TcpListener,
    address: SockAddr,
}

impl Crowded {
    /// The port of the edge that the story is about, on an address that nobody else has.
    fn new() -> Self {
        let address = SockAddr::from(SocketAddrV4::new(Ipv4Addr::new(127, 83, 89, 78), 80));
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket.bind(&address).unwrap();
        // As many wait to be accepted as this, and one more (include/net/sock.h, `sk_acceptq_is_full`).
        socket.listen(0).unwrap();
        let listener = TcpListener::from(socket);
        Self { listener, address }
    }

    /// One connection at once, and one that has to ask twice.
    fn serve(&self) {
        let connect = || {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.connect(&self.address).unwrap();
            socket
        };
        let first = connect();
        std::thread::scope(|scope| {
            let second = scope.spawn(connect);
            // Its first SYN is dropped by then; where it was not, nothing was slow, and the test says so.
            std::thread::sleep(Duration::from_millis(200));
            let accepted = self.listener.accept().unwrap();
            drop((first, accepted, second.join().unwrap(), self.listener.accept().unwrap()));
        });
    }
}

async fn incidents(connection: &Connection) -> Vec<Incident> {
    let Ok(documents) = Documents::<Incident>::open(connection).await else { return Vec::new() };
    documents.all().await.map_or_else(|_| Vec::new(), |all| all.into_iter().map(|(_, incident)| incident).collect())
}

/// Plays spikes in which SYNs fare so, acts in them, and gives the incident once a probe has covered one and is judged.
async fn judged(
    Stage { connection, url, .. }: &Stage,
    fate: Fate,
    act: impl Fn() + Send + 'static,
    is_judged: fn(&Incident) -> bool,
) -> Incident {
    let story = move |second| Second::in_spikes(second, fate);
    let begin = (unix_now_ns() - PAST_S * S) / fleet::BUCKET_NS * fleet::BUCKET_NS;
    let fleet = Fleet::new(connection, begin);
    fleet.play(0..PAST_S, story).await;

    let life = Life::begin("analyzer", "analyzer-0", Connection::start(url, "analyzer").await.unwrap()).unwrap();
    let settings = Settings { time_scale: 30.0, ..Settings::default() };
    let working = life.clone();
    tokio::spawn(async move { analyzer::work(&working, &settings, NodeId::new("analyzer-0").unwrap()).await });

    let ended = life.clone();
    let acting = tokio::task::spawn_blocking(move || {
        while !ended.is_stopped() {
            std::thread::sleep(Duration::from_millis(20));
            if story((unix_now_ns() - begin) / S).hit.is_some() {
                act();
            }
        }
    });
    let mut seen = Vec::new();
    let told = tokio::time::timeout(DEADLINE, async {
        for second in PAST_S.. {
            // A second is told when it is over.
            while unix_now_ns() < begin + (second + 1) * S {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            fleet.play(second..second + 1, story).await;
            seen = incidents(connection).await;
            let observed = |outcome: &ProbeOutcome| matches!(outcome, ProbeOutcome::Observed { .. });
            let is_it = |incident: &&Incident| {
                incident.probes.iter().any(|run| run.nodes.values().any(observed)) && is_judged(incident)
            };
            if let Some(incident) = seen.iter().find(is_it) {
                return incident.clone();
            }
        }
        unreachable!("seconds do not end")
    });
    let told = told.await.ok();
    life.stop();
    acting.await.unwrap();
    told.unwrap_or_else(|| panic!("no probe was judged: {seen:#?}"))
}

/// It ran to the end of its time, and nothing else was started.
async fn ran_once(connection: &Connection, run: &ProbeRun) {
    let started: Vec<TraceStatus> = synscope_bus::command::ask(connection, "node-a", &ListTraces {}).await.unwrap();
    let [trace] = started.as_slice() else { panic!("{started:#?}") };
    assert_eq!((&trace.trace, trace.probe.as_ref()), (&run.trace, Some(&run.probe)));
    assert_eq!(trace.state, TraceState::Ended { ending: Ending::Duration }, "{trace:#?}");
    assert_eq!(trace.lease_ms, Some(15_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_s_kernel_drops_in_a_spike_is_seen_by_a_probe_and_named_as_evidence() {
    let stage = Stage::set().await;
    let nobody = Nobody::new();
    let act = move || (0..DROPS / 10).for_each(|_| nobody.send());
    let incident = judged(&stage, Fate::Lost, act, |incident| incident.kind == "unknown").await;

    // It had been a loss on the way, as no counter moved.
    let run = &incident.probes[0];
    assert_eq!((run.probe.as_str(), run.why.as_str()), ("drops", "path-loss is confirmed, and where is not known"));
    let ProbeOutcome::NotObserved { reason } = &run.nodes["node-b"] else { panic!("{run:#?}") };
    assert_eq!(reason, "no tracer answers for node \"node-b\"");
    let [drops, ..] = incident.causes.as_slice() else { panic!("{incident:#?}") };
    assert_eq!((drops.name.as_str(), drops.finding), ("node-drops", Finding::Correlated), "{:#?}", incident.causes);
    assert_eq!(drops.node.as_deref(), Some("node-a"));
    let number = &drops.evidence_for[0];
    assert!(number.name.starts_with("drops for IP_NOPROTO in ip_"), "{number:#?}");
    assert!(number.value > 50.0 && number.value > 4.0 * number.baseline.unwrap(), "{number:#?}");
    let measured = number.measured.as_ref().unwrap();
    assert_eq!((&measured.trace, measured.probe.as_str()), (&run.trace, "drops"));
    let loss = incident.causes.iter().find(|cause| cause.name == "path-loss").unwrap();
    assert_eq!(loss.finding, Finding::Correlated);
    ran_once(&stage.connection, run).await;
    stage.tracer.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn how_long_a_node_s_sockets_wait_in_a_spike_is_seen_by_a_probe_and_named_as_evidence() {
    let stage = Stage::set().await;
    let crowded = Crowded::new();
    let is_felt = |incident: &Incident| incident.causes.iter().any(|cause| !measured(cause).is_empty());
    let incident = judged(&stage, Fate::Late, move || crowded.serve(), is_felt).await;

    let run = &incident.probes[0];
    let why = "delay is confirmed, and where is not known";
    assert_eq!((run.probe.as_str(), run.why.as_str()), ("connect-latency", why));
    // Only the client's node is asked.
    assert_eq!(run.nodes.keys().collect::<Vec<_>>(), ["node-a"]);
    let [delay, ..] = incident.causes.as_slice() else { panic!("{incident:#?}") };
    assert_eq!((incident.kind.as_str(), delay.name.as_str(), delay.finding), ("delay", "delay", Finding::Confirmed));
    let [number] = measured(delay)[..] else { panic!("{delay:#?}") };
    // Half of 520 ms, as well as a sketch knows them.
    let least = number.name.strip_prefix("sockets of the node that took ").and_then(|name| name.split_once(" ms or"));
    assert!(least.is_some_and(|(least, _)| least.parse::<u64>().unwrap().abs_diff(260) <= 3), "{number:#?}");
    assert!(number.value >= 2.0 && number.baseline == Some(0.0), "{number:#?}");
    let measured = number.measured.as_ref().unwrap();
    assert_eq!((&measured.trace, measured.probe.as_str()), (&run.trace, "connect-latency"));
    ran_once(&stage.connection, run).await;
    stage.tracer.stop();
}

/// What a probe measured for a cause.
fn measured(cause: &Cause) -> Vec<&Evidence> {
    cause.evidence_for.iter().filter(|evidence| evidence.measured.is_some()).collect()
}

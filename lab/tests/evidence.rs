//! The analyzer asks for a probe, a real tracer runs it, and what this kernel drops meanwhile is evidence.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops at the first surprise")]

#[path = "../../services/analyzer/tests/life/fleet.rs"]
mod fleet;
#[path = "../../shared/bus/tests/nats/mod.rs"]
mod nats;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use fleet::{Fleet, S, Second};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use synscope_analyzer::service::{self as analyzer, Settings};
use synscope_bus::command::Answers;
use synscope_bus::command::tracer::{ListTraces, TraceStatus};
use synscope_bus::connection::Connection;
use synscope_bus::document::Documents;
use synscope_bus::envelope::PublisherId;
use synscope_bus::life::{Life, unix_now_ns};
use synscope_bus::message::incident::{Finding, Incident, ProbeOutcome};
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

/// The story, second by second: SYNs are lost every 20 s for 5 s, and nobody counts them.
const fn story(second: u64) -> Second {
    let is_hit = second % 20 >= 10 && second % 20 < 15;
    Second { is_hit, is_lost: true, live: 100, table_max: fleet::TABLE_MAX }
}

async fn incidents(connection: &Connection) -> Vec<Incident> {
    let Ok(documents) = Documents::<Incident>::open(connection).await else { return Vec::new() };
    documents.all().await.map_or_else(|_| Vec::new(), |all| all.into_iter().map(|(_, incident)| incident).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_s_kernel_drops_in_a_spike_is_seen_by_a_probe_and_named_as_evidence() {
    let (port, store) = (nats::free_port(), tempfile::tempdir().unwrap());
    let _server = nats::Server::start(port, store.path());
    let url = format!("nats://127.0.0.1:{port}");
    // There is none on node b.
    let (tracer, _answers) = tracer(&url).await;
    let connection = Connection::start(&url, "test").await.unwrap();
    connection.connected().await;
    let begin = (unix_now_ns() - PAST_S * S) / fleet::BUCKET_NS * fleet::BUCKET_NS;
    let fleet = Fleet::new(&connection, begin);
    fleet.play(0..PAST_S, story).await;

    let life = Life::begin("analyzer", "analyzer-0", Connection::start(&url, "analyzer").await.unwrap()).unwrap();
    let settings = Settings { time_scale: 30.0, ..Settings::default() };
    let working = life.clone();
    tokio::spawn(async move { analyzer::work(&working, &settings, NodeId::new("analyzer-0").unwrap()).await });

    let nobody = Nobody::new();
    let mut seen = Vec::new();
    let told = tokio::time::timeout(DEADLINE, async {
        for second in PAST_S.. {
            // A second is told when it is over.
            while unix_now_ns() < begin + (second + 1) * S {
                tokio::time::sleep(Duration::from_millis(20)).await;
                let is_due = story((unix_now_ns() - begin) / S).is_hit;
                for _ in 0..if is_due { DROPS / 10 } else { 0 } {
                    nobody.send();
                }
            }
            fleet.play(second..second + 1, story).await;
            seen = incidents(&connection).await;
            let observed = |outcome: &ProbeOutcome| matches!(outcome, ProbeOutcome::Observed { .. });
            let is_judged = |incident: &Incident| {
                incident.probes.iter().any(|run| run.nodes.values().any(observed)) && incident.kind == "unknown"
            };
            if let Some(incident) = seen.iter().find(|incident| is_judged(incident)) {
                return incident.clone();
            }
        }
        unreachable!("seconds do not end")
    });
    let told = told.await.ok();
    let incident = told.unwrap_or_else(|| panic!("no probe was judged: {seen:#?}"));

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

    // It ended by its time, and nothing else was started.
    let started: Vec<TraceStatus> = synscope_bus::command::ask(&connection, "node-a", &ListTraces {}).await.unwrap();
    let [trace] = started.as_slice() else { panic!("{started:#?}") };
    assert_eq!((&trace.trace, trace.probe.as_deref()), (&run.trace, Some("drops")));
    assert_eq!(trace.state, TraceState::Ended { ending: Ending::Duration }, "{trace:#?}");
    assert_eq!(trace.lease_ms, Some(15_000));
    life.stop();
    tracer.stop();
}

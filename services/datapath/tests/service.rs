//! The whole service: a real nats-server, real packets between namespaces, commands, desired state, death and return.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod agent;
#[path = "../../../shared/bus/tests/ending/mod.rs"]
mod ending;
#[path = "../../../shared/bus/tests/nats/mod.rs"]
mod nats;
mod netns;

use std::io::Write;
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use agent::{Agent, DEADLINE, NODE, ready, status, until};
use async_nats::Subscriber;
use aya::util::KernelVersion;
use futures::StreamExt;
use nats::Server;
use netns::within;
use nix::sys::signal::Signal;
use synscope_bus::command::datapath::{ListConntrack, TopConntrack};
use synscope_bus::command::{ask, ask_health};
use synscope_bus::document::Documents;
use synscope_bus::endpoint::Endpoint;
use synscope_bus::inbox::Inbox;
use synscope_bus::message::Message;
use synscope_bus::message::edge::{EdgeBatch, EdgeBucket};
use synscope_bus::message::flow::{FlowBatch, FlowKind, Vantage};
use synscope_bus::message::signal::{NodeSignals, Observed};
use synscope_bus::subject::Wildcard;
use tokio::time::timeout;

async fn next<M: Message, T>(messages: &mut Subscriber, pick: impl Fn(M) -> Option<T>) -> T {
    let mut inbox = Inbox::default();
    let found = async {
        loop {
            let message = messages.next().await.unwrap();
            if let Some(found) = inbox.read::<M>(&message).and_then(|received| pick(received.message)) {
                assert_eq!(inbox.counts().foreign, 0);
                return found;
            }
        }
    };
    timeout(DEADLINE, found).await.unwrap_or_else(|_| panic!("no such {} message within {DEADLINE:?}", M::SCHEMA))
}

fn measured(batch: EdgeBatch) -> Option<EdgeBucket> {
    batch.buckets.into_iter().find(|bucket| bucket.n > 0)
}

/// Starts before NATS does; what happened meanwhile arrives when a server comes.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_becomes_an_edge_a_flow_and_an_entry_though_nats_comes_late() {
    let mut agent = Agent::new("svc", "heartbeat_s = 1");
    let listener = agent.server();
    agent.start();
    let link = agent.pins.join("link-eth0-egress");
    until("it attaches without NATS", async || link.exists(), |exists| *exists).await;
    let early = agent.client();

    // Nobody keeps flows for those who subscribe later, so it comes to the server after the test does.
    agent.signal(Signal::SIGSTOP);
    let (_nats, connection) = agent.nats().await;
    let subscribe = async |wildcard: Wildcard| connection.client().subscribe(wildcard.to_string()).await.unwrap();
    let (mut edges, mut flows) = (subscribe(Wildcard::Edges).await, subscribe(Wildcard::Flows).await);
    let mut signals = subscribe(Wildcard::Signals).await;
    connection.client().flush().await.unwrap();
    agent.signal(Signal::SIGCONT);
    let bucket = next(&mut edges, measured).await;
    assert_eq!((bucket.edge.as_str(), bucket.vantage), ("shop/order->10.9.0.2:80", Vantage::Client));
    assert_eq!((bucket.n, bucket.slow, bucket.length_ns), (1, 0, 200_000_000));
    let established = |batch: FlowBatch| batch.events.into_iter().find(|event| event.kind == FlowKind::Established);
    let flow = next(&mut flows, established).await;
    assert_eq!(flow.source_workload.as_deref(), Some("shop/order"));
    assert!(flow.server_latency_ns.unwrap() < 100_000_000);
    let mut talking = early.try_clone().unwrap();
    let talk = std::thread::spawn(move || {
        // Until the other end hangs up.
        while talking.write_all(b"still here").is_ok() {
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let beat = |batch: FlowBatch| batch.events.into_iter().find(|event| event.kind == FlowKind::Heartbeat);
    let beat = next(&mut flows, beat).await;
    assert!(beat.packets_forward > flow.packets_forward, "{beat:?}");
    early.shutdown(std::net::Shutdown::Both).unwrap();
    talk.join().unwrap();
    let live = next(&mut signals, |signals: NodeSignals| signals.conntrack.value().map(|table| table.live)).await;
    assert!(live >= 1);
    let swept = |signals: NodeSignals| signals.conntrack.value().and_then(|table| table.sweep_cost_ns);
    let cost_ns = next(&mut signals, swept).await;
    assert!((1..1_000_000_000).contains(&cost_ns), "what a sweep of a small table costs: {cost_ns} ns");

    ready(&connection).await;
    let port = early.local_addr().unwrap().port();
    let query = ListConntrack { port: Some(port), limit: 10, ..ListConntrack::default() };
    let listed = ask(&connection, NODE, &query).await.unwrap();
    let [entry] = listed.entries.as_slice() else { panic!("{listed:?}") };
    assert_eq!((entry.state.as_str(), entry.destination.as_str()), ("fin_wait", "10.9.0.2"));
    let top = ask(&connection, NODE, &TopConntrack { limit: 1 }).await.unwrap();
    assert_eq!((top[0].source.as_str(), top[0].entries), ("shop/order", 1));
    let endpoints = Documents::<Endpoint>::open(&connection).await.unwrap();
    let (told, _revision) = endpoints.get(&format!("{NODE}.10-9-0-1")).await.unwrap().unwrap();
    assert_eq!(
        told,
        Endpoint { workload: "shop/order".into(), since_unix_ns: 0 },
        "the others are told who lives here"
    );
    assert!(status(&connection).await.sweep_cost_ns.is_some());
    let hooks = status(&connection).await.hooks;
    assert!(hooks.len() == 2 && hooks.iter().all(|hook| hook.attached), "{hooks:?}");

    assert!(agent.terminate() < Duration::from_secs(5));
    drop(listener);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_kernels_types_only_what_needs_them_is_lost_and_said() {
    let mut agent = Agent::new("btf", "");
    let (_nats, connection) = agent.nats().await;
    let mut signals = connection.client().subscribe(Wildcard::Signals.to_string()).await.unwrap();
    let listener = agent.server();
    let service = agent.command();
    let mut hidden = Command::new("unshare");
    hidden.args(["--mount", "sh", "-c", "mount -t tmpfs none /sys/kernel/btf && exec \"$@\"", "sh"]);
    hidden.arg(service.get_program()).args(service.get_args());
    agent.child = Some(hidden.spawn().unwrap());
    ready(&connection).await;
    let _client = agent.client();
    listener.accept().unwrap();

    let read = next(&mut signals, |signals: NodeSignals| {
        signals.conntrack.value().is_some_and(|table| table.live > 0).then_some(signals)
    })
    .await;
    let Observed::NotObserved { reason } = read.drops else { panic!("{:?}", read.drops) };
    assert!(reason.contains("/sys/kernel/btf/vmlinux"), "{reason}");
    let health = ask_health(&connection, "datapath", NODE).await.unwrap();
    assert!(health.degradations["signal drops"].contains("/sys/kernel/btf/vmlinux"), "{health:?}");
    assert!(read.maps.value().is_some() && read.tcp.value().is_some() && read.softnet.value().is_some());
    agent.terminate();
    assert!(agent.command().arg("uninstall").status().unwrap().success());
}

/// The service on the kernel that runs this: what it cannot do there is said to who looks from outside, and only that.
#[tokio::test(flavor = "multi_thread")]
async fn what_this_kernel_cannot_do_is_in_status_and_health() {
    let mut agent = Agent::new("old", "xdp = true");
    let (_nats, connection) = agent.nats().await;
    let mut signals = connection.client().subscribe(Wildcard::Signals.to_string()).await.unwrap();
    let listener = agent.server();
    agent.start();
    ready(&connection).await;
    let _client = agent.client();
    listener.accept().unwrap();
    let seen = next(&mut signals, |signals: NodeSignals| {
        signals.conntrack.value().is_some_and(|table| table.live > 0).then_some(signals)
    })
    .await;
    let health = ask_health(&connection, "datapath", NODE).await.unwrap();
    let said = |what: &str| health.degradations.get(what).map(String::as_str);
    let hooks = status(&connection).await.hooks;
    let hook = |name: &str| hooks.iter().find(|hook| hook.hook == name).unwrap();
    let since = |major, minor| KernelVersion::current().unwrap() >= KernelVersion::new(major, minor, 0);

    for hook in [hook("ingress"), hook("egress")] {
        assert!(hook.attached && (hook.position, hook.programs) == (Some(1), Some(1)), "{hook:?}");
        assert_eq!(hook.mechanism.starts_with("tcx"), since(6, 6), "{hook:?}");
        assert_eq!(hook.why.as_ref().is_none_or(|why| !why.contains("6.6")), since(6, 6), "{hook:?}");
    }
    assert_eq!(said("hooks").is_none_or(|why| !why.contains("no tcx, kernel 6.6 has it")), since(6, 6), "{health:?}");
    assert_eq!(said("kernel").is_none_or(|why| !why.contains("from 5.13 on")), since(5, 13), "{health:?}");
    assert_eq!(hook("xdp").attached, since(5, 18), "{hooks:?}");
    assert_eq!(said("interfaces").is_none_or(|why| !why.contains("needs 5.18")), since(5, 18), "{health:?}");
    assert_eq!(seen.drops.value().is_some(), since(5, 17), "{:?}", seen.drops);
    assert_eq!(
        said("signal drops").is_none_or(|why| !why.contains("kernel 5.17 has them")),
        since(5, 17),
        "{health:?}"
    );

    agent.terminate();
    assert!(agent.command().arg("uninstall").status().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interface_that_comes_later_is_found_and_one_that_vanishes_is_forgotten() {
    let mut agent = Agent::new("ifs", "");
    let (_nats, connection) = agent.nats().await;
    agent.start();
    ready(&connection).await;
    let hooks = async |count: usize| {
        let attached = async || status(&connection).await.hooks.into_iter().filter(|hook| hook.attached).count();
        until("hooks come and go with their interfaces", attached, |attached| *attached == count).await;
    };
    hooks(2).await;
    for _again in 0..2 {
        netns::ip(&agent.line.client, "link add eth7 type veth peer name other");
        hooks(4).await;
        netns::ip(&agent.line.client, "link del eth7");
        hooks(2).await;
    }
    assert!(!agent.pins.join("link-eth7-ingress").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_table_does_to_new_connections_what_the_configuration_says() {
    for (policy, passes) in [("drop", false), ("pass", true)] {
        let more = format!("mode = 'enforce'\nconntrack_entries = 1\non_full = '{policy}'");
        let mut agent = Agent::new("full", &more);
        let store = tempfile::tempdir().unwrap();
        let _nats = Server::start(agent.port, store.path());
        let connection = agent.connect().await;
        let _listener = agent.server();
        agent.start();
        ready(&connection).await;
        let _fills_it = agent.client();
        let server = ([10, 9, 0, 2], 80).into();
        let limit = Duration::from_millis(500);
        let second = within(&agent.line.client, || TcpStream::connect_timeout(&server, limit));
        assert_eq!(second.is_ok(), passes, "{policy}");
        let counters = status(&connection).await.counters;
        assert!(counters["insert_failed_e2big"] > 0, "{counters:?}");
        assert_eq!(counters["dropped_table_full"] == 0, passes, "{counters:?}");
    }
}

#[test]
fn it_ends_within_five_seconds_though_nats_is_away() {
    let agent = Agent::new("end", "");
    // There is something to send by then: signals, at least.
    let (status, took) = ending::terminated_without_nats(&mut agent.command(), "\"ready\"");
    assert!(status.success() && took < Duration::from_secs(5), "{status}, {took:?}");
    assert!(agent.command().arg("uninstall").status().unwrap().success());
}

#[test]
fn a_wrong_configuration_names_the_key() {
    let output = |variable: &str, value: &str| {
        let service = Command::new(env!("CARGO_BIN_EXE_synscope-datapath")).env(variable, value).output().unwrap();
        assert!(!service.status.success());
        String::from_utf8(service.stderr).unwrap()
    };
    assert!(output("SYNSCOPE_INTERFACE", "x").contains("did you mean \"interfaces\""));
    assert!(output("SYNSCOPE_TIME_SCALE", "-1").contains("\"time_scale\" is -1"));
    assert!(output("SYNSCOPE_ON_FULL", "evict").contains("evict"));
    assert!(output("SYNSCOPE_CONFIG", "/nowhere.toml").contains("/nowhere.toml"));
    let endpoints = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    std::fs::write(endpoints.path(), "[workload]\n'10.0.0.1' = 'a'\n").unwrap();
    let said = output("SYNSCOPE_ENDPOINTS", endpoints.path().to_str().unwrap());
    assert!(said.contains(r#"key "workload" is unknown; did you mean "workloads"?"#), "{said}");
}

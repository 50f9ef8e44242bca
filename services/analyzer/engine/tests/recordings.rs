//! Streams that the lab recorded, replayed: `cargo xtask lab NAME --record FILE`, then `gzip -9`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]

use std::fs::File;
use std::io::BufReader;

use flate2::read::GzDecoder;
use synscope_bus::message::incident::{Finding, Incident, Recurrence, State};
use synscope_engine::engine::Engine;
use synscope_engine::recording::replay;
use synscope_engine::scale::Scale;

/// The lab's.
const TIME_SCALE: f64 = 30.0;
const S: u64 = 1_000_000_000;

/// Every state in which an incident was told, in order.
fn told(name: &str) -> Vec<Incident> {
    let path = format!("{}/tests/recordings/{name}.jsonl.gz", env!("CARGO_MANIFEST_DIR"));
    let recording = BufReader::new(GzDecoder::new(File::open(path).unwrap()));
    let scale = Scale::new(TIME_SCALE);
    replay(&mut Engine::new(scale), recording, scale.bucket_ns, 12 * S).unwrap()
}

/// The incident as it stood when it was first told in full, and that there was but one.
fn only(name: &str) -> Incident {
    let told = told(name);
    let last = told.last().expect("an incident").clone();
    assert!(told.iter().all(|incident| incident.id == last.id), "one incident, not several");
    told.into_iter().rev().find(|incident| incident.state == State::Open).expect("it was open")
}

fn assert_named(name: &str, kind: &str, node: Option<&str>) -> Incident {
    let incident = only(name);
    assert_eq!(incident.edges.first().map(String::as_str), Some("shop/order->shop/inventory:80"));
    assert_eq!(incident.kind, kind, "{}", incident.title);
    let cause = &incident.causes[0];
    assert_eq!((cause.name.as_str(), cause.finding), (kind, Finding::Confirmed));
    assert_eq!(cause.node.as_deref(), node);
    assert!(!cause.evidence_for.is_empty());
    incident
}

fn assert_period_of_20_s(incident: &Incident) {
    let Recurrence::Regular { period_ns, cycles, .. } = incident.recurrence else {
        panic!("{:?}", incident.recurrence)
    };
    assert!(period_ns.abs_diff(20 * S) <= S, "{period_ns}");
    assert!(cycles >= 3);
}

fn assert_refuted(incident: &Incident, name: &str) {
    let refuted = incident.refuted.iter().find(|cause| cause.name == name);
    let refuted = refuted.unwrap_or_else(|| panic!("{name} is not refuted: {:?}", incident.causes));
    assert!(!refuted.evidence_against.is_empty(), "{name} is refuted without numbers");
}

#[test]
fn a_full_table_is_named_fixed_and_verified() {
    let incident = assert_named("ct-full", "ct-full", Some("node-a"));
    assert_period_of_20_s(&incident);
    assert_refuted(&incident, "path-loss");
    assert!(incident.spikes.iter().all(|spike| spike.max_ns >= 2 * S && spike.dropped > 0 && spike.retries > 0));
    let fix = incident.fix.unwrap();
    assert!(fix.change.is_some());
    // The batch job wants 3000 connections at once, and order has some of its own.
    let demand = fix.sizing.unwrap().demand_entries;
    assert!((3000..=3150).contains(&demand), "{demand}");
    let states: Vec<State> = told("ct-full").iter().map(|incident| incident.state).collect();
    let mut distinct = states.clone();
    distinct.dedup();
    assert_eq!(distinct, [State::Open, State::FixApplied, State::Verified]);
}

#[test]
fn normal_traffic_and_bursts_below_every_limit_are_no_incident() {
    assert_eq!(told("quiet"), []);
}

#[test]
fn a_full_map_beside_a_delay_is_correlated_and_no_more() {
    let incident = assert_named("seed", "delay", None);
    assert!(matches!(incident.recurrence, Recurrence::Irregular { .. }), "{:?}", incident.recurrence);
    let cilium = incident.causes.iter().find(|cause| cause.name == "cilium-ct-full").expect("the map is weighed");
    assert_eq!(cilium.finding, Finding::Correlated);
    assert!(cilium.summary.contains("mechanism unproven"), "{}", cilium.summary);
    assert!(incident.spikes.iter().all(|spike| spike.retries == 0));
}

#[test]
fn syns_lost_on_the_way_are_blamed_on_nothing_local() {
    let incident = assert_named("syn-loss", "path-loss", None);
    assert_period_of_20_s(&incident);
    for local in ["ct-full", "nf-conntrack-full", "listen-overflow", "delay"] {
        assert_refuted(&incident, local);
    }
}

#[test]
fn an_accept_queue_that_overflows_is_named_on_the_server_s_node() {
    let incident = assert_named("listen-overflow", "listen-overflow", Some("node-b"));
    assert_period_of_20_s(&incident);
    assert_refuted(&incident, "path-loss");
    assert_refuted(&incident, "ct-full");
}

#[test]
fn a_full_table_that_harms_nobody_is_refuted_beside_a_slow_server() {
    let incident = assert_named("ct-full-harmless", "slow-server", Some("node-b"));
    assert_period_of_20_s(&incident);
    let refuted =
        incident.refuted.iter().find(|cause| cause.name == "ct-full" && cause.node.as_deref() == Some("node-a"));
    let refuted = refuted.expect("the full table is refuted");
    assert!(refuted.summary.contains("dropped nothing"), "{}", refuted.summary);
    assert!(refuted.evidence_against.iter().any(|evidence| evidence.value > 0.0), "{refuted:?}");
}

#[test]
fn the_kernels_own_full_table_is_named_and_only_advised_on() {
    let incident = assert_named("nf-conntrack-full", "nf-conntrack-full", Some("node-b"));
    assert_period_of_20_s(&incident);
    assert_refuted(&incident, "path-loss");
    let fix = incident.fix.unwrap();
    assert!(fix.change.is_none() && fix.api_call.is_none() && !fix.advice.is_empty());
}

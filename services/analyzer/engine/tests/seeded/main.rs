//! Faults and decoys from seeds: the right name or none, never a wrong one.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops at the first surprise")]

mod clocks;
mod faults;
mod late;
mod life;
mod long;
mod outage;
mod probes;
mod retirement;
mod tracing;
mod world;

use synscope_bus::message::incident::{Finding, Incident, Recurrence};
use world::{Decoy, Fault, S, World};

pub(crate) const SEEDS: u64 = 4;

pub(crate) const FAULTS: [(Fault, &str); 7] = [
    (Fault::CtFull, "ct-full"),
    (Fault::CtFullOnServer, "ct-full"),
    (Fault::NfFull, "nf-conntrack-full"),
    (Fault::PathLoss, "path-loss"),
    (Fault::ListenOverflow, "listen-overflow"),
    (Fault::SlowServer, "slow-server"),
    (Fault::Delay, "delay"),
];

/// Plays one after the other for each of these, and all of these at once: each plays for minutes of a processor's time.
pub(crate) fn at_once<T: Copy + Send>(all: &[T], play: impl Fn(T) + Copy + Send) {
    std::thread::scope(|scope| {
        for one in all {
            let one = *one;
            scope.spawn(move || play(one));
        }
    });
}

/// The incident as it was told last, and that it was the only one.
pub(crate) fn only(told: &[Incident]) -> &Incident {
    let last = told.last().unwrap();
    assert!(told.iter().all(|incident| incident.id == last.id), "one incident, not several");
    last
}

/// Where the fault is, if it is on one node.
pub(crate) fn node_of(fault: Fault) -> Option<&'static str> {
    match fault {
        Fault::CtFull => Some("node-a"),
        Fault::CtFullOnServer
        | Fault::NfFull
        | Fault::ListenOverflow
        | Fault::SlowServer
        | Fault::ClosedPort
        | Fault::NoAnswer => Some("node-b"),
        _ => None,
    }
}

pub(crate) fn refuted(incident: &Incident, name: &str, node: &str) -> bool {
    incident
        .refuted
        .iter()
        .any(|cause| cause.name == name && cause.node.as_deref() == Some(node) && !cause.evidence_against.is_empty())
}

#[test]
fn each_fault_gets_its_name_with_every_decoy_beside_it() {
    let decoys = [
        Decoy::None,
        Decoy::TableFullButPasses,
        Decoy::EarlyDrop,
        Decoy::CiliumFull,
        Decoy::OtherNodeDrops,
        Decoy::OtherEndDrops,
        Decoy::Restart,
        Decoy::DropsElsewhen,
        Decoy::OtherNamespace,
        Decoy::ManyNamespaces,
        Decoy::SameTimes,
        Decoy::OneDrop,
        Decoy::Busy,
    ];
    at_once(&FAULTS, |(fault, name)| {
        for decoy in decoys {
            // These two are one and the same table.
            if fault == Fault::CtFull && matches!(decoy, Decoy::TableFullButPasses | Decoy::DropsElsewhen) {
                continue;
            }
            if World::new(0, fault, decoy).is_ambiguous() {
                continue;
            }
            for seed in 0..SEEDS {
                let told = World::new(seed, fault, decoy).play();
                let incident = only(&told);
                assert_eq!(incident.kind, name, "{fault:?} beside {decoy:?}, seed {seed}: {}", incident.title);
                assert_eq!(
                    incident.causes[0].node.as_deref(),
                    node_of(fault),
                    "{fault:?} beside {decoy:?}, seed {seed}"
                );
                let Recurrence::Regular { period_ns, .. } = incident.recurrence else {
                    panic!("{:?}", incident.recurrence)
                };
                assert!(period_ns.abs_diff(600 * S) <= 12 * S, "{period_ns}");
                assert!(
                    incident.causes.iter().skip(1).all(|cause| cause.finding != Finding::Confirmed),
                    "{:?}",
                    incident.causes
                );
            }
        }
    });
}

#[test]
fn syns_that_a_table_says_it_dropped_were_not_lost_on_the_path_however_many_it_drops_otherwise() {
    for seed in 0..SEEDS {
        let told = World::new(seed, Fault::CtFull, Decoy::DropsElsewhen).play();
        let incident = only(&told);
        assert!(matches!(incident.kind.as_str(), "ct-full" | "unknown"), "seed {seed}: {}", incident.title);
        assert!(incident.refuted.iter().any(|cause| cause.name == "path-loss"), "{:?}", incident.causes);
    }
}

#[test]
fn it_is_found_at_latest_one_period_after_the_third_spike() {
    for (fault, _) in FAULTS {
        let told = World { spikes: 3, ..World::new(1, fault, Decoy::None) }.play();
        let found = told.first().unwrap();
        let third = found.spikes[2];
        assert!(found.timeline[0].time_unix_ns <= third.end_unix_ns + 600 * S);
    }
}

#[test]
fn a_full_table_that_passes_what_it_refuses_is_refuted_with_numbers() {
    let told = World::new(3, Fault::SlowServer, Decoy::TableFullButPasses).play();
    let incident = only(&told);
    assert!(refuted(incident, "ct-full", "node-a"), "{:?}", incident.refuted);
    let told = World::new(3, Fault::PathLoss, Decoy::EarlyDrop).play();
    assert!(refuted(only(&told), "nf-conntrack-full", "node-b"));
}

#[test]
fn cilium_s_full_hash_table_gets_cilium_s_own_options() {
    for seed in 0..SEEDS {
        for decoy in [Decoy::None, Decoy::TableFullButPasses, Decoy::EarlyDrop, Decoy::OtherNodeDrops] {
            let told = World::new(seed, Fault::CiliumFull, decoy).play();
            let incident = only(&told);
            assert_eq!(incident.kind, "cilium-ct-full", "{decoy:?}: {:#?}", incident.causes);
            let fix = incident.fix.as_ref().unwrap();
            assert!(fix.change.is_none() && fix.api_call.is_none());
            assert!(fix.advice[0].command.ends_with("--set bpf.ctTcpMax=2097152"), "{:?}", fix.advice);
            assert!(fix.advice[1].command.ends_with("--bpf-ct-global-tcp-max=2097152"), "{:?}", fix.advice);
            let sizing = fix.sizing.as_ref().unwrap();
            // The generator drops at most seven a second.
            assert!((524_291..=524_295).contains(&sizing.demand_entries), "{sizing:?}");
            assert!(sizing.rule_of_thumb.contains("2,097,152"));
        }
    }
}

#[test]
fn cilium_s_full_map_is_correlated_at_most() {
    for (fault, _) in FAULTS {
        let told = World::new(4, fault, Decoy::CiliumFull).play();
        let cilium = only(&told).causes.iter().find(|cause| cause.name == "cilium-ct-full").unwrap().clone();
        assert_eq!(cilium.finding, Finding::Correlated);
    }
}

#[test]
fn without_the_sources_that_a_name_needs_there_is_no_wrong_name() {
    for (fault, name) in FAULTS {
        let told = World::new(5, fault, Decoy::Blind).play();
        let incident = only(&told);
        // TCP's counters and both vantages are there: what needs no more may be named.
        let nameable = matches!(fault, Fault::ListenOverflow | Fault::SlowServer | Fault::Delay);
        let expected = if nameable { name } else { "unknown" };
        assert_eq!(incident.kind, expected, "{fault:?}: {:?}", incident.causes);
    }
}

#[test]
fn some_lost_and_more_held_back_is_an_incident_without_a_name() {
    for seed in 0..SEEDS {
        let told = World::new(seed, Fault::Mixed, Decoy::None).play();
        let incident = only(&told);
        assert_eq!(incident.kind, "unknown", "{:#?}", incident.causes);
        assert!(incident.fix.is_none() && incident.causes.iter().all(|cause| cause.finding != Finding::Confirmed));
        // What speaks against each is listed, with numbers.
        for name in ["ct-full", "nf-conntrack-full", "path-loss", "delay"] {
            let refuted = incident.refuted.iter().find(|cause| cause.name == name);
            assert!(refuted.is_some_and(|cause| !cause.evidence_against.is_empty()), "{name}: {:#?}", incident.refuted);
        }
    }
}

#[test]
fn where_processors_are_saturated_nobody_else_is_blamed() {
    for seed in 0..SEEDS {
        for decoy in [Decoy::None, Decoy::CiliumFull, Decoy::OtherNodeDrops] {
            let told = World::new(seed, Fault::Saturated, decoy).play();
            let incident = only(&told);
            assert_eq!(incident.kind, "unknown", "{decoy:?}, seed {seed}: {:#?}", incident.causes);
            let correlated = |name: &str| {
                incident.causes.iter().find(|cause| cause.name == name && cause.finding == Finding::Correlated)
            };
            assert_eq!(correlated("cpu-saturation").unwrap().node.as_deref(), Some("node-a"));
            assert!(correlated("delay").unwrap().summary.contains("or on node-a"), "{:#?}", incident.causes);
            assert!(refuted(incident, "cpu-saturation", "node-b"), "{:#?}", incident.refuted);
        }
    }
}

#[test]
fn quiet_days_and_single_spikes_are_no_incident() {
    for seed in 0..SEEDS {
        for decoy in
            [Decoy::None, Decoy::TableFullButPasses, Decoy::EarlyDrop, Decoy::CiliumFull, Decoy::OtherNodeDrops]
        {
            assert_eq!(World::new(seed, Fault::None, decoy).play(), [], "{decoy:?}");
        }
        let twice = World { spikes: 2, ..World::new(seed, Fault::PathLoss, Decoy::None) };
        assert_eq!(twice.play(), []);
    }
}

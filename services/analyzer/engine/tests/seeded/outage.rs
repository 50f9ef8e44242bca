//! Nobody gets through, for once.

use synscope_bus::message::edge::EdgeBucket;
use synscope_bus::message::flow::Vantage;
use synscope_bus::message::incident::{Finding, Incident, Recurrence, State};
use synscope_engine::engine::Engine;
use synscope_engine::scale::Scale;

use crate::world::{Decoy, EDGE, Fault, S, World, batch, empty};
use crate::{SEEDS, at_once, node_of, only, refuted};

const OUTAGES: [(Fault, &str); 9] = [
    (Fault::CtFull, "ct-full"),
    (Fault::CtFullOnServer, "ct-full"),
    (Fault::NfFull, "nf-conntrack-full"),
    (Fault::PathLoss, "path-loss"),
    (Fault::ListenOverflow, "listen-overflow"),
    (Fault::ClosedPort, "closed-port"),
    (Fault::Rejected, "closed-port"),
    (Fault::NoAnswer, "no-answer"),
    (Fault::NodeDown, "unknown"),
];

fn found(incident: &Incident) -> u64 {
    let begun = incident.first_seen_unix_ns;
    incident.timeline[0].time_unix_ns - begun
}

#[test]
fn a_single_outage_is_an_incident_with_its_cause_beside_every_decoy() {
    let decoys = [
        Decoy::None,
        Decoy::TableFullButPasses,
        Decoy::EarlyDrop,
        Decoy::CiliumFull,
        Decoy::OtherNodeDrops,
        Decoy::OtherEndDrops,
        Decoy::FailingEdges,
        Decoy::OtherNamespace,
        Decoy::ManyNamespaces,
        Decoy::SameTimes,
        Decoy::OneDrop,
    ];
    at_once(&OUTAGES, |(fault, name)| {
        for decoy in decoys {
            // These two are one and the same table.
            if fault == Fault::CtFull && decoy == Decoy::TableFullButPasses {
                continue;
            }
            if World::outage(0, fault, decoy).is_ambiguous() {
                continue;
            }
            for seed in 0..SEEDS {
                let told = World::outage(seed, fault, decoy).play();
                let incident = only(&told);
                assert_eq!(incident.kind, name, "{fault:?} beside {decoy:?}, seed {seed}: {incident:#?}");
                let node =
                    incident.causes.first().filter(|_| name != "unknown").and_then(|cause| cause.node.as_deref());
                assert_eq!(node, node_of(fault), "{fault:?} beside {decoy:?}, seed {seed}");
                assert_eq!(incident.recurrence, Recurrence::None, "{}", incident.title);
                let confirmed = incident.causes.iter().filter(|cause| cause.finding == Finding::Confirmed);
                assert_eq!(confirmed.count(), usize::from(name != "unknown"), "{:#?}", incident.causes);
                let [spike] = incident.spikes.as_slice() else { panic!("{:?}", incident.spikes) };
                assert!(spike.failed > 800 && spike.n < 100, "{spike:?}");
                assert!((290 * S..=320 * S).contains(&(spike.end_unix_ns - spike.start_unix_ns)), "{spike:?}");
            }
        }
    });
}

#[test]
fn a_trifle_explains_nothing_where_clients_give_up_at_once() {
    for (fault, name) in OUTAGES {
        for decoy in [Decoy::None, Decoy::OtherNamespace, Decoy::OneDrop] {
            for seed in 0..SEEDS {
                let told = World { impatient: true, ..World::outage(seed, fault, decoy) }.play();
                let incident = only(&told);
                assert_eq!(incident.kind, name, "{fault:?} beside {decoy:?}, seed {seed}: {:#?}", incident.causes);
                let confirmed = incident.causes.iter().filter(|cause| cause.finding == Finding::Confirmed);
                assert_eq!(confirmed.count(), usize::from(name != "unknown"), "{:#?}", incident.causes);
            }
        }
    }
}

#[test]
fn an_outage_is_told_while_it_lasts_and_not_bucket_by_bucket() {
    for (fault, _) in OUTAGES {
        let told = World { spike_s: 3000, period_s: 6600, ..World::outage(1, fault, Decoy::None) }.play();
        let first = &told[0];
        // A minute and a half of it has to be over, and nothing is known of a handshake before it is given up.
        assert!(found(first) <= 260 * S, "{fault:?}: {}", found(first) / S);
        assert!(only(&told).title.contains("fail"), "{}", first.title);
        assert!(told.len() <= 20, "{fault:?} was told {} times", told.len());
        assert_eq!(only(&told).state, State::Open);
    }
}

#[test]
fn an_outage_long_after_the_last_spike_is_told_as_soon_as_any() {
    let mut engine = Engine::new(Scale::new(1.0));
    let (mut known, mut told_s) = (false, None);
    for start_s in (0..9000).step_by(10) {
        let is_spiking = (600..2400).contains(&start_s) && start_s % 600 < 150;
        let slow = match start_s {
            // A hiccup of those that are no spike.
            7800 => 3,
            _ if is_spiking => 4,
            _ => 0,
        };
        let (n, failed) = if start_s < 7900 { (10, 0) } else { (0, 10) };
        let mut bucket = EdgeBucket { n, failed, reset: failed, ..empty(EDGE, Vantage::Client, start_s * S) };
        (0..n).for_each(|connection| bucket.latency_ns.record(if connection < slow { S } else { S / 1000 }));
        engine.edges(&batch("node-a", vec![bucket]));
        for incident in engine.tick((start_s + 10) * S) {
            known = true;
            if incident.spikes.last().is_some_and(|spike| spike.failed > 0) {
                told_s = told_s.or(Some(start_s + 10 - 7900));
            }
        }
        assert!(known || start_s < 2400);
    }
    assert!(told_s.is_some_and(|told_s| told_s <= 260), "{told_s:?}");
}

#[test]
fn an_outage_whose_sources_cannot_be_read_gets_no_wrong_name() {
    for (fault, name) in OUTAGES {
        let told = World::outage(5, fault, Decoy::Blind).play();
        let nameable = matches!(fault, Fault::ListenOverflow | Fault::ClosedPort | Fault::Rejected);
        assert_eq!(only(&told).kind, if nameable { name } else { "unknown" }, "{:#?}", only(&told).causes);
    }
}

#[test]
fn what_dropped_nothing_is_refuted_with_numbers() {
    let told = World::outage(3, Fault::NoAnswer, Decoy::TableFullButPasses).play();
    assert!(refuted(only(&told), "ct-full", "node-a"), "{:#?}", only(&told).refuted);
    assert!(only(&told).refuted.iter().any(|cause| cause.name == "path-loss"));
    let told = World::outage(3, Fault::PathLoss, Decoy::EarlyDrop).play();
    assert!(refuted(only(&told), "no-answer", "node-b"), "{:#?}", only(&told).refuted);
}

#[test]
fn failing_edges_and_restarts_are_no_outage() {
    for seed in 0..SEEDS {
        assert_eq!(World { spikes: 8, period_s: 600, ..World::new(seed, Fault::None, Decoy::FailingEdges) }.play(), []);
        for fault in [Fault::ClosedPort, Fault::NoAnswer, Fault::NodeDown] {
            let restart = World { spike_s: 60, ..World::outage(seed, fault, Decoy::None) };
            assert_eq!(restart.play(), [], "{fault:?}");
        }
    }
}

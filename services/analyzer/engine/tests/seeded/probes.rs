//! Probes that the engine asks for: when, and what they change.

use synscope_bus::message::incident::{Cause, Finding, Incident, ProbeOutcome};
use synscope_engine::probe::{Kind, Request};

use crate::SEEDS;
use crate::only;
use crate::tracing::Tracing;
use crate::world::{Decoy, Fault, S, World};

fn traced(seed: u64, fault: Fault, tracing: Tracing) -> (Vec<Incident>, Vec<Request>) {
    World { tracing, ..World::new(seed, fault, Decoy::None) }.play_traced()
}

fn cause<'a>(incident: &'a Incident, name: &str, node: Option<&str>) -> Option<&'a Cause> {
    let mut all = incident.causes.iter().chain(&incident.refuted);
    all.find(|cause| cause.name == name && cause.node.as_deref() == node)
}

/// Why each node of the incident's first probe says nothing.
fn not_observed(incident: &Incident) -> Vec<&str> {
    let outcomes = incident.probes[0].nodes.values();
    outcomes
        .map(|outcome| match outcome {
            ProbeOutcome::NotObserved { reason } => reason.as_str(),
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn a_probe_that_sees_nothing_unusual_on_either_node_confirms_a_loss_between_them() {
    for seed in 0..SEEDS {
        let (told, asked) = traced(seed, Fault::PathLoss, Tracing::Usual);
        let incident = only(&told);
        let [request] = asked.as_slice() else { panic!("{asked:#?}") };
        assert_eq!((request.kind, request.port, &request.incident), (Kind::Drops, None, &incident.id));
        assert_eq!(request.nodes.iter().collect::<Vec<_>>(), ["node-a", "node-b"]);
        // It covers the fourth spike from before its onset until after its end, and no more than it needs.
        let spike = incident.spikes[3];
        assert!(
            request.from_unix_ns + 30 * S <= spike.start_unix_ns && request.until_unix_ns >= spike.end_unix_ns + 30 * S
        );
        assert!(request.until_unix_ns - request.from_unix_ns < 500 * S);
        assert_eq!(incident.kind, "path-loss");
        let loss = &incident.causes[0];
        assert!((loss.score - 0.96).abs() < 1e-9, "{loss:?}");
        let measured: Vec<_> = loss.evidence_for.iter().filter_map(|evidence| evidence.measured.as_ref()).collect();
        assert_eq!(measured.len(), 2, "{loss:#?}");
        assert!(measured.iter().all(|measured| measured.probe == "drops" && measured.trace == request.trace));
        assert!(measured.iter().all(|measured| measured.from_unix_ns <= spike.start_unix_ns));
        for node in ["node-a", "node-b"] {
            let drops = cause(incident, "node-drops", Some(node)).unwrap();
            assert_eq!(drops.finding, Finding::Refuted, "{drops:#?}");
            assert!(!drops.evidence_against.is_empty());
        }
        let run = &incident.probes[0];
        assert_eq!((incident.probes.len(), &run.trace, run.probe.as_str()), (1, &request.trace, "drops"));
        let covered = |outcome: &ProbeOutcome| matches!(outcome, ProbeOutcome::Observed { spikes: 1, .. });
        assert!(run.nodes.len() == 2 && run.nodes.values().all(covered), "{run:#?}");
        // Before it was there, the loss had its name already.
        assert!(told.iter().all(|incident| incident.kind == "path-loss"));
    }
}

#[test]
fn drops_on_a_node_in_the_spikes_take_a_loss_between_the_nodes_its_name() {
    // On the client's node; on the server's, where the agent does not see it.
    for (node, reason) in [("node-a", "NETFILTER_DROP"), ("node-a", "NEIGH_FAILED"), ("node-b", "CPU_BACKLOG")] {
        for seed in 0..SEEDS {
            let (told, asked) = traced(seed, Fault::PathLoss, Tracing::DropsInSpikes(node, reason));
            let incident = only(&told);
            assert_eq!((incident.kind.as_str(), asked.len()), ("unknown", 1), "{:#?}", incident.causes);
            assert!(incident.fix.is_none());
            let drops = &incident.causes[0];
            assert_eq!((drops.name.as_str(), drops.node.as_deref()), ("node-drops", Some(node)));
            assert_eq!(drops.finding, Finding::Correlated);
            let number = &drops.evidence_for[0];
            assert_eq!(number.name, format!("drops for {reason} in function_1"));
            // A spike's ends are known to a bucket.
            assert!(number.value >= 500.0 && number.baseline.unwrap() * 5.0 < number.value, "{number:?}");
            assert_eq!(number.node.as_deref(), Some(node));
            assert_eq!(number.measured.as_ref().unwrap().trace, asked[0].trace);
            let loss = cause(incident, "path-loss", None).unwrap();
            assert_eq!(loss.finding, Finding::Correlated);
            assert!(loss.summary.contains(&format!("or dropped on {node}")), "{}", loss.summary);
        }
    }
}

#[test]
fn drops_that_are_no_evidence_change_no_name() {
    let decoys = [
        Tracing::DropsOutside("node-a", "NETFILTER_DROP"),
        Tracing::DropsAlways("node-a", "NETFILTER_DROP"),
        Tracing::DropsFew("node-a", "NETFILTER_DROP"),
        // It came to no SYN of this edge there: the agent would have seen them come.
        Tracing::DropsInSpikes("node-b", "NETFILTER_DROP"),
        // Of connections that are there, and what answers with a reset.
        Tracing::DropsInSpikes("node-a", "TCP_INVALID_SEQUENCE"),
        Tracing::DropsInSpikes("node-a", "NO_SOCKET"),
        // The kernel says no reason.
        Tracing::DropsInSpikes("node-a", "NOT_SPECIFIED"),
        // Nobody asked there.
        Tracing::DropsInSpikes("node-c", "NETFILTER_DROP"),
    ];
    for tracing in decoys {
        for seed in 0..SEEDS {
            let (told, asked) = traced(seed, Fault::PathLoss, tracing);
            let incident = only(&told);
            assert_eq!((incident.kind.as_str(), asked.len()), ("path-loss", 1), "{tracing:?}: {:#?}", incident.causes);
            let is_refuted = |node| cause(incident, "node-drops", Some(node)).unwrap().finding == Finding::Refuted;
            assert!(is_refuted("node-a") && is_refuted("node-b"), "{tracing:?}");
        }
    }
    // What may have been a SYN does not confirm that there was none.
    let (told, _) = traced(0, Fault::PathLoss, Tracing::DropsInSpikes("node-a", "NOT_SPECIFIED"));
    assert!((only(&told).causes[0].score - 0.93).abs() < 1e-9, "{:#?}", only(&told).causes);
}

#[test]
fn a_probe_that_did_not_see_a_spike_whole_says_nothing_and_says_so() {
    let reasons = [
        (Tracing::Absent, "no tracer answers for this node"),
        (Tracing::EndEarly, "it ended early: 70000 hits per second, 50000 are allowed"),
        (Tracing::Lose, "it lost output: 3 records, values, hits or lines, and 0 entries"),
    ];
    for (tracing, reason) in reasons {
        for seed in 0..SEEDS {
            let (told, asked) = traced(seed, Fault::PathLoss, tracing);
            let incident = only(&told);
            assert_eq!(incident.kind, "path-loss", "{tracing:?}");
            assert!((incident.causes[0].score - 0.93).abs() < 1e-9, "{:#?}", incident.causes[0]);
            assert_eq!(not_observed(incident), [reason, reason], "{tracing:?}");
            let drops = cause(incident, "node-drops", Some("node-a")).unwrap();
            assert!(drops.finding == Finding::NotObserved && drops.summary.contains(reason), "{}", drops.summary);
            // It is tried again, and not for ever.
            assert_eq!(asked.len(), 3, "{tracing:?}");
        }
    }
}

#[test]
fn a_probe_whose_end_is_not_told_counts_for_what_it_told() {
    let (told, asked) = traced(1, Fault::PathLoss, Tracing::FallSilent);
    assert_eq!((only(&told).kind.as_str(), asked.len()), ("path-loss", 1));
    assert!((only(&told).causes[0].score - 0.96).abs() < 1e-9, "{:#?}", only(&told).causes[0]);
}

#[test]
fn how_long_the_client_s_sockets_waited_confirms_a_delay() {
    for seed in 0..SEEDS {
        let (told, asked) = traced(seed, Fault::Delay, Tracing::Usual);
        let incident = only(&told);
        let [request] = asked.as_slice() else { panic!("{asked:#?}") };
        assert_eq!((request.kind, request.port), (Kind::ConnectLatency, Some(80)));
        assert_eq!(request.nodes.iter().collect::<Vec<_>>(), ["node-a"]);
        let delay = &incident.causes[0];
        assert_eq!((delay.name.as_str(), delay.finding), ("delay", Finding::Confirmed));
        assert!((delay.score - 0.93).abs() < 1e-9, "{delay:#?}");
        let felt = delay.evidence_for.iter().find(|evidence| evidence.measured.is_some()).unwrap();
        assert!(felt.value >= 100.0 && felt.baseline.unwrap() * 5.0 < felt.value, "{felt:?}");
    }
}

#[test]
fn what_is_confirmed_where_it_acts_needs_no_probe_and_what_is_quiet_none_either() {
    let located =
        [Fault::CtFull, Fault::CtFullOnServer, Fault::NfFull, Fault::ListenOverflow, Fault::SlowServer, Fault::None];
    for fault in located {
        for seed in 0..SEEDS {
            let (told, asked) = traced(seed, fault, Tracing::Usual);
            assert_eq!(asked, [], "{fault:?}");
            assert!(told.iter().all(|incident| incident.probes.is_empty()));
        }
    }
    let twice = World { spikes: 2, tracing: Tracing::Usual, ..World::new(0, Fault::PathLoss, Decoy::None) };
    assert_eq!(twice.play_traced(), (Vec::new(), Vec::new()));
}

#[test]
fn an_outage_is_watched_as_long_as_it_goes_on() {
    let outage = World {
        tracing: Tracing::Usual,
        spike_s: 900,
        period_s: 3600,
        ..World::outage(0, Fault::NoAnswer, Decoy::None)
    };
    let (told, asked) = outage.play_traced();
    let incident = only(&told);
    assert!((1..=3).contains(&asked.len()), "{asked:#?}");
    let spike = incident.spikes[0];
    assert!(asked.iter().all(|request| request.kind == Kind::Drops && request.from_unix_ns > spike.start_unix_ns));
    assert_eq!(incident.kind, "no-answer");
}

#[test]
fn who_may_not_ask_does_not() {
    let (told, asked) = traced(0, Fault::PathLoss, Tracing::Off);
    assert_eq!((only(&told).kind.as_str(), asked), ("path-loss", Vec::new()));
}

#[test]
fn a_probe_that_ran_when_the_analyzer_ended_is_not_waited_for() {
    let world = World { tracing: Tracing::Usual, ..World::new(2, Fault::PathLoss, Decoy::None) };
    let (told, _) = world.play_traced();
    let running = told.iter().find(|incident| {
        incident.probes.iter().any(|run| run.nodes.values().any(|outcome| *outcome == ProbeOutcome::Running))
    });
    let known = running.expect("it is told when it is asked for").clone();
    let mut engine = synscope_engine::engine::Engine::new(synscope_engine::scale::Scale::new(1.0));
    engine.restore([known]);
    assert_eq!(not_observed(engine.incidents().next().unwrap()), ["the analyzer ended meanwhile"; 2]);
}

//! Clocks that are apart: another node's seconds are other seconds.

use synscope_bus::message::incident::{Finding, Incident};

use crate::world::{Decoy, Fault, World};
use crate::{SEEDS, only};

fn played(seed: u64, fault: Fault, ahead_s: u64) -> Incident {
    only(&World { ahead_s, ..World::new(seed, fault, Decoy::None) }.play()).clone()
}

#[test]
fn a_node_whose_clock_is_off_gives_no_evidence_and_the_incident_says_so() {
    // Its counters move, in its own seconds.
    for fault in [Fault::NfFull, Fault::ListenOverflow, Fault::SlowServer, Fault::PathLoss] {
        for seed in 0..SEEDS {
            let incident = played(seed, fault, 40);
            assert_eq!(incident.kind, "unknown", "{fault:?}: {:#?}", incident.causes);
            let says = |cause: &&synscope_bus::message::incident::Cause| {
                cause.finding == Finding::NotObserved && cause.summary.contains("the clock of node-b is 40.0 s off")
            };
            assert!(incident.causes.iter().any(|cause| says(&cause)), "{fault:?}: {:#?}", incident.causes);
            assert!(incident.nodes.contains(&"node-b".to_owned()));
        }
    }
}

#[test]
fn what_one_clock_measured_is_evidence_whatever_the_others_say() {
    for seed in 0..SEEDS {
        assert_eq!(played(seed, Fault::CtFull, 40).kind, "ct-full");
    }
}

#[test]
fn clocks_within_half_a_bucket_are_compared() {
    for seed in 0..SEEDS {
        assert_eq!(played(seed, Fault::NfFull, 4).kind, "nf-conntrack-full");
    }
}

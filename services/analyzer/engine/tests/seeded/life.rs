//! What becomes of an incident after its fix.

use synscope_bus::message::incident::{Incident, State, Step};

use crate::world::{After, Decoy, Fault, S, World};
use crate::{SEEDS, only};

const PERIOD_S: u64 = 600;
/// Spikes before the fix.
const BEFORE: u64 = 4;

fn played(seed: u64, spikes: u64, after: After) -> Incident {
    let world = World { spikes, fixed: Some((BEFORE, after)), ..World::new(seed, Fault::CtFull, Decoy::None) };
    only(&world.play()).clone()
}

fn states(incident: &Incident) -> Vec<State> {
    incident.timeline.iter().map(|step| step.state).collect()
}

/// Periods between two steps, rounded.
fn periods(from: &Step, to: &Step) -> u64 {
    (to.time_unix_ns - from.time_unix_ns + PERIOD_S * S / 2) / (PERIOD_S * S)
}

#[test]
fn demand_without_a_spike_verifies_after_two_cycles() {
    for seed in 0..SEEDS {
        let incident = played(seed, BEFORE + 6, After::Demand);
        assert_eq!(states(&incident), [State::Open, State::FixApplied, State::Verified]);
        assert_eq!(periods(&incident.timeline[1], &incident.timeline[2]), 2);
        assert_eq!(incident.spikes.len(), 4, "{:?}", incident.spikes);
    }
}

#[test]
fn without_the_demand_nothing_is_verified() {
    for seed in 0..SEEDS {
        let incident = played(seed, BEFORE + 6, After::Quiet);
        assert_eq!(states(&incident), [State::Open, State::FixApplied, State::Inconclusive]);
        assert_eq!(periods(&incident.timeline[1], &incident.timeline[2]), 4);
    }
}

#[test]
fn a_spike_in_spite_of_the_fix_reopens_it() {
    for seed in 0..SEEDS {
        let incident = played(seed, BEFORE + 2, After::Spikes);
        assert_eq!(states(&incident)[..3], [State::Open, State::FixApplied, State::Reopened]);
    }
}

#[test]
fn a_spike_after_it_was_verified_reopens_it() {
    for seed in 0..SEEDS {
        let incident = played(seed, BEFORE + 6, After::SpikesFrom(BEFORE + 4));
        assert_eq!(states(&incident)[..4], [State::Open, State::FixApplied, State::Verified, State::Reopened]);
        let (verified, reopened) = (&incident.timeline[2], &incident.timeline[3]);
        assert!(periods(verified, reopened) >= 2, "{:?}", incident.timeline);
    }
}

#[test]
fn what_comes_back_for_another_reason_is_told_so() {
    for seed in 0..SEEDS {
        let verified = played(seed, BEFORE + 6, After::Demand);
        assert_eq!((verified.kind.as_str(), verified.state), ("ct-full", State::Verified));
        let outage = World { begin_s: 20_000, ..World::outage(seed, Fault::PathLoss, Decoy::None) };
        let told = outage.play_after([verified.clone()]);
        let incident = only(&told);
        assert_eq!((&incident.id, incident.state), (&verified.id, State::Reopened));
        let reopened = told.iter().filter(|incident| incident.state == State::Reopened);
        assert!(reopened.map(|incident| &incident.kind).all(|kind| kind == "path-loss"));
        assert!(incident.title.contains("between the nodes"), "{}", incident.title);
        assert!(incident.fix.as_ref().is_some_and(|fix| fix.change.is_none()), "{:?}", incident.fix);
    }
}

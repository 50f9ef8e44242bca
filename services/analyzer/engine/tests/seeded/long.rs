//! Spikes hours apart: what is remembered as it came is shorter than their period.

use synscope_bus::message::incident::{Point, Recurrence, State};

use crate::SEEDS;
use crate::only;
use crate::world::{Decoy, Fault, S, World};

#[test]
fn periods_of_hours_are_told_with_their_cause() {
    let faults =
        [(Fault::NfFull, "nf-conntrack-full"), (Fault::ListenOverflow, "listen-overflow"), (Fault::Delay, "delay")];
    for (hours, spikes) in [(3, 6), (6, 3)] {
        for (fault, name) in faults {
            let world = World { spikes, period_s: hours * 3600, ..World::new(hours, fault, Decoy::None) };
            let told = world.play();
            let incident = only(&told);
            let Recurrence::Regular { period_ns, cycles, cycles_expected, .. } = incident.recurrence else {
                panic!("{fault:?} every {hours} h: {:?}", incident.recurrence)
            };
            assert!(period_ns.abs_diff(hours * 3600 * S) <= 15 * S, "{period_ns}");
            assert_eq!((u64::from(cycles), u64::from(cycles_expected)), (spikes, spikes));
            assert_eq!(incident.kind, name, "{fault:?} every {hours} h: {:#?}", incident.causes);
            // All spikes are weighed, and not only those of the last hours.
            let evidence = &incident.causes[0].evidence_for[0];
            assert!(fault == Fault::Delay || evidence.value > 400.0 * f64::from(cycles), "{evidence:?}");
            // The picture shows each of them.
            assert!(incident.series.len() <= 512);
            for spike in &incident.spikes {
                let within = incident.series.iter().filter(|point| {
                    (spike.start_unix_ns..spike.end_unix_ns).contains(&point.start_unix_ns)
                        && point.max_ns > Some(S / 10)
                });
                assert!(within.count() >= 2, "{spike:?}");
            }
        }
    }
}

#[test]
fn the_picture_shows_the_table_beside_the_latencies() {
    let told = World::new(1, Fault::CtFull, Decoy::None).play();
    let incident = only(&told);
    let (inside, outside): (Vec<Point>, Vec<Point>) = incident.series.iter().partition(|point| {
        incident
            .spikes
            .iter()
            .any(|spike| (spike.start_unix_ns + 10 * S..spike.end_unix_ns - 10 * S).contains(&point.start_unix_ns))
    });
    assert!(inside.len() >= 80 && inside.iter().all(|point| point.table_per_mille == Some(1000)), "{inside:?}");
    let calm = outside.iter().filter(|point| point.table_per_mille.is_some_and(|fill| fill < 200)).count();
    assert!(calm * 4 >= outside.len() * 3, "{calm} of {}", outside.len());
}

#[test]
fn a_period_is_told_wherever_it_begins() {
    for begin_s in (0..300).step_by(20) {
        for seed in 0..SEEDS {
            let world = World { begin_s, connections: 4, ..World::new(seed, Fault::PathLoss, Decoy::None) };
            let told = world.play();
            let incident = only(&told);
            let Recurrence::Regular { period_ns, cycles, cycles_expected, .. } = incident.recurrence else {
                panic!("{begin_s} s later, seed {seed}: {:?}", incident.recurrence)
            };
            assert!(period_ns.abs_diff(600 * S) <= 10 * S, "{begin_s} s later, seed {seed}: {period_ns}");
            assert_eq!((cycles, cycles_expected), (8, 8), "{begin_s} s later, seed {seed}");
        }
    }
}

#[test]
fn an_outage_of_hours_stays_one_and_open() {
    for (fault, name) in
        [(Fault::CtFull, "ct-full"), (Fault::PathLoss, "path-loss"), (Fault::ClosedPort, "closed-port")]
    {
        // From 1.5 h to 5.5 h of six.
        let world = World { period_s: 3 * 3600, spike_s: 4 * 3600, ..World::outage(1, fault, Decoy::None) };
        let told = world.play();
        for incident in &told {
            assert_eq!((incident.state, incident.spikes.len()), (State::Open, 1), "{fault:?}: {:?}", incident.timeline);
        }
        let incident = only(&told);
        assert_eq!(incident.kind, name);
        let [spike] = incident.spikes.as_slice() else { panic!("{:?}", incident.spikes) };
        let length_s = (spike.end_unix_ns - spike.start_unix_ns) / S;
        assert!((12_600..=14_420).contains(&length_s), "{fault:?}: {length_s}");
    }
}

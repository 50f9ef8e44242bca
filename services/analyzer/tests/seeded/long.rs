//! Spikes hours apart: what is remembered as it came is shorter than their period.

use synscope_bus::message::incident::Recurrence;

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
        }
    }
}

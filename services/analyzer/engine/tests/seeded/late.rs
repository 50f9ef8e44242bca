//! Messages that come late or out of order: everything counts in its own time.

use synscope_bus::message::edge::{EdgeBatch, EdgeBucket};
use synscope_bus::message::incident::{Incident, Recurrence};
use synscope_bus::message::signal::NodeSignals;
use synscope_engine::engine::Engine;
use synscope_engine::scale::Scale;

use crate::world::{Decoy, Fault, S, Way, World};
use crate::{FAULTS, SEEDS, at_once, only};

fn played(seed: u64, fault: Fault, way: Way) -> Incident {
    only(&World { way, ..World::new(seed, fault, Decoy::None) }.play()).clone()
}

fn period_ns(incident: &Incident) -> u64 {
    match incident.recurrence {
        Recurrence::Regular { period_ns, .. } => period_ns,
        _ => panic!("{:?}", incident.recurrence),
    }
}

#[test]
fn late_messages_shift_no_period_and_hide_no_cause() {
    at_once(&FAULTS, |(fault, name)| {
        for seed in 0..SEEDS {
            let straight = played(seed, fault, Way::Straight);
            for way in [Way::Away, Way::Shuffled] {
                let late = played(seed, fault, way);
                assert_eq!(late.kind, name, "{fault:?} {way:?}, seed {seed}: {}", late.title);
                // With the last spike or without it.
                let shift_ns = period_ns(&late).abs_diff(period_ns(&straight));
                assert!(shift_ns <= 2 * S, "{fault:?} {way:?}, seed {seed}: {shift_ns}");
                // The last may not be complete yet; an onset is known to a bucket.
                let pairs = late.spikes.iter().zip(&straight.spikes);
                assert!(pairs.len() >= 7, "{fault:?} {way:?}, seed {seed}: {} spikes", pairs.len());
                for (late, straight) in pairs {
                    assert!(late.start_unix_ns.abs_diff(straight.start_unix_ns) <= 10 * S, "{late:?} {straight:?}");
                }
            }
        }
    });
}

#[test]
fn what_is_older_than_anything_remembered_is_counted_as_late() {
    let mut engine = Engine::new(Scale::new(1.0));
    let at = |start_s: u64| EdgeBatch {
        node: "node-a".into(),
        slow_above_ns: 1,
        buckets: vec![EdgeBucket { edge: "a->b:1".into(), start_unix_ns: start_s * S, n: 1, ..EdgeBucket::default() }],
    };
    for start_s in [200_000, 200_010, 120_000, 113_000] {
        engine.edges(&at(start_s));
    }
    assert_eq!((engine.refused().late, engine.refused().buckets), (1, 0));
}

#[test]
fn a_clock_that_was_days_ahead_once_blinds_nobody() {
    for (fault, name) in FAULTS {
        let straight = played(1, fault, Way::Straight);
        let strange = played(1, fault, Way::OnceAhead);
        assert_eq!((strange.kind.as_str(), strange.spikes), (name, straight.spikes), "{fault:?}");
    }
    let mut engine = Engine::new(Scale::new(1.0));
    engine.tick(1_700_000_000 * S);
    let bucket = |start_unix_ns, length_ns| EdgeBucket { start_unix_ns, length_ns, ..EdgeBucket::default() };
    let buckets = vec![bucket(u64::MAX, 10 * S), bucket(1_700_000_000 * S, u64::MAX)];
    engine.edges(&EdgeBatch { node: "node-a".into(), slow_above_ns: 1, buckets });
    engine.signals(&NodeSignals { time_unix_ns: u64::MAX, ..NodeSignals::default() }, 1_700_000_000 * S);
    assert_eq!(engine.refused().early, 3);
}

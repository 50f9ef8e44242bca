//! What is over is forgotten.

use synscope_bus::message::edge::{EdgeBatch, EdgeBucket};
use synscope_bus::message::incident::{Incident, State};
use synscope_engine::engine::Engine;
use synscope_engine::scale::Scale;

use crate::world::S;

const HOUR_S: u64 = 3600;
const DAY_S: u64 = 24 * HOUR_S;

fn batch(edge: &str, start_s: u64, n: u64) -> EdgeBatch {
    let mut bucket =
        EdgeBucket { edge: edge.into(), start_unix_ns: start_s * S, length_ns: 10 * S, n, ..EdgeBucket::default() };
    (0..n).for_each(|_| bucket.latency_ns.record(1_000_000));
    EdgeBatch { node: "node-a".into(), slow_above_ns: 100_000_000, buckets: vec![bucket] }
}

#[test]
fn edges_go_after_a_day_and_those_that_never_worked_after_two_hours() {
    let mut engine = Engine::new(Scale::new(1.0));
    for start_s in (0..600).step_by(10) {
        engine.edges(&batch("shop/order->shop/inventory:80", DAY_S + start_s, 5));
        engine.edges(&batch(&format!("scanner->shop/inventory:{start_s}"), DAY_S + start_s, 0));
        engine.tick((DAY_S + start_s) * S);
    }
    assert_eq!(engine.edges_known(), 61);
    engine.tick((DAY_S + 2 * HOUR_S) * S);
    assert_eq!(engine.edges_known(), 61);
    engine.tick((DAY_S + 3 * HOUR_S) * S);
    assert_eq!(engine.edges_known(), 1);
    engine.tick((2 * DAY_S + HOUR_S) * S);
    assert_eq!(engine.edges_known(), 0);
}

#[test]
fn incidents_go_a_week_after_they_were_closed() {
    let mut engine = Engine::new(Scale::new(1.0));
    let closed =
        |id: &str, state| Incident { id: id.into(), state, last_seen_unix_ns: DAY_S * S, ..Incident::default() };
    engine.restore([
        closed("i-1", State::Verified),
        closed("i-2", State::Inconclusive),
        closed("i-3", State::FixApplied),
    ]);
    engine.tick(7 * DAY_S * S);
    assert_eq!((engine.incidents().count(), engine.gone()), (3, Vec::new()));
    engine.tick((8 * DAY_S + HOUR_S) * S);
    let mut gone = engine.gone();
    gone.sort();
    assert_eq!((engine.incidents().count(), gone), (1, vec!["i-1".to_owned(), "i-2".to_owned()]));
    assert_eq!(engine.gone(), Vec::<String>::new());
}

#[test]
fn the_first_closed_make_room_for_more() {
    let mut engine = Engine::new(Scale::new(1.0));
    let closed = |number: u64| Incident {
        id: format!("i-{number:04}"),
        state: State::Inconclusive,
        last_seen_unix_ns: (DAY_S + number) * S,
        ..Incident::default()
    };
    engine.restore((0..1000).map(closed));
    engine.tick(2 * DAY_S * S);
    let mut gone = engine.gone();
    gone.sort();
    assert_eq!((gone.len(), gone[0].as_str(), gone[49].as_str()), (50, "i-0000", "i-0049"));
}

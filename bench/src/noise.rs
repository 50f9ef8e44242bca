//! What the analyzer makes of edges with nothing wrong: latencies that scatter, SYNs lost now and then, days that are
//! busier than nights. Every incident is a false one.

use std::collections::HashSet;

use anyhow::Result;
use synscope_analyzer::engine::Engine;
use synscope_analyzer::random::Random;
use synscope_analyzer::scale::Scale;
use synscope_bus::message::edge::{EdgeBatch, EdgeBucket};
use synscope_bus::message::flow::Vantage;

use crate::row::{Aim, Row};
use crate::samples::number;

const DAY_BUCKETS: u64 = 24 * 3600 / 10;
const START_UNIX_NS: u64 = 1_700_000_000_000_000_000;
/// Mean connections per bucket; those of one bucket scatter by as much.
const MEANS: [f64; 4] = [2.0, 5.0, 10.0, 40.0];
/// Share of connections whose SYN is lost, once.
const LOST: [f64; 4] = [0.0, 0.001, 0.01, 0.03];
/// Width of the latencies' logarithm.
const WIDTHS: [f64; 3] = [0.2, 0.8, 1.5];
const RETRANSMISSION_NS: f64 = 1e9;

/// All rows about noise.
#[allow(clippy::unnecessary_wraps, reason = "groups are all alike")]
pub(crate) fn rows(full: bool) -> Result<Vec<Row>> {
    let edge_days: u64 = if full { 10_000 } else { 1_000 };
    let (mut falsely, mut kinds) = (0_u64, HashSet::new());
    for seed in 0..edge_days {
        let found = false_incidents(seed);
        falsely += u64::from(!found.is_empty());
        kinds.extend(found);
    }
    if falsely > 0 {
        eprintln!("bench: false incidents are said to be {kinds:?}");
    }
    let per_ten_thousand = number(falsely) * 10_000.0 / number(edge_days);
    Ok(vec![
        Row::alone("analyzer-noise", number(edge_days), "edge-days", Aim::None),
        Row::alone("analyzer-false-incidents", per_ten_thousand, "per 10,000 edge-days", Aim::AtMost(1.0)),
    ])
}

/// Kinds of the incidents that were found in one edge's day.
fn false_incidents(seed: u64) -> Vec<String> {
    let mut random = Random(seed);
    let mut one_of =
        |choices: &[f64]| choices.get((random.draw() >> 33) as usize % choices.len()).copied().unwrap_or(0.0);
    let (mean, lost, width) = (one_of(&MEANS), one_of(&LOST), one_of(&WIDTHS));
    let typical_ns = 2e5 * (random.unit() * 4.6).exp();
    let scale = Scale::new(1.0);
    let mut engine = Engine::new(scale);
    let empty = EdgeBucket {
        edge: "shop/order->shop/inventory:80".to_owned(),
        vantage: Vantage::Client,
        length_ns: scale.bucket_ns,
        ..EdgeBucket::default()
    };
    let mut batch = EdgeBatch { node: "node-a".to_owned(), slow_above_ns: 100_000_000, buckets: vec![empty.clone()] };
    for at in 0..DAY_BUCKETS {
        let of_day = number(at) / number(DAY_BUCKETS);
        let rhythm = 1.0 + 0.7 * (of_day * std::f64::consts::TAU).sin();
        let mut bucket = EdgeBucket { start_unix_ns: START_UNIX_NS + at * scale.bucket_ns, ..empty.clone() };
        bucket.n = poisson(&mut random, mean * rhythm);
        for _connection in 0..bucket.n {
            let normal_ns = typical_ns * (width * normal(&mut random)).exp();
            let retried = random.unit() < lost;
            let latency_ns = if retried { normal_ns + RETRANSMISSION_NS } else { normal_ns };
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive, and below a minute")]
            bucket.latency_ns.record(latency_ns as u64);
            bucket.slow += u64::from(latency_ns > 1e8);
            bucket.retries += u64::from(retried);
        }
        let now_unix_ns = bucket.start_unix_ns + scale.bucket_ns;
        batch.buckets = vec![bucket];
        engine.edges(&batch);
        engine.tick(now_unix_ns);
    }
    engine.incidents().map(|incident| incident.kind.clone()).collect()
}

/// How many come when so many do on average (Knuth's method: the means here are small).
fn poisson(random: &mut Random, mean: f64) -> u64 {
    let limit = (-mean).exp();
    let (mut product, mut count) = (random.unit(), 0);
    while product > limit {
        product *= random.unit();
        count += 1;
    }
    count
}

/// Mean 0, variance 1, nearly normal: the sum of twelve, less six.
fn normal(random: &mut Random) -> f64 {
    (0..12).map(|_| random.unit()).sum::<f64>() - 6.0
}

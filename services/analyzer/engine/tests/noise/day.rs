//! One edge's day with nothing wrong: latencies that scatter, SYNs lost now and then, clients that give up, a busy day and a
//! quiet night, servers that restart, parts that come late.

use synscope_bus::message::edge::{EdgeBatch, EdgeBucket};
use synscope_bus::message::flow::Vantage;
use synscope_engine::engine::Engine;
use synscope_engine::random::Random;
use synscope_engine::scale::Scale;

const S: u64 = 1_000_000_000;
const BUCKETS: u32 = 24 * 360;
const START: u64 = 1_700_000_000 * S;
/// Mean connections per bucket.
const MEANS: [f64; 4] = [2.0, 5.0, 10.0, 40.0];
/// Share of connections whose SYN is lost, once.
const LOST: [f64; 4] = [0.0, 0.001, 0.01, 0.03];
/// Share of connections that never come to be: one client among many.
const FAILED: [f64; 4] = [0.0, 0.0, 0.01, 0.1];
/// Width of the latencies' logarithm.
const WIDTHS: [f64; 3] = [0.2, 0.8, 1.5];
/// Restarts of the server in a day, in each of which nobody listens for 20 s.
const RESTARTS: [usize; 3] = [0, 1, 2];

fn one_of<T: Copy>(random: &mut Random, choices: &[T]) -> T {
    choices[(random.draw() >> 33) as usize % choices.len()]
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

/// Titles of the incidents that one edge's day makes.
pub(crate) fn false_incidents(seed: u64) -> Vec<String> {
    let mut random = Random(seed);
    let (mean, lost, width) = (one_of(&mut random, &MEANS), one_of(&mut random, &LOST), one_of(&mut random, &WIDTHS));
    let failed = one_of(&mut random, &FAILED);
    let restarts: Vec<u64> = (0..one_of(&mut random, &RESTARTS)).map(|_| random.draw() % u64::from(BUCKETS)).collect();
    let typical_ns = 2e5 * (random.unit() * 4.6).exp();
    let mut engine = Engine::new(Scale::new(1.0));
    let mut late = Vec::new();
    for at in 0..BUCKETS {
        let rhythm = 1.0 + 0.7 * (f64::from(at) / f64::from(BUCKETS) * std::f64::consts::TAU).sin();
        let start_unix_ns = START + u64::from(at) * 10 * S;
        let empty = EdgeBucket {
            edge: "shop/order->shop/inventory:80".to_owned(),
            vantage: Vantage::Client,
            start_unix_ns,
            length_ns: 10 * S,
            ..EdgeBucket::default()
        };
        let (mut soon, mut later) = (empty.clone(), empty);
        let is_restarting = restarts.iter().any(|begun| (*begun..begun + 2).contains(&u64::from(at)));
        for _connection in 0..poisson(&mut random, mean * rhythm) {
            if is_restarting || random.unit() < failed {
                let bucket = if is_restarting { &mut soon } else { &mut later };
                bucket.failed += 1;
                bucket.unmeasured += 1;
                bucket.reset += u64::from(is_restarting);
                continue;
            }
            let normal_ns = typical_ns * (width * random.normal()).exp();
            let retried = random.unit() < lost;
            let latency_ns = if retried { normal_ns + 1e9 } else { normal_ns };
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive, and below a minute")]
            soon.latency_ns.record(latency_ns as u64);
            soon.n += 1;
            soon.retries += u64::from(retried);
        }
        late.push(later);
        let mut buckets = vec![soon];
        if late.len() > 14 {
            buckets.push(late.remove(0));
        }
        engine.edges(&EdgeBatch { node: "node-a".to_owned(), slow_above_ns: 100_000_000, buckets });
        engine.tick(start_unix_ns + 10 * S);
    }
    engine.incidents().map(|incident| incident.title.clone()).collect()
}

//! A day of a fleet through the analyzer: 10,000 edges in buckets of 10 s, on one core.

use std::fs;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use synscope_bus::message::edge::{EdgeBatch, EdgeBucket};
use synscope_bus::message::flow::Vantage;
use synscope_engine::engine::{Engine, Refused};
use synscope_engine::scale::Scale;

use crate::floor::pin_to_one_cpu;
use crate::row::{Aim, Row};

const EDGES: usize = 10_000;
const BUCKETS: u64 = 24 * 3600 / 10;
/// Different latencies in turn, so that what is normal has some width. Few, because these are read from memory again and
/// again where the service reads what it just decoded.
const SHAPES: usize = 2;
const CONNECTIONS: u64 = 5;
const MS: u64 = 1_000_000;
const START_UNIX_NS: u64 = 1_700_000_000_000_000_000;
/// One edge in so many has a spike of 30 s every 10 minutes, so that incidents are looked for as well.
const SPIKY: usize = 1000;

/// All rows about the analyzer.
pub(crate) fn rows() -> Result<Vec<Row>> {
    pin_to_one_cpu()?;
    // From here on the kernel's high-water mark is this group's (proc_pid_clear_refs(5): 5 resets VmHWM).
    fs::write("/proc/self/clear_refs", "5").context("/proc/self/clear_refs")?;
    let scale = Scale::new(1.0);
    let mut engine = Engine::new(scale);
    let mut shapes: Vec<EdgeBatch> = (0..SHAPES).map(|shape| batch(&scale, shape, false)).collect();
    let mut spiky: Vec<EdgeBatch> = (0..SHAPES).map(|shape| batch(&scale, shape, true)).collect();
    let start = Instant::now();
    let mut turns = (0..SHAPES).cycle();
    for bucket in 0..BUCKETS {
        let start_unix_ns = START_UNIX_NS + bucket * scale.bucket_ns;
        let in_spike = bucket % 60 >= 57;
        let turn = turns.next().unwrap_or(0);
        let Some(batch) = (if in_spike { &mut spiky } else { &mut shapes }).get_mut(turn) else { continue };
        for part in &mut batch.buckets {
            part.start_unix_ns = start_unix_ns;
        }
        engine.edges(batch);
        engine.tick(start_unix_ns + scale.bucket_ns);
    }
    let took = start.elapsed().as_secs_f64();
    ensure!(engine.refused() == Refused::default(), "the engine refused {:?}", engine.refused());
    let incidents = engine.incidents().count();
    ensure!(incidents > 0, "no spike was found");
    eprintln!("bench: {incidents} incidents over {} edges with spikes", EDGES / SPIKY);
    Ok(vec![
        Row::alone("analyzer-10k-edges-24h", took, "s", Aim::AtMost(60.0)),
        Row::alone("analyzer-10k-edges-24h-rss", peak_mib()?, "MiB", Aim::AtMost(1024.0)),
    ])
}

/// One bucket of every edge, as their client's node tells it.
fn batch(scale: &Scale, shape: usize, in_spike: bool) -> EdgeBatch {
    let bucket = |edge: usize| {
        let mut bucket = EdgeBucket {
            edge: format!("shop/client-{edge}->shop/server-{}:80", edge % 100),
            vantage: Vantage::Client,
            length_ns: scale.bucket_ns,
            n: CONNECTIONS,
            ..EdgeBucket::default()
        };
        for connection in 0..CONNECTIONS {
            let normal_ns = MS / 2 + (connection + 3 * shape as u64) * MS / 10 + (edge % 10) as u64 * MS / 5;
            let hit = in_spike && edge.is_multiple_of(SPIKY) && connection > 1;
            bucket.latency_ns.record(if hit { 1000 * MS } else { normal_ns });
            bucket.slow += u64::from(hit);
        }
        bucket
    };
    EdgeBatch { node: "node-a".to_owned(), slow_above_ns: 100 * MS, buckets: (0..EDGES).map(bucket).collect() }
}

/// Most memory that this process had since the mark was reset, MiB.
fn peak_mib() -> Result<f64> {
    let status = fs::read_to_string("/proc/self/status").context("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let kib: u32 = line.trim().trim_end_matches(" kB").parse().context("VmHWM")?;
    Ok(f64::from(kib) / 1024.0)
}

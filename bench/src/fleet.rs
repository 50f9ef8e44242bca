//! A trace on a hundred nodes: from their messages to the maps of all as one, as whoever reads a trace's stream gets
//! them. What the API does with it, without the network between.

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Result, ensure};
use synscope_bus::envelope::{self, Encoded, PublisherId};
use synscope_bus::message::trace::{TraceBatch, TraceState};
use synscope_bus::snapshot::{Entry, Held, Map, Snapshot, Value, merge};
use synscope_bus::subject::NodeId;

use crate::floor::pin_to_one_cpu;
use crate::row::{Aim, Row};
use crate::samples::median;

const NODES: u64 = 100;
/// Of each node's map; half of them are those of all nodes, half are its own.
const KEYS: u64 = 1_000;
const ROUNDS: usize = 11;
/// They tell their maps each second.
const MOST_MS: f64 = 1_000.0;

pub(crate) fn row() -> Result<Row> {
    pin_to_one_cpu()?;
    let messages = (0..NODES).map(told).collect::<Result<Vec<_>>>()?;
    let mut times = Vec::new();
    for _round in 0..ROUNDS {
        let start = Instant::now();
        let mut nodes = Vec::new();
        for message in &messages {
            let header =
                |name: &str| message.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str());
            let TraceBatch { node, maps: told, .. } = envelope::decode(header, &message.payload)?.message;
            nodes.push((node, told.unwrap_or_default()));
        }
        // What nodes told last is kept: those that tell nothing new count too.
        let merged = merge(nodes.iter().flat_map(|(node, maps)| maps.iter().map(|map| map.clone().of_node(node))));
        black_box(serde_json::to_string(&merged)?);
        times.push(start.elapsed().as_secs_f64() * 1e3);
        let entries: usize = merged.iter().map(|map| map.held.len()).sum();
        let expected = KEYS / 2 + NODES * KEYS / 2;
        ensure!(u64::try_from(entries)? == expected, "{entries} entries of {expected}");
    }
    Ok(Row::alone("tracer-merge-100-nodes", median(&times), "ms", Aim::AtMost(MOST_MS)))
}

/// What a node tells.
fn told(node: u64) -> Result<Encoded> {
    let name = format!("node-{node}");
    let key = |number: u64| if number < KEYS / 2 { format!("process-{number}") } else { format!("{name}-{number}") };
    let entry = |number: u64| Entry { key: Some(Value::Text(key(number))), value: node + number };
    let held = Held::Count { entries: (0..KEYS).map(entry).collect() };
    let map: Snapshot = Map { name: "calls".to_owned(), held, left_out: 0 };
    let batch = TraceBatch {
        node: name.clone(),
        trace: "t-1".to_owned(),
        state: TraceState::Running,
        first: 1,
        maps: Some(vec![map]),
        ..TraceBatch::default()
    };
    Ok(envelope::encode(&batch, &PublisherId::begin(NodeId::new(&name)?), 1)?)
}

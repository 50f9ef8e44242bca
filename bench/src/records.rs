//! What a record costs in user space: from the ring into edges, and from a record to a message's bytes.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use aya::maps::{MapData, RingBuf};
use synscope_abi::event::Event;
use synscope_bus::envelope::{self, PublisherId};
use synscope_bus::message::flow::FlowBatch;
use synscope_bus::subject::NodeId;
use synscope_datapath::edges::Edges;
use synscope_datapath::flow::{self, WallClock};
use synscope_datapath::{events, names::Names};

use crate::allocations::allocated;
use crate::floor::{Floor, RING_RUNS, pin_to_one_cpu};
use crate::recorded::{RECORDED, event, names};
use crate::row::{Aim, Row};
use crate::samples::{median, number};

const ROUNDS: usize = 21;
/// What the datapath puts into one message.
const BATCH_EVENTS: usize = 128;

/// All rows about records.
pub(crate) fn rows() -> Result<Vec<Row>> {
    pin_to_one_cpu()?;
    let names = names();
    let clock = WallClock::read()?;
    let [aggregate, allocations] = aggregate(&names, clock)?;
    Ok(vec![aggregate, allocations, encode(&names, clock)?])
}

/// Records out of the ring into edges, beside records out of the ring into nothing.
fn aggregate(names: &Names, clock: WallClock) -> Result<[Row; 2]> {
    let mut floor = Floor::load(None)?;
    floor.record(RECORDED, event)?;
    let mut ring = floor.take_events()?;
    // A bucket longer than the run: none begins within it, because a new bucket allocates and that is its own cost.
    let mut edges = Edges::new("node-a", Duration::from_hours(24), Duration::from_millis(100));
    let warm = per_record(&floor, &mut ring, |record| edges.take(record, names, clock))?;
    ensure!(warm > 0.0 && edges.refused() == 0, "{} records found no edge", edges.refused());
    let (mut ours, mut least, mut allocations) = (Vec::new(), Vec::new(), Vec::new());
    for _round in 0..ROUNDS {
        least.push(per_record(&floor, &mut ring, |record| {
            black_box(record);
        })?);
        floor.replay(RING_RUNS)?;
        let before = allocated();
        ours.push(drain(&mut ring, |record| edges.take(record, names, clock))?);
        allocations.push(number(allocated() - before) / f64::from(RING_RUNS));
    }
    let unit = "ns/event";
    Ok([
        Row::beside("record-aggregate", median(&ours), unit, median(&least), Aim::AtMost(100.0)),
        Row::alone("record-aggregate-allocations", median(&allocations), "per event", Aim::AtMost(0.01)),
    ])
}

fn per_record(floor: &Floor, ring: &mut RingBuf<MapData>, each: impl FnMut(&Event)) -> Result<f64> {
    floor.replay(RING_RUNS)?;
    drain(ring, each)
}

/// Ns per record.
fn drain(ring: &mut RingBuf<MapData>, each: impl FnMut(&Event)) -> Result<f64> {
    let start = Instant::now();
    let drained = events::drain(ring, each);
    let took = start.elapsed();
    ensure!(drained.events == u64::from(RING_RUNS), "{} records were read of {RING_RUNS}", drained.events);
    Ok(took.as_secs_f64() * 1e9 / f64::from(RING_RUNS))
}

/// Records to flow events to the bytes of messages, records/s on one core.
fn encode(names: &Names, clock: WallClock) -> Result<Row> {
    let records: Vec<Event> = (0..RECORDED).map(event).collect();
    let publisher = PublisherId::begin(NodeId::new("node-a")?);
    let mut rates = Vec::new();
    for round in 0..ROUNDS {
        let start = Instant::now();
        let mut first = 1;
        for (sequence, batch) in (1..).zip(records.chunks(BATCH_EVENTS)) {
            let events: Result<Vec<_>, _> = batch.iter().map(|record| flow::event(record, names, clock)).collect();
            let batch = FlowBatch { node: "node-a".to_owned(), first, events: events?, lost: 0 };
            first += batch.events.len() as u64;
            black_box(envelope::encode(&batch, &publisher, sequence).context("a batch")?);
        }
        // The first round warms the allocator up.
        if round > 0 {
            rates.push(f64::from(RECORDED) / start.elapsed().as_secs_f64());
        }
    }
    Ok(Row::alone("record-encode", median(&rates), "records/s", Aim::AtLeast(1e6)))
}

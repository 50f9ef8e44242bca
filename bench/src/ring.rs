//! The service's own reading beside a kernel program that makes a million events per second: whether the ring is ever
//! full. Each has a CPU of its own; what becomes of the events behind the edges is measured with the stream.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use synscope_abi::counter::Counter;
use synscope_datapath::edges::Edges;
use synscope_datapath::events;
use synscope_datapath::flow::WallClock;

use crate::floor::{Floor, pin_to_one_cpu, stay_on_cpu};
use crate::recorded::names;
use crate::row::{Aim, Row};
use crate::samples::number;
use crate::stream::produce;

const PER_SECOND: u32 = 1_000_000;
/// Between two looks at the ring: the agent's own.
const LOOK: Duration = Duration::from_millis(10);

/// All rows about the ring.
pub(crate) fn rows(full: bool) -> Result<Vec<Row>> {
    let length = Duration::from_secs(if full { 30 } else { 5 });
    let mut floor = Floor::load(None)?;
    let mut ring = floor.take_events()?;
    let (names, clock, made) = (names(), WallClock::read()?, AtomicBool::new(false));
    let mut edges = Edges::new("node-a", Duration::from_secs(10), Duration::from_millis(100));
    let (producing, read) = thread::scope(|scope| {
        let producing = scope.spawn(|| {
            let done = stay_on_cpu(0).and_then(|()| produce(&mut floor, PER_SECOND, length));
            made.store(true, Relaxed);
            done
        });
        let reading = scope.spawn(|| {
            pin_to_one_cpu()?;
            let mut read = 0;
            loop {
                let last = made.load(Relaxed);
                read += events::drain(&mut ring, |record| edges.take(record, &names, clock)).events;
                if last {
                    return Ok::<_, anyhow::Error>(read);
                }
                thread::sleep(LOOK);
            }
        });
        (producing.join(), reading.join())
    });
    let (_start, took) = producing.map_err(|_panic| anyhow!("the producer panicked"))??;
    let read = read.map_err(|_panic| anyhow!("the reader panicked"))??;
    let (submitted, lost) = (floor.counter(Counter::EventsSubmitted)?, floor.counter(Counter::EventsLost)?);
    ensure!(submitted == read, "{submitted} events were put into the ring, {read} came out");
    let rate = number(submitted + lost) / took.as_secs_f64();
    Ok(vec![
        Row::alone("ring-1m-rate", rate, "events/s", Aim::AtLeast(f64::from(PER_SECOND) * 0.99)),
        Row::alone("ring-1m-lost", number(lost), "events", Aim::AtMost(0.0)),
    ])
}

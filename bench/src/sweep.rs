//! Going through whole tables: the sweep, and the snapshot behind the lists that people ask for.

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Result, ensure};
use synscope_abi::flow::{Flow, FlowKey};
use synscope_abi::tcp::State;
use synscope_bus::command::datapath::{ListConntrack, TopConntrack};
use synscope_datapath::conntrack;
use synscope_datapath::kernel::{Kernel, Options, Table};
use synscope_datapath::names::Directory;

use crate::floor::{Floor, pin_to_one_cpu};
use crate::row::{Aim, Row};
use crate::samples::median;

const ENTRIES: u32 = 500_000;
const MANY_ENTRIES: u32 = 2_000_000;
const ROUNDS: usize = 7;
/// Rounds that fill the table anew each time, or take seconds.
const SLOW_ROUNDS: usize = 3;

/// Who fills a table of 500,000 is to be told within a second. No floor does what it does: as many edges as there are
/// different clients are counted and ranked.
const TOP_NS: f64 = 2000.0;

/// Seen in the future: never expires.
const FRESH: u64 = u64::MAX;
/// Seen at the beginning of time: expired, by the datapath's time-outs and by the floor's.
const OLD: u64 = 0;

/// All rows about whole tables.
pub(crate) fn rows() -> Result<Vec<Row>> {
    pin_to_one_cpu()?;
    let mut rows = Vec::new();
    {
        let (mut floor, mut kernel) = load(ENTRIES)?;
        fill(&mut kernel.table_v4()?, ENTRIES, |_| FRESH)?;
        rows.push(nothing_expired(&floor, &mut kernel)?);
        rows.extend(snapshot(&mut floor, &kernel)?);
        rows.push(half_expired(&floor, &mut kernel)?);
    }
    let (_floor, mut kernel) = load(MANY_ENTRIES)?;
    fill(&mut kernel.table_v4()?, MANY_ENTRIES, |_| FRESH)?;
    let mut longest = 0.0_f64;
    for _round in 0..ROUNDS {
        longest = longest.max(kernel.sweep()?.as_secs_f64() * 1e3);
    }
    rows.push(Row::alone("sweep-2m-longest", longest, "ms", Aim::None));
    Ok(rows)
}

/// Both, on one table.
fn load(entries: u32) -> Result<(Floor, Kernel)> {
    let kernel = Kernel::load(&Options { entries, ..Options::default() })?;
    let mut floor = Floor::load(None)?;
    floor.walk_through(&kernel.table_v4()?)?;
    Ok((floor, kernel))
}

fn nothing_expired(floor: &Floor, kernel: &mut Kernel) -> Result<Row> {
    let (mut ours, mut least) = (Vec::new(), Vec::new());
    for _round in 0..ROUNDS {
        least.push(per_entry(|| floor.walk("walk"))?);
        ours.push(per_entry(|| Ok(kernel.sweep().map(drop)?))?);
    }
    Ok(Row::beside("sweep-500k", median(&ours), "ns/entry", median(&least), Aim::RatioAtMost(1.2)))
}

/// Every second entry goes. The floor's are as many and as old.
fn half_expired(floor: &Floor, kernel: &mut Kernel) -> Result<Row> {
    let (mut ours, mut least) = (Vec::new(), Vec::new());
    let mut table = kernel.table_v4()?;
    let alternating = |number: u32| if number.is_multiple_of(2) { OLD } else { FRESH };
    for _round in 0..SLOW_ROUNDS {
        fill(&mut table, ENTRIES, alternating)?;
        least.push(per_entry(|| floor.walk("walk_and_take"))?);
        ensure!(table.keys().count() == ENTRIES as usize / 2, "the floor took out others than the old");
        fill(&mut table, ENTRIES, alternating)?;
        ours.push(per_entry(|| Ok(kernel.sweep().map(drop)?))?);
        ensure!(table.keys().count() == ENTRIES as usize / 2, "the sweep took out others than the expired");
    }
    Ok(Row::beside("sweep-500k-half-expired", median(&ours), "ns/entry", median(&least), Aim::RatioAtMost(1.2)))
}

/// A page of the list, and who fills the table, beside the kernel's iterator over the map, which hands over every entry,
/// where the kernel has one.
fn snapshot(floor: &mut Floor, kernel: &Kernel) -> Result<[Row; 2]> {
    let (names, iterator) = (Directory::default(), floor.iterator()?);
    let (mut page, mut top, mut least) = (Vec::new(), Vec::new(), Vec::new());
    let query = ListConntrack { limit: 1000, ..ListConntrack::default() };
    for _round in 0..ROUNDS {
        if let Some(iterator) = &iterator {
            let mut entries = 0;
            least.push(per_entry(|| {
                entries = iterator.read(|entry| _ = black_box(entry))?;
                Ok(())
            })?);
            ensure!(entries == ENTRIES as usize, "the iterator gave {entries} entries of {ENTRIES}");
        }
        page.push(per_entry(|| Ok(conntrack::list(kernel, &names, &query).map(drop)?))?);
        top.push(per_entry(|| Ok(conntrack::top(kernel, &names, &TopConntrack { limit: 10 }).map(drop)?))?);
    }
    let least = iterator.map(|_| median(&least));
    Ok([
        Row::new("snapshot-500k", median(&page), "ns/entry", least, Aim::RatioAtMost(1.2)),
        Row::new("snapshot-500k-top", median(&top), "ns/entry", least, Aim::AtMost(TOP_NS)),
    ])
}

fn per_entry(pass: impl FnOnce() -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    pass()?;
    Ok(start.elapsed().as_secs_f64() * 1e9 / f64::from(ENTRIES))
}

/// Established connections, last seen when `seen` says.
fn fill(table: &mut Table<4>, entries: u32, seen: impl Fn(u32) -> u64) -> Result<()> {
    for number in 0..entries {
        let [a, b, c, d] = (0x0a00_0000 | number).to_be_bytes();
        let (key, origin) = FlowKey::canonical([a, b, c, d], [192, 168, 0, 1], [0x9c, 0x40], [0, 80], 6);
        let flow = Flow {
            last_seen_jiffies: seen(number),
            state: State::Established as u8,
            origin: origin as u8,
            ..Flow::default()
        };
        table.insert(key, flow, 0)?;
    }
    Ok(())
}

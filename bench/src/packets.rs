//! What a packet costs in the kernel: `BPF_PROG_TEST_RUN`, floor and datapath in turn, the median of seven.

use anyhow::{Result, ensure};
use aya::maps::{MapData, RingBuf};
use aya::programs::ProgramFd;
use etherparse::PacketBuilder;
use synscope_abi::flow::{Flow, FlowKey};
use synscope_abi::tcp::State;
use synscope_datapath::kernel::{Kernel, Options};
use synscope_datapath::xdp::Passing;

use crate::floor::{Floor, ingress, pin_to_one_cpu, time, time_in_parts, time_ingress};
use crate::row::{Aim, Row};
use crate::samples::median;

const RUNS: u32 = 1_000_000;
const ROUNDS: u32 = 7;
const WORKING_SET: u32 = 100_000;
/// Room for a round of new flows.
const ENTRIES: u32 = 1 << 21;
const CLIENT_PORT: u16 = 40_000;
const SERVER: [u8; 4] = [192, 168, 0, 1];

/// All rows about packets.
pub(crate) fn rows() -> Result<Vec<Row>> {
    pin_to_one_cpu()?;
    let mut floor = Floor::load(None)?;
    let mut kernel = Kernel::load(&Options { entries: ENTRIES, ..Options::default() })?;
    let mut rings = [floor.take_events()?, kernel.take_events()?];
    let [hot, beside_accounting] = hot(&mut floor, &mut kernel)?;
    let many = many(&mut floor, &mut kernel)?;
    let new = new(&mut floor, &mut kernel, &mut rings)?;
    let [stamped, given] = event(&floor, &mut rings[0])?;
    let passing = xdp_pass(&floor)?;
    Ok(vec![hot, beside_accounting, many, new, stamped, given, passing])
}

/// The same established connection again and again, less an empty program; beside the floor, and beside what an
/// accounting agent does.
fn hot(floor: &mut Floor, kernel: &mut Kernel) -> Result<[Row; 2]> {
    let flow = establish(kernel)?;
    floor.insert(key(0), flow)?;
    let frame = client_frame(Flags::Ack)?;
    let (mut ours, mut least, mut accounting) = (Vec::new(), Vec::new(), Vec::new());
    for _round in 0..ROUNDS {
        let empty = floor.time("empty", &frame, RUNS)?;
        least.push(floor.time("known", &frame, RUNS)? - empty);
        accounting.push(floor.time("account", &frame, RUNS)? - empty);
        ours.push(time_ingress(kernel, &frame, RUNS)? - empty);
    }
    let row =
        |name, floor: &[f64], most| Row::beside(name, median(&ours), "ns net", median(floor), Aim::RatioAtMost(most));
    Ok([row("packet-established-hot", &least, 2.0), row("packet-established-hot-accounting", &accounting, 0.5)])
}

/// Random connections of 100,000.
fn many(floor: &mut Floor, kernel: &mut Kernel) -> Result<Row> {
    let flow = establish(kernel)?;
    let mut table = kernel.table_v4()?;
    for number in 0..WORKING_SET {
        floor.insert(key(number), flow)?;
        table.insert(key(number), flow, 0)?;
    }
    let frame = client_frame(Flags::Ack)?;
    let stage = Stage { name: "stage_random", frame, empty: floor.program("empty")? };
    let (known, ours_itself) = (floor.program("known")?, ingress(kernel)?);
    let (mut ours, mut least) = (Vec::new(), Vec::new());
    for _round in 0..ROUNDS {
        floor.reset_stages(WORKING_SET.into())?;
        let cost = stage.own_cost(floor, RUNS)?;
        least.push(stage.time(floor, &known, RUNS)? - cost);
        ours.push(stage.time(floor, &ours_itself, RUNS)? - cost);
    }
    Ok(Row::beside("packet-established-100k", median(&ours), "ns gross", median(&least), Aim::RatioAtMost(1.15)))
}

/// A SYN of a new connection each time, and its event.
fn new(floor: &mut Floor, kernel: &mut Kernel, rings: &mut [RingBuf<MapData>; 2]) -> Result<Row> {
    floor.walk_through(&kernel.table_v4()?)?;
    let stage = Stage { name: "stage_next", frame: client_frame(Flags::Syn)?, empty: floor.program("empty")? };
    let (unknown, ours_itself) = (floor.program("unknown")?, ingress(kernel)?);
    let [floor_ring, ring] = rings;
    let (mut ours, mut least) = (Vec::new(), Vec::new());
    for _round in 0..ROUNDS {
        let cost = stage.own_cost(floor, RUNS)?;
        floor.walk("clear_floor")?;
        floor.walk("clear_flows")?;
        floor.reset_stages(1)?;
        floor.aim_stages_at(&unknown)?;
        least.push(time_in_parts(RUNS, floor_ring, |runs| floor.time(stage.name, &stage.frame, runs))? - cost);
        floor.reset_stages(1)?;
        floor.aim_stages_at(&ours_itself)?;
        ours.push(time_in_parts(RUNS, ring, |runs| floor.time(stage.name, &stage.frame, runs))? - cost);
    }
    Ok(Row::beside("packet-new-flow", median(&ours), "ns gross", median(&least), Aim::RatioAtMost(1.5)))
}

/// A record, less an empty program: with the clock read for it, and without.
fn event(floor: &Floor, ring: &mut RingBuf<MapData>) -> Result<[Row; 2]> {
    let frame = client_frame(Flags::Ack)?;
    let (mut stamped, mut given, mut least) = (Vec::new(), Vec::new(), Vec::new());
    for _round in 0..ROUNDS {
        let empty = floor.time("empty", &frame, RUNS)?;
        let mut time =
            |name| Ok::<_, anyhow::Error>(time_in_parts(RUNS, ring, |runs| floor.time(name, &frame, runs))? - empty);
        least.push(time("submit")?);
        stamped.push(time("event_now")?);
        given.push(time("event")?);
    }
    let least = median(&least);
    let row = |name, ours: &[f64], aim| Row::beside(name, median(ours), "ns net", least, aim);
    Ok([row("event-producer", &stamped, Aim::RatioAtMost(1.3)), row("event-producer-without-clock", &given, Aim::None)])
}

/// Parsing and passing where the driver hands packets over, less an empty program.
fn xdp_pass(floor: &Floor) -> Result<Row> {
    let passing = Passing::load()?;
    let frame = client_frame(Flags::Ack)?;
    let mut ours = Vec::new();
    for _round in 0..ROUNDS {
        ours.push(time(passing.program()?, &frame, RUNS)? - floor.time_xdp_empty(&frame, RUNS)?);
    }
    Ok(Row::alone("packet-xdp-pass", median(&ours), "ns net", Aim::None))
}

/// A program that changes the packet before it calls the one under test.
struct Stage {
    name: &'static str,
    frame: Vec<u8>,
    empty: ProgramFd,
}

impl Stage {
    /// Mean ns of stage and program.
    fn time(&self, floor: &mut Floor, program: &ProgramFd, runs: u32) -> Result<f64> {
        floor.aim_stages_at(program)?;
        floor.time(self.name, &self.frame, runs)
    }

    /// What the stage adds to a program that is run alone.
    fn own_cost(&self, floor: &mut Floor, runs: u32) -> Result<f64> {
        Ok(self.time(floor, &self.empty, runs)? - floor.time("empty", &self.frame, runs)?)
    }
}

/// Takes connection 0 through its handshake; its entry.
fn establish(kernel: &mut Kernel) -> Result<Flow> {
    let syn = client_frame(Flags::Syn)?;
    let mut syn_ack = Vec::new();
    PacketBuilder::ethernet2([4; 6], [2; 6])
        .ipv4(SERVER, address(0), 64)
        .tcp(80, CLIENT_PORT, 900, 1024)
        .syn()
        .ack(8)
        .write(&mut syn_ack, &[])?;
    for frame in [syn, syn_ack, client_frame(Flags::Ack)?] {
        time_ingress(kernel, &frame, 1)?;
    }
    let flow = kernel.table_v4()?.get(&key(0), 0)?;
    ensure!(flow.state == State::Established as u8, "the handshake ended in state {}", flow.state);
    Ok(flow)
}

/// A frame from the client of connection 0.
fn client_frame(flags: Flags) -> Result<Vec<u8>> {
    let packet = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(address(0), SERVER, 64);
    let packet = packet.tcp(CLIENT_PORT, 80, 7, 1024);
    let packet = match flags {
        Flags::Syn => packet.syn(),
        Flags::Ack => packet.ack(901),
    };
    let mut frame = Vec::new();
    packet.write(&mut frame, &[])?;
    Ok(frame)
}

/// What kind of packet.
#[derive(Clone, Copy)]
enum Flags {
    Syn,
    Ack,
}

/// Source address of a connection, as the stages write it.
const fn address(number: u32) -> [u8; 4] {
    let [_, a, b, c] = number.to_be_bytes();
    [10, a, b, c]
}

/// Key of a connection in both tables: 10.x.y.z is below the server's address.
fn key(number: u32) -> FlowKey<4> {
    FlowKey::canonical(address(number), SERVER, CLIENT_PORT.to_be_bytes(), 80_u16.to_be_bytes(), 6).0
}

//! What traffic between two network namespaces feels of observe mode on the client's interface, both directions: ten
//! pairs of runs with and without it. A run is not in one piece: both runs of a pair are cut into slices that take turns,
//! because what else the machine does changes from second to second by more than what is measured.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use synscope_abi::counter::Counter;
use synscope_datapath::attach::{self, Hook};
use synscope_datapath::kernel::{Kernel, Options};
use synscope_datapath::netlink::links;

use crate::floor::{pin_to_one_cpu, stay_on_cpu};
use crate::netns::{Pair, SERVER};
use crate::row::{Aim, Row};
use crate::samples::{mean_of_ten, median, number, quantile};

const PAIRS: usize = 10;
/// Slices of each run of a pair.
const SLICES: usize = 16;
const BULK: Duration = Duration::from_millis(150);
const BULK_WRITE: usize = 128 << 10;
const ROUND_TRIPS: usize = 2000;
const PORT: u16 = 5201;

/// Bytes/s of bulk transfers, and the 99th percentile of round trips, µs.
#[derive(Clone, Copy)]
struct Felt {
    throughput: f64,
    p99_us: f64,
}

/// The slices of one run so far.
#[derive(Default)]
struct Run {
    bytes: u64,
    took: Duration,
    round_trips_us: Vec<f64>,
}

impl Run {
    fn slice(&mut self) -> Result<()> {
        let (bytes, took) = bulk()?;
        self.bytes += bytes;
        self.took += took;
        round_trips(&mut self.round_trips_us)
    }

    fn felt(&mut self) -> Felt {
        Felt {
            throughput: number(self.bytes) / self.took.as_secs_f64(),
            p99_us: quantile(&mut self.round_trips_us, 990),
        }
    }
}

/// All rows about traffic.
pub(crate) fn rows() -> Result<Vec<Row>> {
    let pair = Pair::new()?;
    let listener = pair.in_server(|| Ok(TcpListener::bind((SERVER, PORT))?))?;
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            // A client that leaves ends its thread.
            thread::spawn(move || stay_on_cpu(0).map(|()| serve(stream)));
        }
    });
    let mut kernel = Kernel::load(&Options::default())?;
    let (mut with, mut without) = (Vec::new(), Vec::new());
    pair.in_client(|| {
        // Sender and receiver each on a CPU of its own: where the scheduler puts them differs from run to run by more
        // than what is measured.
        pin_to_one_cpu()?;
        Run::default().slice()?;
        for _pair in 0..PAIRS {
            let (mut plain, mut observed) = (Run::default(), Run::default());
            for slice in 0..SLICES {
                if slice.is_multiple_of(2) {
                    plain.slice()?;
                    while_observed(&mut kernel, &mut observed)?;
                } else {
                    while_observed(&mut kernel, &mut observed)?;
                    plain.slice()?;
                }
            }
            without.push(plain.felt());
            with.push(observed.felt());
        }
        Ok(())
    })?;
    let connections = kernel.counter(Counter::Inserted)?;
    ensure!(connections >= 2 * (PAIRS * SLICES) as u64, "only {connections} connections were tracked");

    let of = |felt: &[Felt], figure: fn(&Felt) -> f64| median(&felt.iter().map(figure).collect::<Vec<_>>());
    let ratios = |figure: fn(&Felt) -> f64| -> Result<[f64; PAIRS]> {
        let ratios: Vec<f64> =
            with.iter().zip(&without).map(|(with, without)| figure(with) / figure(without)).collect();
        ratios.try_into().ok().context("ten pairs")
    };
    let (throughput, throughput_half) = mean_of_ten(&ratios(|felt| felt.throughput)?);
    let (p99, p99_half) = mean_of_ten(&ratios(|felt| felt.p99_us)?);
    let gigabits = |felt: &Felt| felt.throughput * 8.0 / 1e9;
    Ok(vec![
        Row::beside("traffic-bulk", of(&with, gigabits), "Gbit/s", of(&without, gigabits), Aim::None),
        Row::alone("traffic-bulk-ratio-mean", throughput, "ratio", Aim::None),
        Row::alone("traffic-bulk-ratio-lower-bound", throughput - throughput_half, "ratio", Aim::AtLeast(0.98)),
        Row::beside("traffic-rr-p99", of(&with, |felt| felt.p99_us), "us", of(&without, |felt| felt.p99_us), Aim::None),
        Row::alone("traffic-rr-p99-ratio-mean", p99, "ratio", Aim::None),
        Row::alone("traffic-rr-p99-ratio-upper-bound", p99 + p99_half, "ratio", Aim::AtMost(1.02)),
    ])
}

/// A slice with observe mode on the way.
fn while_observed(kernel: &mut Kernel, run: &mut Run) -> Result<()> {
    let interface = links::named("eth0")?;
    let [ingress, egress] = Hook::ALL.map(|hook| attach::first(kernel, &interface, hook, None));
    let attached = (ingress?, egress?);
    let felt = run.slice();
    drop(attached);
    felt
}

/// Sends as fast as it goes: what the server has read by the end, and how long that took.
fn bulk() -> Result<(u64, Duration)> {
    let mut stream = TcpStream::connect((SERVER, PORT))?;
    stream.write_all(b"b")?;
    let (chunk, start) = (vec![0; BULK_WRITE], Instant::now());
    while start.elapsed() < BULK {
        stream.write_all(&chunk)?;
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut told = [0; 8];
    stream.read_exact(&mut told)?;
    Ok((u64::from_be_bytes(told), start.elapsed()))
}

/// One byte there and one byte back, again and again; how long each took, µs.
fn round_trips(took_us: &mut Vec<f64>) -> Result<()> {
    let mut stream = TcpStream::connect((SERVER, PORT))?;
    stream.set_nodelay(true)?;
    stream.write_all(b"r")?;
    let mut byte = [0];
    for _trip in 0..ROUND_TRIPS {
        let start = Instant::now();
        stream.write_all(&byte)?;
        stream.read_exact(&mut byte)?;
        took_us.push(start.elapsed().as_secs_f64() * 1e6);
    }
    Ok(())
}

/// Reads and tells how much it was, or answers each byte, as the first byte asks.
fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    let mut kind = [0];
    stream.read_exact(&mut kind)?;
    let mut buffer = vec![0; BULK_WRITE];
    if kind == *b"b" {
        let mut sum = 0_u64;
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => return stream.write_all(&sum.to_be_bytes()),
                Ok(length) => sum += length as u64,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
    stream.set_nodelay(true)?;
    loop {
        stream.read_exact(&mut kind)?;
        stream.write_all(&kind)?;
    }
}

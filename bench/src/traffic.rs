//! What traffic between two network namespaces feels of observe mode on the client's interface, both directions: ten
//! pairs of runs with and without it, in turn, and each pair in the other order than the one before.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use synscope_abi::counter::Counter;
use synscope_datapath::attach::{self, Hook};
use synscope_datapath::kernel::{Kernel, Options};

use crate::floor::{pin_to_one_cpu, stay_on_cpu};
use crate::netns::{Pair, SERVER};
use crate::row::{Aim, Row};
use crate::samples::{mean_of_ten, median, number, quantile};

const PAIRS: usize = 10;
const BULK: Duration = Duration::from_millis(2500);
const BULK_WRITE: usize = 128 << 10;
const ROUND_TRIPS: usize = 20_000;
const PORT: u16 = 5201;

/// Bytes/s of a bulk transfer, and the 99th percentile of round trips, µs.
#[derive(Clone, Copy)]
struct Felt {
    throughput: f64,
    p99_us: f64,
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
        feel()?;
        for round in 0..PAIRS {
            if round.is_multiple_of(2) {
                without.push(feel()?);
                with.push(feel_observed(&mut kernel)?);
            } else {
                with.push(feel_observed(&mut kernel)?);
                without.push(feel()?);
            }
        }
        Ok(())
    })?;
    let connections = kernel.counter(Counter::Inserted)?;
    ensure!(connections >= 2 * PAIRS as u64, "only {connections} connections were tracked");

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
        Row::alone("traffic-rr-p99-ratio-mean", p99, "ratio", Aim::AtMost(1.02)),
        Row::alone("traffic-rr-p99-ratio-upper-bound", p99 + p99_half, "ratio", Aim::None),
    ])
}

/// With observe mode on the way.
fn feel_observed(kernel: &mut Kernel) -> Result<Felt> {
    let [ingress, egress] = Hook::ALL.map(|hook| attach::first(kernel, "eth0", hook, None));
    let attached = (ingress?, egress?);
    let felt = feel();
    drop(attached);
    felt
}

fn feel() -> Result<Felt> {
    Ok(Felt { throughput: bulk()?, p99_us: round_trips()? })
}

/// Sends as fast as it goes; what the server has read by the end, bytes/s.
fn bulk() -> Result<f64> {
    let mut stream = TcpStream::connect((SERVER, PORT))?;
    stream.write_all(b"b")?;
    let (chunk, start) = (vec![0; BULK_WRITE], Instant::now());
    while start.elapsed() < BULK {
        stream.write_all(&chunk)?;
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut told = [0; 8];
    stream.read_exact(&mut told)?;
    Ok(number(u64::from_be_bytes(told)) / start.elapsed().as_secs_f64())
}

/// One byte there and one byte back, again and again.
fn round_trips() -> Result<f64> {
    let mut stream = TcpStream::connect((SERVER, PORT))?;
    stream.set_nodelay(true)?;
    stream.write_all(b"r")?;
    let mut took = Vec::with_capacity(ROUND_TRIPS);
    let mut byte = [0];
    for _trip in 0..ROUND_TRIPS {
        let start = Instant::now();
        stream.write_all(&byte)?;
        stream.read_exact(&mut byte)?;
        took.push(start.elapsed().as_secs_f64() * 1e6);
    }
    Ok(quantile(&mut took, 990))
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

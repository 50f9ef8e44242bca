//! The tracer beside bpftrace: both as programs of their own, on the same scripts, in turn.

use std::env;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::unistd::getppid;
use serde::{Deserialize, Serialize};

use crate::fleet;
use crate::floor::pin_to_one_cpu;
use crate::program::Program;
use crate::row::{Aim, Row};
use crate::samples::median;

/// Of what takes a while, so many pairs.
const PAIRS: usize = 9;
/// Rounds of system calls, each without a tracer, under ours and under bpftrace.
const ROUNDS: usize = 5;
/// System calls of a round.
const CALLS: u32 = 200_000;
/// Of these, the median counts: what else runs on the machine disturbs some of them.
const PARTS: u32 = 20;

const NOTHING: &str = "BEGIN { exit(); }";
pub(crate) const COUNT: &str = "tracepoint:raw_syscalls:sys_enter { @[comm] = count(); }";
pub(crate) const HISTOGRAM: &str = "tracepoint:raw_syscalls:sys_enter { @start[tid] = nsecs; }
tracepoint:raw_syscalls:sys_exit /@start[tid]/ { @ns = hist(nsecs - @start[tid]); delete(@start[tid]); }";

/// All rows about the tracer.
pub(crate) fn rows() -> Result<Vec<Row>> {
    let both = Both::find()?;
    both.warm()?;
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    let (attached, attached_theirs) = both.in_turn(|program| {
        let running = program.start(COUNT)?;
        let took = running.attached_after();
        running.end()?;
        Ok(milliseconds(took))
    })?;
    let (whole, whole_theirs) = both.in_turn(|program| {
        let start = Instant::now();
        program.run(NOTHING)?;
        Ok(milliseconds(start.elapsed()))
    })?;
    let (memory, memory_theirs) = both.in_turn(|program| Ok(program.start(COUNT)?.end()?.peak_mib()))?;
    let (count, count_theirs) = both.per_hit(COUNT)?;
    let (histogram, histogram_theirs) = both.per_hit(HISTOGRAM)?;
    let row = |name, value, unit, floor, aim| Row::beside(name, value, unit, floor, Aim::RatioAtMost(aim));
    Ok(vec![
        row("tracer-attached", attached, "ms", attached_theirs, 0.5),
        row("tracer-run", whole, "ms", whole_theirs, 0.1),
        row("tracer-memory", memory, "MiB", memory_theirs, 0.25),
        row("tracer-hit-count", count, "ns net", count_theirs, 0.6),
        row("tracer-hit-histogram", histogram, "ns net", histogram_theirs, 0.5),
        fleet::row()?,
    ])
}

/// Ours and bpftrace.
pub(crate) struct Both {
    pub(crate) ours: Program,
    pub(crate) theirs: Program,
}

/// A figure of each.
#[derive(Serialize, Deserialize)]
pub(crate) struct Pair {
    pub(crate) ours: f64,
    pub(crate) theirs: f64,
}

impl Both {
    /// Ours beside this program, bpftrace where the environment says or where it was fetched to.
    pub(crate) fn find() -> Result<Self> {
        let beside = env::current_exe()?.with_file_name("synscope");
        ensure!(beside.exists(), "{} is not there: `cargo xtask bench` builds it", beside.display());
        let fetched = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/bpftrace/bpftrace"));
        let bpftrace = env::var_os("SYNSCOPE_BPFTRACE").map_or_else(|| fetched.to_owned(), PathBuf::from);
        ensure!(
            bpftrace.exists(),
            "{} is not there: `cargo xtask bpftrace` fetches it, or SYNSCOPE_BPFTRACE names one",
            bpftrace.display()
        );
        let ours = Program { command: beside, arguments: &["trace"] };
        let theirs = Program { command: bpftrace, arguments: &[] };
        Ok(Self { ours, theirs })
    }

    /// Files come from memory from then on.
    fn warm(&self) -> Result<()> {
        for program in [&self.ours, &self.theirs] {
            program.run(NOTHING).with_context(|| program.command.display().to_string())?;
        }
        Ok(())
    }

    /// Medians of ours and theirs, measured in turn.
    fn in_turn(&self, measure: impl Fn(&Program) -> Result<f64>) -> Result<(f64, f64)> {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..PAIRS {
            ours.push(measure(&self.ours)?);
            theirs.push(measure(&self.theirs)?);
        }
        Ok((median(&ours), median(&theirs)))
    }

    /// Nanoseconds that a script adds to a system call that hits it.
    fn per_hit(&self, script: &str) -> Result<(f64, f64)> {
        pin_to_one_cpu()?;
        let under = |program: &Program| -> Result<f64> {
            let running = program.start(script)?;
            let taken = per_call();
            running.end()?.ensure_hit()?;
            Ok(taken)
        };
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let alone = per_call();
            ours.push(under(&self.ours)? - alone);
            theirs.push(under(&self.theirs)? - alone);
        }
        Ok((median(&ours), median(&theirs)))
    }
}

/// Nanoseconds of a system call that does next to nothing.
fn per_call() -> f64 {
    let part = |_| {
        let start = Instant::now();
        for _ in 0..CALLS / PARTS {
            black_box(getppid());
        }
        start.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS / PARTS)
    };
    median(&(0..PARTS).map(part).collect::<Vec<_>>())
}

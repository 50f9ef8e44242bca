//! What a hit costs under ours and under bpftrace, in instructions: in an emulated machine whose clock counts them. It has
//! probes at functions wherever it runs, and the same figures each time.

use std::collections::BTreeMap;
use std::env;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use aya::programs::{ProgramError, ProgramInfo, loaded_programs};
use serde::{Deserialize, Serialize};

use crate::counting_clock;
use crate::program::Program;
use crate::row::{Aim, Row};
use crate::samples::number;
use crate::tracer::{self, Both, Pair};

/// The kernel of the machine.
const KERNEL: &str = "6.12";
/// Seconds until it is stopped; bpftrace alone compiles for minutes.
const LIMIT: &str = "900";

/// A script, and the names of what is told of it. Each of the system calls that are counted hits it once.
struct Measure {
    hit: &'static str,
    size: &'static str,
    script: &'static str,
    aim: f64,
}

const MEASURES: [Measure; 8] = [
    Measure {
        hit: "instructions-tracepoint-count",
        size: "instructions-tracepoint-count-size",
        script: tracer::COUNT,
        aim: 0.6,
    },
    Measure {
        hit: "instructions-tracepoint-histogram",
        size: "instructions-tracepoint-histogram-size",
        script: tracer::HISTOGRAM,
        aim: 0.5,
    },
    Measure {
        hit: "instructions-kprobe-add",
        size: "instructions-kprobe-add-size",
        script: "kprobe:__task_pid_nr_ns { @ = count(); }",
        aim: 0.6,
    },
    Measure {
        hit: "instructions-kprobe-count",
        size: "instructions-kprobe-count-size",
        script: "kprobe:__task_pid_nr_ns { @[comm] = count(); }",
        aim: 0.6,
    },
    Measure {
        hit: "instructions-kprobe-histogram",
        size: "instructions-kprobe-histogram-size",
        script: "kprobe:__task_pid_nr_ns { @start[tid] = nsecs; }
kretprobe:__task_pid_nr_ns /@start[tid]/ { @ns = hist(nsecs - @start[tid]); delete(@start[tid]); }",
        aim: 0.5,
    },
    Measure {
        hit: "instructions-fentry-add",
        size: "instructions-fentry-add-size",
        script: "fentry:__task_pid_nr_ns { @ = count(); }",
        aim: 0.6,
    },
    Measure {
        hit: "instructions-fentry-count",
        size: "instructions-fentry-count-size",
        script: "fentry:__task_pid_nr_ns { @[comm] = count(); }",
        aim: 0.6,
    },
    Measure {
        hit: "instructions-fentry-histogram",
        size: "instructions-fentry-histogram-size",
        script: "fentry:__task_pid_nr_ns { @start[tid] = nsecs; }
fexit:__task_pid_nr_ns /@start[tid]/ { @ns = hist(nsecs - @start[tid]); delete(@start[tid]); }",
        aim: 0.5,
    },
];

/// What the machine tells of one script.
#[derive(Serialize, Deserialize)]
struct Measured {
    instructions: Pair,
    size: Pair,
}

/// All rows about instructions, counted in the machine.
pub(crate) fn rows() -> Result<Vec<Row>> {
    let xtask = env::var_os("SYNSCOPE_XTASK").context("nobody runs the emulated machine: `cargo xtask bench` does")?;
    let mut machine = Command::new(xtask);
    machine.args(["vm", "--kernel", KERNEL, "--count-instructions", "--timeout", LIMIT, "--"]);
    machine.arg(env::current_exe()?).arg("--instructions-here").stderr(Stdio::inherit());
    let ran = machine.output().context("the emulated machine")?;
    let told = String::from_utf8_lossy(&ran.stdout);
    if !ran.status.success() {
        bail!("the emulated machine: {}\n{told}", ran.status);
    }
    let rows = MEASURES.iter().zip(read(&told)?).flat_map(|(measure, Measured { instructions, size })| {
        let aim = Aim::RatioAtMost(measure.aim);
        [
            Row::beside(measure.hit, instructions.ours, "instructions", instructions.theirs, aim),
            Row::beside(measure.size, size.ours, "bytes", size.theirs, Aim::None),
        ]
    });
    Ok(rows.collect())
}

/// What [`here`] returned: the last line. Before it stands what was fetched and what the guest complained about.
fn read(told: &str) -> Result<[Measured; MEASURES.len()]> {
    serde_json::from_str(told.lines().last().unwrap_or_default()).with_context(|| format!("no figures: {told}"))
}

/// Counts on this machine, and returns what [`rows`] reads.
pub(crate) fn here() -> Result<String> {
    counting_clock::ensure_it_counts()?;
    let both = Both::find()?;
    let alone = counting_clock::per_call()?;
    let under = |program: &Program, script| -> Result<(f64, f64)> {
        let before = jited()?;
        let running = program.start(script)?;
        let new = jited()?.into_iter().filter(|(id, _)| !before.contains_key(id));
        let size: u64 = new.map(|(_, size)| size).sum();
        ensure!(size > 0, "the kernel translated nothing");
        let taken = counting_clock::per_call()?;
        running.end()?.ensure_hit()?;
        Ok((taken - alone, number(size)))
    };
    let measure = |Measure { hit, script, .. }: &Measure| -> Result<Measured> {
        let (ours, size) = under(&both.ours, script).with_context(|| format!("{hit}, ours"))?;
        let (theirs, size_theirs) = under(&both.theirs, script).with_context(|| format!("{hit}, bpftrace's"))?;
        let instructions = Pair { ours, theirs };
        Ok(Measured { instructions, size: Pair { ours: size, theirs: size_theirs } })
    };
    let measured: Vec<_> = MEASURES.iter().map(measure).collect::<Result<_>>()?;
    let again = counting_clock::per_call()?;
    ensure!((again - alone).abs() < 1.0, "a system call took {alone} instructions before, {again} after");
    Ok(serde_json::to_string(&measured)?)
}

/// Bytes of machine code of each program that the kernel has now: also of those that ended and are not freed yet.
fn jited() -> Result<BTreeMap<u32, u64>> {
    let of_one = |program: Result<ProgramInfo, ProgramError>| {
        let program = program?;
        Ok((program.id(), program.size_jitted().into()))
    };
    loaded_programs().map(of_one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_has_a_figure_for_each_script_or_all_is_shown() {
        let pair = || Pair { ours: 1.0, theirs: 2.0 };
        let measured = MEASURES.each_ref().map(|_| Measured { instructions: pair(), size: pair() });
        let line = serde_json::to_string(&measured).unwrap_or_default();
        assert!(read(&format!("vm: fetching a kernel\n{line}\n")).is_ok());
        let refused = read("[]\nno memory\n").err().map(|error| error.to_string());
        assert_eq!(refused.as_deref(), Some("no figures: []\nno memory\n"));
    }
}

//! The build entry point: `cargo xtask <command>`.

#![allow(clippy::print_stdout, reason = "its result goes to whoever started it")]

mod apt;
mod behind;
mod bench;
mod bpftrace;
mod cargo;
mod compose;
mod ebpf;
mod fuzz;
mod here;
mod ignored;
mod lab;
mod lanes;
mod leftovers;
mod preflight;
mod programs;
mod setup;
mod test;
mod vm;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::vm::suite::{self, Which};
use crate::vm::{Clock, Machine, Release};

/// Until a guest that runs a command is stopped, unless told otherwise.
const COMMAND_LIMIT: Duration = Duration::from_mins(2);

/// Builds, sets up and tests synscope.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install or build what is missing on this machine, and say what was done.
    Setup {
        /// Also what continuous integration needs (cargo-deny).
        #[arg(long)]
        ci: bool,
    },
    /// Build the kernel programs alone.
    Ebpf,
    /// Set up, then measure what things cost, beside floor programs in the same run.
    #[command(disable_help_flag = true)]
    Bench {
        /// Groups of figures (all unless told otherwise) and options; `--help` tells them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Set up, then play an incident between two nodes made of namespaces, and check what is found.
    #[command(disable_help_flag = true)]
    Lab {
        /// A scenario (ct-full unless told otherwise) and options; `--help` tells them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Fuzz what reads foreign bytes; needs a C++ compiler.
    Fuzz {
        /// Seconds for each target.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// Which; all unless told otherwise.
        #[arg(value_enum)]
        targets: Vec<fuzz::Target>,
    },
    /// Set up, then run all tests.
    Test,
    /// Fetch Debian's bpftrace 0.23 unless it is there, and say where it is.
    Bpftrace,
    /// Say what synscope finds on this machine, what it loses, and what to do about it.
    Preflight {
        /// As a JSON array.
        #[arg(long)]
        json: bool,
    },
    /// Set up, then play the lab in containers, in a Docker engine that is started for it and leaves nothing behind.
    ComposeTest {
        /// Print one JSON document at the end.
        #[arg(long)]
        json: bool,
        /// Use the engine that runs on this machine, and pull images.
        #[arg(long)]
        running_engine: bool,
    },
    /// Run a command, or the kernel tests, on another kernel: in an emulated machine that sees this one's files.
    Vm {
        /// Which kernel.
        #[arg(long, value_enum)]
        kernel: Release,
        /// Run the kernel tests; what comes after `--` is for them.
        #[arg(long)]
        tests: bool,
        /// Let the machine's clock count instructions, each as a nanosecond: to measure how many something takes.
        #[arg(long)]
        count_instructions: bool,
        /// Seconds until the machine is stopped [default: 120, with --tests 2400].
        #[arg(long)]
        timeout: Option<u64>,
        /// What to run, after `--`.
        #[arg(last = true, required_unless_present = "tests")]
        command: Vec<String>,
    },
}

/// 2 where something could not be done; other codes are those of what was run.
fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Setup { ci } => setup::run(ci).map(|()| 0),
        Command::Ebpf => ebpf::run().map(|()| 0),
        Command::Bench { arguments } => setup::run(false).and_then(|()| bench::run(&arguments)),
        Command::Lab { arguments } => setup::run(false).and_then(|()| lab::become_it(&arguments)),
        Command::Fuzz { seconds, targets } => fuzz::run(&targets, seconds).map(|()| 0),
        Command::Test => setup::run(false).and_then(|()| test::run()).map(|()| 0),
        Command::Bpftrace => bpftrace::prepare().map(|command| {
            println!("{}", command.display());
            0
        }),
        Command::ComposeTest { json, running_engine } => {
            setup::run(false).and_then(|()| compose::run(json, running_engine))
        }
        Command::Preflight { json } => preflight::run(json),
        Command::Vm { kernel, tests, count_instructions, timeout, command } => {
            let clock = if count_instructions { Clock::Instructions } else { Clock::Host };
            run_elsewhere(kernel, clock, tests, timeout, &command)
        }
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run_elsewhere(
    kernel: Release,
    clock: Clock,
    tests: bool,
    timeout: Option<u64>,
    command: &[String],
) -> anyhow::Result<u8> {
    let limit = timeout.map(Duration::from_secs);
    let machine = Machine::prepare(kernel)?.with_clock(clock);
    if tests {
        suite::run(&programs::build()?, &machine, Which::All, command, limit.unwrap_or(behind::GUEST_LIMIT))
    } else {
        machine.run(&vm::command_line(command), limit.unwrap_or(COMMAND_LIMIT), "")
    }
}

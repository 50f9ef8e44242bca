//! The build entry point: `cargo xtask <command>`.

mod apt;
mod ebpf;
mod setup;
mod test;
mod vm;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::vm::{Machine, Release};

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
    /// Set up, then run all tests.
    Test,
    /// Run a command on another kernel, in an emulated machine that sees this one's files.
    Vm {
        /// Which kernel.
        #[arg(long, value_enum)]
        kernel: Release,
        /// Seconds until the machine is stopped.
        #[arg(long, default_value_t = 120)]
        timeout: u64,
        /// What to run, after `--`.
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Setup { ci } => setup::run(ci).map(|()| 0),
        Command::Ebpf => ebpf::run().map(|()| 0),
        Command::Test => setup::run(false).and_then(|()| test::run()).map(|()| 0),
        Command::Vm { kernel, timeout, command } => {
            Machine::prepare(kernel).and_then(|machine| machine.run(&command, Duration::from_secs(timeout)))
        }
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

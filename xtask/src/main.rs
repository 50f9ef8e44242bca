//! The build entry point: `cargo xtask <command>`.

mod ebpf;
mod setup;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Setup { ci } => setup::run(ci),
        Command::Ebpf => ebpf::run(),
        Command::Test => setup::run(false).and_then(|()| test::run()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

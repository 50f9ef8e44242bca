//! synscope at a command line.

#![forbid(unsafe_code)]

mod credentials;
mod held;
mod trace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use synscope_bus::command_line::VERSION;

/// Finds out why connections are slow, from inside the kernel.
#[derive(Debug, Parser)]
#[command(name = "synscope", version = VERSION, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Traces this machine with a script in bpftrace's language.
    Trace(Box<trace::Options>),
    /// Makes keys and certificates for the services of a fleet, and what nats-server is told of them.
    Credentials(credentials::Options),
    /// What `trace -c` starts: waits until it is let go, then becomes the command.
    #[command(name = held::NAME, hide = true)]
    Held {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<String>,
    },
}

/// 1 where something could not be done; other codes are the script's.
fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(said) => {
            // Help and versions are asked for, all else is wrong. Where nobody listens, nothing is lost.
            drop(said.print());
            return if said.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    let done = match arguments.command {
        Command::Trace(options) => trace::run(&options),
        Command::Credentials(options) => credentials::run(&options),
        Command::Held { command } => Err(held::become_it(&command)),
    };
    done.unwrap_or_else(|error| {
        trace::complain(&format!("error: {error:#}\n"));
        ExitCode::FAILURE
    })
}

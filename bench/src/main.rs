//! The benchmarks: each figure of the datapath and the analyzer beside the least that a program of the same purpose
//! costs, and the tracer's beside bpftrace's, measured in the same run. `cargo xtask bench` builds and starts this.

#![allow(clippy::print_stdout, reason = "its result goes to whoever started it")]

mod allocations;
mod counting_clock;
mod document;
mod edges;
mod fleet;
mod floor;
mod instructions;
mod iterator;
mod netns;
mod noise;
mod packets;
mod program;
mod raw;
mod recorded;
mod records;
mod ring;
mod row;
mod samples;
mod server;
mod stream;
mod sweep;
mod tracer;
mod traffic;

use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;

use anyhow::{Result, anyhow, ensure};
use clap::Parser;

use crate::row::{Row, Table};

/// Measures what things cost, beside floor programs in the same run.
#[derive(Parser)]
#[command(name = "cargo xtask bench", version)]
struct Arguments {
    /// As a JSON array.
    #[arg(long)]
    json: bool,
    /// Longer where the length matters: a minute of events to NATS instead of ten seconds, 10,000 days of noise instead of
    /// 1,000.
    #[arg(long)]
    full: bool,
    /// Writes the table into this document, between its marks; of all groups, so that all figures are of one run.
    #[arg(long, conflicts_with = "names")]
    markdown: Option<PathBuf>,
    /// What the group `instructions` runs in its emulated machine.
    #[arg(long, hide = true)]
    instructions_here: bool,
    /// Groups to run; all unless told otherwise.
    #[arg(value_parser = GROUPS.map(|group| group.name))]
    names: Vec<String>,
}

/// Rows that are measured together.
struct Group {
    name: &'static str,
    rows: fn(full: bool) -> Result<Vec<Row>>,
}

const GROUPS: [Group; 10] = [
    Group { name: "packets", rows: |_full| packets::rows() },
    Group { name: "records", rows: |_full| records::rows() },
    Group { name: "ring", rows: ring::rows },
    Group { name: "stream", rows: stream::rows },
    Group { name: "sweep", rows: |_full| sweep::rows() },
    Group { name: "traffic", rows: |_full| traffic::rows() },
    Group { name: "analyzer", rows: |_full| edges::rows() },
    Group { name: "noise", rows: noise::rows },
    Group { name: "tracer", rows: |_full| tracer::rows() },
    Group { name: "instructions", rows: |_full| instructions::rows() },
];

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the groups; a missed aim is a result and no failure. A group that fails takes no other's figures with it.
fn run(arguments: &Arguments) -> Result<()> {
    ensure!(nix::unistd::geteuid().is_root(), "kernel programs are loaded and network namespaces made: run it as root");
    if arguments.instructions_here {
        println!("{}", instructions::here()?);
        return Ok(());
    }
    let (mut rows, mut failed) = (Vec::new(), Vec::new());
    for Group { name, rows: measure } in GROUPS {
        if !arguments.names.is_empty() && arguments.names.iter().all(|wanted| wanted != name) {
            continue;
        }
        eprintln!("bench: {name}");
        let full = arguments.full;
        // A thread for each group: it may tie itself to a CPU, or move to another network namespace.
        let measured = thread::spawn(move || measure(full)).join();
        match measured.unwrap_or_else(|_panic| Err(anyhow!("panicked"))) {
            Ok(measured) => rows.extend(measured),
            Err(error) => {
                eprintln!("bench: {name}: {error:#}");
                failed.push(name);
            }
        }
    }
    if let Some(path) = arguments.markdown.as_ref().filter(|_| failed.is_empty()) {
        let how = format!("cargo xtask bench{}", if arguments.full { " --full" } else { "" });
        document::write(path, &rows, &how)?;
    }
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
    } else {
        print!("{}", Table(&rows));
    }
    ensure!(failed.is_empty(), "not measured: {}", failed.join(", "));
    Ok(())
}

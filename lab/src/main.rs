//! Plays incidents between two nodes made of network namespaces, and checks what synscope makes of them.

#![allow(clippy::print_stdout, reason = "its result goes to whoever started it")]

mod cilium;
mod client;
mod cluster;
mod diagnosis;
mod keep;
mod load;
mod netns;
mod nf_conntrack;
mod outsider;
mod play;
mod report;
mod scenario;
mod stage;
mod steps;
mod watch;
mod wire;
mod work;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use synscope_bus::command_line::VERSION;

use crate::outsider::Outsider;
use crate::report::{Check, Report, say};
use crate::scenario::Scenario;
use crate::stage::Stage;
use crate::work::Work;

/// From the first namespace to the last one's end.
const RUN_LIMIT: Duration = Duration::from_mins(4);

/// Plays an incident, and checks that it is found, explained, fixed and verified.
#[derive(Parser)]
#[command(version = VERSION, about, args_conflicts_with_subcommands = true)]
#[allow(clippy::struct_excessive_bools, reason = "switches of a command line")]
struct Cli {
    #[command(subcommand)]
    action: Option<Action>,
    /// Which one; see --list.
    #[arg(default_value = "ct-full")]
    scenario: String,
    /// Prints one JSON document at the end, also when the run breaks off.
    #[arg(long)]
    json: bool,
    /// Leaves everything running until Enter or Ctrl-C is pressed, and says where the API is.
    #[arg(long)]
    keep: bool,
    /// Kills nats-server, analyzer, agents and api with -9, one in each burst, and starts them again.
    #[arg(long)]
    kill: bool,
    /// Lists the scenarios.
    #[arg(long)]
    list: bool,
    /// Writes the edges and signals to this file, as tests replay them.
    #[arg(long)]
    record: Option<PathBuf>,
    /// A program that subscribes from outside: it is told the server's URL, ended with SIGTERM when all is over, and
    /// must exit with 0. `examples/subscribe.py` is one.
    #[arg(long)]
    subscriber: Option<PathBuf>,
    /// The folder with the services.
    #[arg(long, default_value = "target/debug")]
    bin: PathBuf,
    /// The nats-server.
    #[arg(long, default_value = "target/tools/nats-server")]
    nats: PathBuf,
}

#[derive(Subcommand)]
enum Action {
    /// Runs one workload of a lab that others have set up, in this network namespace, until it is told to end.
    #[command(subcommand)]
    Work(Work),
}

/// 0: the diagnosis was right; 1: it was wrong, or the run broke off; 2: it could not be played.
fn main() -> ExitCode {
    let mut cli = Cli::parse();
    let done = match cli.action.take() {
        Some(Action::Work(work)) => work.run().map(|()| true),
        None => run(&cli),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("lab: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(cli: &Cli) -> Result<bool> {
    if cli.list {
        for Scenario { name, about, .. } in &scenario::ALL {
            println!("{name:<18} {about}");
        }
        return Ok(true);
    }
    let scenario = scenario::named(&cli.scenario).with_context(|| {
        let names = scenario::ALL.map(|scenario| scenario.name).join(", ");
        format!("there is no scenario {:?}; there are {names}", cli.scenario)
    })?;
    let started = Instant::now();
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, interrupted.clone())?;
    }
    say(&format!("{}: {}", scenario.name, scenario.about));
    let mut report = Report::new(scenario.name);
    let mut stage = match Stage::set(scenario, &cli.bin, &cli.nats, cli.record.as_deref(), interrupted.clone()) {
        Ok(stage) => stage,
        Err(error) => {
            report.check(Check::new("everything could be set up", false, "yes", &format!("{error:#}")));
            report.print(cli.json)?;
            return Err(error);
        }
    };
    let played = perform(cli, scenario, &mut stage, &mut report);
    let end = played.map_or_else(|error| format!("{error:#}"), |()| "yes".to_owned());
    report.check(Check::equal("the run comes to its end", "yes", &end));
    if !report.passed() {
        stage.cluster.keep_logs();
        say(&format!("logs are kept in {}", stage.cluster.logs().display()));
    }
    if cli.keep && !interrupted.load(Relaxed) {
        report.print(cli.json)?;
        keep::until_told(&stage, &interrupted)?;
    } else {
        drop(stage);
        let took = started.elapsed();
        let name = "set up, played and taken apart";
        let limit = format!("within {} s", RUN_LIMIT.as_secs());
        report.check(Check::new(name, took <= RUN_LIMIT, &limit, &format!("after {:.0} s", took.as_secs_f64())));
        report.print(cli.json)?;
    }
    Ok(report.passed())
}

/// The play, and what is compared when it is over.
fn perform(cli: &Cli, scenario: &Scenario, stage: &mut Stage, report: &mut Report) -> Result<()> {
    if cli.kill {
        stage.kill_in_turn();
    }
    let subscriber = cli.subscriber.as_deref().map(|program| Outsider::start(program, &stage.cluster)).transpose()?;
    play::play(scenario, stage, report)?;
    report.loss = stage.loss()?;
    report.check(report.loss.check(cli.kill));
    play::afterwards(scenario, stage, cli.kill, report)?;
    if let Some(outsider) = subscriber {
        report.check(outsider.end()?);
    }
    stage.watch.stop()
}

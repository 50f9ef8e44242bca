//! Plays incidents between two nodes made of network namespaces, and checks what synscope makes of them.

mod cilium;
mod client;
mod cluster;
mod load;
mod netns;
mod nf_conntrack;
mod outsider;
mod report;
mod run;
mod scenario;
mod watch;
mod wire;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;

use crate::outsider::Outsider;
use crate::report::{Report, say};
use crate::run::Stage;

/// Plays an incident, and checks that it is found, explained, fixed and verified.
#[derive(Parser)]
#[command(version, about)]
#[allow(clippy::struct_excessive_bools, reason = "switches of a command line")]
struct Cli {
    /// Which one; see --list.
    #[arg(default_value = "ct-full")]
    scenario: String,
    /// Prints one JSON document at the end.
    #[arg(long)]
    json: bool,
    /// Leaves everything running until Enter is pressed, and says where the API is.
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

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("lab: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(cli: &Cli) -> Result<bool> {
    let scenarios = scenario::all();
    if cli.list {
        for scenario in &scenarios {
            println!("{:<18} {}", scenario.name, scenario.about);
        }
        return Ok(true);
    }
    let names = || scenarios.iter().map(|scenario| scenario.name).collect::<Vec<_>>().join(", ");
    let scenario = scenarios.iter().find(|scenario| scenario.name == cli.scenario);
    let scenario =
        scenario.with_context(|| format!("there is no scenario {:?}; there are {}", cli.scenario, names()))?;
    say(&format!("{}: {}", scenario.name, scenario.about));

    let mut report = Report::new(scenario.name);
    let mut stage = Stage::set(scenario, &cli.bin, &cli.nats, cli.record.as_deref())?;
    if cli.kill {
        stage.kill_in_turn();
    }
    let subscriber =
        cli.subscriber.as_deref().map(|program| Outsider::start(program, stage.cluster.nats_port)).transpose()?;
    let played = run::play(scenario, &mut stage, &mut report);
    if played.is_err() || !report.passed() {
        stage.cluster.keep_logs();
        say(&format!("logs are kept in {}", stage.cluster.logs().display()));
    }
    played?;
    report.loss = stage.loss()?;
    report.check(report.loss.check(cli.kill));
    if let Some(outsider) = subscriber {
        report.check(outsider.end()?);
    }
    if cli.keep {
        let api = format!("http://127.0.0.1:{}", stage.cluster.api_port);
        say(&format!(
            "everything keeps running: the API is at {api}, NATS on port {}; Enter ends it",
            stage.cluster.nats_port
        ));
        std::io::stdin().read_line(&mut String::new())?;
    }
    stage.watch.stop()?;
    drop(stage);
    report.print();
    if cli.json {
        println!("{}", serde_json::to_string(&report)?);
    }
    Ok(report.passed())
}

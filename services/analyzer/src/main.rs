//! The analyzer service.

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;
use synscope_analyzer::service::{self, Settings};
use synscope_bus::command::Answers;
use synscope_bus::command_line::{Action, VERSION};
use synscope_bus::connection::Connection;
use synscope_bus::life::Life;
use synscope_bus::permissions::Identity;
use synscope_bus::subject::NodeId;
use synscope_bus::{configuration, health, privileges, telemetry};

/// Finds what recurs in the fleet's latencies, and why.
#[derive(Parser)]
#[command(version = VERSION, about)]
struct Cli {
    /// Configuration file (TOML); the environment (`SYNSCOPE_…`) wins over it.
    #[arg(long, env = "SYNSCOPE_CONFIG")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    action: Option<Action>,
}

fn main() -> Result<()> {
    privileges::keep(&[])?;
    begin()
}

#[tokio::main]
async fn begin() -> Result<()> {
    let cli = Cli::parse();
    let settings: Settings = configuration::load(cli.config.as_deref())?;
    telemetry::start(&settings.log)?;
    settings.check()?;
    let node = NodeId::new(settings.node.as_str())?;
    if let Some(Action::Health(question)) = cli.action {
        return Ok(question.put("analyzer", node).await?);
    }
    let connection = Connection::start(&settings.nats, &Identity::Analyzer(node.clone()).to_string()).await?;
    let life = Life::begin("analyzer", node.as_str(), connection)?;
    health::serve(&life);
    let _answers = Answers::announce(&life).await?;
    tokio::select! {
        ended = service::work(&life, &settings, node) => ended?,
        () = life.stopped() => {}
    }
    life.drain().await;
    Ok(())
}

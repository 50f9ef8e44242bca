//! The tracer service: one per node.

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;
use synscope_bus::command::Answers;
use synscope_bus::command_line::{Action, VERSION};
use synscope_bus::connection::Connection;
use synscope_bus::envelope::PublisherId;
use synscope_bus::life::Life;
use synscope_bus::permissions::Identity;
use synscope_bus::{configuration, health, telemetry};
use synscope_tracer::service::{Settings, Traces};

/// Runs traces that others start, within limits.
#[derive(Parser)]
#[command(version = VERSION, about)]
struct Cli {
    /// Configuration file (TOML); the environment (`SYNSCOPE_…`) wins over it.
    #[arg(long, env = "SYNSCOPE_CONFIG")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    action: Option<Action>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let cli = Cli::parse();
    let settings: Settings = configuration::load(cli.config.as_deref())?;
    settings.check()?;
    telemetry::start(&settings.log)?;
    let node = settings.node_id()?;
    if let Some(Action::Health(question)) = cli.action {
        return Ok(question.put("tracer", node).await?);
    }
    let connection = Connection::start(&settings.nats, &Identity::Tracer(node.clone()).to_string()).await?;
    let life = Life::begin("tracer", node.as_str(), connection)?;
    health::serve(&life);
    let labels = settings.labels.clone();
    let traces = Traces::new(&life, settings, PublisherId::begin(node));

    let answers = Answers::announce_labelled(&life, &labels).await?;
    traces.answer(&answers).await?;
    life.ready();

    life.stopped().await;
    drop(answers);
    let left = tokio::task::spawn_blocking(move || traces.ended()).await?;
    if left > 0 {
        tracing::warn!(left, "traces end with the process");
    }
    life.drain().await;
    Ok(())
}

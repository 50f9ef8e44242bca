//! The API service.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use synscope_api::app::App;
use synscope_api::settings::Settings;
use synscope_api::{feed, routes};
use synscope_bus::command::Answers;
use synscope_bus::command_line::{Action, VERSION};
use synscope_bus::connection::Connection;
use synscope_bus::life::{DRAIN, Life};
use synscope_bus::subject::{NodeId, ServiceName};
use synscope_bus::{configuration, health, telemetry};
use tokio::net::TcpListener;

/// Tells over HTTP what the other services found out.
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
    telemetry::start(&settings.log)?;
    let name = NodeId::new(settings.node.clone()).context("configuration key \"node\"")?;
    if let Some(Action::Health(question)) = cli.action {
        return Ok(question.put("api", name).await?);
    }
    let connection = Connection::start(&settings.nats.url, &format!("{}-{name}", ServiceName("api"))).await?;
    let life = Life::begin("api", name.as_str(), connection.clone())?;
    health::serve(&life);
    let app = App::new(life.clone(), &settings);
    feed::start(&app, Duration::from_secs(settings.kept_seconds));

    let listener =
        TcpListener::bind(settings.listen).await.with_context(|| format!("cannot listen on {}", settings.listen))?;
    tracing::info!(address = %listener.local_addr()?, "listens");
    let answers = Answers::announce(&life).await?;
    let seen = life.clone();
    tokio::spawn(async move {
        seen.connection().connected().await;
        seen.ready();
    });

    let ending = life.clone();
    let served =
        axum::serve(listener, routes::router(app)).with_graceful_shutdown(async move { ending.stopped().await });
    let ending = life.clone();
    tokio::select! {
        served = async { served.await } => served.context("HTTP")?,
        () = async { ending.stopped().await; tokio::time::sleep(DRAIN).await } => {
            tracing::warn!("ended with requests that were not answered");
        }
    }
    drop(answers);
    life.drain().await;
    Ok(())
}

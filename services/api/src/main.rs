//! The API service.

use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use synscope_api::access::serve::serve;
use synscope_api::access::{Role, tokens};
use synscope_api::app::App;
use synscope_api::settings::Settings;
use synscope_api::{feed, kubernetes, routes};
use synscope_bus::command::Answers;
use synscope_bus::command_line::VERSION;
use synscope_bus::connection::Connection;
use synscope_bus::life::Life;
use synscope_bus::permissions::Identity;
use synscope_bus::privileges::Privilege;
use synscope_bus::subject::NodeId;
use synscope_bus::{configuration, health, privileges, telemetry};

/// Between two times that addresses which have not asked for long are forgotten.
const FORGET: Duration = Duration::from_mins(1);

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

#[derive(Subcommand)]
enum Action {
    /// Serves: what happens without a word, too.
    Run,
    /// Asks the running service how it is: prints its health as JSON, and fails unless it is ready.
    Health(health::Question),
    /// Makes a token: writes it on standard output, and on the error output what to add to the file of tokens.
    Token {
        /// Writes NAME.token and tokens.toml into this folder instead, unless they are there.
        #[arg(long, value_name = "FOLDER")]
        into: Option<PathBuf>,
        /// Whose it is; audit events tell this name.
        name: String,
        /// What it is for; may be given again.
        #[arg(long = "role", required = true)]
        roles: Vec<Role>,
    },
}

fn main() -> Result<()> {
    privileges::keep(&[Privilege::LowPorts])?;
    begin()
}

#[tokio::main]
async fn begin() -> Result<()> {
    let cli = Cli::parse();
    let settings = || configuration::load::<Settings>(cli.config.as_deref());
    match cli.action.unwrap_or(Action::Run) {
        Action::Run => run(settings()?).await,
        Action::Health(question) => Ok(question.put("api", name(&settings()?)?).await?),
        Action::Token { into: None, name, roles } => token(&name, &roles),
        Action::Token { into: Some(folder), name, roles } => Ok(tokens::write(&folder, &name, &roles)?),
    }
}

fn name(settings: &Settings) -> Result<NodeId> {
    NodeId::new(settings.node.clone()).context("configuration key \"node\"")
}

fn token(name: &str, roles: &[Role]) -> Result<()> {
    let (token, entry) = tokens::make(name, roles).context("no random numbers")?;
    writeln!(std::io::stderr(), "# for the file that the configuration's key \"tokens\" names:\n{entry}")?;
    writeln!(std::io::stdout(), "{token}")?;
    Ok(())
}

async fn run(settings: Settings) -> Result<()> {
    telemetry::start(&settings.log)?;
    let name = name(&settings)?;
    let connection = Connection::start(&settings.nats, &Identity::Api(name.clone()).to_string()).await?;
    let life = Life::begin("api", name.as_str(), connection.clone())?;
    health::serve(&life);
    let app = App::new(life.clone(), name, &settings)?;
    feed::start(&app, Duration::from_secs(settings.kept_seconds));
    if settings.kubernetes {
        let life = life.clone();
        tokio::spawn(async move {
            let config = synscope_kubernetes::configuration(&life).await;
            kubernetes::follow(life, config).await;
        });
    }

    let listener =
        TcpListener::bind(settings.listen).with_context(|| format!("cannot listen on {}", settings.listen))?;
    listener.set_nonblocking(true)?;
    tracing::info!(address = %listener.local_addr()?, tls = settings.tls.is_some(), "listens");
    if settings.tls.is_none() && !settings.listen.ip().is_loopback() {
        tracing::warn!("tokens are shown in clear text: put TLS before it, or configure \"tls\"");
    }
    let answers = Answers::announce(&life).await?;
    let seen = life.clone();
    tokio::spawn(async move {
        seen.connection().connected().await;
        seen.ready();
    });
    let access = app.access.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(FORGET).await;
            access.forget();
        }
    });

    serve(routes::router(app), listener, settings.tls, &life).await?;
    drop(answers);
    life.drain().await;
    Ok(())
}
